"""Settings of encoding and matching; those of training are here too, since this module loads without torch."""

from dataclasses import dataclass
from typing import Literal

from gaitreid.pose.errors import UsageError


@dataclass(frozen=True)
class CageConfig:
    """The CAGE encoder and its losses (TPAMI 2021).

    Attributes:
        hidden: units of every LSTM layer, K.
        attention: las trains the attention towards locality, bas leaves it alone.
        contrastive: paper, dedup (a window's own copy is no negative) or none (AGE).
        temperature: of the contrastive loss.
        window: D of the locality mask; null is the length of a window.
        reconstruction_weight, locality_weight, contrastive_weight: lambdas of the sum of losses.
        regularisation: beta, on half the squared norm of all weights.
        standardize: whether coordinates are first brought to zero mean and unit deviation over the training frames.
    """

    hidden: int = 256
    attention: Literal["las", "bas"] = "las"
    contrastive: Literal["paper", "dedup", "none"] = "dedup"
    temperature: float = 0.1
    window: int | None = None
    reconstruction_weight: float = 1.0
    locality_weight: float = 1.0
    contrastive_weight: float = 1.0
    regularisation: float = 1e-4
    standardize: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.hidden < 1 or self.temperature <= 0 or (self.window is not None and self.window < 1):
            raise UsageError("cage.hidden and cage.window must be 1 or more, cage.temperature above 0")


@dataclass(frozen=True)
class TrainConfig:
    """How an encoder is trained.

    Attributes:
        model: encoder by name.
        epochs: passes over the windows.
        batch: windows a step.
        learning_rate: of Adam, constant.
        clip: gradients are cut to this, element by element.
        subjects: train on these only, such as 001-074 or 001,005; null takes everybody.
    """

    model: str = "cage"
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 5e-4
    clip: float = 5.0
    subjects: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0 or self.clip <= 0:
            raise UsageError("train: epochs must be 1 or more, batch 2 or more, learning_rate and clip above 0")


@dataclass(frozen=True)
class EncodeConfig:
    """How windows become vectors.

    Attributes:
        form: mean over the frames of a window, or sc: frames concatenated.
        whiten: how far vectors of form mean are whitened by what the model saw in training: 0 not at all (the papers'), 1 fully.
        batch: windows at a time.
    """

    form: Literal["mean", "sc"] = "mean"
    whiten: float = 0.7
    batch: int = 512

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.batch < 1:
            raise UsageError(f"encode.batch is {self.batch}, expected 1 or more")
        if not 0 <= self.whiten <= 1:
            raise UsageError(f"encode.whiten is {self.whiten}, expected 0 to 1")


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

    metric: Literal["euclidean", "cosine"] = "cosine"
    exclude: Literal["same-recording", "same-window", "overlap", "nothing"] = "same-recording"
    unit: Literal["track", "window"] = "track"
    top: int = 10
    block: int = 512

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top < 1 or self.block < 1:
            raise UsageError("match.top and match.block must be 1 or more")
