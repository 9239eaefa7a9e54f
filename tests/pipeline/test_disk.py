"""Disks that fill: a real small one where this may be mounted, and errors put in by hand everywhere."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tracked import tracked, video
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline import disk, files, store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.disk import DiskConfig
from gaitreid.pipeline.files import make_folder, replacing, write_text
from gaitreid.pipeline.lift import lift
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import FullError, UsageError
from gaitreid.pose.lift import LiftConfig
from gaitreid.pose.records import Silhouettes

LARGE = np.random.default_rng(0).integers(0, 255, 2**20, dtype=np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here: this takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _hdf5(path: Path) -> None:
    masks = LARGE[: 2816 * 372].reshape(-1, 64, 44)
    store.write(path, "silhouettes", {"/tracks/000001": Silhouettes(frame=np.arange(len(masks)), mask=masks)}, {})


def _text(path: Path) -> None:
    write_text(path, "x" * 2**20)


def _checkpoint(path: Path) -> None:
    with replacing(path) as temporary:
        torch.save({"weights": torch.from_numpy(LARGE)}, temporary)


def _weights(path: Path) -> None:
    with replacing(path) as temporary:
        save_file({"weights": LARGE}, temporary)


def _video(path: Path) -> None:
    with replacing(path) as temporary:
        made = temporary.with_suffix(".avi")
        writer = cv2.VideoWriter(str(made), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (256, 256))
        for k in range(60):
            writer.write(np.roll(LARGE[: 3 * 2**16], k).reshape(256, 256, 3))
        writer.release()
        made.replace(temporary)


@pytest.mark.parametrize("write", [_hdf5, _text, _checkpoint, _weights, _video])
def test_a_full_disk_is_a_clear_error_and_no_partial_file(small: Path, write: Callable[[Path], None]) -> None:
    old = write_text(small / "results/file", "as it was")
    with pytest.raises(FullError, match="results/file: cannot be written: No space left on device; what was done before is kept"):
        write(old)
    assert [path.name for path in old.parent.iterdir()] == ["file"]
    assert old.read_text() == "as it was"


def test_a_run_that_filled_the_disk_goes_on_when_there_is_room(small: Path, tmp_path: Path) -> None:
    work, other = Work(small / "work"), Work(tmp_path / "other")
    for k in range(9):
        clip = video(tmp_path / "videos", f"{k:03d}-nm-01-090")
        for place in (work, other):
            tracked(place, clip, k)
    (small / "others").write_bytes(bytes(shutil.disk_usage(small).free - 180_000))
    result = CliRunner().invoke(app, ["lift", "--work", str(work.root), "--jobs", "1", "--set", "disk.reserve=0"])
    assert isinstance(result.exception, FullError)  # exit code 3
    kept = work.stems("pose3d")
    assert 0 < len(kept) < 9
    assert list(work.root.rglob("*.tmp*")) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
    before = {stem: work.pose3d(stem).stat().st_mtime_ns for stem in kept}
    for place in (work, other):
        lift(place, LiftConfig(), Console(-1), room=DiskConfig(reserve=0))
    assert {stem: work.pose3d(stem).stat().st_mtime_ns for stem in kept} == before  # what was done was not done again
    for stem in other.stems("pose3d"):
        assert work.pose3d(stem).read_bytes() == other.pose3d(stem).read_bytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_or_a_quota_that_ends_only_when_the_file_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FullError, match="make room"):
        write_text(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "no")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_will_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = video(tmp_path / "videos", "clip", "x" * 8_000_000)  # some thousand frames, which make a megabyte
    monkeypatch.setattr(disk, "free", lambda folder: 100 * 2**20 + 900_000)
    words = ["extract", str(clip), "--work", str(tmp_path / "work"), "--jobs", "1"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UsageError)
    assert "about 1 MB to be written, 106 MB free" in str(result.exception)
    monkeypatch.setenv("GAITREID_IN_PROCESS", "1")
    result = CliRunner().invoke(app, [*words, "--set", "disk.check=false"])
    assert "clip  unreadable" in result.output  # it went on


def test_a_run_stops_at_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(tmp_path / "work")
    for k in range(3):
        tracked(work, video(tmp_path / "videos", f"{k}"), k)
    rooms = iter([300 * 2**20, 50 * 2**20, 50 * 2**20])
    monkeypatch.setattr(disk, "free", lambda folder: next(rooms))
    with pytest.raises(FullError, match=r"52.4 MB free, less than the reserve of 100 MiB \(disk.reserve\): stopped"):
        lift(work, LiftConfig(), Console(-1))
    assert len(work.stems("pose3d")) == 2


def test_folders_are_on_the_disk_before_what_is_put_into_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_folder", lambda folder: synced.append(folder.name))
    make_folder(tmp_path / "a/b/c")
    assert synced == [tmp_path.name, "a", "b"]


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1234, "1.23 kB"), (5e9, "5 GB"), (2e12, "2 TB")]
)
def test_sizes_for_people(count: float, words: str) -> None:
    assert disk.size(count) == words
