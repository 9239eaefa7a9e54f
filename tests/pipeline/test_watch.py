"""Naming what comes into a folder; the vectors are made up."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitreid.pipeline import watch
from gaitreid.pipeline.clips import Clip, Seen
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.gallery import Book
from gaitreid.pipeline.identify import Naming
from gaitreid.pipeline.jobs import Failure, Summary
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.records import Cohort, Gallery

VECTORS = np.eye(4, dtype=np.float32)


class _Made:
    """Stands for a `Recogniser`."""

    name, weights, form, power = "made-up", "ab" * 32, "mean", 0.7
    pose, lifter = "mediapipe", "auto"


def seen(number: int, frames: int) -> Seen:
    """Somebody who walks like p1."""
    track = Track2D(
        frame=np.arange(frames),
        time=np.arange(frames) / 25,
        box=np.tile([10.0, 10, 50, 110], (frames, 1)),
        xy=np.full((frames, 17, 2), 30.0),
        score=np.ones((frames, 17)),
        world=np.zeros((frames, 17, 3)),
        skeleton=H36M17,
    )
    return Seen(number, track, VECTORS[1] + np.float32(0.01), 4)


def naming(path: Path) -> Naming:
    columns: Any = {
        "name": np.array([f"p{k}" for k in range(4)]),
        "video": np.array(["v"] * 4),
        "track": np.ones(4, dtype=np.int64),
        "source": np.array([f"{k}" for k in range(4)]),
        "windows": np.ones(4, dtype=np.int64),
    }
    gallery = Gallery(**columns, vector=VECTORS, encoder="made-up", weights=_Made.weights, form="mean", whiten=0.7)
    made: Any = _Made()
    return Naming(Book(gallery, Cohort(vector=VECTORS[:0]), "cosine"), path, made, 0.5, 3)


def named(folder: Path, monkeypatch: pytest.MonkeyPatch, batches: list[dict[str, Any]]) -> tuple[Summary, list[dict[str, str]]]:
    """What is said of batches of videos: of each its people, or the reason for which it failed."""
    contents = iter(batches)

    def clips(
        work: Work, videos: Sequence[Path], recogniser: Any, console: Console, summary: Summary, **_: Any
    ) -> Iterator[Clip]:
        content = next(contents)
        for video in videos:
            if isinstance(content[str(video.relative_to(folder))], str):
                summary.failed.append(Failure(str(video), content[str(video.relative_to(folder))], ""))
                continue
            summary.done.append(str(video))
            yield Clip(video.resolve(), "", content[str(video.relative_to(folder))])

    monkeypatch.setattr(watch, "clips", clips)
    monkeypatch.setattr(watch, "_batches", lambda *_: ([folder / name for name in batch] for batch in batches))
    made: Any = _Made()
    work, out = Work(folder / "work"), folder / "out"
    summary = watch.identify(work, [], made, naming(folder), Console(-1), folder=out, gallery=folder / "gallery.h5")
    with (out / "identities.csv").open() as file:
        return summary, list(csv.DictReader(file))


def test_a_video_that_came_in_parts_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both: dict[str, Any] = {"a.avi": [seen(1, 30), seen(2, 30)], "b.avi": "unreadable"}
    batches = [both, {"a.avi": [seen(1, 60)]}, {"b.avi": [seen(1, 50)]}]
    summary, rows = named(tmp_path, monkeypatch, batches)
    tracks = [(row["video"], row["track"], row["end_s"], row["answer"]) for row in rows if row["rank"] == "1"]
    assert tracks == [("a.avi", "1", "2.360", "p1"), ("b.avi", "1", "1.960", "p1")]
    assert (len(summary.done), summary.failed) == (2, [])


def test_a_video_that_is_damaged_later_has_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmptyError, match="the lines above say why"):
        named(tmp_path, monkeypatch, [{"a.avi": [seen(1, 30)]}, {"a.avi": "unreadable"}])


def test_of_thousands_of_videos_no_keypoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(watch, "write", lambda folder, identities, *_: kept.extend(identities))
    with pytest.raises(FileNotFoundError):  # nothing is written
        named(tmp_path, monkeypatch, [{"a.avi": [seen(1, 1000)]}])
    assert [(len(i.person.track.xy), i.span) for i in kept] == [(2, (0.0, pytest.approx(39.96)))]


def test_videos_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("monday", "tuesday"):
        (tmp_path / name).mkdir()
    batches = [{"monday/cam.avi": [seen(1, 30)], "tuesday/cam.avi": [seen(1, 30)], "tuesday/door.avi": [seen(1, 30)]}]
    rows = [row["video"] for row in named(tmp_path, monkeypatch, batches)[1] if row["rank"] == "1"]
    assert rows == [str(tmp_path / "monday/cam.avi"), str(tmp_path / "tuesday/cam.avi"), "door.avi"]


def test_a_folder_to_watch_is_there_before_work_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        next(watch._batches([tmp_path / "a.avi"], tmp_path / "none", None, Console(-1)))


def test_files_that_go_while_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "folder.mp4/there.mp4").write_bytes(b"12")
    monkeypatch.setattr(Path, "is_file", lambda self: True)  # as it was a moment ago
    assert [(path.name, size) for path, size, _ in watch._files(tmp_path, ())] == [("there.mp4", 2)]
