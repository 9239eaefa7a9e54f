"""The work folder: where each stage's files are, and whether one is up to date.

A file is up to date when it was made from the same content by the same settings: its root attributes `config` (the stage's
settings, JSON) and `made_from` (SHA-256 of what it was made from) say so.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaitreid.pipeline import store
from gaitreid.pipeline.config import as_dict
from gaitreid.pose.errors import FormatError


@dataclass(frozen=True)
class Work:
    """Paths below one work folder."""

    root: Path

    @property
    def sequences(self) -> Path:
        """The windows of all tracks."""
        return self.root / "sequences.h5"

    def pose2d(self, stem: str) -> Path:
        """Tracks of one video."""
        return self.root / "pose2d" / f"{stem}.h5"

    def silhouettes(self, stem: str) -> Path:
        """Silhouettes of one video."""
        return self.root / "silhouettes" / f"{stem}.h5"

    def pose3d(self, stem: str) -> Path:
        """Lifted tracks of one video."""
        return self.root / "pose3d" / f"{stem}.h5"

    def model(self, name: str) -> Path:
        """Folder of one trained model."""
        return self.root / "models" / name

    def embeddings(self, name: str) -> Path:
        """Vectors by one model."""
        return self.root / "embeddings" / f"{name}.h5"

    def match(self, probe: str, gallery: str, protocol: str = "") -> Path:
        """Folder of one comparison; what a file name cannot hold of the selectors is written `+`."""
        names = [re.sub(r"[^\w=.,]+", "+", text) or "all" for text in (probe, gallery)]
        return self.root / "matches" / "-".join([*filter(None, [protocol]), *names])

    def recognition(self, name: str) -> Path:
        """Folder of one recognition."""
        return self.root / "recognition" / name

    def stems(self, stage: str) -> list[str]:
        """Stems of the videos that a stage (pose2d, pose3d) has files of, sorted."""
        return sorted(file.stem for file in (self.root / stage).glob("*.h5") if not file.name.startswith("."))


def provenance(config: Any, made_from: str) -> dict[str, store.Attribute]:
    """The root attributes by which `is_current` knows a file."""
    return {"config": settings(config), "made_from": made_from}


def settings(config: Any) -> str:
    """A stage's settings as JSON, the same text for the same settings."""
    return json.dumps(as_dict(config), sort_keys=True)


def is_current(path: Path, schema: str, config: Any, made_from: str) -> bool:
    """Whether a stage's file was made from this content by these settings."""
    if not path.exists():
        return False
    try:
        found = store.attributes(path, schema)
    except FormatError:
        return False  # damaged or of another version: made again
    return all(found.get(key) == value for key, value in provenance(config, made_from).items())
