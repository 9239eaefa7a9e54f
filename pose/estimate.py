"""What a 2D pose estimator is: one person's picture in, keypoints out."""

from dataclasses import dataclass
from typing import Protocol

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import Skeleton
from gaitreid.pose.video import Image


@dataclass(frozen=True)
class Estimate:
    """One person in one picture.

    Attributes:
        xy: (J, 2) pixels of the picture; may lie outside it.
        score: (J,) in [0, 1].
        world: (J, 3) metres, hip-centred, camera axes; NaN where the estimator gives none.
        mask: (height, width) in [0, 1], the person's silhouette, if asked for.
    """

    xy: FloatArray
    score: FloatArray
    world: FloatArray
    mask: FloatArray | None


class PoseEstimator(Protocol):
    """Follows one person: pictures come in the order of time and show the same person at about the same place."""

    skeleton: Skeleton

    def __call__(self, image: Image) -> Estimate | None:
        """The person in a BGR picture, or None."""

    def reset(self) -> None:
        """Forget the person: the next picture shows another."""


class EstimatorFactory(Protocol):
    """Makes an estimator; `masks` asks for silhouettes."""

    def __call__(self, masks: bool) -> PoseEstimator:
        """A fresh estimator."""


class Estimators:
    """Estimators of one kind, lent to one person at a time and used again: making one takes as long as ten frames."""

    def __init__(self, factory: EstimatorFactory, masks: bool = False) -> None:
        self._factory, self._masks = factory, masks
        self._free: list[PoseEstimator] = []

    def take(self) -> PoseEstimator:
        """One that follows nobody."""
        return self._free.pop() if self._free else self._factory(self._masks)

    def give_back(self, estimator: PoseEstimator) -> None:
        """Its person is gone."""
        estimator.reset()
        self._free.append(estimator)
