"""What became of every item of every run: `logs/run.jsonl` in the work folder, for those who look later and for estimates.

A line is JSON: time (UTC), command, stage, item, state (done, failed or skipped), reason (a code), seconds, bytes, frames. Labels
and messages are not written. An item is the stem of its file: without it nobody can look up what happened to a file, but a stem
may name somebody; `logs.names=hashed` writes a keyed hash in its place, the same one for the same stem in this work folder.
"""

import json
import os
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from gaitreid.pipeline.files import make_folder
from gaitreid.pipeline.lock import holding
from gaitreid.pose.errors import UsageError

NAME, KEY = "run.jsonl", ".key"


@dataclass(frozen=True)
class LogsConfig:
    """What is kept of runs.

    Attributes:
        names: stems as they are, or hashed by a key of the work folder.
        megabytes: size at which a log is set aside and a new one begun.
        kept: how many older ones are kept.
    """

    names: Literal["plain", "hashed"] = "plain"
    megabytes: float = 10.0
    kept: int = 5

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.megabytes <= 0 or self.kept < 0:
            raise UsageError("logs.megabytes must be above 0, and logs.kept 0 or more")


class RunLog:
    """Adds lines to the log of a work folder, as several runs may at a time. A log is not worth a run: errors are let go."""

    def __init__(self, root: Path, config: LogsConfig = LogsConfig(), command: str = "") -> None:
        """Nothing is made before the first line."""
        self.folder = root / "logs"
        self._config, self._command = config, command or _command()
        self._key = b""

    def add(
        self, stage: str, item: str, state: str, reason: str = "", seconds: float = 0.0, size: int = 0, frames: int = 0
    ) -> dict[str, object]:
        """Add a line, and give what is in it."""
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "command": self._command,
            "stage": stage,
            "item": item,
            "state": state,
            "reason": reason,
            "seconds": round(seconds, 3),
            "bytes": size,
            "frames": frames,
        }
        try:
            make_folder(self.folder)
            line["item"] = self._named(item)
            self._write(json.dumps(line))
        except OSError:
            pass
        return line

    def _named(self, item: str) -> str:
        if self._config.names == "plain":
            return item
        self._key = self._key or self._secret()
        return blake2b(item.encode(errors="surrogateescape"), key=self._key, digest_size=8).hexdigest()

    def _secret(self) -> bytes:
        """The key of this work folder: without one, who knows the names could find them out."""
        path = self.folder / KEY
        with holding(self.folder / ".lock", wait=True):
            if not path.exists():
                path.touch(mode=0o600)
                path.write_bytes(secrets.token_bytes(32))
            return path.read_bytes()

    def _write(self, line: str) -> None:
        path = self.folder / NAME
        if self._is_full(path):
            self._rotate(path)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode() + b"\n")
        finally:
            os.close(handle)

    def _is_full(self, path: Path) -> bool:
        try:
            return path.stat().st_size >= self._config.megabytes * 1e6
        except FileNotFoundError:
            return False

    def _rotate(self, path: Path) -> None:
        """run.jsonl becomes run.1.jsonl, that run.2.jsonl, and so on."""
        with holding(self.folder / ".lock", wait=True):
            if not self._is_full(path):  # another run has set it aside
                return
            older = [path.with_name(f"run.{n}.jsonl") for n in range(1, self._config.kept + 1)]
            for old, new in reversed(list(zip([path, *older], older, strict=False))):
                if old.exists():
                    old.replace(new)
            if not older:
                path.unlink()


def _command() -> str:
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
