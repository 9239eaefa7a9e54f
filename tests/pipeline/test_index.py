"""What is remembered of files, and that it never says what is not so."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracked import LONG_AGO, tracked, video

from gaitreid.pipeline import index as module
from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import sha256
from gaitreid.pipeline.index import NAME, Index
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.split import split
from gaitreid.pipeline.status import survey
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import FormatError
from gaitreid.reid.windows import SplitConfig


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Two videos with tracks, looked at."""
    work = Work(tmp_path / "work")
    for stem in ("a", "b"):
        tracked(work, video(tmp_path / "videos", stem), 1)
    Index(work).refresh(work)
    return work


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened or hashed from now on."""
    found: list[str] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *rest: Any) -> Any:
            found.append(path.name)
            return function(path, *rest)

        return call

    monkeypatch.setattr(store, "attributes", noting(store.attributes))
    monkeypatch.setattr(module, "sha256", noting(sha256))
    return found


def test_what_is_as_it_was_is_not_opened(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(monkeypatch)
    known = Index(work).known(work.pose2d("a"), "pose2d")
    assert known.sha256 == sha256(work.pose2d("a"))
    assert known.facts["made_from"] == sha256(tmp_path / "videos/a.avi")
    assert found == []
    Index(work).refresh(work)
    assert found == []


def test_what_has_changed_is_looked_at_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    store.relabel(work.pose2d("a"), "pose2d", {"subject": "Ann"})
    found = opened(monkeypatch)
    index = Index(work)
    index.refresh(work)
    assert set(found) == {"a.h5"}
    assert index.known(work.pose2d("a"), "pose2d").facts["subject"] == "Ann"
    assert Index(work).known(work.pose2d("a"), "pose2d").sha256 == sha256(work.pose2d("a"))


def test_a_video_is_hashed_when_its_size_or_time_is_another(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = tmp_path / "videos/a.avi", work.pose2d("a")
    facts = store.attributes(made, "pose2d")
    found = opened(monkeypatch)
    assert Index(work).of_video(path, made, facts) == facts["made_from"]
    assert found == []
    os.utime(path, (LONG_AGO, LONG_AGO + 1))
    assert Index(work).of_video(path, made, facts) == facts["made_from"]
    video(tmp_path / "videos", "a", "longer than before")
    assert Index(work).of_video(path, made, facts) == sha256(path)
    assert found == ["a.avi", "a.avi"]
    path.unlink()
    assert Index(work).of_video(path, made, facts) == ""
    os.mkfifo(path)
    assert Index(work).of_video(path, made, facts, verify=True) == ""  # and does not wait for somebody to write


def test_a_video_that_was_just_written_is_not_trusted_by_its_time(work: Work, tmp_path: Path) -> None:
    path, made = tmp_path / "videos/a.avi", work.pose2d("a")
    facts = store.attributes(made, "pose2d")
    path.write_text("x")  # its time is that of now: it may change once more within a tick of the clock
    index = Index(work)
    index.of_video(path, made, facts)
    at = path.stat().st_mtime_ns
    path.write_text("y")
    os.utime(path, ns=(at, at))
    assert index.of_video(path, made, facts) == sha256(path)


def test_what_is_gone_is_forgotten(work: Work) -> None:
    work.pose2d("a").unlink()
    index = Index(work)
    store.relabel(work.pose2d("b"), "pose2d", {"subject": "Ann"})
    index.refresh(work)
    text = (work.root / NAME).read_text()
    assert "a.h5" not in text
    assert "a.avi" not in text
    assert stat.S_IMODE((work.root / NAME).stat().st_mode) == 0o600
    with pytest.raises(FormatError, match="no such file"):
        index.known(work.pose2d("a"), "pose2d")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2}',
        '{"format": 1, "configs": [], "files": {"pose2d/a.h5": [1, 2, "x", 7, {}]}, "videos": {}}',
        '{"format": 1, "configs": 3, "files": {}, "videos": {}}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_an_index_that_is_damaged_is_none(work: Work, text: str) -> None:
    (work.root / NAME).write_text(text, encoding="latin-1")
    assert Index(work).known(work.pose2d("a"), "pose2d").sha256 == sha256(work.pose2d("a"))
    Index(work).refresh(work)
    assert json.loads((work.root / NAME).read_text())["format"] == 1


def test_splitting_remembers_what_came_in_as_3d(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    Session(work, Config(), Console(), 1).lift()
    for stem in ("a", "b"):
        work.pose2d(stem).unlink()
    (work.root / NAME).unlink()
    split(work, SplitConfig(), Console())
    found = opened(monkeypatch)
    known = Index(work).known(work.pose3d("a"), "pose3d")
    assert found == []
    assert known.sha256 == sha256(work.pose3d("a"))


def test_where_a_video_is_that_was_moved(work: Work, tmp_path: Path) -> None:
    facts = Index(work).known(work.pose2d("a"), "pose2d").facts
    old, new = tmp_path / "videos/a.avi", tmp_path / "elsewhere/a.avi"
    assert Index(work).place(facts) == old
    before = work.pose2d("a").read_bytes()
    old.parent.rename(new.parent)
    assert Index(work).place(facts) == old
    assert [item.reason for item in survey(work, Config()).of("pose2d")] == ["no-video", "no-video"]
    session = Session(work, Config(), Console(-1))
    assert session.extract([new.parent]).skipped == ["a", "b"]
    assert Index(work).place(facts) == new
    assert [item.reason for item in survey(work, Config()).of("pose2d")] == ["", ""]
    assert work.pose2d("a").read_bytes() == before  # nothing is lifted again, either
    video(new.parent, "a", "another")
    assert Index(work).place(facts) == old
    video(new.parent, "a")
    new.unlink()
    session.extract([video(new.parent, "b", at=LONG_AGO + 9)])  # what is nowhere is forgotten
    assert str(new) not in (work.root / NAME).read_text()
