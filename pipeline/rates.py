"""How long work takes and how much it writes, a frame: as earlier runs in a work folder have noted, or guessed.

The notes are `logs/run.jsonl` and what was set aside of it (`pipeline/logs.py`); what is in them may be cut off or of another
version, so lines that do not say what is needed are passed over.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaitreid.pipeline.bounds import read_bytes
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import FormatError

# On one core, with the default settings: seconds a frame of a track, and bytes a frame of what the stage writes. For train a
# frame counts once for every window that it is in, and once for every epoch.
SECONDS = {"extract": 0.04, "lift": 1e-3, "split": 1e-4, "train": 4e-4, "encode": 2e-4, "match": 1e-3}
BYTES = {"extract": 1000.0, "silhouettes": 200.0, "lift": 450.0, "split": 220.0, "encode": 300.0, "match": 100.0}
MODEL = 200 * 2**20  # bytes of a checkpoint and the weights
VIDEO = 8000.0  # bytes of a compressed frame
FOLDERS = {"extract": "pose2d", "silhouettes": "silhouettes", "lift": "pose3d"}


@dataclass
class Noted:
    """What the notes say of one stage, in sum; bytes are of what was read."""

    items: int = 0
    seconds: float = 0.0
    frames: float = 0.0
    bytes: float = 0.0


class Rates:
    """Of one work folder."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.noted: dict[str, Noted] = {}
        for line in _lines(work.root / "logs"):
            noted = self.noted.setdefault(line["stage"], Noted())
            noted.items += 1
            noted.seconds += line["seconds"]
            noted.frames += line["frames"]
            noted.bytes += line["bytes"]

    def measured(self, stage: str) -> int:
        """Of how many items it is known how long a stage took."""
        noted = self.noted.get(stage)
        return noted.items if noted and noted.frames > 0 and noted.seconds > 0 else 0

    def seconds(self, stage: str, frames: float) -> float:
        """That a stage takes for so many frames, on one core."""
        return frames * (self.noted[stage].seconds / self.noted[stage].frames if self.measured(stage) else SECONDS[stage])

    def frames(self, size: float) -> float:
        """Frames in so many bytes of video."""
        noted = self.noted.get("extract")
        known = noted is not None and noted.frames > 0 and noted.bytes > 0
        return size / (noted.bytes / noted.frames if noted and known else VIDEO)

    def bytes(self, stage: str, frames: float) -> float:
        """That a stage writes for so many frames of tracks; by the share of frames in which somebody was found so far."""
        noted = self.noted.get("extract")
        if stage not in FOLDERS or noted is None or noted.frames <= 0 or not noted.items:
            return frames * BYTES[stage]
        files = [path.stat().st_size for path in (self.work.root / FOLDERS[stage]).glob("*.h5")]
        mean = sum(files) / len(files) if files else 0.0
        return frames * (mean / (noted.frames / noted.items) if mean else BYTES[stage])


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Notes of items that were done."""
    for path in sorted(folder.glob("run*.jsonl")):
        try:
            texts = read_bytes(path).decode("utf-8", "replace").splitlines()
        except FormatError:
            continue
        for text in texts:
            try:
                line = json.loads(text)
                numbers = {key: float(line[key]) for key in ("seconds", "frames", "bytes")}
                if line["state"] == "done" and all(0 <= number < math.inf for number in numbers.values()):
                    yield {"stage": str(line["stage"]), **numbers}
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
