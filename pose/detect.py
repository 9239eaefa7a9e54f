"""Where people may be in a picture: HOG, motion before a fixed camera, the whole picture, networks. And which of these to use.

Detectors propose; a proposal becomes a track only if the pose estimator then finds a person in it.
"""

from functools import cache
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.video import Bounds, Image, frames

LOOK_SECONDS, LOOK_FRAMES = 4.0, 25  # that `choose` looks at
MIN_HEIGHT = 0.15  # of a person, as a share of the picture's height


class Detector(Protocol):
    """Sees every frame, and proposes when asked."""

    def see(self, image: Image) -> None:
        """Take note of a frame."""

    def propose(self, image: Image) -> FloatArray:
        """Boxes (N, 4) in pixels of the picture just seen: x1, y1, x2, y2."""


class Hog:
    """OpenCV's people detector (Dalal and Triggs, CVPR 2005), on pictures brought to a height at which people fit its window."""

    def __init__(self, height: int = 360) -> None:
        self._height = height
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))

    def see(self, image: Image) -> None:
        """See `Detector`."""

    def propose(self, image: Image) -> FloatArray:
        """See `Detector`."""
        scale = self._height / image.shape[0]
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        # The window is 64x128 with the person 96 high; a border lets people be found at the edge of the picture.
        border = 16
        gray = cv2.copyMakeBorder(gray, border, border, border, border, cv2.BORDER_REPLICATE)
        found, weights = self._hog.detectMultiScale(gray, hitThreshold=0.0, winStride=(8, 8), scale=1.1)
        boxes = [((x - border) / scale, (y - border) / scale, w / scale, h / scale) for x, y, w, h in found]
        keep = cv2.dnn.NMSBoxes(boxes, [float(w) for w in np.ravel(weights)], 0.1, 0.4) if boxes else []
        # The detector's window is wider than the person by a margin all around.
        return np.array(
            [(x + 0.12 * w, y + 0.06 * h, x + 0.88 * w, y + 0.94 * h) for x, y, w, h in (boxes[i] for i in keep)]
        ).reshape(-1, 4)


class Motion:
    """What differs from a background that adapts slowly (Zivkovic, ICPR 2004), for a camera that stands still."""

    def __init__(self, height: int = 240) -> None:
        self._height = height
        self._model = cv2.createBackgroundSubtractorMOG2(history=250, varThreshold=20, detectShadows=False)
        self._mask: Image | None = None

    def see(self, image: Image) -> None:
        """See `Detector`."""
        scale = min(1.0, self._height / image.shape[0])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        self._mask = np.asarray(self._model.apply(cv2.GaussianBlur(small, (5, 5), 0)), dtype=np.uint8)

    def propose(self, image: Image) -> FloatArray:
        """See `Detector`."""
        if self._mask is None:
            return np.empty((0, 4))
        scale = image.shape[0] / self._mask.shape[0]
        moving = (self._mask == 255).astype(np.uint8)
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        reach = max(3, self._mask.shape[0] // 16)  # a person's parts, split by clothes of the background's colour, join again
        moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((reach * 2 + 1, reach | 1), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(moving)
        height = self._mask.shape[0]
        boxes = [
            (x * scale, y * scale, (x + w) * scale, (y + h) * scale)
            for x, y, w, h, area in stats[1:]
            if h >= MIN_HEIGHT * height and area >= 0.15 * w * h and h >= 0.8 * w
        ]
        return np.array(boxes).reshape(-1, 4)


class Whole:
    """The whole picture as one proposal, for clips already cut to one person."""

    def see(self, image: Image) -> None:
        """See `Detector`."""

    def propose(self, image: Image) -> FloatArray:
        """See `Detector`."""
        return np.array([[0.0, 0.0, image.shape[1], image.shape[0]]])


DETECTORS: dict[str, type[Detector]] = {"hog": Hog, "motion": Motion, "whole": Whole}
# Networks, which keep nothing from frame to frame; what stands after a colon is their first argument.
NETWORKS = {"rtmdet": "RtmDet", "torchvision": "TorchVision"}


def check(name: str) -> None:
    """See that there is a detector of this name.

    Raises:
        UsageError: there is none, or it takes no argument.
    """
    base, colon, _ = name.partition(":")
    if base not in DETECTORS and base not in NETWORKS:
        raise UsageError(f"extract.detector is '{name}', expected auto, {', '.join([*DETECTORS, *NETWORKS])}")
    if colon and base in DETECTORS:
        raise UsageError(f"detector '{base}' takes no argument: write {base} instead of {name}")


def detector(name: str, device: str = "cpu", trust_config: bool = False) -> Detector:
    """A detector for one video, by `name` or `name:ARGUMENT`.

    Args:
        device: of torch, for networks.
        trust_config: whether a Python file of the user's own may be run as a configuration.

    Raises:
        UsageError: see `check`; or a network's weights are missing.
    """
    check(name)
    return DETECTORS[name]() if name in DETECTORS else _network(name, device, trust_config)


@cache
def _network(name: str, device: str, trust_config: bool) -> Detector:
    """Made once a process: reading weights takes longer than a short video."""
    from gaitreid.pose.backends import detectors

    base, _, argument = name.partition(":")
    made: Detector = getattr(detectors, NETWORKS[base])(argument, device, trust_config)
    return made


def choose(path: Path, bounds: Bounds = Bounds()) -> tuple[str, str]:  # noqa: B008
    """Which detector suits a video, from a look at its first seconds, and why in a few words.

    Raises:
        ItemError: as `frames` does, with the same `bounds`.
    """
    info, stream = frames(path, bounds=bounds)
    if info.width < 0.6 * info.height and info.width < 200:
        return "whole", "the picture is cut to one person"
    look = range(0, round(LOOK_SECONDS * info.fps / info.step), max(1, round(LOOK_SECONDS * info.fps / info.step / LOOK_FRAMES)))
    shots = [_small(frame.image) for n, frame in enumerate(islice(stream, look.stop)) if n in look]
    if len(shots) < 5:
        return "hog", "too few frames to tell whether the camera moves"
    small = np.stack(shots).astype(np.int16)
    changed = float(np.median((np.abs(small - np.median(small, axis=0)) > 20).mean(axis=(1, 2))))
    if changed < 0.15:
        return "motion", "the camera stands still"
    return "hog", f"{changed:.0%} of the picture changes: the camera moves"


def _small(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(gray, (160, 120), interpolation=cv2.INTER_AREA), dtype=np.uint8)
