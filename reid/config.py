"""Settings of encoding and matching; those of training are here too, since this module loads without torch."""

from dataclasses import dataclass
from typing import Literal

from gaitreid.pose.errors import UsageError


@dataclass(frozen=True)
class EncodeConfig:
    """How windows become vectors.

    Attributes:
        form: mean over the frames of a window, or sc: frames concatenated.
        batch: windows at a time.
    """

    form: Literal["mean", "sc"] = "mean"
    batch: int = 512

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UsageError(f"encode.batch is {self.batch}, expected 1 or more")


@dataclass(frozen=True)
class MatchConfig:
    """How probes are compared with the gallery.

    Attributes:
        metric: distance between vectors.
        exclude: gallery items that a probe is not compared with.
        unit: what is ranked: whole tracks, or single windows.
        top: ranks kept in ranking.csv and ranking.h5.
        block: probes at a time; memory grows with it.
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"
    exclude: Literal["same-recording", "same-window", "overlap", "nothing"] = "same-recording"
    unit: Literal["track", "window"] = "track"
    top: int = 10
    block: int = 512

    def __post_init__(self) -> None:
        if self.top < 1 or self.block < 1:
            raise UsageError("match.top and match.block must be 1 or more")
