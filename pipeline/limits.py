"""What one item may take before it is cut off: one poisonous video must not stop a thousand good ones."""

import os
from dataclasses import dataclass
from pathlib import Path

from gaitreid.pose.errors import UsageError
from gaitreid.pose.video import Bounds

SHARE = 0.8  # of the machine's memory, for all workers together


@dataclass(frozen=True)
class LimitsConfig:
    """Limits of one item, such as a video. What they cut off is a failure with a reason, and the others go on.

    Attributes:
        seconds: the most without a new frame (`timeout`).
        pace: the most seconds of work a second of video, on top of `seconds` (`timeout`). An estimator that takes ten seconds a
            frame stays below it; a stream that drips does not.
        hours: of video (`too-large`).
        megapixels: of a picture (`too-large`); 8K has 33.
        gigabytes: of a video file (`too-large`).
        memory: gigabytes that a worker may hold (`out-of-memory`); none: its share of four fifths of the machine's.
    """

    seconds: float = 600.0
    pace: float = 300.0
    hours: float = 24.0
    megapixels: float = 40.0
    gigabytes: float = 100.0
    memory: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("seconds", "pace", "hours", "megapixels", "gigabytes", "memory"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"limits.{name} is {value}, expected a number above 0")

    @property
    def bounds(self) -> Bounds:
        """Those that are checked while a video is read."""
        return Bounds(pixels=round(self.megapixels * 1e6), seconds=self.hours * 3600)

    def most_memory(self, workers: int) -> int:
        """Bytes that one of so many workers may hold."""
        return round(self.memory * 1e9 if self.memory else SHARE * machine_memory() / workers)


def machine_memory() -> int:
    """Bytes that this machine, or the container that this runs in, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(allowed)) if allowed.isdigit() else total


def resident(pid: int) -> int:
    """Bytes that a process holds in memory now; 0 where this cannot be told."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
