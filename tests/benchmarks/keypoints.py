"""Keypoints of other tools: how well people are tracked where the file does not number them, and how fast a long video comes in.

    keypoints.py [--scenes N] [--frames N] [--people N] [--seed N]

Made-up walkers (pose/walker.py) cross side-on in lanes 4 to 8 m away, for 12 s at 25 frames a second. Keypoints have noise of
2.5 % of the person's height, correlated in time (AR(1), 0.7), and 5 % are missing; people come in any order. `hidden`: who is
covered by somebody nearer (boxes overlap by more than half) is not in the file. Then an OpenPose folder of one file a frame is
imported; its time is that of the processor, as others may use the machine. Made-up data, not real people. Last line: one JSON
object with the same figures.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from gaitreid.pipeline.config import load
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.associate import associate
from gaitreid.pose.extract import ExtractConfig, iou
from gaitreid.pose.keypoint_files import Clip, Person
from gaitreid.pose.keypoint_writing import openpose_text
from gaitreid.pose.render import project
from gaitreid.pose.skeleton import BODY25, H36M17, known
from gaitreid.pose.walker import walk, walker

RATE, SECONDS = 25.0, 12.0
SIZE = 4  # pictures are so many times as large as those that are rendered


def main() -> None:
    """Track, import, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=10, help="of each kind")
    parser.add_argument("--frames", type=int, default=15_000, help="of the video that is imported (default: 10 minutes)")
    parser.add_argument("--people", type=int, default=2, help="in each of these frames")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tracking: dict[str, dict[str, float]] = {}
    print(f"{'people':>6} {'fps':>5} {'':8} {'tracks a person':>16} {'in tracks':>10} {'of somebody else':>17}")
    for people in (2, 4, 8, 12):
        for step in (1, 2):
            for hidden in (False, True):
                rows = [track(people, step, hidden, (options.seed, scene)) for scene in range(options.scenes)]
                figures = summary(np.sum(rows, axis=0))
                name = f"{people}_{RATE / step:g}fps{'_hidden' if hidden else ''}"
                tracking[name] = figures
                print(
                    f"{people:6} {RATE / step:5g} {'hidden' if hidden else '':8} {figures['tracks']:16.2f}"
                    f" {100 * figures['covered']:8.1f} % {100 * figures['other']:15.2f} %"
                )
    seconds = bring_in(options.frames, options.people, options.seed)
    print(f"import of {options.frames} files of OpenPose with {options.people} people each: {seconds:.1f} s")
    print(json.dumps({"tracking": tracking, "import_files": options.frames, "import_seconds": round(seconds, 2)}))


def track(people: int, step: int, hidden: bool, seed: tuple[int, int]) -> list[int]:
    """One scene: people, tracks, frames of people, those in a track, those of them that are not of their track's owner."""
    rng = np.random.default_rng((*seed, people))
    crowd = [lane(rng, subject) for subject in range(people)]
    frames: dict[int, list[Person]] = {}
    for n in range(0, int(SECONDS * RATE), step):
        boxes: list[FloatArray] = []
        frames[n // step] = []
        for k in sorted(range(people), key=lambda k: crowd[k][0]):
            xy = crowd[k][1][n].astype(np.float32)
            box = np.concatenate([xy.min(axis=0), xy.max(axis=0)]).astype(np.float64)
            if hidden and any(iou(box, nearer) > 0.5 for nearer in boxes):
                continue
            boxes.append(box)
            score = np.full(len(xy), 0.5 + k / 1000, dtype=np.float32)  # says who it is; tracking does not look at it
            missing = rng.random(len(xy)) < 0.05
            xy[missing], score[missing] = np.nan, 0
            frames[n // step].append(Person(xy, score))
        rng.shuffle(frames[n // step])
    found = associate(Clip("scene", H36M17, frames), RATE / step, ExtractConfig())
    owners = [np.bincount(np.rint(1000 * (t.score.max(axis=1) - 0.5)).astype(int)) for t in found.tracks]
    covered = sum(int(o.sum()) for o in owners)
    own = sum(int(o.max()) for o in owners)
    return [people, len(owners), sum(map(len, frames.values())), covered, covered - own]


def lane(rng: np.random.Generator, subject: int) -> tuple[float, FloatArray]:
    """Somebody's distance in metres and their keypoints: (T, J, 2) pixels."""
    joints, come = walk(walker(int(rng.integers(1_000_000)), subject), np.arange(int(SECONDS * RATE)) / RATE, rng)
    far, way = rng.uniform(4, 8), rng.choice([-1, 1])
    across = way * (joints[:, : len(H36M17.joints), 2] + come[:, None] - rng.uniform(2, come[-1] - 2))
    xyz = np.stack([across, 1.4 - joints[:, : len(H36M17.joints), 1], far - way * joints[:, : len(H36M17.joints), 0]], axis=-1)
    xy = SIZE * project(xyz)
    height = np.ptp(xy[..., 1], axis=1).mean()
    noise = lfilter([np.sqrt(1 - 0.7**2)], [1, -0.7], rng.normal(size=xy.shape), axis=0)
    return far, xy + 0.025 * height * noise


def summary(total: FloatArray) -> dict[str, float]:
    """Shares of the sums over scenes."""
    people, tracks, everybody, covered, other = total.tolist()
    return {"tracks": round(tracks / people, 3), "covered": round(covered / everybody, 4), "other": round(other / covered, 5)}


def bring_in(frames: int, people: int, seed: int) -> float:
    """Seconds that the import of a folder takes."""
    rng = np.random.default_rng(seed)
    mapped = np.nan_to_num(known(H36M17, BODY25)) @ lane(rng, 0)[1]
    empty: dict[str, Any] = {"face_keypoints_2d": [0.0] * 210, "hand_left_keypoints_2d": [0.0] * 63}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(frames):
            xy = mapped[n % len(mapped)] + 1  # nobody at 0, 0
            text = openpose_text((k, xy + np.array([0, 500 * k]), np.full(25, 0.5)) for k in range(people))
            data = json.loads(text)
            for person in data["people"]:
                person |= {"person_id": [-1], **empty}
            (Path(folder) / f"video_{n:012d}_keypoints.json").write_text(json.dumps(data))
        session = Session(Work(Path(folder) / "work"), load(None, []), Console(level=-1))
        started = time.process_time()
        session.bring_in("openpose", [Path(folder)], fps=RATE)
        return time.process_time() - started


if __name__ == "__main__":
    main()
