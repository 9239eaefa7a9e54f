import json
import time
from pathlib import Path

import pytest

from gaitreid.pipeline import console
from gaitreid.pipeline.console import Console, Pace, counted
from gaitreid.pipeline.logs import RunLog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its only element."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("many", "one"), [("videos", "video"), ("people", "person"), ("searches", "search")])
def test_one_thing_is_not_called_several(many: str, one: str) -> None:
    assert [counted(n, many) for n in (0, 1, 2)] == [f"0 {many}", f"1 {one}", f"2 {many}"]


def test_what_was_there_already_is_no_speed(clock: list[float]) -> None:
    pace = Pace(100)
    for done in range(1, 51):  # an earlier run did these: they take no time
        clock[0] += 0.01
        pace.update(done, done)
    assert pace.words() == "no rate yet"
    for done in range(51, 61):
        clock[0] += 20
        pace.update(done, 50)
    assert pace.rate == pytest.approx(1 / 20)
    assert pace.left == pytest.approx(40 * 20)
    assert pace.words() == "20 s each, 13 min left"
    clock[0] += 5
    pace.update(99, 88)
    assert pace.words() == f"{205 / 11:.3g} s each, 19 s left"


def test_plain_lines_say_how_many_were_done_were_there_and_failed(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("extract", 10, "videos") as progress:
        progress(4, skipped=4)
        clock[0] += console.PLAIN_EVERY
        progress(6, skipped=4, failed=1)
    assert capsys.readouterr().out == "extract: 6 of 10 videos (4 were there, 1 failed), 15 s each, 60 s left\n"


def test_a_terminal_shows_rate_and_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "150")
    shown = Console()
    with shown.progress("extract", 10, "videos") as progress:
        progress(5, skipped=2, failed=1)
        shown.say("a line")
    out = capsys.readouterr().out
    assert "a line" in out
    assert "5/10" in out
    assert "(2 were there, 1 failed)" in out


def test_json_lines_hold_all_that_is_said(tmp_path: Path, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console(log=RunLog(tmp_path, command="extract"), as_json=True)
    with shown.progress("extract", 4, "videos") as progress:
        shown.item("extract", "a", "skipped")
        progress(1, skipped=1)
        clock[0] += 2
        shown.item("extract", "b", "failed", "unreadable", 2.0, 11, 3)
        progress(2, skipped=1, failed=1)
        shown.say("said [b]as it is[/b]")
        shown.detail("only with -v")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event.pop("event") for event in events] == ["item", "progress", "item", "progress", "line"]
    assert all(event.pop("time") for event in events)
    assert events[2] == {
        **{"command": "extract", "stage": "extract", "item": "b", "state": "failed", "reason": "unreadable"},
        **{"seconds": 2.0, "bytes": 11, "frames": 3},
    }
    assert events[3] == {
        **{"stage": "extract", "unit": "videos", "total": 4, "done": 2, "skipped": 1, "failed": 1},
        **{"rate": 0.5, "left_seconds": 4.0, "note": ""},
    }
    assert events[4] == {"text": "said [b]as it is[/b]"}
    assert len((tmp_path / "logs/run.jsonl").read_text().splitlines()) == 2


def test_quiet_says_nothing_and_still_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console(-1, RunLog(tmp_path), True)
    with shown.progress("extract", 1, "videos") as progress:
        shown.item("extract", "a", "done")
        progress(1)
        shown.say("nothing")
    assert capsys.readouterr().out == ""
    assert (tmp_path / "logs/run.jsonl").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_names_do_not_command_the_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    name, shown = "a\x1b]0;title\x07\x9b2J\r é.avi", Console()
    with shown.progress("extract", 2, "videos"):
        shown.say(name)
    shown.error(name)
    out, error = capsys.readouterr()
    assert r"a\x1b]0;title\x07\x9b2J\x0d é.avi" in out
    assert error == "a\\x1b]0;title\\x07\\x9b2J\\x0d é.avi\n"
