"""From KTH's walking videos to ranked identities: Rank-1 by the whole chain, hand-made features beside it, crossings tracked.

    kth.py --videos DIR [--segments CSV] [--work DIR]

The gallery comes first in `d1->d3`. A crossing is tracked if 0.8 s of one track lie in it; since the segments are approximate and
some run over several crossings, the number of those that one track covers by half is printed too. Last line: one JSON object
with the same figures.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.reid.handmade import bone_lengths, joint_statistics
from gaitreid.reid.records import Sequences

PATTERN = r"person(?P<subject>\d+)_walking_(?P<condition>d\d)"
PROBES = ("d3", "d2", "d4")
MIN_FRAMES = 20  # 0.8 s at KTH's 25 a second: the shortest track that is kept


def main() -> None:
    """Run the chain and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder with personNN_walking_dN_uncomp.avi")
    parser.add_argument("--segments", type=Path, help="CSV: subject,scenario,pass,start,end (default: segments_auto.csv beside)")
    parser.add_argument("--work", type=Path, default=Path("work-kth"))
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    config = load(overrides=[f"seed={options.seed}", *options.overrides])
    session = Session(Work(options.work), config, Console(), options.jobs)
    videos = sorted(options.videos.glob("*_walking_*.avi"))
    summary = session.extract(videos, pattern=PATTERN)
    session.train()
    rank1 = {}
    for probe in PROBES:
        report = session.match(probe, "d1")
        rank1[f"d1->{probe}"] = json.loads((report.parent / "metrics.json").read_text())["rank1"]
    baseline = _baselines(session.work)
    segments = options.segments or options.videos / "segments_auto.csv"
    crossings, tracked, half = _crossings(session.work, segments) if segments.exists() else (0, 0, 0)
    result = {
        "videos": len(videos),
        "failed": len(summary.failed),
        "crossings": crossings,
        "crossings_tracked": tracked,
        "crossings_half_covered": half,
        "rank1": rank1,
        "baseline": {key: max(b[key] for b in baseline.values()) for key in rank1},
        "baselines": baseline,
    }
    print(
        f"\n{len(videos)} videos, {len(summary.failed)} failed; {tracked} of {crossings} crossings have a track, {half} by half"
    )
    print(f"{'Rank-1':18}" + "".join(f"{key:>10}" for key in rank1))
    for name, row in [(config.train.model, rank1), *baseline.items()]:
        print(f"{name:18}" + "".join(f"{row[key]:10.1%}" for key in rank1))
    print(json.dumps(result))


def _crossings(work: Work, segments: Path) -> tuple[int, int, int]:
    """Crossings of videos that are there, how many have MIN_FRAMES of one track in them, and how many half their frames."""
    total, tracked, half = 0, 0, 0
    with segments.open(newline="") as file:
        for row in csv.DictReader(file):
            path = work.pose2d(f"person{int(row['subject']):02d}_walking_d{row['scenario']}_uncomp")
            if not path.exists():
                continue
            frames = np.arange(int(row["start"]), int(row["end"]) + 1)
            tracks = store.read_all(path, "pose2d", Track2D).values()
            found = max((int(np.isin(frames, t.frame).sum()) for t in tracks), default=0)
            total += 1
            tracked += found >= MIN_FRAMES
            half += found >= len(frames) / 2
    return total, tracked, half


def _baselines(work: Work) -> dict[str, dict[str, float]]:
    """Rank-1 of hand-made features of the same tracks by 1-nearest-neighbour, columns brought to unit deviation."""
    s = store.read(work.sequences, "sequences", Sequences, "/sequences")
    bones, statistics = [], []
    for k, (video, track) in enumerate(zip(s.video.tolist(), s.track.tolist(), strict=True)):
        metric = store.read(work.pose3d(video), "pose3d", Track3D, f"/tracks/{track:06d}")
        bones.append(bone_lengths(metric.xyz, metric.skeleton))
        rows = np.unique(s.start[s.window_track == k][:, None] + np.arange(s.length))
        statistics.append(joint_statistics(s.xyz[rows]))
    features = {"bone lengths": np.array(bones), "joint statistics": np.array(statistics)}
    result = {}
    for name, values in features.items():
        for scaled in (False, True):
            x = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9) if scaled else values
            result[f"{name}{' (z)' if scaled else ''}"] = {f"d1->{p}": _rank1(x, s, p) for p in PROBES}
    return result


def _rank1(x: np.ndarray, s: Sequences, probe: str) -> float:
    p, g = s.condition == probe, s.condition == "d1"
    nearest = np.linalg.norm(x[p][:, None] - x[g][None], axis=-1).argmin(axis=1)
    return float((s.subject[g][nearest] == s.subject[p]).mean())


if __name__ == "__main__":
    main()
