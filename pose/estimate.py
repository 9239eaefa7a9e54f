"""What a 2D pose estimator is: one person's picture in, keypoints out.

There are two kinds. One follows a person from picture to picture, and each person needs one of their own (`PoseEstimator`;
MediaPipe). The other takes each picture by itself and poses many at once (`BatchEstimator`; networks of mmpose, torchvision,
ONNX): one serves everybody.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import Skeleton
from gaitreid.pose.video import Image, cut

# Joints by which it is judged whether a person was found.
CORE = ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
MIN_SCORE = 0.5  # of an estimator that does not state its own


@dataclass(frozen=True)
class Estimate:
    """One person in one picture.

    Attributes:
        xy: (J, 2) pixels of the picture; may lie outside it.
        score: (J,) in [0, 1].
        world: (J, 3) metres, hip-centred, camera axes; NaN where the estimator gives none.
        mask: (height, width) in [0, 1], the person's silhouette, if asked for.
        place: where the mask lies in the picture, if it is a crop's.
    """

    xy: FloatArray
    score: FloatArray
    world: FloatArray
    mask: FloatArray | None
    place: "Place | None" = None


@dataclass(frozen=True)
class Crop:
    """The part of the picture that an estimator is shown, in pixels, with the person's box in its middle.

    Attributes:
        margin: its side over that of the box, where the box fills it most. BlazePose finds small and blurred people far better
            with room around them: on 102 proposals of hard 160x120 video it found 34 % at 1.3 before black, 91 % at 2.2 before
            the picture's edge carried on.
    """

    width: int = 384
    height: int = 384
    margin: float = 2.2

    def scale(self, box: FloatArray) -> float:
        """Pixels of the crop a pixel of the picture, for a person's box (4,)."""
        width, height = (box[2:] - box[:2]).clip(16)
        return float(min(self.width / (self.margin * width), self.height / (self.margin * height)))

    def around(self, box: FloatArray) -> FloatArray:
        """What the crop for a person's box (4,) shows of the picture, as a box (4,)."""
        half = np.array([self.width, self.height]) / (2 * self.scale(box))
        middle = (box[:2] + box[2:]) / 2
        return np.concatenate([middle - half, middle + half])

    def of(self, image: Image, box: FloatArray) -> tuple[Image, "Place"]:
        """The crop around a box (4,) in pixels of the picture, and where it lies."""
        scale = self.scale(box)
        part, shift = cut(image, (box[:2] + box[2:]) / 2, scale, self.width, self.height)
        return part, Place(scale, shift)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a crop lies: a point p of the picture is at p * scale + shift in it; shift (2,)."""

    scale: float
    shift: FloatArray

    def back(self, estimate: Estimate | None) -> Estimate | None:
        """An estimate in pixels of the crop, in those of the picture; its mask stays the crop's."""
        if estimate is None:
            return None
        xy = (estimate.xy - self.shift.astype(np.float32)) / np.float32(self.scale)
        return replace(estimate, xy=xy, place=self if estimate.mask is not None else None)


class PoseEstimator(Protocol):
    """Follows one person: pictures come in the order of time and show the same person at about the same place."""

    skeleton: Skeleton

    def __call__(self, image: Image) -> Estimate | None:
        """The person in a BGR picture, or None."""

    def reset(self) -> None:
        """Forget the person: the next picture shows another."""


class BatchEstimator(ABC):
    """Takes each picture by itself, many at once; fulfils `PoseEstimator` as well.

    Attributes:
        crop: the pictures that `batch` takes.
        min_score: mean score of shoulders, hips, knees and ankles that a person must have to be followed, on its own scale.
    """

    skeleton: Skeleton
    crop: Crop
    min_score: float = 0.3

    @abstractmethod
    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        """The person in the middle of each BGR picture, which all have the crop's size; None where there is none."""

    def __call__(self, image: Image) -> Estimate | None:
        """The person in a BGR picture of any size, or None."""
        height, width = image.shape[:2]
        whole = np.array([0, 0, width, height])
        part, place = Crop(self.crop.width, self.crop.height, 1.0).of(image, whole)
        return place.back(self.batch([part])[0])

    def reset(self) -> None:  # noqa: B027 - not abstract: nothing is remembered
        """See `PoseEstimator`."""


class EstimatorFactory(Protocol):
    """Makes an estimator; `masks` asks for silhouettes.

    What stands after the colon of a plug-in's name (`mmpose:CONFIG`) is its first positional argument, a text. A factory that
    has the parameters `device` (of torch: cpu, cuda, cuda:N) and `trust_config` is given these as well.
    """

    def __call__(self, *, masks: bool) -> PoseEstimator:
        """A fresh estimator.

        Raises:
            UsageError: it cannot be made here, or gives no masks.
        """


class Estimators:
    """Estimators of one kind, lent to one person at a time and used again: making one takes as long as ten frames.

    One that poses in batches is lent to everybody at once.

    Attributes:
        device: of torch, for detectors that are networks.
        shared: the one that poses in batches, once it is made.
    """

    def __init__(self, factory: EstimatorFactory, masks: bool = False, device: str = "cpu") -> None:
        self.device = device
        self.shared: BatchEstimator | None = None
        self._factory, self._masks = factory, masks
        self._free: list[PoseEstimator] = []

    def take(self) -> PoseEstimator:
        """One that follows nobody."""
        if self.shared is not None:
            return self.shared
        if self._free:
            return self._free.pop()
        made = self._factory(masks=self._masks)
        if isinstance(made, BatchEstimator):
            self.shared = made
        return made

    def give_back(self, estimator: PoseEstimator) -> None:
        """Its person is gone."""
        estimator.reset()
        if estimator is not self.shared:
            self._free.append(estimator)
