"""How often strangers are taken for somebody, against the rate asked for, and four walkers who cross in one scene.

    identify.py [--kth DIR] [--kth-work DIR] [--work DIR] [--name MODEL] [--splits 50]

KTH (`--kth`, the folder of videos): of the people seven are drawn into a gallery of their d1 walks, the others are strangers, in
all four conditions; over the splits the rate met, and how often it lies within the interval that the gallery states. Scenes:
twelve rendered walkers, of whom four at a time cross; the gallery is made of other clips in six views. Last line: one JSON
object with the same figures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import gallery as galleries
from gaitreid.pipeline import store
from gaitreid.pipeline.clips import clips
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.gallery import UNKNOWN
from gaitreid.pipeline.identify import Naming
from gaitreid.pipeline.jobs import Summary, cores
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.shipped import BOTH
from gaitreid.pipeline.synth import SynthConfig, synth
from gaitreid.pipeline.work import Work
from gaitreid.pose.records import Track2D
from gaitreid.reid.openset import calibrate, name_distances

PATTERN = r"person(?P<subject>\d+)_walking_(?P<condition>d\d)"
RATES = (0.05, 0.1, 0.2)
ENROLLED = 7
WALKERS, AT_ONCE = 12, 4


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kth", type=Path, help="folder with personNN_walking_dN_uncomp.avi")
    parser.add_argument("--work", type=Path, default=Path("work-identify"))
    parser.add_argument("--kth-work", type=Path, help="work folder of an earlier run of kth.py, to pose nothing twice")
    parser.add_argument("--name", default=BOTH)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=cores())
    options = parser.parse_args()
    result: dict[str, Any] = {"scenes": scenes(options)}
    if options.kth:
        result["kth"] = strangers(options)
    print(json.dumps(result))


def strangers(options: argparse.Namespace) -> dict[str, Any]:
    """Rates met on people who are in no gallery."""
    config = load(overrides=["extract.silhouettes=true"])
    session = Session(Work(options.kth_work or options.work / "kth"), config, Console(), options.jobs)
    videos = sorted(options.kth.glob("*_walking_*.avi"))
    session.extract(videos, pattern=PATTERN)
    recogniser = session.recogniser(None, options.name)
    vectors, subjects, conditions = [], [], []
    for clip in clips(session.work, videos, recogniser, session.console, Summary(), jobs=options.jobs):
        for seen in clip.people:
            vectors.append(seen.vector)
            subjects.append(clip.path.stem[6:8])  # personNN_walking_dN_uncomp
            conditions.append(clip.path.stem[17:19])
    vector, subject, condition = np.stack(vectors), np.array(subjects), np.array(conditions)
    like: Any = {"metric": recogniser.metric, "parts": recogniser.parts, "context": recogniser.context}
    people = np.unique(subject)
    rng = np.random.default_rng(0)
    met: dict[float, list[float]] = {rate: [] for rate in RATES}
    within = dict.fromkeys(RATES, 0)
    named: dict[float, list[float]] = {rate: [] for rate in RATES}
    for _ in range(options.splits):
        known = np.isin(subject, rng.choice(people, ENROLLED, replace=False))
        items = known & (condition == "d1")
        found = calibrate(vector[items], subject[items], recogniser.cohort, **like)
        for rate in RATES:
            names, distance = name_distances(vector[~items], vector[items], subject[items], cohort=recogniser.cohort, **like)
            taken = distance.min(axis=1) <= found.threshold(rate)
            stranger = ~known[~items]
            met[rate].append(float(taken[stranger].mean()))
            low, high = found.interval(rate)
            within[rate] += low <= met[rate][-1] <= high
            right = taken & (names[distance.argmin(axis=1)] == subject[~items])
            named[rate].append(float(right[~stranger].mean()))
    print(
        f"\nKTH, {ENROLLED} of {len(people)} people in the gallery (d1), the others strangers (d1 to d4), {options.splits} splits"
    )
    print(f"{'asked':>8}{'met':>8}{'10 to 90 % of splits':>24}{'within the interval':>22}{'known people named rightly':>30}")
    rows = {}
    for rate in RATES:
        low, high = np.percentile(met[rate], [10, 90])
        rows[str(rate)] = {
            "met": float(np.mean(met[rate])),
            "within": within[rate] / options.splits,
            "named": float(np.mean(named[rate])),
        }
        row = rows[str(rate)]
        print(f"{rate:8.0%}{row['met']:8.1%}{f'{low:.1%} to {high:.1%}':>24}{row['within']:22.0%}{row['named']:30.1%}")
    return rows


def scenes(options: argparse.Namespace) -> dict[str, Any]:
    """Names of walkers who cross."""
    console = Console(-1)
    session = Session(Work(options.work / "scenes"), load(), console, options.jobs)
    alone, crossing = options.work / "one", options.work / "four"
    synth(alone, SynthConfig(subjects=WALKERS, views=(72, 90, 108, 252, 270, 288), conditions=("nm",), numbers=1), console)
    config = SynthConfig(subjects=WALKERS, views=(72, 90, 108), conditions=("nm",), people_per_scene=AT_ONCE, seconds=5.0)
    videos = synth(crossing, config, console)
    result: dict[str, Any] = {}
    rows = []
    for first in range(1, WALKERS + 1, AT_ONCE):
        path = options.work / f"gallery-{first}.h5"
        group = range(first, first + AT_ONCE)
        if not path.exists():
            for n in group:
                session.enrol(path, f"{n:03d}", sorted(alone.glob(f"{n:03d}-*.avi")), options.name, None)
        rows += [(path, v) for v in videos if v.stem.startswith(f"scene-{(first - 1) // AT_ONCE + 1:02d}")]
    for rate in (*RATES, 0.5, 0.99):
        right = wrong = unknown = 0
        for path, video in rows:
            book = galleries.read(path)
            recogniser = session.recogniser(book)
            for clip in clips(session.work, [video], recogniser, console, Summary(), jobs=1):
                truth = truths(video)
                for identity in Naming(book, path, recogniser, rate, 4)(clip):
                    who = whose(identity.person.track, truth)
                    unknown += identity.answer == UNKNOWN
                    right += identity.answer == who
                    wrong += identity.answer not in {UNKNOWN, who}
        result[str(rate)] = {"right": right, "wrong": wrong, "unknown": unknown}
        print(
            f"scenes of {AT_ONCE} rendered walkers, --far {rate:g}: {right} tracks named rightly, {wrong} wrongly, "
            f"{unknown} unknown"
        )
    return result


def truths(video: Path) -> dict[str, Track2D]:
    """Where each walker of a scene is."""
    path = video.parent / "truth" / f"{video.stem}.h5"
    subjects = str(store.attributes(path, "truth")["subjects"]).split(",")
    return dict(zip(subjects, store.read_all(path, "truth", Track2D).values(), strict=True))


def whose(track: Track2D, truth: dict[str, Track2D]) -> str:
    """The walker whose pelvis a track's hips follow."""
    hips = track.xy[:, track.skeleton.indices("left_hip", "right_hip")].mean(axis=1)
    apart = {name: float(np.median(np.linalg.norm(hips - t.xy[track.frame, 0], axis=1))) for name, t in truth.items()}
    return min(apart, key=lambda name: apart[name])


if __name__ == "__main__":
    main()
