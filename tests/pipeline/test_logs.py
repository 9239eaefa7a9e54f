import json
from pathlib import Path

import pytest
import workers

from gaitreid.pipeline.jobs import each
from gaitreid.pipeline.logs import LogsConfig, RunLog
from gaitreid.pose.errors import UsageError


def items(path: Path) -> list[str]:
    return [json.loads(line)["item"] for line in path.read_text().splitlines()]


def test_a_log_is_set_aside_when_it_is_large_and_old_ones_go(tmp_path: Path) -> None:
    log = RunLog(tmp_path, LogsConfig(megabytes=0.001, kept=2), "extract")
    for n in range(40):
        log.add("extract", f"video-{n}", "done", seconds=1.5, size=10, frames=3)
    logs = [tmp_path / "logs" / name for name in ("run.2.jsonl", "run.1.jsonl", "run.jsonl")]
    assert sorted(logs) == sorted((tmp_path / "logs").glob("*.jsonl"))
    kept = [name for path in logs for name in items(path)]
    assert kept == [f"video-{n}" for n in range(40 - len(kept), 40)]
    assert 10 < len(kept) < 40
    assert all(path.stat().st_size < 1300 for path in logs)


def test_runs_side_by_side_lose_no_line(tmp_path: Path) -> None:
    list(each(workers.notes, [(tmp_path, "one"), (tmp_path, "two")], 2))
    found = sorted(name for path in (tmp_path / "logs").glob("*.jsonl") for name in items(path))
    assert found == sorted(f"{name}-{n}" for name in ("one", "two") for n in range(300))


def test_hashed_names_are_the_same_in_one_folder_and_others_elsewhere(tmp_path: Path) -> None:
    for folder in ("a", "a", "b"):
        RunLog(tmp_path / folder, LogsConfig(names="hashed")).add("extract", "Erika", "done")
    first, second = items(tmp_path / "a/logs/run.jsonl")
    assert first == second != items(tmp_path / "b/logs/run.jsonl")[0]
    assert "Erika" not in (tmp_path / "a/logs/run.jsonl").read_text()
    assert (tmp_path / "a/logs/.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("names", ["plain", "hashed"])
def test_names_that_are_no_text_are_logged_as_others(tmp_path: Path, names: str) -> None:
    log = RunLog(tmp_path, LogsConfig(names=names))  # type: ignore[arg-type]
    for stem in ("walk\udcff", "walk\udcfe"):  # as Python has file names that are not UTF-8
        log.add("extract", stem, "failed", "bad-name")
    first, second = items(tmp_path / "logs/run.jsonl")
    assert first != second


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in its way")
    assert RunLog(tmp_path).add("extract", "video", "failed", "unreadable")["reason"] == "unreadable"
    with pytest.raises(UsageError, match=r"logs\.megabytes"):
        LogsConfig(megabytes=0)
