"""Files that are whole or not there, on a disk whose power may go."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaitreid.pipeline import files


class Disk:
    """What a disk would hold if the power went now: contents as they were last synced, names as they are or last were synced."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.contents = folder, {p.stat().st_ino: p.read_bytes() for p in folder.iterdir()}
        self.names = self.now()
        self.seen: list[set[bytes | None]] = []
        self.target = ""

    def now(self) -> dict[str, int]:
        return {p.name: p.stat().st_ino for p in self.folder.iterdir()}

    def sync(self, handle: int) -> None:
        facts = os.fstat(handle)
        if stat.S_ISDIR(facts.st_mode):
            self.names = self.now()
        else:
            self.contents[facts.st_ino] = os.pread(handle, facts.st_size, 0)

    def cut(self) -> None:
        """Note what could be in the place of the file; None is nothing, and what was never synced is lost."""
        places = [names.get(self.target) for names in (self.names, self.now())]
        self.seen.append({None if inode is None else self.contents.get(inode, b"") for inode in places})


@pytest.mark.parametrize("old", [None, b"the old file"])
def test_a_power_cut_leaves_the_old_file_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None) -> None:
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_bytes(old)
    disk, sync, replace = Disk(tmp_path), os.fsync, Path.replace
    disk.target = path.name

    def synced(handle: int) -> None:
        disk.cut()
        sync(handle)
        disk.sync(handle)
        disk.cut()

    def replaced(source: Path, target: Path) -> Path:
        disk.cut()
        found = replace(source, target)
        disk.cut()
        return found

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    with files.replacing(path) as temporary:
        temporary.write_bytes(b"the new file")
        disk.cut()
    disk.cut()
    assert set().union(*disk.seen) == {old, b"the new file"}
    assert disk.seen[-1] == {b"the new file"}  # who was told that it is done has it


def test_without_a_sync_the_power_cut_is_seen(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.target = "a.txt"
    (tmp_path / "b.txt").write_bytes(b"half")
    (tmp_path / "b.txt").replace(tmp_path / "a.txt")
    disk.cut()
    assert disk.seen == [{None, b""}]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_private_is_so_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with files.replacing(tmp_path / "work/a/private.txt") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # from the beginning
            written = temporary.with_name(f"{temporary.name}.avi")
            written.write_text("x")
            written.replace(temporary)  # as video writers do
        files.write_text(tmp_path / "out/b/public.txt", "x", private=False)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes == {
        "work": 0o700, "a": 0o700, "private.txt": 0o600,
        "out": 0o777 & ~umask, "b": 0o777 & ~umask, "public.txt": 0o666 & ~umask,
    }  # fmt: skip


def test_what_a_failed_writer_put_beside_is_removed(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        temporary.with_name(f"{temporary.name}.avi").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), files.replacing(tmp_path / "a.avi") as temporary:
        fail(temporary)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_many_files_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    left = [tmp_path / f".{name}.{gone.pid}.tmp{ending}" for name, ending in (("1.txt", ""), ("2.txt", ".avi"), ("other", ""))]
    for path in left:
        path.touch()
    looked, glob = [], Path.glob

    def looking(folder: Path, pattern: str) -> Iterator[Path]:
        looked.append(pattern)
        return glob(folder, pattern)

    monkeypatch.setattr(Path, "glob", looking)
    for number in range(9):
        files.write_text(tmp_path / f"{number}.txt", "x")
    assert len(looked) == 3  # once, and for each of the two files of which something was left
    assert [path.exists() for path in left] == [False, False, True]
