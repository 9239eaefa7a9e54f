"""Whole files or none: written beside their place and renamed; and what a file's content is known by."""

import csv
import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from gaitreid.pose.errors import FullError, GaitReidError

FULL = 64 * 2**10  # bytes: with less left on the disk, OpenCV for one writes half a file and says nothing
LEFT_OVER = re.compile(r"^\.(?P<name>.+)\.(?P<pid>\d+)\.tmp")


@contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; when the block ends well it takes the place of `path`.

    A crash at any moment leaves the old file or the new one, never half of either. The temporary file is there already, empty,
    so that no other user can read it at any moment; a writer that goes by endings may add one to its name.

    Args:
        private: only the owner may read the file, and folders that are made for it, whatever the umask: what is in a work folder
            says who walked where. What is made for others (exports, rendered videos) goes by the umask.

    Raises:
        FullError: the disk is full, or the quota is spent.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_told(path):
            make_folder(path.parent, private=private)
            if path.name in _unfinished(path.parent):
                sweep(path)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666))
            yield temporary
            if private:
                temporary.chmod(0o600)  # some writers put a file of their own in its place
            _sync_file(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        for left in path.parent.glob(f"{glob.escape(temporary.name)}*"):
            left.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder`, which is not there yet, when the block ends well; it goes by the umask.

    Raises:
        FullError: the disk is full, or the quota is spent.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    try:
        with full_disk_told(folder):
            shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
            make_folder(unfinished, private=False)
            yield unfinished
            for file in unfinished.iterdir():
                _sync_file(file)
            sync_folder(unfinished)
            unfinished.rename(folder)
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """What is raised where the disk is full becomes a FullError that names what could not be written."""
    try:
        yield
    except GaitReidError:
        raise
    except Exception as error:
        if _is_full(error, path.parent):
            raise FullError(
                f"{path}: cannot be written: {os.strerror(errno.ENOSPC)}; what was done before is kept: make room, "
                "and the same command goes on from here"
            ) from error
        raise


def make_folder(folder: Path, *, private: bool = True) -> None:
    """Make a folder and those above it, each on the disk before anything is put into it.

    Args:
        private: only the owner may look into those that are made.
    """
    for place in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        place.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
        sync_folder(place.parent)


def left_over(root: Path) -> list[Path]:
    """Unfinished files below a folder whose writers, processes of this machine, are no longer there, sorted."""
    found = ((path, LEFT_OVER.match(path.name)) for path in root.rglob(".*.tmp*"))
    return sorted(path for path, match in found if match and not is_alive(int(match["pid"])))


def write_text(path: Path, text: str, *, private: bool = True) -> Path:
    """Write a UTF-8 text file, whole or not at all; `private` as of `replacing`."""
    with replacing(path, private=private) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def write_json(path: Path, value: object) -> Path:
    """Write JSON, whole or not at all."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a table under the names of its columns, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(parts: Iterable[str]) -> str:
    """SHA-256 over texts, each ended by a line feed, in hex."""
    result = hashlib.sha256()
    for part in parts:
        result.update(part.encode() + b"\n")
    return result.hexdigest()


def sweep(path: Path) -> None:
    """Remove what processes that were killed left of a file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        pid = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            left.unlink(missing_ok=True)


@cache
def _unfinished(folder: Path) -> frozenset[str]:
    """Names of the files that were unfinished in a folder when this process first wrote there.

    Once, as a folder may hold 100,000s of files: to list it for each of them took longer than to write them.
    """
    found = (LEFT_OVER.match(path.name) for path in folder.glob(".*.tmp*"))
    return frozenset(match["name"] for match in found if match)


def is_alive(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """See that what was put into a folder, or renamed in it, is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    if shutil.disk_usage(path.parent).free < FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_full(error: BaseException, folder: Path) -> bool:
    """Whether a writer ended for want of room; libraries in C tell that in words of their own, or not at all."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if folder.is_dir() and shutil.disk_usage(folder).free < FULL:
        return True
    words = f"{error} {error.__cause__ or ''} {error.__context__ or ''}"
    return any(sign in words for sign in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), f"errno = {errno.ENOSPC}"))
