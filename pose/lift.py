"""2D tracks to clean 3D tracks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.clean import CleanConfig, clean
from gaitreid.pose.geometry import root
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.skeleton import Skeleton, skeleton


class Lifter(Protocol):
    """Gives a track its third dimension."""

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """(T, J, 3) metres in camera axes, relative to any point, and scores (T, J), in the target's joints.

        Raises:
            ItemError: the track lacks what this lifter needs.
        """


@dataclass(frozen=True)
class LiftConfig:
    """How tracks become 3D.

    Attributes:
        lifter: a name; auto takes the estimator's own 3D (world).
        skeleton: joints of the result: h36m17, casia14, kinect20 or kinect25.
    """

    lifter: str = "auto"
    skeleton: str = "h36m17"
    clean: CleanConfig = field(default_factory=CleanConfig)

    def __post_init__(self) -> None:
        """Check that the skeleton is known."""
        skeleton(self.skeleton)


def lift(track: Track2D, config: LiftConfig, lifter: Callable[[str], Lifter]) -> Track3D:
    """Lift a track, put its root at the origin and clean it.

    Args:
        lifter: makes a lifter from its name.

    Raises:
        ItemError: the track lacks what the lifter needs.
    """
    name = "world" if config.lifter == "auto" else config.lifter
    target = skeleton(config.skeleton)
    xyz, score = lifter(name).lift(track, target)
    centred = xyz - root(xyz, target)[:, None]
    cleaned, score = clean(centred, score, track.time, config.clean)
    return Track3D(frame=track.frame, time=track.time, xyz=cleaned, score=score, skeleton=target, lifter=name)
