"""The work folder: where each stage's files are, and whether one is up to date.

A file is up to date when it was made from the same content by the same settings and the same code: its root attributes
`config` (the stage's settings, JSON), `made_from` (SHA-256 of what it was made from) and `code_version` say so.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gaitreid.pipeline import store
from gaitreid.pipeline.bounds import file_name
from gaitreid.pipeline.config import as_dict
from gaitreid.pipeline.files import digest
from gaitreid.pipeline.versions import CODE
from gaitreid.pose.errors import FormatError

LONGEST = 255  # bytes that file systems take for a name


@dataclass(frozen=True)
class Work:
    """Paths below one work folder."""

    root: Path

    @property
    def sequences(self) -> Path:
        """The windows of all tracks."""
        return self.root / "sequences.h5"

    @property
    def walks(self) -> Path:
        """Silhouettes and keypoints of all tracks."""
        return self.root / "walks.h5"

    def pose2d(self, stem: str) -> Path:
        """Tracks of one video."""
        return self.root / "pose2d" / f"{stem}.h5"

    def silhouettes(self, stem: str) -> Path:
        """Silhouettes of one video."""
        return self.root / "silhouettes" / f"{stem}.h5"

    def silhouette_pose2d(self, stem: str) -> Path:
        """Tracks of one video as posed from its silhouettes."""
        return self.root / "silhouette-pose2d" / f"{stem}.h5"

    def pose3d(self, stem: str) -> Path:
        """Lifted tracks of one video."""
        return self.root / "pose3d" / f"{stem}.h5"

    def model(self, name: str) -> Path:
        """Folder of one trained model."""
        return self.root / "models" / name

    def embeddings(self, name: str) -> Path:
        """Vectors by one model."""
        return self.root / "embeddings" / f"{name}.h5"

    def match(self, probe: str, gallery: str, protocol: str = "plain") -> Path:
        """Folder of one comparison; what a file name cannot hold of the selectors is written `+`, and long ones are cut."""
        names = [re.sub(r"[^\w=.,]+", "+", text) or "all" for text in (probe, gallery)]
        name = "-".join(names if protocol == "plain" else [protocol, *names])
        if len(name.encode()) > LONGEST:
            name = f"{file_name(name)}-{digest((probe, gallery))[:12]}"
        return self.root / "matches" / name

    def recognition(self, name: str) -> Path:
        """Folder of one recognition."""
        return self.root / "recognition" / name

    def stems(self, stage: str) -> list[str]:
        """Stems of the videos that a stage (pose2d, pose3d) has files of, sorted."""
        return sorted(file.stem for file in (self.root / stage).glob("*.h5") if not file.name.startswith("."))


def provenance(config: Any, made_from: str) -> dict[str, store.Attribute]:
    """The root attributes by which `is_current` knows a file."""
    return {"config": settings(config), "made_from": made_from}


@cache
def settings(config: Any) -> str:
    """A stage's settings as JSON, the same text for the same settings."""
    return json.dumps(as_dict(config), sort_keys=True)


def is_current(path: Path, schema: str, config: Any, made_from: str) -> bool:
    """Whether a stage's file was made from this content by these settings and this code."""
    if not path.exists():
        return False
    try:
        found = store.attributes(path, schema)
    except FormatError:
        return False  # damaged or of another version: made again
    return not why_stale(found, schema, config, made_from)


def why_stale(found: Mapping[str, store.Attribute], schema: str, config: Any, made_from: str) -> str:
    """Why a file with these root attributes is not up to date, as `code: words`; empty where it is.

    The code is `code`, `settings` or `source`.
    """
    if found.get("code_version", 1) != CODE[schema]:
        return f"code: made by version {found.get('code_version', 1)} of this stage, now there is {CODE[schema]}"
    if changes := changed_settings(str(found.get("config", "")), config):
        return f"settings: {changes}"
    if found.get("made_from") != made_from:
        return "source: what it was made from has changed"
    return ""


def changed_settings(found: str, config: Any) -> str:
    """Which settings differ from those of a file, with both values; empty where they are the same.

    A setting that there was not yet when the file was made counts as its default: where a new one changes what comes out
    unasked, the stage's code has another number.
    """
    if found == settings(config):
        return ""
    try:
        old = {**json.loads(settings(type(config)())), **json.loads(found)}
    except (ValueError, TypeError):
        return "they cannot be read"
    new = json.loads(settings(config))
    return ", ".join(f"{key} {_value(old, key)} -> {_value(new, key)}" for key in sorted({*old, *new}) if _differ(old, new, key))


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    return key not in old or key not in new or old[key] != new[key]


def _value(settings_: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings_[key]) if key in settings_ else "nothing"
