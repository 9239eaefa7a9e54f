"""Room on the disk: said before a run, looked at during it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gaitreid.pipeline.console import Console
from gaitreid.pose.errors import FullError, UsageError


@dataclass(frozen=True)
class DiskConfig:
    """How much room a run leaves.

    Attributes:
        reserve: MiB that stay free: a run stops when there is less.
        check: whether a run is refused that will probably not fit, and stopped at the reserve.
    """

    reserve: float = 100.0
    check: bool = True

    def __post_init__(self) -> None:
        """Check the range."""
        if self.reserve < 0:
            raise UsageError("disk.reserve must be 0 or more")

    @property
    def bytes(self) -> float:
        """The reserve."""
        return self.reserve * 2**20 if self.check else 0.0


def free(folder: Path) -> int:
    """Bytes free where a folder is, or will be."""
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(place).free


def check(folder: Path, need: float, config: DiskConfig, console: Console, stage: str) -> None:
    """Say how much a stage will write, and how much is free.

    Raises:
        UsageError: it will not fit, and `disk.check` is on.
    """
    room = free(folder)
    words = f"about {size(need)} to be written, {size(room)} free in {folder}"
    if config.check and need + config.bytes > room:
        raise UsageError(
            f"{stage}: {words}, of which {config.reserve:g} MiB stay free (disk.reserve): make room, name another --work, or go "
            "on regardless with --set disk.check=false"
        )
    console.say(f"{stage}: {words}")


def watch(folder: Path, config: DiskConfig) -> None:
    """Stop a run in time.

    Raises:
        FullError: less is free than the reserve.
    """
    if config.check and free(folder) < config.bytes:
        raise FullError(
            f"{folder}: {size(free(folder))} free, less than the reserve of {config.reserve:g} MiB (disk.reserve): stopped; what "
            "was done is kept: make room, and the same command goes on from here"
        )


def size(count: float) -> str:
    """Bytes for people, such as 1.2 GB."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count:.0f} bytes"
