"""How far lifted joints are from the truth: motion capture of people who were not trained on, and rendered walkers.

    lifting.py --mocap NPZ [--folds 3] [--work DIR] [--rendered SUBJECTS] [--kth DIR]

Mocap: virtual cameras see every walk at eight headings, from 0.5 to 3 m high and 2.5 to 14 m away. Keypoints are exact, or err by
2.5 % of the height of the person's box (each coordinate, AR(1) 0.7 at 25 frames a second) and 5 % of them are missing. Network,
library and mean pose of a fold are made from the other folds' people. Errors are in mm, in axes whose z is the line from the
camera to the person: root aligned (MPJPE), root and scale aligned frame by frame (N-MPJPE), after the best similarity (P-MPJPE);
and in mm/s. The nose is left out, which motion capture does not have. Slide: how far the foot that stands moves, in mm/s,
in the keypoints (at the person's size) and in the result, both across the picture.

Rendered: made-up walkers, found and posed in their pictures by MediaPipe; lifted by what ships, and by MediaPipe's own 3D.

KTH (with --kth, no training): Rank-1 by whitened statistics of the joints, for each lifter, and for the keypoints without any.

Last line: one JSON object with the same figures.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import lifters, plugins, store
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.motions import read
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.lift import LiftConfig, Lifter, lift
from gaitreid.pose.lifters.matching import Matching
from gaitreid.pose.lifters.motions import FPS, WALK18, Motion, at_rate, err, see
from gaitreid.pose.lifters.tcn import Tcn
from gaitreid.pose.lifters.training import camera
from gaitreid.pose.metrics import joint_errors, mpjpe, nmpjpe, pmpjpe, scaled, velocity_error
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.skeleton import H36M17, Skeleton, remap

HEADINGS = 8
LONGEST = 10.0  # seconds of a walk that are looked at
KEPT = [k for k, name in enumerate(H36M17.joints) if name != "nose"]
NOISES = {"clean": (0.0, 0.0), "noisy": (0.025, 0.05)}
MEASURES = ("mpjpe_mm", "nmpjpe_mm", "pmpjpe_mm", "velocity_mm_s")
SLIDES = ("slide_mm_s", "slide_2d_mm_s")
ANKLES = H36M17.indices("left_ankle", "right_ankle")
STANDS = 0.4  # m/s: slower feet stand


@dataclass(frozen=True)
class View:
    """One walk as one camera saw it; heading 0 walks away from the camera, 180 towards it.

    Attributes:
        standing: (T - 1, 2) whether the left and the right foot stands from this frame to the next.
        slide: of the standing feet's keypoints across the picture, mm/s.
    """

    subject: str
    heading: int
    noise: str
    track: Track2D
    truth: np.ndarray
    standing: np.ndarray
    slide: float


class MeanPose:
    """One pose for everybody: the mean over the library's, as all cameras see it."""

    rigid = False

    def __init__(self, motions: list[Motion], seed: int) -> None:
        rng = np.random.default_rng(seed)
        seen = [view.truth.mean(axis=0) for motion in motions for view in views(motion, rng, ("clean",))]
        self._pose = np.mean(seen, axis=0)

    def lift(self, track: Track2D, target: Skeleton) -> tuple[np.ndarray, np.ndarray]:
        """See `Lifter.lift`."""
        whole = np.broadcast_to(self._pose, (len(track.frame), *self._pose.shape)).astype(np.float32)
        return remap(whole, np.ones(whole.shape[:2], np.float32), H36M17, target)


class Flat:
    """Keypoints as they are, at depth 0, in shares of the person's height."""

    rigid = False

    def lift(self, track: Track2D, target: Skeleton) -> tuple[np.ndarray, np.ndarray]:
        """See `Lifter.lift`."""
        xy, score = remap(track.xy, track.score, track.skeleton, target)
        height = np.nanmedian(np.nanmax(xy[..., 1], axis=1) - np.nanmin(xy[..., 1], axis=1))
        return np.concatenate([xy / height, np.zeros_like(xy[..., :1])], axis=-1), score


def views(motion: Motion, rng: np.random.Generator, noises: tuple[str, ...]) -> Iterator[View]:
    """A walk from all around."""
    xyz = at_rate(motion, FPS)[: round(LONGEST * FPS)]
    path = float(np.ptp(xyz[:, 0], axis=0)[[0, 2]].max())
    seen, feet = WALK18.joints[2:], WALK18.indices("left_ankle", "right_ankle")
    standing = np.linalg.norm(np.diff(xyz[:, feet], axis=0), axis=-1) * FPS < STANDS
    for k in range(HEADINGS):
        heading = 2 * np.pi * k / HEADINGS
        xy, truth = see(xyz, replace(camera(rng, path), heading=heading + rng.uniform(-0.39, 0.39)))
        truth, _ = remap(truth, np.ones(truth.shape[:2]), WALK18, H36M17)
        for noise in noises:
            sigma, missing = NOISES[noise]
            found, score = err(xy[:, 2:], rng, sigma, 0.7, missing)
            size = np.ptp(truth[..., 1], axis=1) / np.ptp(xy[..., 1], axis=1)
            slide = _slide((found[:, [f - 2 for f in feet]] - xy[:, feet]) * size[:, None, None], standing)
            track = track_of(found, score, Skeleton("walk16", seen, ()))
            yield View(motion.subject, 360 // HEADINGS * k, noise, track, truth, standing, slide)


def _slide(errors: np.ndarray, standing: np.ndarray) -> float:
    """How fast the errors of two feet (T, 2, 2) in metres move while the feet stand, in mm/s."""
    speed = 1000 * FPS * np.linalg.norm(np.diff(errors, axis=0), axis=-1)
    return float(np.nanmean(speed[standing])) if standing.any() else float("nan")


def track_of(xy: np.ndarray, score: np.ndarray, skeleton: Skeleton) -> Track2D:
    """Keypoints as a track at FPS frames a second."""
    frames = np.arange(len(xy))
    world = np.full((*xy.shape[:2], 3), np.nan, np.float32)
    box = np.concatenate([np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)], axis=1)
    return Track2D(frame=frames, time=frames / FPS, box=box, xy=xy, score=score, world=world, skeleton=skeleton)


def _lifted(track: Track2D, lifter: Lifter) -> Track3D:
    return lift(track, LiftConfig(lifter="given"), lambda _: lifter)


def measured(view: View, lifter: Lifter) -> tuple[dict[str, float], np.ndarray]:
    """Errors of one view, and of each joint (root and scale aligned), by the whole of `lift`."""
    whole = _lifted(view.track, lifter).xyz
    across = scaled(whole, view.truth)[:, ANKLES, :2] - view.truth[:, ANKLES, :2]
    found, truth = 1000 * whole[:, KEPT], 1000 * view.truth[:, KEPT]
    values = (mpjpe(found, truth), nmpjpe(found, truth), pmpjpe(found, truth), velocity_error(scaled(found, truth), truth, FPS))
    slides = (_slide(across, view.standing), view.slide)
    return dict(zip(MEASURES + SLIDES, values + slides, strict=True)), joint_errors(scaled(found, truth), truth).mean(axis=0)


def mocap(path: Path, work: Path, folds: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Errors on people who were not trained on, averaged over people; by noise, heading and joint."""
    motions = read([path])
    subjects = sorted({m.subject for m in motions}, key=lambda s: (len(s), s))
    rows: list[tuple[str, View, dict[str, float], np.ndarray]] = []
    for fold in options.only or range(folds):
        tested = set(subjects[fold::folds])
        others = [m for m in motions if m.subject not in tested]
        named = ",".join(s for s in subjects if s not in tested)
        made: dict[str, Lifter] = {
            "tcn": Tcn(str(_trained("lifter", path, work / f"fold-{fold}", named, options))),
            "matching": Matching(str(_trained("matching", path, work / f"fold-{fold}", named, options))),
            "mean pose": MeanPose(others, options.seed),
        }
        rng = np.random.default_rng((options.seed, fold))
        for motion in (m for m in motions if m.subject in tested):
            for view in views(motion, rng, tuple(NOISES)):
                rows += [(name, view, *measured(view, lifter)) for name, lifter in made.items()]
        print(f"fold {fold}: tested on {', '.join(sorted(tested, key=int))}", flush=True)
    result: dict[str, dict[str, Any]] = {}
    for name in ("tcn", "matching", "mean pose"):
        own = [row for row in rows if row[0] == name]
        noisy = [row for row in own if row[1].noise == "noisy"]
        met = {row[1].subject for row in own}
        result[name] = {
            **_mean(noisy),
            "clean": _mean([row for row in own if row[1].noise == "clean"]),
            "heading": {h: _mean([r for r in noisy if r[1].heading == h])["nmpjpe_mm"] for h in range(0, 360, 360 // HEADINGS)},
            "joint": {H36M17.joints[k]: round(float(np.mean([r[3][n] for r in noisy])), 1) for n, k in enumerate(KEPT) if k},
            "subject": {s: _mean([r for r in noisy if r[1].subject == s])["nmpjpe_mm"] for s in subjects if s in met},
        }
    return result


def _trained(model: str, path: Path, work: Path, subjects: str, options: argparse.Namespace) -> Path:
    values = [f"lifter.motions=[{path}]", f'train.subjects="{subjects}"', f"train.model={model}", f"seed={options.seed}"]
    return lifters.train(Work(work), load(overrides=[*values, *options.overrides]), model, Console(level=options.verbose))


def _mean(rows: list[tuple[str, View, dict[str, float], np.ndarray]]) -> dict[str, float]:
    """Mean over people of their means: nobody counts for more because more walks of theirs are there."""
    people = sorted({row[1].subject for row in rows})
    return {
        measure: round(float(np.nanmean([np.nanmean([r[2][measure] for r in rows if r[1].subject == p]) for p in people])), 1)
        for measure in MEASURES + SLIDES
    }


def rendered(work: Path, subjects: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Errors on rendered walkers whose keypoints MediaPipe found; what ships, and MediaPipe's own 3D."""
    config = load(
        overrides=[f"seed={options.seed + 1}", f"synth.subjects={subjects}", "synth.numbers=1", "synth.conditions=[nm,cl]"]
    )
    session = Session(Work(work / "work"), config, Console(level=-1), options.jobs)
    videos = session.synth(work / "videos")
    session.extract(videos)
    result: dict[str, dict[str, Any]] = {}
    for name in ("world", "tcn", "matching"):
        lifter = _lifter(name)
        rows: dict[str, list[tuple[float, float, float, float]]] = {}
        for video in videos:
            tracks = store.read_all(session.work.pose2d(video.stem), "pose2d", Track2D)
            if not tracks:
                continue
            track = max(tracks.values(), key=lambda t: len(t.frame))
            found = _lifted(track, lifter)
            truth = store.read(video.parent / "truth" / f"{video.stem}.h5", "truth", Track3D, "/tracks3d/000001").xyz[found.frame]
            whole = np.isfinite(found.xyz).all(axis=(1, 2))
            a, b = 1000 * found.xyz[whole], 1000 * truth[whole]
            errors = (mpjpe(a, b), nmpjpe(a, b), pmpjpe(a, b), velocity_error(scaled(a, b), b, 25.0))
            rows.setdefault(video.stem[-3:], []).append(errors)
        everything = np.array([row for view in rows.values() for row in view])
        means = [round(float(value), 1) for value in everything.mean(axis=0)]
        result[name] = {
            **dict(zip(MEASURES, means, strict=True)),
            "view": {view: round(float(np.mean(np.array(own)[:, 1])), 1) for view, own in sorted(rows.items())},
            "clips": len(everything),
        }
    return result


@cache
def _lifter(name: str) -> Lifter:
    made: Lifter = plugins.load("lifter", name)()
    return made


def kth(videos: Path, work: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Rank-1 of KTH's tracks by whitened statistics of their joints."""
    pattern = r"person(?P<subject>\d+)_walking_(?P<condition>d\d)"
    base = Session(
        Work(work / "world"), load(overrides=["train.model=joints", "encode.whiten=1"]), Console(level=-1), options.jobs
    )
    base.extract(sorted(videos.glob("*_walking_*.avi")), pattern=pattern)
    result = {}
    for name in ("2D only", "world", "tcn", "matching"):
        result[name] = _ranked(base, work / f"by-{name.replace(' ', '-')}", name, Flat() if name == "2D only" else _lifter(name))
    return result


def _ranked(base: Session, folder: Path, name: str, lifter: Lifter) -> dict[str, float]:
    """Tracks of one extraction, lifted, through the rest of the chain."""
    flat = name == "2D only"
    overrides = ["train.model=joints", "encode.whiten=1", *(["split.normalize=none"] if flat else [])]
    session = Session(Work(folder), load(overrides=overrides), Console(level=-1), 1)
    for stem in base.work.stems("pose2d"):
        attributes = store.attributes(base.work.pose2d(stem), "pose2d")
        tracks = store.read_all(base.work.pose2d(stem), "pose2d", Track2D)
        found = {f"/tracks/{n}": _lifted(track, lifter) for n, track in tracks.items()}
        labels = {key: attributes[key] for key in ("subject", "condition", "number", "view")}
        store.write(
            session.work.pose3d(stem), "pose3d", found, {**labels, "config": "{}", "made_from": "benchmark", "imported": name}
        )
    return {f"d1->{p}": _rank1(session, p) for p in ("d3", "d2", "d4")}


def _rank1(session: Session, probe: str) -> float:
    report = session.match(probe, "d1", "joints")
    return float(json.loads((report.parent / "metrics.json").read_text())["rank1"])


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, help="motion capture as .npz (see gaitreid.pipeline.motions)")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", type=int, action="append", metavar="FOLD", help="measure this fold (from 0), not all")
    parser.add_argument("--rendered", type=int, default=3, metavar="SUBJECTS", help="0 leaves them out")
    parser.add_argument("--kth", type=Path, help="folder with personNN_walking_dN_uncomp.avi")
    parser.add_argument("--work", type=Path, default=Path("work-lifting"))
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    result: dict[str, dict[str, Any]] = {}
    if options.mocap:
        result["mocap"] = mocap(options.mocap, options.work, options.folds, options)
    if options.rendered:
        result["rendered"] = rendered(options.work / "rendered", options.rendered, options)
    if options.kth:
        result["kth"] = kth(options.kth, options.work / "kth", options)
    _print(result)
    print(json.dumps(result))


def _cells(row: dict[str, Any]) -> str:
    return "".join(f"{row.get(measure, ''):>15}" for measure in MEASURES + SLIDES)


def _print(result: dict[str, dict[str, Any]]) -> None:
    for part in ("mocap", "rendered"):
        if part in result:
            print(f"\n{part:22}" + "".join(f"{m:>15}" for m in MEASURES + SLIDES))
            for name, row in result[part].items():
                print(f"{name:22}" + _cells(row))
                if "clean" in row:
                    print(f"{name + ', exact 2D':22}" + _cells(row["clean"]))
            for facet in ("heading", "joint", "subject", "view"):
                for name, row in result[part].items():
                    if facet in row:
                        print(f"{name}, N-MPJPE by {facet}: " + ", ".join(f"{k} {v}" for k, v in row[facet].items()))
    if "kth" in result:
        print(f"\n{'KTH, Rank-1':16}" + "".join(f"{key:>10}" for key in next(iter(result["kth"].values()))))
        for name, row in result["kth"].items():
            print(f"{name:16}" + "".join(f"{value:10.1%}" for value in row.values()))


if __name__ == "__main__":
    main()
