"""Who is told apart on KTH's walking videos, by what ships and what it is compared with: Rank-1, gallery d1, probes d3, d2, d4.

    accuracy.py --videos DIR [--work DIR] [--seeds 5] [--epochs 40] [--splits 20]

Form (a): everybody is in the gallery, and nobody's label was learnt from. `default` is what `gaitreid match` does; beside it its
parts, hand-made features by 1-nearest-neighbour (bone lengths, joint mean and deviation, energy images, their lower half and
lowest 28 rows), CAGE as its paper has it, learnt from the same videos without labels (mean over the seeds), and `chosen by
folds`: for each person in turn how parts saturate, how often shins, trunk and skeleton count, and whether view and pace do, is
chosen on all others (mean Rank-1 over the probes, or over d3 and d2), so that nothing is chosen on whom it is reported on.

Form (b): half of the people, drawn --splits times, may be learnt from, and the others are gallery and probes. `chosen by
labels` takes the variant that does best among the first half; `weighted by labels` learns from it how much each part of
`default` counts, for each probe condition (logistic regression over pairs); the other rows learn nothing.

Intervals are by bootstrap over people. The last line is a JSON object with the same figures.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.shipped import METRIC
from gaitreid.pipeline.work import Work
from gaitreid.pose.records import SILHOUETTE_HEIGHT, Track3D
from gaitreid.reid.compare import compare, divided, saturated
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.fuse import fuse
from gaitreid.reid.handmade import bone_lengths, joint_statistics
from gaitreid.reid.metrics import bootstrap
from gaitreid.reid.records import Embeddings, Sequences

Array = np.ndarray[Any, Any]
PATTERN = r"person(?P<subject>\d+)_walking_(?P<condition>d\d)"
PROBES = ("d3", "d2", "d4")
PARTS = {"skeleton": 0, "trunk": 1, "shins": 3}  # places of those that `default` has; 2 and 4 are 1 and 3 again
SATURATIONS: dict[str, Callable[[Array], Array]] = {
    "as default": lambda d: saturated(d, METRIC),
    "steeper": lambda d: d**2 / (d**2 + 0.05**2),
    "flatter": lambda d: d**2 / (d**2 + 0.3**2),
    "robust": lambda d: saturated(d, "robust"),
}


def main() -> None:
    """Run the chain, and print both forms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder with personNN_walking_dN_uncomp.avi")
    parser.add_argument("--work", type=Path, default=Path("work-accuracy"))
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seeds", type=int, default=5, help="of CAGE; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=40, help="of CAGE; its paper does not say how many, its preset takes 400")
    parser.add_argument("--splits", type=int, default=20, help="of the people in halves")
    options = parser.parse_args()
    session = Session(Work(options.work), load(overrides=["extract.silhouettes=true"]), Console(), options.jobs)
    session.extract(sorted(options.videos.glob("*_walking_*.avi")), pattern=PATTERN)
    of = fuse([_embeddings(session.encode(name)) for name in ("shipped", "gei-parts")], METRIC)
    rows = Rows(of.subject, of.condition)
    distance = {"default": _distances(of, of, METRIC)} | ours(session, of) | handmade(session, of)
    cages = [cage(options, seed, of) for seed in range(options.seeds)]
    every = variants(of)
    result = {"a": form_a(rows, distance, cages, every), "b": form_b(rows, distance, cages, every, parts(of), options.splits)}
    for form, table in result.items():
        print(f"\nform ({form}), {len(np.unique(rows.subject))} people{'':18}" + "".join(f"{f'd1->{p}':>26}" for p in PROBES))
        for name, row in table.items():
            cells = [f"{row[p][0]:.1%} ({row[p][1][0]:.1%} to {row[p][1][1]:.1%})" for p in PROBES]
            print(f"{name:40}" + "".join(f"{cell:>26}" for cell in cells))
    print(json.dumps(result))


class Rows:
    """Tracks by their labels: who is probe and who is gallery."""

    def __init__(self, subject: Array, condition: Array) -> None:
        self.subject, self.condition = subject, condition
        self.people = np.unique(subject)

    def of(self, condition: str, people: Array | None = None) -> Array:
        """Rows of a condition, of some people."""
        return np.flatnonzero((self.condition == condition) & np.isin(self.subject, self.people if people is None else people))

    def hits(self, distance: Array, probe: str, people: Array | None = None) -> tuple[Array, Array]:
        """Rows of the probes whose person is in the gallery, and whether the nearest is theirs."""
        gallery = self.of("d1", people)
        probes = self.of(probe, np.intersect1d(self.people if people is None else people, self.subject[gallery]))
        nearest = gallery[distance[np.ix_(probes, gallery)].argmin(axis=1)]
        return probes, (self.subject[nearest] == self.subject[probes]).astype(float)

    def mean(self, distance: Array, people: Array, conditions: Sequence[str]) -> float:
        """Rank-1, mean over the probes' conditions."""
        return float(np.mean([self.hits(distance, probe, people)[1].mean() for probe in conditions]))


def form_a(rows: Rows, distance: dict[str, Array], cages: list[Array], every: list[Array]) -> dict[str, Any]:
    """Everybody in the gallery."""
    table = {name: {p: _figure(rows, [rows.hits(d, p)]) for p in PROBES} for name, d in distance.items()}
    if cages:
        table["CAGE, mean of the seeds"] = {p: _figure(rows, [rows.hits(d, p) for d in cages]) for p in PROBES}
    for title, conditions in (("chosen by folds", PROBES), ("chosen by folds on d3 and d2", ("d3", "d2"))):
        own: dict[str, list[tuple[Array, Array]]] = {p: [] for p in PROBES}
        for person in rows.people:
            others = rows.people[rows.people != person]
            best = chosen(rows, every, others, conditions)
            for p in PROBES:
                probes, hit = rows.hits(best, p)
                mine = rows.subject[probes] == person
                own[p].append((probes[mine], hit[mine]))
        table[title] = {p: _figure(rows, own[p]) for p in PROBES}
    return table


def form_b(
    rows: Rows, distance: dict[str, Array], cages: list[Array], every: list[Array], part: dict[str, Array], splits: int
) -> dict[str, Any]:
    """Half of the people are gallery and probes; the labels of the others may be learnt from."""
    halves = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(rows.people)
        middle = len(order) // 2
        halves += [(order[:middle], order[middle:]), (order[middle:], order[:middle])]

    def by(given: Callable[[Array, str], list[Array]]) -> dict[str, Any]:
        return {p: _figure(rows, [rows.hits(d, p, own) for learnt, own in halves for d in given(learnt, p)]) for p in PROBES}

    def fixed(*every: Array) -> Callable[[Array, str], list[Array]]:
        return lambda _, __: list(every)

    table = {name: by(fixed(d)) for name, d in distance.items()}
    if cages:
        table["CAGE, mean of the seeds"] = by(fixed(*cages))
    table["chosen by labels"] = by(lambda learnt, _: [chosen(rows, every, learnt, PROBES)])
    table["default, weighted by labels"] = by(lambda learnt, p: [weighted(rows, part, learnt, p)])
    return table


def chosen(rows: Rows, every: list[Array], people: Array, conditions: Sequence[str]) -> Array:
    """Of several distances that which does best among some people."""
    return every[int(np.argmax([rows.mean(d, people, conditions) for d in every]))]


def weighted(rows: Rows, part: dict[str, Array], learnt: Array, probe: str) -> Array:
    """Parts' distances, each as much as a logistic regression on pairs of the people who are learnt from says."""
    from sklearn.linear_model import LogisticRegression

    probes, gallery = rows.of(probe, learnt), rows.of("d1", learnt)
    pairs = np.stack([d[np.ix_(probes, gallery)] for d in part.values()], axis=-1)
    pairs = (pairs - pairs.mean(axis=1, keepdims=True)).reshape(-1, len(part))
    same = (rows.subject[probes][:, None] == rows.subject[gallery][None]).ravel()
    model = LogisticRegression(C=0.1, class_weight="balanced").fit(pairs, same)
    weights = np.maximum(-model.coef_[0], 0)
    return np.asarray(sum(w * d for w, d in zip(weights, part.values(), strict=True)))


def parts(of: Embeddings, saturation: Callable[[Array], Array] = SATURATIONS["as default"]) -> dict[str, Array]:
    """What each part of `default` says, all pairs: with and without view and pace."""
    shape, seen = divided(of.vector.astype(np.float64), of.parts, of.context)
    neither = float(saturation(np.ones(1))[0])
    found = {}
    for name, k in PARTS.items():
        apart = saturation(np.linalg.norm(shape[:, None, k] - shape[None, :, k], axis=-1))
        square = (seen[:, None, k] - seen[None, :, k]) ** 2
        for kind, counted in (("", ()), (", view", (0,)), (", pace", (1,)), (", view and pace", (0, 1))):
            alike = np.exp(-square[..., list(counted)].sum(axis=-1))
            found[name + kind] = neither + alike * (apart - neither)
            if name == "skeleton":
                break
    return found


def variants(of: Embeddings) -> list[Array]:
    """Distances by every combination of choices."""
    found = [parts(of, saturation) for saturation in SATURATIONS.values()]
    choices = list(itertools.product((1, 2), (0, 1, 2), (1, 2, 3), (False, True), (False, True)))
    return [variant(part, *how) for part in found for how in choices]


def variant(part: dict[str, Array], skeleton: int, trunk: int, shins: int, view: bool, pace: bool) -> Array:
    """A sum of parts."""
    kind = {(False, False): "", (True, False): ", view", (False, True): ", pace", (True, True): ", view and pace"}
    return np.asarray(
        skeleton * part["skeleton"] + trunk * part[f"trunk{kind[view, False]}"] + shins * part[f"shins{kind[view, pace]}"]
    )


def ours(session: Session, of: Embeddings) -> dict[str, Array]:
    """The two that `default` is made of."""
    skeletons, images = (_embeddings(session.encode(name)) for name in ("shipped", "gei-parts"))
    return {"shipped (skeletons)": _distances(skeletons, of, "cosine"), "gei-parts": _distances(images, of, METRIC)}


def handmade(session: Session, of: Embeddings) -> dict[str, Array]:
    """Features that nothing is learnt for, by Euclidean distance; columns as they are and brought to unit deviation."""
    images = _embeddings(session.encode("gei"))
    result = {}
    for name, first in (("GEI", 0), ("GEI, lower half", 32), ("GEI, lowest 28 rows", 36)):
        shown = images.vector.reshape(len(images.vector), SILHOUETTE_HEIGHT, -1)[:, first:].reshape(len(images.vector), -1)
        result[name] = _distances(replace(images, vector=shown, window=shown), of, "euclidean")
    s = store.read(session.work.sequences, "sequences", Sequences, "/sequences")
    place = {key: k for k, key in enumerate(_keys(s))}
    bones, statistics = [], []
    for video, track in _keys(of):
        k = place[video, track]
        metric = store.read(session.work.pose3d(video), "pose3d", Track3D, f"/tracks/{track:06d}")
        bones.append(bone_lengths(metric.xyz, metric.skeleton))
        frames = np.unique(s.start[s.window_track == k][:, None] + np.arange(s.length))
        statistics.append(joint_statistics(s.xyz[frames]))
    for name, values in (("bone lengths", np.array(bones)), ("joint mean and deviation", np.array(statistics))):
        for kind, x in (("", values), (", unit deviation", (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9))):
            result[name + kind] = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return result


def cage(options: argparse.Namespace, seed: int, of: Embeddings) -> Array:
    """Distances by CAGE as its paper has it, learnt from all videos without labels; tracks too short for it are nobody's."""
    settings = [f"train.epochs={options.epochs}", f"seed={seed}", "extract.silhouettes=true"]
    session = Session(Work(options.work), load(Path("cage-paper"), settings), Console(), options.jobs)
    session.split()
    name = f"cage-paper-{seed}"
    session.train(name)
    return _distances(_embeddings(session.encode(name)), of, "euclidean")


def _embeddings(path: Path) -> Embeddings:
    return store.read(path, "embeddings", Embeddings, "/embeddings")


def _keys(of: Any) -> list[tuple[str, int]]:
    return list(zip(of.video.tolist(), of.track.tolist(), strict=True))


def _distances(embeddings: Embeddings, of: Embeddings, metric: Any) -> Array:
    """Between all tracks of `of`, by other embeddings of them; infinite where they lack one."""
    own = {key: k for k, key in enumerate(_keys(embeddings))}
    every = np.arange(len(own))
    apart = compare(embeddings, every, every, MatchConfig(metric=metric, exclude="nothing")).distances(slice(0, len(own)))
    place = np.array([own.get(key, -1) for key in _keys(of)])
    found = apart[np.ix_(place, place)]
    return np.where((place < 0)[:, None] | (place < 0)[None], np.inf, found)


def _figure(rows: Rows, every: list[tuple[Array, Array]]) -> tuple[float, list[float] | None]:
    """Rank-1 and its interval, from one or several runs: each probe counts by the share of the runs in which it was right."""
    probe, hit = (np.concatenate(column) for column in zip(*every, strict=True))
    probes, place = np.unique(probe, return_inverse=True)
    share = np.bincount(place, hit) / np.bincount(place)
    return float(share.mean()), bootstrap(share, rows.subject[probes], seed=0)


if __name__ == "__main__":
    main()
