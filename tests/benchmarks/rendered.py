"""How far poses are from the truth on rendered walkers: 2D in pixels of 320x240 pictures, 3D in mm with the root aligned.

    rendered.py [--subjects N] [--views 0,18,...] [--work DIR]

The truth is the renderer's own joints. MediaPipe places some joints otherwise than it does (hips and head above all), so part
of the error is a difference of definition. Rendered data, not real people. Last line: one JSON object with the same figures.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import cores
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.metrics import joint_errors, mpjpe, pmpjpe
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.skeleton import H36M17, remap

LEGS = H36M17.indices(*(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle")))
COLUMNS = ("frames", "px", "legs_px", "mpjpe_mm", "pmpjpe_mm")


@dataclass(frozen=True)
class Row:
    """Errors of one clip's longest track."""

    condition: str
    view: str
    values: dict[str, float]


def main() -> None:
    """Render, extract, lift, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--views", default="0,18,36,54,72,90,108,126,144,162,180")
    parser.add_argument("--conditions", default="nm,bg,cl")
    parser.add_argument("--work", type=Path, default=Path("work-rendered"))
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    synth = {"subjects": options.subjects, "numbers": 1, "views": f"[{options.views}]", "conditions": f"[{options.conditions}]"}
    config = load(overrides=[f"seed={options.seed}", *(f"synth.{key}={value}" for key, value in synth.items())])
    session = Session(Work(options.work / "work"), config, Console(level=-1), options.jobs)
    videos = session.synth(options.work / "videos")
    session.extract(videos)
    session.lift()
    rows = [row for row in (_compare(session.work, video) for video in videos) if row]
    table = {
        **{f"view {v}": _mean([r for r in rows if r.view == v]) for v in dict.fromkeys(r.view for r in rows)},
        **{c: _mean([r for r in rows if r.condition == c]) for c in options.conditions.split(",")},
        "all": _mean(rows),
    }
    print(f"{len(rows)} of {len(videos)} rendered clips have a track; frames: share of a clip's frames in its main track")
    print(f"{'':10}" + "".join(f"{name:>11}" for name in COLUMNS))
    for name, row in table.items():
        print(f"{name:10}" + "".join(f"{row[column]:11.2f}" for column in COLUMNS))
    print(json.dumps({"clips": len(videos), "tracked": len(rows), **table}))


def _compare(work: Work, video: Path) -> Row | None:
    """Errors of the longest track of a clip; None where it has none."""
    tracks = store.read_all(work.pose2d(video.stem), "pose2d", Track2D)
    if not tracks:
        return None
    name = max(tracks, key=lambda n: len(tracks[n].frame))
    found = tracks[name]
    lifted = store.read(work.pose3d(video.stem), "pose3d", Track3D, f"/tracks/{name}")
    truth_file = video.parent / "truth" / f"{video.stem}.h5"
    truth2d = store.read(truth_file, "truth", Track2D, "/tracks/000001")
    truth3d = store.read(truth_file, "truth", Track3D, "/tracks3d/000001")
    xy, _ = remap(found.xy, found.score, found.skeleton, H36M17)
    pixels = joint_errors(xy, truth2d.xy[found.frame])
    whole = np.isfinite(lifted.xyz).all(axis=(1, 2))
    xyz, truth = 1000 * lifted.xyz[whole], 1000 * truth3d.xyz[lifted.frame[whole]]
    _, condition, _, view = video.stem.split("-")
    values = {
        "frames": len(found.frame) / len(truth2d.frame),
        "px": float(np.nanmean(pixels)),
        "legs_px": float(np.nanmean(pixels[:, LEGS])),
        "mpjpe_mm": mpjpe(xyz, truth),
        "pmpjpe_mm": pmpjpe(xyz, truth),
    }
    return Row(condition, view, values)


def _mean(rows: list[Row]) -> dict[str, float]:
    return {column: round(float(np.mean([r.values[column] for r in rows])), 3) for column in COLUMNS}


if __name__ == "__main__":
    main()
