"""Locks, held by real other processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline.lock import holders, holding, writing
from gaitreid.pose.errors import UsageError

HOLD = """
import sys, time
from pathlib import Path
from gaitreid.pipeline.lock import writing
sys.argv = ["gaitreid", "extract", "videos"]
with writing(Path({folder!r}), {shard!r}):
    print("held", flush=True)
    time.sleep(60)
"""
Holding = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def other() -> Iterator[Holding]:
    """Starts another process that holds a work folder, or a shard of it."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, shard: str = "") -> subprocess.Popen[str]:
        code = HOLD.format(folder=str(folder), shard=shard)
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_run_is_told_who_writes_and_a_kill_lets_go(tmp_path: Path, other: Holding) -> None:
    process = other(tmp_path)
    with (
        pytest.raises(UsageError, match=rf"`gaitreid extract videos` \(process {process.pid} on .+, since 20"),
        writing(tmp_path),
    ):
        pass
    assert [holder.pid for holder in holders(tmp_path)] == [process.pid]
    result = CliRunner().invoke(app, ["lift", "--work", str(tmp_path)])
    assert isinstance(result.exception, UsageError)  # exit code 2
    looked = CliRunner().invoke(app, ["status", "--work", str(tmp_path), "--json"])  # who only looks takes no lock
    assert [holder["pid"] for holder in json.loads(looked.stdout)["writing"]] == [process.pid]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".lock").exists()  # but nobody holds it
    assert holders(tmp_path) == []
    with writing(tmp_path):
        assert [holder.pid for holder in holders(tmp_path)] == [os.getpid()]
    assert list(tmp_path.iterdir()) == []


def test_a_run_removes_what_killed_runs_left_unfinished(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    left, under_way = (tmp_path / f"pose2d/.a.h5.{pid}.tmp" for pid in (gone.pid, os.getpid()))
    left.parent.mkdir()
    for path in (left, under_way):
        path.write_bytes(b"half a file")
    with writing(tmp_path, "1/2"):  # another machine may be at work for another shard
        assert left.exists()
    with writing(tmp_path):
        assert [path.name for path in left.parent.iterdir()] == [under_way.name]


def test_shards_share_a_folder_but_not_with_a_whole_run(tmp_path: Path, other: Holding) -> None:
    process = other(tmp_path, "1/2")
    with writing(tmp_path, "2/2"):
        assert {holder.pid for holder in holders(tmp_path)} == {process.pid, os.getpid()}
    with pytest.raises(UsageError, match=str(process.pid)), writing(tmp_path, "1/2"):
        pass
    with pytest.raises(UsageError, match=str(process.pid)), writing(tmp_path):
        pass
    process.kill()
    process.wait()
    process = other(tmp_path)
    with pytest.raises(UsageError, match=str(process.pid)), writing(tmp_path, "1/2"):
        pass


def test_taken_again_in_the_same_process_it_is_there_already(tmp_path: Path) -> None:
    with writing(tmp_path):
        with writing(tmp_path), holding(tmp_path / ".lock"):
            pass
        assert [holder.pid for holder in holders(tmp_path)] == [os.getpid()]
    assert holders(tmp_path) == []


def test_waiting_ends_when_the_other_does(tmp_path: Path, other: Holding) -> None:
    process = other(tmp_path)
    began = time.monotonic()
    end = threading.Timer(0.3, process.kill)
    end.start()
    with holding(tmp_path / ".lock", wait=True):
        assert time.monotonic() - began > 0.25
    end.join()


def test_the_first_of_a_training_on_several_gpus_has_the_lock(
    tmp_path: Path, other: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    other(tmp_path)
    monkeypatch.setenv("RANK", "1")
    with writing(tmp_path):
        pass


def test_what_a_lock_says_need_not_be_readable(tmp_path: Path, other: Holding) -> None:
    process = other(tmp_path)
    (tmp_path / ".lock").write_text("not JSON")
    assert [str(holder) for holder in holders(tmp_path)] == ["`gaitreid` (process 0 on an unknown machine, since just now)"]
    process.kill()
