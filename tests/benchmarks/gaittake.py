"""Silhouettes, skeletons and both: GaitTAKE and GaitGL beside energy images and a small skeleton network; shapes, Rank-1, costs.

    gaittake.py [--work DIR] [--rendered 12] [--kth DIR] [--parts shapes,costs,rendered,kth] [--iterations 300]

shapes     what comes out of every stage of the models in their configurations for CASIA-B, and how many weights it has.
costs      a training step and inference of GaitGL and GaitTAKE against a plain GaitGL (plain_gaitgl.py) in turns, and how long
           the loader takes for a step; processor time.
rendered   rendered walkers (nm, bg, cl from several views, two recordings each), the reduced configurations (gaitgl-small,
           gaittake-small, the skeleton in the same steps). Trained on some people, tested on others, in folds. Gallery: the
           first nm recording of the people who are tested; a probe is ranked against each other view by itself, never its
           own, and the mean over all such pairs of views counts, as on CASIA-B.
kth        KTH's walking videos: five folds over people. The models learn from all tracks of the others; probes are the d2 and
           d3 tracks of those left out, the gallery is everybody's d1. Most of it is of people whose labels were learnt from.

Intervals are by bootstrap over people. Energy images (gei) and their LDA (gei-lda) need no steps. Distances are Euclidean, part
by part; gaitgl+skeleton and gaittake+skeleton are sums of distances, each over its mean (`match --fuse`). What is done is not
done again: the work folder keeps clips, tracks and models. Last line: one JSON object with the same figures.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from plain_gaitgl import PlainGaitGl  # type: ignore[import-not-found]
from torch import nn

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config, load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.synth import SynthConfig
from gaitreid.pipeline.synth import synth as render
from gaitreid.pipeline.work import Work
from gaitreid.reid.config import GaitTakeConfig, MatchConfig, WalksConfig
from gaitreid.reid.encoders.gaitgl import GaitGl
from gaitreid.reid.encoders.gaittake import GaitTake
from gaitreid.reid.encoders.skeleton import Skeleton
from gaitreid.reid.fuse import fuse
from gaitreid.reid.match import rank
from gaitreid.reid.metrics import bootstrap
from gaitreid.reid.records import Embeddings, Walks
from gaitreid.reid.walks import Clips, Packed, Sampler

PARTS = ("shapes", "costs", "rendered", "kth")
CONFIGURATIONS = {
    "gaittake": "gaittake-small",
    "gaitgl": "gaitgl-small",
    "skeleton": "gaitgl-small",
    "gei-lda": None,
    "gei": None,
}
FUSED = (("gaitgl", "skeleton"), ("gaittake", "skeleton"))
PATTERN = r"person(?P<subject>\d+)_walking_(?P<condition>d\d)"
SUBJECTS = tuple(f"{n:03d}" for n in range(1, 75))  # CASIA-B's training set
FRAMES = 30
Row = dict[str, Any]


def main() -> None:
    """Run the parts that are asked for and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work-gaittake"))
    parser.add_argument("--parts", help=f"some of {','.join(PARTS)} (default: all, kth with --kth)")
    parser.add_argument("--rendered", type=int, default=12, help="rendered people")
    parser.add_argument("--folds", type=int, default=3, help="of the rendered people")
    parser.add_argument("--views", type=int, nargs="+", default=[36, 72, 90, 126])
    parser.add_argument("--seconds", type=float, default=1.6, help="length of a rendered clip")
    parser.add_argument("--kth", type=Path, help="folder with personNN_walking_dN_uncomp.avi")
    parser.add_argument("--kth-folds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(CONFIGURATIONS), choices=list(CONFIGURATIONS))
    parser.add_argument("--iterations", type=int, default=300, help="steps of a training; the rate falls after two thirds")
    parser.add_argument("--clips", type=int, default=2, help="clips a step of the costs, which need 64 x 44 x 30 in full")
    parser.add_argument("--repeats", type=int, default=3, help="of the costs, in turns; their median counts")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    parts = options.parts.split(",") if options.parts else PARTS
    result: Row = {"gaitgl_parameters": count(GaitGl(SUBJECTS))}
    if "shapes" in parts:
        result["shapes"] = shapes()
    if "costs" in parts:
        result |= costs(options)
    if "rendered" in parts and options.rendered:
        found = rendered(options)
        result["rendered_cl"] = {model: row["cl"]["rank1"] for model, row in found.items()}
        result["rendered"] = found
    if "kth" in parts and options.kth:
        found = kth(options)
        result["kth"] = {model: row["d3"]["rank1"] for model, row in found.items()}
        result["kth_probes"] = found
    print(json.dumps(result))


def count(model: nn.Module) -> int:
    """Weights of a model."""
    return sum(p.numel() for p in model.parameters())


def shapes() -> dict[str, Row]:
    """Every stage of the models for CASIA-B: what comes out for one clip of 30 frames, and its weights."""
    clips = made(1)
    result: dict[str, Row] = {}
    for name, model in (("gaitgl", GaitGl(SUBJECTS)), ("gaittake", GaitTake(SUBJECTS)), ("skeleton", Skeleton(SUBJECTS))):
        stages = dict(_stages(model.eval(), clips))
        result[name] = {"parameters": count(model), "stages": stages}
        print(f"\n{name}: {count(model):,} weights")
        for stage, facts in stages.items():
            print(f"  {stage:24}{' x '.join(map(str, facts['shape'])):>26}{facts['parameters']:>12,}")
    return result


def _stages(model: Any, clips: Clips) -> Iterator[tuple[str, Row]]:
    """What comes out of the modules of the first two levels, in the order in which they are called."""
    seen: dict[str, Row] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            out = output[0] if isinstance(output, tuple) else output
            seen[name] = {"shape": list(out.shape[1:]), "parameters": count(module)}

        return hook

    hooks = [
        module.register_forward_hook(look(name))
        for name, module in model.named_modules()
        if name and name.count(".") <= 1 + name.count("stages") and not isinstance(module, nn.LeakyReLU)
    ]
    with torch.no_grad():
        features = model.trunk(clips)
        if model.classes:
            model.loss(features, clips, torch.zeros(len(clips), dtype=torch.int64))
        else:
            model.vectors(clips)
    for hook in hooks:
        hook.remove()
    yield from seen.items()


def made(batch: int, frames: int = FRAMES, seed: int = 0) -> Clips:
    """Clips of blobs and of joints that move: the costs do not depend on what is seen."""
    rng = np.random.default_rng(seed)
    silhouettes = torch.from_numpy(rng.random((batch, frames, 64, 44)) < 0.3).float()
    keypoints = torch.from_numpy(rng.uniform(0.2, 0.9, (batch, frames, 17, 3))).float() * torch.tensor([44.0, 64, 1])
    box = torch.tensor([0.0, 0, 44, 64]).expand(batch, frames, 4)
    return Clips(silhouettes, keypoints, box, torch.arange(frames).expand(batch, frames) / 25)


def costs(options: argparse.Namespace) -> Row:
    """Seconds of a training step and of inference, in turns; and of the loader."""
    clips, subject = made(options.clips), torch.arange(options.clips) // 2
    models: dict[str, Any] = {
        "plain": PlainGaitGl(len(SUBJECTS)),
        "gaitgl": GaitGl(SUBJECTS),
        "gaittake": GaitTake(SUBJECTS),
        "gaittake, lta": GaitTake(SUBJECTS, GaitTakeConfig(lta=True)),  # the same frames as GaitGL after the stem
        "skeleton": Skeleton(SUBJECTS),
    }

    def train(name: str) -> None:
        model = models[name].train()
        model.zero_grad(set_to_none=True)
        if name == "plain":
            loss = model.loss(clips.silhouettes, subject)
        else:
            loss, _ = model.loss(model.trunk(clips), clips, subject)
        loss.backward()

    def infer(name: str) -> None:
        model = models[name].eval()
        with torch.inference_mode():
            _ = model.embed(clips.silhouettes) if name == "plain" else model.vectors(clips)

    spent: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in models} for kind in ("training", "inference")}
    for turn in range(options.repeats + 1):
        for kind, work in (("training", train), ("inference", infer)):
            for name in models:
                began = time.process_time()
                work(name)
                if turn:  # the first time memory is taken and kernels are chosen
                    spent[kind][name].append(time.process_time() - began)
    seconds = {kind: {name: median(times) for name, times in by.items()} for kind, by in spent.items()}
    ratio = {
        kind: {name: float(np.median(np.array(times) / by["plain"])) for name, times in by.items() if name != "plain"}
        for kind, by in spent.items()
    }
    loader = loading(options)
    step = seconds["training"]["gaitgl"] / options.clips
    print(f"\nseconds of processor time, {options.clips} clips of {FRAMES} frames, {torch.get_num_threads()} threads")
    for kind in seconds:
        print(f"  {kind:10}" + "".join(f"{name:>14} {s:7.3f}" for name, s in seconds[kind].items()))
        print(f"  {'to plain':10}" + "".join(f"{name:>14} {r:7.3f}" for name, r in ratio[kind].items()))
    print(f"  loader     {loader:.5f} s a clip, GaitGL's training step {step:.3f} s a clip: {step / loader:.0f} times as long")
    return {"costs": seconds, "cost_ratio": ratio, "loader_seconds_a_clip": loader, "step_seconds_a_clip": step}


def loading(options: argparse.Namespace) -> float:
    """Processor time that the loader takes a clip, in steps of 8 x 8 clips of 30 frames from 1,000 walks of 100 frames."""
    rng = np.random.default_rng(options.seed)
    walks, frames = 1000, 100
    start = np.arange(walks) * frames
    total = walks * frames
    text = np.array([f"{n}" for n in range(walks)])
    empty = np.array([""] * walks)
    record = Walks(
        video=text,
        track=np.ones(walks, np.int64),
        subject=empty,
        condition=empty,
        number=empty,
        view=empty,
        recording=text,
        frame=np.arange(total),
        silhouette=rng.integers(0, 256, (total, 352), dtype=np.uint8),
        keypoints=rng.random((total, 17, 3), dtype=np.float32),
        box=np.tile(np.array([0, 0, 44, 64], np.float32), (total, 1)),
        start=start,
        length=np.full(walks, frames),
        outlined=np.full(walks, frames),
        posed=np.full(walks, frames),
        source="rgb",
    )
    packed, config = Packed(record, torch.device("cpu")), WalksConfig()
    sampler = Sampler(start, record.length, np.arange(walks) // 10, config, options.seed)
    times = []
    for step in range(6):
        began = time.process_time()
        packed.clips(sampler.step(step)[0])
        times.append((time.process_time() - began) / (config.people * config.walks))
    return median(times[1:])


def rendered(options: argparse.Namespace) -> dict[str, Row]:
    """Rank-1 of every model by the probes' condition, people who are tested were not trained on."""
    videos = options.work / "rendered"
    config = SynthConfig(subjects=options.rendered, views=tuple(options.views), numbers=2, seconds=options.seconds)
    render(videos, config, Console(), jobs=options.jobs, seed=options.seed)
    session = _session(options, options.work / "work", "gaitgl")
    session.extract([videos])
    people = [f"{n:03d}" for n in range(1, options.rendered + 1)]
    folds = [people[k :: options.folds] for k in range(options.folds)]
    hits: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for k, tested in enumerate(folds):
        learnt = [p for p in people if p not in tested]
        for model, embeddings in encoded(options, session.work.root, f"fold{k}", learnt).items():
            among = np.isin(embeddings.subject, tested)
            gallery = np.flatnonzero(among & (embeddings.condition == "nm") & (embeddings.number == "01"))
            for condition, other in (("nm", "02"), ("bg", ""), ("cl", "")):
                chosen = among & (embeddings.condition == condition) & ((embeddings.number == other) | (not other))
                by = hits.setdefault(model, {}).setdefault(condition, [])
                by += _other_views(embeddings, np.flatnonzero(chosen), gallery)
    result = {model: {probe: _figure(pairs, options.seed) for probe, pairs in by.items()} for model, by in hits.items()}
    _print(f"{options.rendered} rendered people, {len(folds)} folds over people, gallery nm-01, other views", result)
    return result


def _other_views(embeddings: Embeddings, probes: Any, gallery: Any) -> list[tuple[str, float]]:
    """Whose each probe is, and the share of the other views in whose gallery it finds its person first."""
    matches = rank(embeddings, probes, gallery, MatchConfig(metric="euclidean", exclude="same-recording"))
    result = []
    for subject, view, first in zip(matches.subject.tolist(), matches.view.tolist(), matches.view_first, strict=True):
        cells = first[(matches.views != view) & (first > 0)]
        if len(cells):
            result.append((subject, float((cells == 1).mean())))
    return result


def kth(options: argparse.Namespace) -> dict[str, Row]:
    """Rank-1 of every model by the probes' scenario; the gallery is everybody's d1."""
    session = _session(options, options.work / "kth", "gaitgl")
    session.extract(sorted(options.kth.glob("*_walking_d[123]_*.avi")), pattern=PATTERN)
    session.pack()
    walks = store.read(session.work.walks, "walks", Walks, "/walks")
    people = sorted(set(walks.subject.tolist()))
    hits: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for k in range(options.kth_folds):
        tested = people[k :: options.kth_folds]
        learnt = [p for p in people if p not in tested]
        for model, embeddings in encoded(options, session.work.root, f"fold{k}", learnt).items():
            gallery = np.flatnonzero(embeddings.condition == "d1")
            for probe in ("d2", "d3"):
                rows = np.flatnonzero((embeddings.condition == probe) & np.isin(embeddings.subject, tested))
                by = hits.setdefault(model, {}).setdefault(probe, [])
                if len(rows):
                    matches = rank(embeddings, rows, gallery, MatchConfig(metric="euclidean"))
                    nearest = embeddings.subject[matches.ranking.order[:, 0]]
                    by += [(s, float(s == n)) for s, n in zip(matches.subject.tolist(), nearest.tolist(), strict=True)]
    result = {model: {probe: _figure(pairs, options.seed) for probe, pairs in by.items()} for model, by in hits.items()}
    _print(f"KTH, {len(people)} people, {options.kth_folds} folds over people, gallery d1 of everybody", result)
    return result


def encoded(options: argparse.Namespace, work: Path, fold: str, learnt: list[str]) -> dict[str, Embeddings]:
    """Embeddings by every model of a fold, and fused ones."""
    found = {}
    for model in options.models:
        session = _session(options, work, model, learnt)
        name = f"{model}-{fold}"
        began = time.monotonic()
        session.train(name)
        found[model] = store.read(session.encode(name), "embeddings", Embeddings, "/embeddings")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    for pair in FUSED:
        if set(pair) <= found.keys():
            found["+".join(pair)] = fuse([found[name] for name in pair], "euclidean")
    return found


def _session(options: argparse.Namespace, work: Path, model: str, learnt: list[str] | None = None) -> Session:
    """A session of a work folder with the reduced configuration of a model."""
    named = CONFIGURATIONS[model]
    subjects = [f'train.subjects="{",".join(learnt)}"'] if learnt else []
    steps = [f"walks.iterations={options.iterations}", f"walks.milestones=[{max(1, 2 * options.iterations // 3)}]"]
    settings = [f"train.model={model}", *subjects, *steps, f"seed={options.seed}", "extract.silhouettes=true", *options.overrides]
    config: Config = load(Path(named) if named else None, settings)
    return Session(Work(work), replace(config, device="auto"), Console(), options.jobs)


def _figure(pairs: list[tuple[str, float]], seed: int) -> Row:
    subjects, values = np.array([s for s, _ in pairs]), np.array([v for _, v in pairs])
    return {"rank1": float(values.mean()), "ci95": bootstrap(values, subjects, seed=seed), "probes": len(values)}


def _print(title: str, rows: dict[str, Row]) -> None:
    probes = list(next(iter(rows.values())))
    print(f"\n{title}: Rank-1\n{'':20}" + "".join(f"{probe:>26}" for probe in probes))
    for model, row in rows.items():
        cells = [f"{row[p]['rank1']:.1%} ({row[p]['ci95'][0]:.1%} to {row[p]['ci95'][1]:.1%})" for p in probes]
        print(f"{model:20}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    main()
