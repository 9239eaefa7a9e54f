"""Who is who from Kinect skeletons: every encoder and baseline, one sensor against itself and against the others.

    kinect.py --data NPZ [--seeds 1] [--epochs 1] [--normalize gait] [--models cage,bones] [--out FILE]
    kinect.py --data NPZ --seeds 3 --train-trials 5 --normalize gait root none --transfer MOCAP_NPZ --synth DIR

NPZ: joints (F, 25, 3) in metres, z up; starts (clips + 1,); subject, trial and sensor of each clip. Gallery: trials 1 to 10 of
one sensor; probes: trials 11 to 20 of the same sensor, or of another one (mean over the ordered pairs). A track is one clip;
Rank-1 and nAUC are over tracks, intervals by bootstrap over people. Encoders learn from the gallery trials of all sensors: CAGE
and AGE without labels, LSTMs and PoseGait with them. Vectors are partly whitened and compared by angle as `match` does;
`published` are the Euclidean distances of the papers. `no size`: every body is given the mean bone lengths of the training data
(gait). `shipped` is the encoder that comes with the package, compared by angle.

Runs of an encoder are kept in --out, so that the table can be had in pieces; docs/kinect.jsonl has those that were made. Last
line: one JSON object, seed means of the first normalisation named: {"same_sensor": {MODEL: rank1}, "other_sensor": ...,
"other_sensor_no_size": ...}.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gaitreid.pipeline import plugins, shipped
from gaitreid.pipeline.clips import Recogniser
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.encode import in_joints
from gaitreid.pipeline.importer import whole_frames
from gaitreid.pose.arrays import FloatArray, IntArray, TextArray
from gaitreid.pose.formats import from_z_up
from gaitreid.pose.geometry import resize
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import KINECT25, Skeleton, mapping
from gaitreid.reid.compare import directions
from gaitreid.reid.config import CageConfig, EncodeConfig, RecogniseConfig, SupervisedConfig, TrainConfig
from gaitreid.reid.encode import Input, encode, pool
from gaitreid.reid.handmade import bone_lengths, joint_statistics
from gaitreid.reid.metric_learning import LEARNT
from gaitreid.reid.metrics import bootstrap
from gaitreid.reid.recognise import Network, fit, pool_scores, score
from gaitreid.reid.train import train
from gaitreid.reid.whiten import moments, whiten
from gaitreid.reid.windows import SplitConfig, join, split_track

LENGTH, CPU = 6, torch.device("cpu")
APART = 2  # every second window is encoded: with a step of half a window they would overlap
MODELS: dict[str, tuple[str, Any]] = {
    "age, no attention": ("age", CageConfig(attention="none")),
    "age, BAS": ("age", CageConfig(attention="bas")),
    "age, MBAS": ("age", CageConfig(attention="mbas")),
    "age": ("age", CageConfig()),
    "cage, BAS": ("cage", CageConfig(attention="bas")),
    "cage": ("cage", CageConfig()),
    "cage, prediction": ("cage", CageConfig(pretext="prediction")),
    "cage, sorting": ("cage", CageConfig(pretext="sorting")),
    "lstm": ("lstm", SupervisedConfig()),
    "lstm-multi": ("lstm-multi", SupervisedConfig()),
    "posegait": ("posegait", SupervisedConfig()),
    "d13": ("d13", None),
    "d16": ("d16", None),
}
PLUS = ("cage", "cage, prediction", "cage, sorting")
RECOGNISED = ("age", "cage")
UNTRAINED = ("d13", "d16")
MORE_SEEDS = {"cage": 5}
SHOWN = (
    *list(MODELS)[: list(MODELS).index("lstm")],
    "plus",
    *(f"{model}, recognition network {manner}" for model in RECOGNISED for manner in ("AP", "SC")),
    *(f"cage, trained on {source}" for source in ("mocap", "rendered")),
    *list(MODELS)[list(MODELS).index("lstm") :],
)
ORDERING = (
    ("age, no attention", "age, BAS"),
    ("age, BAS", "age, MBAS"),
    ("age, BAS", "age"),
    ("cage, BAS", "cage"),
    ("age", "cage"),
    ("cage", "plus"),
    *((f"{model}, recognition network SC", f"{model}, recognition network AP") for model in RECOGNISED),
)
# Columns of the table: vectors that are partly whitened, by angle, and as the papers compare them.
PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "same sensor": lambda run: run["same"],
    "other": lambda run: run["other"],
    "other, Euclidean": lambda run: run.get("published", {}).get("other"),
}
WITHOUT_SIZE = ("age", "cage", "lstm", "lstm-multi", "posegait", "d13", "d16")  # the rest is not worth the time there
RECOGNISE = RecogniseConfig(epochs=10)


@dataclass(frozen=True, eq=False)
class Clips:
    """Windows of all clips under one normalisation, and who walks in each."""

    xyz: FloatArray
    start: IntArray
    track: IntArray
    subject: IntArray
    sensor: IntArray
    gallery: Any  # (K,) whether the clip is of the gallery trials
    learnt_from: Any  # (K,) whether encoders see it in training
    features: dict[str, FloatArray]

    @property
    def encoded(self) -> "Clips":
        """Those windows that are encoded."""
        first = np.searchsorted(self.track, self.track)
        chosen = (np.arange(len(self.track)) - first) % APART == 0
        return replace(self, start=self.start[chosen], track=self.track[chosen])

    @property
    def training(self) -> Any:
        """Windows that encoders learn from (N,)."""
        return self.learnt_from[self.track]


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="of every encoder (cage: five where this is three or more)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of AGE's and CAGE's products")
    parser.add_argument("--train-trials", type=int, default=10, help="encoders learn from trials 1 to this")
    parser.add_argument("--normalize", nargs="+", choices=("none", "root", "gait"), default=["gait"])
    parser.add_argument("--skip-no-size", action="store_true", help="leave out the bodies of one size")
    parser.add_argument("--models", help=f"some of: {'; '.join(MODELS)} (separated by semicolons)")
    parser.add_argument("--transfer", type=Path, help="NPZ of motion capture: CAGE trained there encodes here")
    parser.add_argument("--synth", type=Path, help="truth/ of rendered walkers (`gaitreid synth`): the same")
    parser.add_argument("--out", type=Path, help="JSON lines: finished runs are read from it and added to it")
    options = parser.parse_args()
    models = [m.strip() for m in options.models.split(";")] if options.models else list(MODELS)
    kept = _read(options.out, options)
    kinds = (*options.normalize, *([] if options.skip_no_size else ["no size"]))
    every = {kind: load(options.data, kind, options.train_trials) for kind in kinds}
    for seed in range(max(options.seeds, max(MORE_SEEDS.values()) if options.seeds >= 3 else 0)):
        for kind, clips in every.items():
            for name, row in rows(clips, kind, seed, models, options, kept):
                print(f"{kind:8} {name:42} {_words(row)}", flush=True)
    for kind in kinds:
        print_table(kind, kept)
    print_differences(options.normalize, kept)
    print(f"\n{sum(row['seconds'] for row in kept.values()) / 3600:.1f} hours of training and encoding, on one core each")
    print(json.dumps(_summary(options.normalize[0], kept)))


def rows(
    clips: Clips, kind: str, seed: int, models: list[str], options: argparse.Namespace, kept: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every figure under one normalisation and of one seed, computed where it is not kept."""

    def done(name: str, row: dict[str, Any], seconds: float = 0.0) -> tuple[str, dict[str, Any]]:
        kept[f"{kind}|{name}"] = row | {"seconds": round(seconds, 1)}
        if options.out:
            with options.out.open("a") as file:
                file.write(json.dumps({f"{kind}|{name}": kept[f"{kind}|{name}"]}) + "\n")
        return name, row

    for name, values in clips.features.items():
        if f"{kind}|{name}" not in kept:
            yield done(name, evaluate(clips, values) | learnt(clips, values))
    encoded: dict[str, FloatArray] = {}
    for name in models:
        seeds = 1 if name in UNTRAINED else MORE_SEEDS.get(name, options.seeds) if options.seeds >= 3 else options.seeds
        wanted = [f"{name}#{seed}", *([f"plus#{seed}"] if name in PLUS and seed < options.seeds and kind != "no size" else [])]
        if seed >= seeds or (kind == "no size" and name not in WITHOUT_SIZE) or all(f"{kind}|{w}" in kept for w in wanted):
            continue
        began = time.monotonic()
        features = learn(clips, name, kind, options, seed)
        spent = time.monotonic() - began
        encoded[name] = features.mean(axis=1)
        yield done(f"{name}#{seed}", compare(clips, encoded[name]), spent)
        if name in RECOGNISED and seed < options.seeds:
            for manner in ("ap", "sc"):
                yield done(f"{name}, recognition network {manner.upper()}#{seed}", recognise(clips, features, manner, seed))
    if all(p in encoded for p in PLUS):
        yield done(f"plus#{seed}", compare(clips, np.concatenate([encoded[p] for p in PLUS], axis=1)))
    for name, source in (("mocap", options.transfer), ("rendered", options.synth)):
        label = f"cage, trained on {name}#{seed}"
        if source and seed < options.seeds and f"{kind}|{label}" not in kept and kind != "no size":
            began = time.monotonic()
            features = transferred(clips, source, kind, options, seed)
            yield done(label, compare(clips, features), time.monotonic() - began)


def load(path: Path, kind: str, train_trials: int) -> Clips:
    """Clips as windows; frames with impossible joints are left out, and what is left goes on in its own rate."""
    data = dict(np.load(path, allow_pickle=False))
    normalize: Any = "gait" if kind == "no size" else kind
    config = SplitConfig(length=LENGTH, fps=None, max_gap=10.0, normalize=normalize)
    tracks = []
    for first, last in zip(data["starts"][:-1], data["starts"][1:], strict=True):
        xyz = from_z_up(data["joints"][first:last])
        whole = whole_frames(xyz)
        tracks.append(track(xyz[whole], np.arange(int(whole.sum())) / 30, KINECT25))
    gallery = data["trial"] <= 10
    if kind == "no size":
        lengths = np.mean([bone_lengths(t.xyz, KINECT25) for t, g in zip(tracks, gallery, strict=True) if g], axis=0)
        tracks = [replace(t, xyz=resize(t.xyz, KINECT25, lengths)) for t in tracks]
    windows = [split_track(t, config) for t in tracks]
    joined = join(windows)
    statistics = np.array([joint_statistics(w.xyz[np.unique(w.start[:, None] + np.arange(LENGTH))]) for w in windows])
    features = {"joint mean and deviation": statistics}
    if kind != "no size":
        features["bone lengths"] = np.array([bone_lengths(t.xyz, KINECT25) for t in tracks])
    for name, values in list(features.items()):
        features[f"{name}, unit deviation"] = (values - values[gallery].mean(axis=0)) / (values[gallery].std(axis=0) + 1e-9)
    if normalize == "gait":
        features["shipped"] = by_shipped(tracks)
    number = np.unique(data["subject"], return_inverse=True)[1]
    return Clips(
        joined["xyz"],
        joined["start"],
        joined["window_track"],
        number,
        data["sensor"],
        gallery,
        data["trial"] <= train_trials,
        features,
    )


def track(xyz: FloatArray, seconds: FloatArray, skeleton: Skeleton) -> Track3D:
    """A track of whole frames."""
    score_ = np.ones(xyz.shape[:2], dtype=np.float32)
    return Track3D(frame=np.arange(len(xyz)), time=seconds, xyz=xyz, score=score_, skeleton=skeleton, lifter="kinect")


def by_shipped(tracks: list[Track3D]) -> FloatArray:
    """Directions of the vectors by the encoder that ships, which knows nobody here (K, D)."""
    recogniser = Recogniser(shipped.folder(), shipped.NAME, Config())
    vectors = []
    for one in tracks:
        windows = split_track(one, recogniser.split)
        frames = in_joints(windows.xyz, one.skeleton, recogniser.skeleton)
        length = recogniser.split.length
        vectors.append(encode(recogniser.encoder, frames, windows.start, length, recogniser.form, 512, CPU).mean(axis=0))
    return directions(np.array(vectors))


def learn(clips: Clips, name: str, kind: str, options: argparse.Namespace, seed: int) -> FloatArray:
    """Train an encoder and encode all windows: (N, f, D)."""
    model, config = MODELS[name]
    subjects = tuple(str(s) for s in range(clips.subject.max() + 1))
    takes = Input(KINECT25, LENGTH, "gait" if kind == "no size" else kind, subjects)
    encoder = fitted(model, config, takes, clips.xyz, clips.start, clips.track, clips.training, options, seed, clips.subject)
    return encode(encoder, clips.xyz, clips.encoded.start, LENGTH, "frames", 512, CPU)


def fitted(
    model: str,
    config: Any,
    takes: Input,
    xyz: FloatArray,
    start: IntArray,
    window_track: IntArray,
    chosen: Any,
    options: argparse.Namespace,
    seed: int,
    subject: IntArray | None = None,
) -> Any:
    """An encoder trained on the chosen windows."""
    torch.manual_seed(seed)
    factory = plugins.load("encoder", model)
    encoder = factory(takes, *([config] if config else []))
    training = TrainConfig(epochs=options.epochs, batch=options.batch, precision=options.precision)
    labels = subject[window_track[chosen]] if subject is not None else None
    for _ in train(encoder, xyz, start[chosen], window_track[chosen], training, CPU, seed, subject=labels):
        pass
    return encoder


def compare(clips: Clips, vectors: FloatArray) -> dict[str, Any]:
    """Figures of the vectors of encoded windows (N, D): as `match` compares, as the papers do, and after LMNN and ITML."""
    clips = clips.encoded
    power = EncodeConfig().whiten
    tracks = len(clips.subject)
    whitened = pool(whiten(vectors, moments(vectors[clips.training]), power), clips.track, tracks)
    unit = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    plain = pool(vectors, clips.track, tracks)
    return evaluate(clips, unit) | {"published": evaluate(clips, plain)} | learnt(clips, plain)


def learnt(clips: Clips, vectors: FloatArray) -> dict[str, Any]:
    """Figures of vectors of tracks (K, D) by metrics learnt from the gallery trials of all sensors."""
    taught, labels = vectors[clips.gallery], clips.subject[clips.gallery]
    return {name: evaluate(clips, vectors @ by(taught, labels)) for name, by in LEARNT.items()}


def evaluate(clips: Clips, vectors: FloatArray) -> dict[str, Any]:
    """Rank-1, nAUC and their intervals over all pairs of a probe sensor and a gallery sensor, track against track."""
    first: dict[bool, list[FloatArray]] = {True: [], False: []}
    who: dict[bool, list[IntArray]] = {True: [], False: []}
    for gallery_sensor in np.unique(clips.sensor):
        g = np.flatnonzero(clips.gallery & (clips.sensor == gallery_sensor))
        for sensor in np.unique(clips.sensor):
            p = np.flatnonzero(~clips.gallery & (clips.sensor == sensor))
            distance = (vectors[p] ** 2).sum(1)[:, None] + (vectors[g] ** 2).sum(1)[None] - 2 * vectors[p] @ vectors[g].T
            hit = np.take_along_axis(clips.subject[p][:, None] == clips.subject[g][None], distance.argsort(axis=1), axis=1)
            first[bool(sensor == gallery_sensor)].append((hit.argmax(axis=1) + 1) / len(g))
            who[bool(sensor == gallery_sensor)].append(clips.subject[p])
    return {name: _figures(np.concatenate(first[same]), np.concatenate(who[same]), int(clips.gallery.sum() / 6))
            for name, same in (("same", True), ("other", False))}  # fmt: skip


def recognise(clips: Clips, features: FloatArray, manner: Any, seed: int) -> dict[str, Any]:
    """As `evaluate`, by a recognition network taught on the gallery windows of each sensor; ranks are of people."""
    clips = clips.encoded
    first: dict[bool, list[FloatArray]] = {True: [], False: []}
    who: dict[bool, list[IntArray]] = {True: [], False: []}
    classes = int(clips.subject.max()) + 1
    taught_from, probes = clips.gallery[clips.track], ~clips.gallery[clips.track]
    for gallery_sensor in np.unique(clips.sensor):
        taught = taught_from & (clips.sensor[clips.track] == gallery_sensor)
        network = Network(classes, RECOGNISE, seed=seed)
        fit(network, features[taught], clips.subject[clips.track[taught]], manner)
        scores, tracks = pool_scores(score(network, features[probes], manner), clips.track[probes])
        order = (-scores).argsort(axis=1)
        rank = (order == clips.subject[tracks][:, None]).argmax(axis=1) + 1
        for sensor in np.unique(clips.sensor):
            here = clips.sensor[tracks] == sensor
            first[bool(sensor == gallery_sensor)].append(rank[here] / classes)
            who[bool(sensor == gallery_sensor)].append(clips.subject[tracks][here])
    return {name: _figures(np.concatenate(first[same]), np.concatenate(who[same]), classes)
            for name, same in (("same", True), ("other", False))}  # fmt: skip


def _figures(rank: FloatArray, who: IntArray, count: int) -> dict[str, Any]:
    """Of ranks of the first hit, as shares of `count` candidates."""
    names: TextArray = who.astype(np.str_)
    right, area = np.asarray(rank * count < 1.5, dtype=float), 1 - rank + 1 / count
    return {
        "rank1": float(right.mean()),
        "rank1_ci95": bootstrap(right, names, seed=0),
        "nauc": float(area.mean()),
        "nauc_ci95": bootstrap(area, names, seed=0),
    }


def transferred(clips: Clips, source: Path, kind: str, options: argparse.Namespace, seed: int) -> FloatArray:
    """CAGE trained on other people's walking encodes these clips, joints carried over by name: window vectors (N, D)."""
    skeleton, tracks = (mocap if source.suffix == ".npz" else rendered)(source)
    config = SplitConfig(length=LENGTH, fps=None, max_gap=10.0, normalize=kind, trim=0)  # type: ignore[arg-type]
    joined = join([split_track(t, config) for t in tracks])
    takes = Input(skeleton, LENGTH, kind)
    every = np.ones(len(joined["start"]), dtype=bool)
    encoder = fitted("cage", CageConfig(), takes, joined["xyz"], joined["start"], joined["window_track"], every, options, seed)
    carried = np.einsum("kj,fjc->fkc", mapping(KINECT25, skeleton), clips.xyz).astype(np.float32)
    return encode(encoder, carried, clips.encoded.start, LENGTH, "mean", 512, CPU)


MOCAP = {
    "pelvis": "root",
    "spine": "lowerback",
    "neck": "lowerneck",
    "head": "head",
    "left_shoulder": "lhumerus",
    "left_elbow": "lradius",
    "left_wrist": "lwrist",
    "left_hip": "lfemur",
    "left_knee": "ltibia",
    "left_ankle": "lfoot",
    "right_shoulder": "rhumerus",
    "right_elbow": "rradius",
    "right_wrist": "rwrist",
    "right_hip": "rfemur",
    "right_knee": "rtibia",
    "right_ankle": "rfoot",
}


def mocap(path: Path) -> tuple[Skeleton, list[Track3D]]:
    """CMU's walks (y up): 16 joints that Kinect has too. Its joints bear the name of the bone that starts there."""
    data = dict(np.load(path, allow_pickle=False))
    skeleton = Skeleton("mocap16", tuple(MOCAP), ())
    columns = [data["joint_names"].tolist().index(name) for name in MOCAP.values()]
    y_up = data["joints"][:, columns]
    xyz = (y_up * np.array([1, -1, -1])).astype(np.float32)
    edges = zip(data["starts"][:-1], data["starts"][1:], strict=True)
    return skeleton, [track(xyz[a:b], np.arange(b - a) / float(data["fps"]), skeleton) for a, b in edges]


def rendered(folder: Path) -> tuple[Skeleton, list[Track3D]]:
    """The 3D truth of rendered walkers."""
    from gaitreid.pipeline import store

    tracks = [t for file in sorted(folder.glob("*.h5")) for t in store.read_all(file, "truth", Track3D, "/tracks3d").values()]
    joints = tuple(j for j in tracks[0].skeleton.joints if j in KINECT25.joints)
    columns = tracks[0].skeleton.indices(*joints)
    skeleton = Skeleton("rendered", joints, ())
    return skeleton, [track(t.xyz[:, columns], t.time, skeleton) for t in tracks]


def print_table(kind: str, kept: dict[str, Any]) -> None:
    """One normalisation, per cent, means over seeds, also of the intervals."""
    print(f"\n`{kind}`\n")
    _print_row(
        "",
        "seeds",
        *(f"{where}: {what}" for where in PLACES for what in ("Rank-1", "nAUC")),
        *(name.upper() for name in LEARNT),
        "s a run",
    )
    _print_row(*["---"] * (2 + 2 * len(PLACES) + len(LEARNT) + 1))
    for name, runs in _by_name(kind, kept).items():
        figures = [_cell([of(run) for run in runs], what) for of in PLACES.values() for what in ("rank1", "nauc")]
        learnt_by = [_percent([run[by]["other"]["rank1"] for run in runs]) if by in runs[0] else "" for by in LEARNT]
        seconds = float(np.mean([run["seconds"] for run in runs]))
        _print_row(_shown(name), str(len(runs)), *figures, *learnt_by, f"{seconds:.0f}" if seconds else "")


def print_differences(kinds: Iterable[str], kept: dict[str, Any]) -> None:
    """What the papers say is better against what it is better than, with another sensor: points of Rank-1, one a seed."""
    kinds = list(kinds)
    print()
    _print_row("", "", *kinds)
    _print_row(*["---"] * (2 + len(kinds)))
    for worse, better in ORDERING:
        for label, of in (("whitened", PLACES["other"]), ("Euclidean", PLACES["other, Euclidean"])):
            cells = [", ".join(_differences(_by_seed(kind, worse, of, kept), _by_seed(kind, better, of, kept))) for kind in kinds]
            if any(cells):
                compared = "" if "network" in better else label
                _print_row(f"{_shown(worse)} to {_shown(better)}", compared, *cells)


def _shown(name: str) -> str:
    return {"age": "age (LAS)", "cage": "cage (LAS)", "plus": "cage-plus"}.get(name, name)


def _print_row(*cells: str) -> None:
    print("|", " | ".join(cells), "|")


def _percent(shares: Any) -> str:
    return f"{100 * np.mean(shares):.1f}"


def _cell(runs: list[dict[str, Any] | None], what: str) -> str:
    there = [run for run in runs if run is not None]
    if not there:
        return ""
    low, high = (_percent(ends) for ends in zip(*(run[f"{what}_ci95"] for run in there), strict=True))
    return f"{_percent([run[what] for run in there])} ({low} to {high})"


def _by_seed(kind: str, name: str, of: Callable[[dict[str, Any]], Any], kept: dict[str, Any]) -> dict[str, float]:
    """Rank-1 of each seed's run of a model, where there is such a figure."""
    runs = {key.partition("#")[2]: of(row) for key, row in kept.items() if key.partition("#")[0] == f"{kind}|{name}"}
    return {seed: figures["rank1"] for seed, figures in sorted(runs.items()) if figures is not None}


def _differences(before: dict[str, float], after: dict[str, float]) -> list[str]:
    return [f"{100 * (after[seed] - before[seed]):+.1f}" for seed in before if seed in after]


def _by_name(kind: str, kept: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each model, in the order of the table; what is made by hand comes last."""
    result: dict[str, list[dict[str, Any]]] = {name: [] for name in SHOWN}
    for key, row in kept.items():
        of, name = key.split("|")
        if of == kind:
            result.setdefault(name.partition("#")[0], []).append(row)
    return {name: runs for name, runs in result.items() if runs}


def _summary(kind: str, kept: dict[str, Any]) -> dict[str, dict[str, float]]:
    def of(kind: str, where: str) -> dict[str, float]:
        runs = _by_name(kind, kept)
        return {
            n.replace("plus", "cage-plus"): round(float(np.mean([r[where]["rank1"] for r in rs])), 4) for n, rs in runs.items()
        }

    return {
        "same_sensor": of(kind, "same"),
        "other_sensor": of(kind, "other"),
        "other_sensor_no_size": of("no size", "other"),
    }


def _words(row: dict[str, Any]) -> str:
    return f"same {row['same']['rank1']:.1%}, other {row['other']['rank1']:.1%}"


def _read(path: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """Runs that are kept. The first line says how they were trained; those trained in another way are no part of the table."""
    if path is None:
        return {}
    settings = {
        "epochs": options.epochs,
        "batch": options.batch,
        "train_trials": options.train_trials,
        "precision": options.precision,
    }
    if not path.exists():
        path.write_text(json.dumps(settings) + "\n")
    first, *lines = path.read_text().splitlines()
    if json.loads(first) != settings:
        raise SystemExit(f"{path} holds runs of {first}, not of {json.dumps(settings)}")
    result: dict[str, Any] = {}
    for line in lines:
        result |= json.loads(line)
    return result


if __name__ == "__main__":
    main()
