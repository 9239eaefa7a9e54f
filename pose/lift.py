"""2D tracks to clean 3D tracks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.clean import CleanConfig, clean, found
from gaitreid.pose.errors import UsageError
from gaitreid.pose.geometry import root, steadied
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.skeleton import Skeleton, skeleton

WEIGHTS, LIBRARY = "lifter.safetensors", "library.safetensors"  # in the folder of a trained lifter, of a library


class Lifter(Protocol):
    """Gives a track its third dimension.

    Attributes:
        rigid: whether its bones are to have one length throughout a track.
    """

    rigid: bool

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """(T, J, 3) metres in camera axes, relative to any point, and scores (T, J), in the target's joints.

        Raises:
            ItemError: the track lacks what this lifter needs.
        """


@dataclass(frozen=True)
class LiftConfig:
    """How tracks become 3D.

    Attributes:
        lifter: a name; auto takes the estimator's own 3D (world) where there is one, and tcn where not.
        skeleton: joints of the result: h36m17, casia14, kinect20 or kinect25.
        trust_config: whether a Python file of the user's own may be run as a configuration of mmpose.
    """

    lifter: str = "auto"
    skeleton: str = "h36m17"
    trust_config: bool = False
    clean: CleanConfig = field(default_factory=CleanConfig)

    def __post_init__(self) -> None:
        """Check that the skeleton is known."""
        skeleton(self.skeleton)


@dataclass(frozen=True)
class LifterConfig:
    """How the lifter `tcn` is trained (`gaitreid train --model lifter`), and what the library of `matching` is made of.

    Attributes:
        motions: files of walks in 3D, or folders of them.
        walkers: share of rendered walkers among the walks; all where there are no files.
        width: channels of the network.
        epochs: each draws new examples.
        examples: pieces of walks that are drawn for an epoch.
        passes: over the examples of an epoch: drawing one takes as long as learning from it.
        stretch: spread of the limbs' lengths about those of the walk, as a share.
    """

    motions: tuple[str, ...] = ()
    walkers: float = 0.3
    width: int = 256
    epochs: int = 60
    examples: int = 2048
    passes: int = 2
    batch: int = 32
    frames: int = 64
    learning_rate: float = 2e-3
    stretch: float = 0.07

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.walkers <= 1:
            raise UsageError(f"lifter.walkers is {self.walkers}, expected 0 to 1")
        if (
            min(self.width, self.epochs, self.examples, self.passes, self.batch, self.frames) < 1
            or self.learning_rate <= 0
            or self.stretch < 0
        ):
            raise UsageError("lifter: width, epochs, examples, passes, batch and frames must be 1 or more, learning_rate above 0")


def lift(track: Track2D, config: LiftConfig, lifter: Callable[[str], Lifter]) -> Track3D:
    """Lift a track, put its root at the origin and clean it.

    Args:
        lifter: makes a lifter from its name.

    Raises:
        ItemError: the track lacks what the lifter needs.
    """
    name = chosen(track) if config.lifter == "auto" else config.lifter
    target = skeleton(config.skeleton)
    by = lifter(name)
    xyz, score = by.lift(track, target)
    xyz, score = clean(_centred(xyz, target), score, track.time, config.clean)
    if by.rigid:
        xyz = _centred(steadied(xyz, target), target)
    score = np.where(found(xyz), score, 0)  # what hangs from a missing joint is missing, too
    return Track3D(frame=track.frame, time=track.time, xyz=xyz.astype(np.float32), score=score, skeleton=target, lifter=name)


def shipped() -> Path:
    """Folder of the lifter that comes with the package: config.yaml, lifter.safetensors, and README.md, the model card."""
    return Path(str(resources.files("gaitreid") / "pose" / "lifters" / "shipped"))


def chosen(track: Track2D) -> str:
    """The lifter that `auto` means for a track."""
    return "world" if np.isfinite(track.world).any() else "tcn"


def _centred(xyz: FloatArray, of: Skeleton) -> FloatArray:
    return np.asarray(xyz - root(xyz, of)[:, None])
