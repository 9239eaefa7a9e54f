"""One writing run in a folder: locks that say who holds them, and that the system lets go of when their holder dies.

A lock is a file that is locked (`flock`) as long as its holder lives, and gone when it ends well. What a crash leaves is a file
that nobody holds: it stops nobody. Where a file system has no such locks, nothing is locked.
"""

import errno
import fcntl
import json
import os
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from gaitreid.pipeline.files import left_over, make_folder
from gaitreid.pose.errors import UsageError

NAME = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EACCES)
SHOWN = 120  # letters of the command that holds it
LOOKS = 5  # and a twentieth of a second between them: somebody who only looks whether it is held, holds it for that moment
_held: dict[Path, int] = {}  # locks of this process, and how often they were taken


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        since: local time, ISO 8601.
    """

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.pid} on {self.host}, since {self.since})"


@contextmanager
def writing(folder: Path, shard: str = "") -> Iterator[None]:
    """Be the one run that writes in a work folder, or one of its shards; taken again in the same process it is there already.

    What runs that were killed left unfinished is removed first.

    The other processes of a training under torchrun take none: the first has it.

    Args:
        shard: such as `1/4`: other shards may write at the same time, the same one and whole runs may not.

    Raises:
        UsageError: another run is writing.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with ExitStack() as stack:
        if shard:
            stack.enter_context(holding(folder / f"{NAME}-shard-{shard.replace('/', '-of-')}"))
        first = (folder / NAME).absolute() not in _held
        stack.enter_context(holding(folder / NAME, shared=bool(shard)))
        if first and not shard:
            for path in left_over(folder):
                path.unlink(missing_ok=True)
        yield


@contextmanager
def holding(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Hold one lock.

    Args:
        shared: others may hold it in the same way.
        wait: until it is free.

    Raises:
        UsageError: somebody else holds it, and there is no waiting.
    """
    place = path.absolute()
    if place in _held:
        _held[place] += 1
    else:
        _held[place] = 1
        try:
            handle = _take(path, shared, wait)
        except BaseException:
            del _held[place]
            raise
    try:
        yield
    finally:
        _held[place] -= 1
        if not _held[place]:
            del _held[place]
            _let_go(handle, path)


def holders(folder: Path) -> list[Holder]:
    """Who writes in a work folder now: one run, its shards, or nobody. Nothing is written for that."""
    found = (_holder(path) for path in sorted(folder.glob(f"{NAME}*")))
    return [holder for holder in found if holder]


def _take(path: Path, shared: bool, wait: bool) -> int:
    """The open file, locked. One that was removed while this waited for it is not the lock any more."""
    make_folder(path.parent)
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _taken(handle, how):
                raise UsageError(_refusal(path))
            if not _is_at(handle, path):
                os.close(handle)
                continue
            if not shared:
                _sign(handle)
        except BaseException:
            os.close(handle)
            raise
        return handle


def _let_go(handle: int, path: Path) -> None:
    """Remove the file while it is locked, unless others hold it too."""
    try:
        if _flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB) and _is_at(handle, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _taken(handle: int, how: int) -> bool:
    for look in range(LOOKS):
        if _flock(handle, how):
            return True
        if look < LOOKS - 1:
            time.sleep(0.05)
    return False


def _flock(handle: int, how: int) -> bool:
    """Whether it could be done."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    """Write down who holds it: for people, so a disk that is too full for it is no reason to stop."""
    command = textwrap.shorten(" ".join(["gaitreid", *sys.argv[1:]]), SHOWN, placeholder=" ...")
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    text = json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), command, since)))
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _holder(path: Path) -> Holder | None:
    """Who holds a lock for themselves."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return None
        return _read(handle)
    finally:
        os.close(handle)


def _read(handle: int) -> Holder:
    try:
        facts = json.loads(os.pread(handle, 2**16, 0))
        return Holder(int(facts["pid"]), str(facts["host"]), str(facts["command"]), str(facts["since"]))
    except (OSError, ValueError, KeyError, TypeError):  # it has just been taken
        return Holder(0, "an unknown machine", "gaitreid", "just now")


def _refusal(path: Path) -> str:
    found = " and ".join(map(str, holders(path.parent))) if path.name.startswith(NAME) else str(_holder(path) or "")
    who = found or "another run"
    return f"{path.parent}: {who} is writing there: wait for its end, or name another --work"
