"""Galleries and naming, with people who need no video: vectors are made up."""

import csv
import json
import multiprocessing
import os
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gaitreid.pipeline import clips, shipped, store
from gaitreid.pipeline import gallery as galleries
from gaitreid.pipeline.clips import Clip, Seen
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.gallery import Book
from gaitreid.pipeline.identify import CSV_COLUMNS, Naming, closing, table, write
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import H36M17

DIMS = 16


class _Made:
    """Stands for a `Recogniser`: an encoder of these tests."""

    name, weights, form, power, metric, parts, context = "made-up", "ab" * 32, "mean", 0.7, "cosine", 1, 0
    pose, lifter = "mediapipe", "auto"

    def __init__(self, cohort: int = 0, **changes: Any) -> None:
        self.cohort: FloatArray = np.random.default_rng(9).normal(size=(cohort, DIMS)).astype(np.float32)
        vars(self).update(changes)


Made: Any = _Made


def track(first: float = 0.0, seconds: float = 2.0) -> Track2D:
    """Somebody from a second on."""
    time_ = first + np.arange(round(seconds * 25)) / 25
    count = len(time_)
    return Track2D(
        frame=np.round(time_ * 25).astype(int),
        time=time_,
        box=np.tile([10.0, 10, 50, 110], (count, 1)),
        xy=np.full((count, 17, 2), 30.0),
        score=np.ones((count, 17)),
        world=np.zeros((count, 17, 3)),
        skeleton=H36M17,
    )


def person(who: int) -> FloatArray:
    return np.random.default_rng(who).normal(size=DIMS)


def seen(who: int, number: int = 1, first: float = 0.0, seconds: float = 2.0, noise: float = 0.1, draw: int = 0) -> Seen:
    vector = person(who) + noise * np.random.default_rng((who, draw, 5)).normal(size=DIMS)
    return Seen(number, track(first, seconds), vector.astype(np.float32), 4)


def clip(name: str, *people: Seen) -> Clip:
    return Clip(Path(f"{name}.avi"), name.ljust(64, "0"), list(people))


def enrolled(path: Path, people: int = 6, clips: int = 2, recogniser: Any = None) -> Book:
    for who in range(people):
        found = [clip(f"{who}-{k}", seen(who, draw=k)) for k in range(clips)]
        book = galleries.add(path, f"p{who}", found, recogniser or Made(), Console(-1))
    return book


def test_add_list_remove_rename_merge(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    book = enrolled(path, 3)
    assert [(p.name, p.videos, p.tracks, p.windows) for p in book.people] == [(f"p{k}", 2, 2, 8) for k in range(3)]
    galleries.add(path, "p0", [clip("0-0", seen(0, draw=7))], Made(), Console(-1))  # the same video again: not twice
    book = galleries.read(path)
    assert book.people[0].tracks == 2
    galleries.rename(path, "p1", "Ann")
    galleries.merge(path, "Ann", ["p2"])
    assert [(p.name, p.tracks) for p in galleries.read(path).people] == [("Ann", 4), ("p0", 2)]
    galleries.remove(path, "p0")
    assert [p.name for p in galleries.read(path).people] == ["Ann"]
    galleries.remove(path, "Ann")
    assert galleries.read(path).people == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pose": "keypointrcnn"}, "extract.pose=mediapipe, this is keypointrcnn"),
        ({"lifter": "tcn:mine"}, "lift.lifter=auto, this is tcn:mine"),
    ],
)
def test_poses_made_otherwise_are_refused(tmp_path: Path, change: dict[str, str], words: str) -> None:
    path, other = tmp_path / "gallery.h5", tmp_path / "other.h5"
    before = enrolled(path, 3)
    assert (before.gallery.pose, before.gallery.lifter) == ("mediapipe", "auto")
    with pytest.raises(UsageError, match=f"was made with {words}: set the same, or begin another gallery"):
        galleries.add(path, "p0", [clip("new", seen(0))], Made(**change), Console(-1))
    with pytest.raises(UsageError, match=words):
        Naming(before, path, Made(**change), 0.05, 5)
    galleries.add(other, "q", [clip("new", seen(0))], Made(**change), Console(-1))
    with pytest.raises(UsageError, match=r"other\.h5 was made with .* they cannot be compared"):
        galleries.merge(path, "p0", [str(other)])
    store.write(  # a gallery of before does not say
        other,
        "gallery",
        {"/gallery": replace(before.gallery, pose="", lifter=""), "/cohort": before.cohort},
        {"metric": "cosine"},
    )
    assert len(galleries.add(other, "q", [clip("new", seen(0))], Made(**change), Console(-1)).people) == 4


def test_remove_really_removes(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 3)
    galleries.rename(path, "p1", "Somebody Secret")
    vector = galleries.read(path).gallery.vector[galleries.read(path).gallery.name == "Somebody Secret"][0]
    assert b"Somebody Secret" in path.read_bytes()
    assert vector.tobytes() in path.read_bytes()
    galleries.remove(path, "Somebody Secret")
    assert b"Somebody Secret" not in path.read_bytes()
    assert vector.tobytes() not in path.read_bytes()
    assert [f.name for f in tmp_path.iterdir() if "lock" not in f.name] == ["gallery.h5"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("how", "arguments", "message"),
    [
        ("remove", ("nobody",), "there are p0, p1"),
        ("rename", ("p0", "p1"), "merge p1 p0"),
        ("rename", ("nobody", "x"), "nobody is called"),
        ("rename", ("p0", "unknown"), "cannot be a name"),
        ("merge", ("p0", ["nobody"]), "nobody is called"),
        ("merge", ("p0", []), "two people or more"),
    ],
)
def test_what_does_not_work_says_why(tmp_path: Path, how: str, arguments: tuple[Any, ...], message: str) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 2)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message):
        getattr(galleries, how)(path, *arguments)
    assert path.read_bytes() == before


def test_no_gallery(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gallery add NAME VIDEOS"):
        galleries.remove(tmp_path / "none.h5", "p0")
    assert not (tmp_path / "none.h5").exists()


def test_it_refuses_another_encoder_and_says_which(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 2)
    other = Made(name="other", weights="cd" * 32)
    with pytest.raises(UsageError, match=r"of the encoder 'made-up' \(SHA-256 abababab.* this is 'other' \(cdcd"):
        galleries.add(path, "p9", [clip("9", seen(9))], other, Console(-1))
    with pytest.raises(UsageError, match=r"encode\.whiten=0\.7"):
        Naming(galleries.read(path), path, Made(power=0.0), 0.05, 10)
    enrolled(tmp_path / "theirs.h5", 1, recogniser=other)
    with pytest.raises(UsageError, match="they cannot be compared"):
        galleries.merge(path, str(tmp_path / "theirs.h5"), [])


def test_galleries_are_merged(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    enrolled(ours, 2)
    galleries.add(theirs, "p7", [clip("7", seen(7))], Made(), Console(-1))
    assert [p.name for p in galleries.merge(ours, str(theirs), []).people] == ["p0", "p1", "p7"]
    assert [p.name for p in galleries.merge(tmp_path / "new.h5", str(theirs), []).people] == ["p7"]


def test_merging_takes_no_video_from_anybody(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.h5", tmp_path / "theirs.h5"
    galleries.add(ours, "Ann", [clip("7", seen(7))], Made(), Console(-1))
    galleries.add(theirs, "Bob", [clip("7", seen(7))], Made(), Console(-1))
    with pytest.raises(UsageError, match=r"theirs\.h5: 7\.avi: is in the gallery as 'Ann'"):
        galleries.merge(ours, str(theirs), [])
    assert [p.name for p in galleries.read(ours).people] == ["Ann"]
    galleries.rename(theirs, "Bob", "Ann")
    assert [(p.name, p.tracks) for p in galleries.merge(ours, str(theirs), []).people] == [("Ann", 1)]


def test_who_is_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 2)
    monkeypatch.chdir(tmp_path)
    Path("p1").write_bytes(b"of that name by chance")
    assert [(p.name, p.tracks) for p in galleries.merge(path, "p0", ["p1"]).people] == [("p0", 4)]
    with pytest.raises(UsageError, match="nobody is called"):
        galleries.merge(path, "p0", ["n" * 300])


def test_what_a_video_shows_no_more_goes(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    galleries.add(path, "Ann", [clip("a", seen(1, 1), seen(1, 2, 5.0)), clip("b", seen(1))], Made(), Console(-1))
    book = galleries.add(path, "Ann", [clip("a", seen(1, 1, seconds=4.0))], Made(), Console(-1))  # posed otherwise
    assert sorted(zip(book.gallery.video.tolist(), book.gallery.track.tolist(), strict=True)) == [("a.avi", 1), ("b.avi", 1)]


def test_a_video_is_of_one_person(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 2)
    with pytest.raises(UsageError, match="is in the gallery as 'p0'"):
        galleries.add(path, "p1", [clip("0-0", seen(0))], Made(), Console(-1))


def test_of_several_at_once_the_longest_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gallery.h5"
    scene = clip("scene", seen(1, 1, 0, 2), seen(2, 2, 0, 5), seen(2, 3, 6, 2))
    book = galleries.add(path, "p2", [scene], Made(), Console())
    assert book.gallery.track.tolist() == [2, 3]
    assert "track 1 walks beside p2" in capsys.readouterr().out


def _writer(path: Path, who: int) -> None:
    galleries.add(path, f"p{who}", [clip(f"{who}", seen(who))], Made(), Console(-1))


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_writer, args=(path, who)) for who in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [p.name for p in galleries.read(path).people] == [f"p{who}" for who in range(8)]


def _endless(path: Path) -> None:
    for who in range(10, 100_000):
        _writer(path, who)


def test_killed_at_any_moment_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 2, 1)
    rng = np.random.default_rng(0)
    for _ in range(15):
        writer = multiprocessing.get_context("fork").Process(target=_endless, args=(path,))
        writer.start()
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        names = [p.name for p in galleries.read(path).people]
        assert {"p0", "p1"} <= set(names)
        _writer(path, 5)  # nor is a lock left behind
        path.unlink()
        enrolled(path, 2, 1)


def named(path: Path, scene: Clip, rate: float = 0.05, cohort: int = 0) -> list[Any]:
    return Naming(galleries.read(path), path, Made(cohort), rate, 3)(scene)


def test_naming(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    book = enrolled(path)
    found = named(path, clip("probe", seen(3, draw=9), seen(50, 2, 5.0)))
    assert [i.answer for i in found] == ["p3", "unknown"]
    assert found[0].candidates[0].name == "p3"
    assert len(found[0].candidates) == 3
    assert found[0].score > 0.95
    assert found[0].margin == pytest.approx(found[0].candidates[1].distance - found[0].candidates[0].distance)
    assert "nobody is within" in found[1].why
    assert found[1].score < 0.95
    limit = book.calibration.threshold(0.05)
    assert all((i.candidates[0].distance <= limit) == (i.score >= 0.95) for i in found)


def test_two_at_once_are_not_the_same(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path)
    alike = clip("scene", seen(3, 1, draw=9), seen(3, 2, 1.0, noise=0.3, draw=8), seen(3, 3, 10.0, draw=7))
    found = named(path, alike)
    assert [i.answer for i in found] == ["p3", "unknown", "p3"]
    assert "p3 is somebody else who is seen at the same time" in found[1].why


def test_the_answer_has_its_own_score_however_few_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path)
    scene = clip("scene", seen(3, 1, draw=9), seen(3, 2, 1.0, noise=0.3, draw=8))
    few, many = (
        next(i for i in Naming(galleries.read(path), path, Made(), 0.999999, top)(scene) if "at the same time" in i.why)
        for top in (1, 6)
    )
    assert few.answer == many.answer != many.candidates[0].name == "p3"
    of_answer = next(c for c in many.candidates if c.name == many.answer)
    assert [(c.rank, c.name) for c in few.candidates] == [(1, "p3"), (of_answer.rank, of_answer.name)]
    assert few.score == of_answer.score < many.candidates[0].score
    assert few.margin == many.margin is not None


def test_one_person_needs_a_cohort(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path, 1)
    with pytest.raises(UsageError, match="two or more people"):
        named(path, clip("probe", seen(0)))
    path.unlink()
    book = enrolled(path, 1, recogniser=Made(40))
    assert "40 people who come with the encoder" in book.describe(0.05)
    assert [i.answer for i in named(path, clip("probe", seen(0, draw=3), seen(33, 2, 9.0)))] == ["p0", "unknown"]


def test_nobody_joins_by_what_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an encoder whose training diverged."""
    recogniser = clips.Recogniser(shipped.folder(), shipped.NAME, Config())
    windows: Any = SimpleNamespace(xyz=None, start=[0], skeleton=None)
    for name in ("lift", "split_track", "in_joints"):
        monkeypatch.setattr(clips, name, lambda *_: windows)
    vectors = np.ones((1, len(recogniser.moments.mean)), dtype=np.float32)
    monkeypatch.setattr("gaitreid.reid.encode.encode", lambda *_: vectors)
    assert recogniser.vector(track())[1] == 1
    vectors[0, 3] = np.nan
    with pytest.raises(ItemError, match="train it again"):
        recogniser.vector(track())


def test_calibration_is_stored_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    book = enrolled(path, recogniser=Made(40))
    stored = json.loads(str(store.attributes(path, "gallery")["calibration"]))
    assert (stored["names"], stored["people"], stored["searches"], stored["cohort"]) == (6, 6, 12, 40)
    assert stored["threshold"] == pytest.approx(book.calibration.threshold(stored["rate"]))
    words = book.describe(0.05)
    assert "in 5% of the searches" in words
    assert "12 searches of 6 people" in words
    assert "in 0.02% of the searches" in book.describe(0.0002)


def test_tables_and_files(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    enrolled(path)
    naming = Naming(galleries.read(path), path, Made(), 0.05, 3)
    found = naming(clip("probe", seen(3, draw=9), seen(50, 2, 5.0)))
    write(tmp_path / "out", found, naming, path)
    with (tmp_path / "out/identities.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["answer"], row["rank"]) for row in rows] == [(a, str(r)) for a in ("p3", "unknown") for r in (1, 2, 3)]
    report = json.loads((tmp_path / "out/identities.json").read_text())
    assert [t["answer"] for t in report["tracks"]] == ["p3", "unknown"]
    assert report["false_accept_rate"]["threshold"] == pytest.approx(naming.limit)
    assert stat.S_IMODE((tmp_path / "out/identities.csv").stat().st_mode) == 0o600
    lines = list(table(found))
    assert "p3" in lines[0]
    assert "nobody is within" in lines[1]
    assert "2 tracks, 1 named" in closing(found, naming, videos=1)
    assert naming(clip("empty")) == []


def test_remove_takes_what_was_left_and_kept_of_somebody(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    before = enrolled(path, 3)
    left = tmp_path / ".gallery.h5.999999999.tmp"  # of a process that was killed
    left.write_bytes(path.read_bytes())
    place = tmp_path / "work/clips/pose2d"
    kept = [store.write(place / f"{n}.h5", "pose2d", {}, {"made_from": n.ljust(64, "0")}) for n in ("0-0", "1-0", "1-1")]
    outlines = store.write(tmp_path / "work/clips/silhouettes/1-0.h5", "silhouettes", {}, {"made_from": "1-0".ljust(64, "0")})
    after = galleries.remove(path, "p1")
    assert galleries.forget(Work(tmp_path / "work"), before, after) == 2  # videos, one of them in two files
    assert [file.exists() for file in (*kept, outlines, left)] == [True, False, False, False, False]
