"""The encoder that comes with the package, so that people can be told apart without training."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaitreid.pipeline.config import Config
from gaitreid.pipeline.train import describe
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.skeleton import mapping
from gaitreid.reid.config import EncodeConfig
from gaitreid.reid.records import Sequences
from gaitreid.reid.search import Metric

if TYPE_CHECKING:
    from gaitreid.reid.beside import Beside

NAME = "shipped"
BESIDE = ("gei-parts",)  # what is fused with it where videos have silhouettes
METRIC: Metric = "alike"  # by which distance, for ranks
OPEN: Metric = "robust"  # and for galleries, which strangers meet too
BOTH = "+".join((NAME, *BESIDE))
COHORT = "cohort.safetensors"


def folder() -> Path:
    """Its folder: config.yaml, encoder.safetensors, and README.md, the model card."""
    return Path(str(resources.files("gaitreid") / "reid" / NAME))


def beside() -> tuple["Beside", FloatArray]:
    """What joins its vectors with images, and people who are nobody's, one vector each (N, D), for calibrations."""
    from safetensors.numpy import load_file

    from gaitreid.reid.beside import Beside

    found = load_file(folder() / COHORT)
    return Beside(found["scales"]), found["cohort"].astype(np.float32)


def has_images(config: Config) -> bool:
    """Whether images can stand beside its vectors under these settings: of the estimators MediaPipe alone gives silhouettes."""
    return config.extract.pose == ExtractConfig().pose and config.encode.form == EncodeConfig().form


def takes(sequences: Sequences) -> bool:
    """Whether it can encode these windows: they are cut as those were that it was trained on, and have its joints."""
    try:
        mapping(sequences.skeleton, describe(folder())[1])
    except UsageError:
        return False
    return takes_cut(sequences.length, sequences.fps, sequences.normalize)


def takes_cut(length: int, fps: float | None, normalize: str) -> bool:
    """Whether it can encode windows that are cut so, whatever their joints."""
    facts, _ = describe(folder())
    return (facts["length"], facts["fps"], facts["normalize"]) == (length, fps or 0.0, normalize)
