"""The encoder that comes with the package, so that people can be told apart without training."""

from importlib import resources
from pathlib import Path

from gaitreid.pipeline.train import describe
from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import mapping
from gaitreid.reid.records import Sequences
from gaitreid.reid.search import Metric

NAME = "shipped"
BESIDE = ("gei-parts",)  # what is fused with it where videos have silhouettes, and by which distance
METRIC: Metric = "robust"


def folder() -> Path:
    """Its folder: config.yaml, encoder.safetensors, and README.md, the model card."""
    return Path(str(resources.files("gaitreid") / "reid" / NAME))


def takes(sequences: Sequences) -> bool:
    """Whether it can encode these windows: they are cut as those were that it was trained on, and have its joints."""
    facts, skeleton = describe(folder())
    if any(facts[key] != getattr(sequences, key) for key in ("length", "fps", "normalize")):
        return False
    try:
        mapping(sequences.skeleton, skeleton)
    except UsageError:
        return False
    return True
