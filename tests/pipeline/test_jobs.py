import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from operator import call
from pathlib import Path

import pytest
import torch
import workers

from gaitreid.pipeline import jobs
from gaitreid.pipeline.jobs import Lost, each
from gaitreid.pipeline.limits import LimitsConfig, resident
from gaitreid.pose.errors import ItemError


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One job has a worker, as a user has it."""
    monkeypatch.delenv(jobs.IN_PROCESS, raising=False)


def lost(item: int, how: Lost) -> str:
    return f"{item} {how.reason}"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(jobs, "cores", lambda: 2)
    assert list(each(call, [torch.get_num_threads] * 2, 2)) == [1, 1]


def test_one_job_runs_in_this_process_unless_it_may_have_to_be_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    here = object()
    assert list(each(lambda item: (item, here), [3, 1, 2], 1)) == [(3, here), (1, here), (2, here)]
    [(worker, parent, item)] = each(workers.where, [7], 1, limits=LimitsConfig())
    assert (parent, item) == (os.getpid(), 7)
    monkeypatch.setenv(jobs.IN_PROCESS, "1")
    assert next(each(workers.where, [7], 1, limits=LimitsConfig()))[0] == os.getpid() != worker


def test_items_are_taken_as_workers_need_them_and_known_ones_need_none() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield number

    found = []
    for count, result in enumerate(each(workers.twice, items(), 2, known=lambda n: -n if n < 50 else None), 1):
        found.append(result)
        assert len(taken) <= count + 5
    assert sorted(found) == sorted([-n for n in range(50)] + [2 * n for n in range(50, 200)])


def test_a_worker_is_replaced_after_many_items_or_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ITEMS_A_WORKER", 2)
    assert len({pid for pid, *_ in each(workers.where, range(4), 1, limits=LimitsConfig())}) == 2
    monkeypatch.setattr(jobs, "GROWN", 1e-6)
    assert len({pid for pid, *_ in each(workers.where, range(2), 1, limits=LimitsConfig())}) == 2


def test_an_item_whose_worker_dies_is_tried_once_more(tmp_path: Path) -> None:
    tasks = [(n, tmp_path) for n in range(4)]
    assert sorted(each(workers.dies_once, tasks, 2)) == [0, 1, 2, 3]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["0-0", "1-0", "1-1", "2-0", "3-0"]


def test_poisonous_items_are_cut_off_with_a_reason_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "GRACE", 0.1)
    monkeypatch.setattr(jobs, "LOOK", 0.1)
    limits = LimitsConfig(seconds=3.0, memory=0.3)
    found = each(workers.poison, range(6), 1, lost=lost, limits=limits)
    assert sorted(map(str, found)) == ["0", "1 crashed", "2 timeout", "3 out-of-memory", "4", "5"]
    with pytest.raises(ItemError, match=r"1: its worker process ended by SIGSEGV") as error:
        list(each(workers.poison, [1], 1, limits=limits))
    assert error.value.reason == "crashed"


def test_what_gets_nowhere_is_cut_off_and_what_goes_on_is_not() -> None:
    limits = LimitsConfig(seconds=2.0, pace=1.0)
    with pytest.raises(ItemError, match=r"0 s of it took \d s \(limits.pace is 1\)"):
        list(each(workers.drips, [0], 1, limits=limits))
    assert list(each(workers.goes_on, [0.0, 2.8], 1, limits=limits)) == [0.0, 2.8]
    assert list(each(workers.reads, [4.8], 1, limits=limits)) == [4.8]


def test_errors_of_the_function_are_raised_here_and_say_where_they_came_from() -> None:
    with pytest.raises(ItemError, match="no more") as error:
        list(each(workers.wrong, [1], 1, limits=LimitsConfig()))
    assert error.value.reason == "unreadable"
    with pytest.raises(ZeroDivisionError, match="by none") as other:
        list(each(workers.wrong, [0], 1, limits=LimitsConfig()))
    assert "workers.py" in other.value.__notes__[0]


RUN = """
import signal, sys, workers
from pathlib import Path
from gaitreid.pipeline.jobs import each
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so does what they start
    list(each(workers.sleeps, [Path(sys.argv[1]), Path(sys.argv[2])], 2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_when_a_run_is_interrupted_or_killed(tmp_path: Path, how: signal.Signals) -> None:
    said = [tmp_path / "one", tmp_path / "two"]
    script = tmp_path / "script.py"
    script.write_text(RUN)
    environment = {**os.environ, "PYTHONPATH": str(Path(workers.__file__).parent)}
    command = [sys.executable, str(script), *map(str, said)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not all(file.exists() and file.read_text() for file in said):
            assert process.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        # Ctrl-C goes to all processes of a terminal, kill to one.
        os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
        assert process.wait(10) == -how
        said_last = process.stderr.read() if process.stderr else ""
    pids = [int(file.read_text()) for file in said]
    while any(resident(pid) for pid in pids):
        assert time.monotonic() - began < 8
        time.sleep(0.05)
    assert said_last.count("Traceback") == (how == signal.SIGINT)  # the run's own; its workers say nothing
