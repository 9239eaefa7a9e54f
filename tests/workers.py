"""What workers of the tests do: these must be where a worker process can import them from."""

import os
import signal
import time
from pathlib import Path

from gaitreid.pipeline.jobs import beat
from gaitreid.pipeline.logs import LogsConfig, RunLog
from gaitreid.pose.errors import ItemError


def twice(number: int) -> int:
    return 2 * number


def where(number: int) -> tuple[int, int, int]:
    """Process, its parent, and the item."""
    return os.getpid(), os.getppid(), number


def dies_once(task: tuple[int, Path]) -> int:
    """Item 1 ends its worker when it is tried for the first time; each attempt leaves a file."""
    number, folder = task
    attempt = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{attempt}").touch()
    if number == 1 and attempt == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def poison(number: int) -> int:
    """Item 1 ends every worker, as a segmentation fault does; 2 hangs, and does not listen; 3 takes all memory."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if number == 3:
        hoard = []
        while True:
            hoard.append(bytearray(10**7))
            time.sleep(0.005)
    return number


def drips(number: int) -> int:
    """Shows that it lives, and gets nowhere."""
    for _ in range(100):
        time.sleep(0.3)
        beat(0.001)
    return number


def goes_on(seconds: float) -> float:
    """Longer than is allowed without a sign of life, with some."""
    for _ in range(2):
        time.sleep(seconds / 2)
        beat(1.0)
    return seconds


def reads(seconds: float) -> float:
    """Longer than is allowed before it begins, with signs of life."""
    for _ in range(4):
        time.sleep(seconds / 4)
        beat(None)
    return seconds


def wrong(number: int) -> int:
    if number == 1:
        raise ItemError("unreadable", "no more")
    raise ZeroDivisionError("by none")


def sleeps(path: Path) -> None:
    """Says who it is, and sleeps."""
    path.write_text(str(os.getpid()))
    time.sleep(60)


def notes(task: tuple[Path, str]) -> None:
    """Writes many lines to a log that is soon full."""
    folder, name = task
    log = RunLog(folder, LogsConfig(megabytes=0.002, kept=1000), name)
    for n in range(300):
        log.add("extract", f"{name}-{n}", "done")


def slow_where(number: int) -> tuple[int, int, int]:
    """As `where`, after a moment."""
    time.sleep(0.3)
    return where(number)
