"""What extraction costs beside the pose estimator: the machinery's overhead, the detector's share, memory.

    extract.py VIDEO... [--jobs N]

Each video is extracted (whole stage: hashing, decoding, detection, tracking, poses, writing), and the very crops that were posed
go through a bare MediaPipe, turn about, --repeat times. Seconds are means over these rounds, summed over videos and workers,
without imports. Overhead is (seconds - detector_seconds) / backend_seconds. Memory is the largest worker's, of extraction alone.
Last line: one JSON object with the same figures.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.extract import extract as stage
from gaitreid.pipeline.jobs import each
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.work import Work
from gaitreid.pose import extract as extraction
from gaitreid.pose.backends.mediapipe import MediaPipe
from gaitreid.pose.detect import DETECTORS, Detector, choose
from gaitreid.pose.estimate import Estimate, Estimators
from gaitreid.pose.skeleton import BLAZEPOSE33, Skeleton
from gaitreid.pose.video import Image

OVERHEAD = 1.25  # the most that is allowed


@dataclass
class Cost:
    """Of one video, in seconds."""

    name: str
    frames: int
    crops: int
    seconds: float
    detector_seconds: float
    backend_seconds: float


@dataclass
class Clock:
    """Time spent in what it is put around."""

    seconds: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


@dataclass
class Recorder:
    """A pose estimator that keeps what it is shown; None in `shown` is a reset."""

    shown: list[Image | None] = field(default_factory=list)
    inner: MediaPipe = field(default_factory=MediaPipe)
    skeleton: Skeleton = BLAZEPOSE33

    def __call__(self, image: Image) -> Estimate | None:
        self.shown.append(image.copy())
        return self.inner(image)

    def reset(self) -> None:
        self.shown.append(None)
        self.inner.reset()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes at once")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    peak = max(each(_peak, options.videos, options.jobs))  # before anything else takes memory
    costs = list(each(_measure, [(video, options.repeat) for video in options.videos], options.jobs))
    print(f"{'video':32}{'frames':>8}{'crops':>8}{'seconds':>9}{'detector':>10}{'backend':>9}{'overhead':>10}")
    for c in costs:
        overhead = (c.seconds - c.detector_seconds) / c.backend_seconds if c.crops else float("nan")
        print(
            f"{c.name[:31]:32}{c.frames:8}{c.crops:8}{c.seconds:9.2f}{c.detector_seconds:10.2f}"
            f"{c.backend_seconds:9.2f}{overhead:10.2f}"
        )
    seconds, detector, backend = (sum(getattr(c, f) for c in costs) for f in ("seconds", "detector_seconds", "backend_seconds"))
    result = {
        "frames": sum(c.frames for c in costs),
        "seconds": round(seconds, 3),
        "backend_seconds": round(backend, 3),
        "overhead": round((seconds - detector) / backend, 3),
        "peak_rss_mb": round(peak),
        "detector_seconds": round(detector, 3),
        "detector_share": round(detector / seconds, 3),
        "crops": sum(c.crops for c in costs),
        "jobs": options.jobs,
    }
    share = f"detector {detector / seconds:.0%} of it all, {peak:.0f} MB a worker"
    print(f"with {options.jobs} worker(s): overhead {result['overhead']} (limit {OVERHEAD}), {share}")
    print(json.dumps(result))


def _measure(task: tuple[Path, int]) -> Cost:
    """Runs in a worker, where MediaPipe has been brought up before anything is timed."""
    video, repeat = task
    _extract(video)  # the stage keeps its estimators from video to video; here they come up
    recorders: list[Recorder] = []

    def factory(masks: bool) -> Recorder:
        assert not masks
        recorders.append(Recorder())
        return recorders[-1]

    found = extraction.extract(video, Config().extract, Estimators(factory))
    crops = sum(image is not None for r in recorders for image in r.shown)
    bare = [Bare(r.shown) for r in recorders]
    seconds, detector, backend = np.mean([(*_extract(video), sum(b.run() for b in bare)) for _ in range(repeat)], axis=0)
    return Cost(video.name, found.frames_read, crops, float(seconds), float(detector), float(backend))


def _peak(video: Path) -> float:
    """Megabytes that a worker has come to need after extracting a video."""
    _extract(video)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _extract(video: Path) -> tuple[float, float]:
    """Seconds of the whole stage, and of the detector in it."""
    clock = Clock()
    timed: dict[str, Any] = {name: lambda kind=kind: _Timed(kind(), clock) for name, kind in DETECTORS.items()}
    with (
        patch.dict(DETECTORS, timed),
        patch.object(extraction, "choose", clock.around(choose)),
        tempfile.TemporaryDirectory() as folder,
    ):
        began = time.perf_counter()
        stage(Work(Path(folder)), Config().extract, [video], Labeller(None, None), Console(level=-1))
        return time.perf_counter() - began, clock.seconds


class _Timed:
    def __init__(self, inner: Detector, clock: Clock) -> None:
        self.see = clock.around(inner.see)
        self.propose = clock.around(inner.propose)


class Bare:
    """MediaPipe and nothing else, over recorded crops; started anew where it followed somebody and is to follow another."""

    def __init__(self, shown: list[Image | None]) -> None:
        from mediapipe.python.solutions.pose import Pose

        self._shown = shown
        self._pose = Pose(model_complexity=1, smooth_landmarks=False, min_detection_confidence=0.3)
        self.run()

    def run(self) -> float:
        """Seconds."""
        began = time.perf_counter()
        found = stale = False
        for image in self._shown:
            if image is None:
                stale = found
                continue
            if stale:
                self._pose.reset()
            found = self._pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks is not None
            stale = False
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
