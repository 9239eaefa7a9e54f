"""A Dask cluster on this machine: a scheduler and two workers, one of which is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import estimators
import pytest
import workers
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline import cluster
from gaitreid.pipeline.jobs import each
from gaitreid.pipeline.limits import LimitsConfig, resident
from gaitreid.pose.errors import UsageError


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a scheduler with two workers, of which one has a nanny that starts it anew."""
    monkeypatch.setattr(cluster, "PATIENCE", 60.0)
    said = tmp_path / "scheduler.json"
    common = ("--scheduler-file", str(said), "--no-dashboard", "--host", "127.0.0.1")
    environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parent), "DASK_TEMPORARY_DIRECTORY": str(tmp_path)}
    commands = [
        ("scheduler", "--port", "0", *common),
        ("worker", "--nthreads", "1", "--no-nanny", *common),
        ("worker", "--nthreads", "1", *common),
    ]
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "dask.log").open("w"))
        for command in commands:
            process = subprocess.Popen([sys.executable, "-m", "dask", *command], stdout=log, stderr=log, env=environment)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while not said.exists():
                assert process.poll() is None, (tmp_path / "dask.log").read_text()
                time.sleep(0.05)
        yield str(json.loads(said.read_text())["address"])


def wait_for_workers(address: str, count: int) -> None:
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def test_a_cluster_does_the_same_work_and_a_killed_worker_loses_nothing(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_workers(address, 2)
    found, killed = [], 0
    for worker, parent, number in each(workers.slow_where, range(10), 1, limits=LimitsConfig(), scheduler=address):
        found.append((worker, parent, number))
        if not killed and len({p for _, p, _ in found}) == 2:
            killed = next(p for _, p, _ in found if "--no-nanny" in Path(f"/proc/{p}/cmdline").read_text())
            os.kill(killed, signal.SIGKILL)
    assert sorted(number for *_, number in found) == list(range(10))
    assert killed
    child = next(worker for worker, parent, _ in found if parent == killed)
    began = time.monotonic()
    while resident(child):  # what a worker of Dask has started ends with it
        assert time.monotonic() - began < 10
        time.sleep(0.05)

    monkeypatch.chdir(tmp_path)  # paths from here mean nothing to the workers
    estimators.video(tmp_path / "001-nm-01-090.avi")
    Path("text.avi").write_text("no video")
    for work, options in (("far", ["--scheduler", address]), ("near", ["--jobs", "1"])):
        extract = ["extract", "001-nm-01-090.avi", "text.avi", "--work", work, "--set", "extract.min_seconds=0.3", *options]
        assert CliRunner().invoke(app, extract).exit_code == 1
        assert CliRunner().invoke(app, ["lift", "--work", work, *options]).exit_code == 0
    again = CliRunner().invoke(app, [*extract[:4], "far", *extract[5:7], "--scheduler", address])
    assert "2 were up to date" in again.output
    for name in ("pose2d/001-nm-01-090.h5", "pose2d/text.h5", "pose3d/001-nm-01-090.h5"):
        assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()


def test_a_cluster_that_is_not_there_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(UsageError, match=f"--scheduler {address}: no Dask scheduler answers there within 0.5 s"):
            list(each(workers.twice, [1], 1, scheduler=address))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="--scheduler needs the package 'distributed': pip install distributed"):
        list(each(workers.twice, [1], 1, scheduler="tcp://127.0.0.1:1"))
