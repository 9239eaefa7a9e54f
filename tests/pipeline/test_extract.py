"""Extraction as a user asks for it, with a made-up estimator: whom it calls, and what becomes of videos that cannot be done."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import estimators
import numpy as np
import pytest
from typer.testing import CliRunner
from videos import claim

from gaitreid.cli import app
from gaitreid.pipeline import extract, jobs, plugins, store, watch
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.jobs import Lost
from gaitreid.pipeline.labels import Labels
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, ItemError, UsageError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate
from gaitreid.pose.extract import ExtractConfig
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import COCO17
from gaitreid.pose.video import Image


class Upright(BatchEstimator):
    """Says that somebody stands wherever it looks."""

    skeleton = COCO17
    crop = Crop(96, 128, 1.25)
    made: list[tuple[str, str, bool]] = []  # noqa: RUF012 - what the last ones were made with

    def __init__(self, argument: str = "", masks: bool = False, device: str = "?", trust_config: bool = False) -> None:
        Upright.made.append((argument, device, trust_config))

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        y = 64 + 93 * np.linspace(-0.5, 0.5, 17)
        xy = np.stack([48 + 18 * np.cos(y), y], axis=1).astype(np.float32)
        return [Estimate(xy, np.full(17, 0.6, np.float32), np.full((17, 3), np.nan, np.float32), None) for _ in images]


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rendered walker, and the estimator `upright`."""
    monkeypatch.setitem(plugins.BUILT_IN["pose"], "upright", f"{__name__}:Upright")
    Upright.made.clear()
    extract._estimators.cache_clear()
    return estimators.video(tmp_path / "001-nm-01-090.avi")


def gaitreid(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_an_estimator_gets_its_argument_the_device_and_whether_configurations_are_trusted(video: Path, tmp_path: Path) -> None:
    where = ("extract", video, "--work", tmp_path / "work", "--jobs", 1, "--device", "cpu")
    command = (*where, "--detector", "hog", "--set", "extract.min_seconds=0.2")
    said = gaitreid(*command, "--pose", "upright:one,two")
    assert said.exit_code == 0, said.output
    assert Upright.made == [("one,two", "cpu", False)]
    (track,) = store.read_all(tmp_path / "work/pose2d/001-nm-01-090.h5", "pose2d", Track2D).values()
    assert track.skeleton == COCO17
    assert np.isnan(track.world).all()
    # Whom one trusts changes no track.
    again = gaitreid(*command, "--pose", "upright:one,two", "--trust-config", "-v")
    assert "up to date" in again.output
    gaitreid(*command, "--pose", "upright:three", "--trust-config")
    assert Upright.made[-1] == ("three", "cpu", True)


def test_what_is_missing_is_told_before_a_video_is_read(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GAITREID_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    mine = tmp_path / "mine.py"
    mine.write_text("model = dict()")
    for pose, match in (
        (f"mmpose:{mine},x.pth", "--trust-config"),
        ("mmpose:rtmpose", "did you mean .*rtmpose"),
        ("mmpose", "doctor --download rtmpose-m_8xb256-420e_coco-256x192"),
        ("mediapipe:heavy", "'mediapipe' takes no argument"),
        ("opnpose", "unknown pose 'opnpose'"),
    ):
        with pytest.raises(UsageError, match=match):
            extract.estimators(ExtractConfig(pose=pose), False, "cpu")
    with pytest.raises(UsageError, match="device 'cuda:9' cannot be used"):
        extract.estimators(ExtractConfig(pose="upright"), False, "cuda:9")


QUICK = ("--jobs", 1, "--pose", "upright", "--detector", "whole", "--set", "extract.min_seconds=0.2")


def of(work: Path, stem: str = "001-nm-01-090") -> dict[str, Any]:
    return dict(store.attributes(work / f"pose2d/{stem}.h5", "pose2d"))


def test_every_item_is_noted_in_the_log_without_its_labels(video: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(f"video,subject,condition,number,view\n{video.name},Erika,nm,01,090\n")
    (tmp_path / "text.avi").write_text("no video")
    log = tmp_path / "work/logs/run.jsonl"
    command = ("extract", video, tmp_path / "text.avi", "--work", tmp_path / "work", "--labels", labels, *QUICK)
    assert gaitreid(*command).exit_code == 1
    said = gaitreid(*command, "--log-json", "--set", "logs.names=hashed")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["item"], line["state"], line["reason"]) for line in lines[:2]] == [
        ("001-nm-01-090", "done", ""),
        ("text", "failed", "unreadable"),
    ]
    assert lines[0]["bytes"] == video.stat().st_size
    assert lines[0]["frames"] == 30
    assert lines[0]["seconds"] > 0
    assert [line["state"] for line in lines[2:]] == ["skipped", "skipped"]
    assert lines[2]["item"] != lines[3]["item"] != "text"
    assert "Erika" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert {event["event"] for event in events} == {"item", "line", "progress"}
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["total"], last["done"], last["skipped"], last["failed"]) == (2, 2, 2, 1)
    assert "rate" not in last  # nothing was worked on


def test_parts_of_the_videos_are_disjoint_and_whole_together(video: Path, tmp_path: Path) -> None:
    for n in range(2, 9):
        shutil.copy(video, tmp_path / f"00{n}-nm-01-090.avi")
    found = []
    for part in ("1/3", "2/3", "3/3"):
        said = gaitreid("extract", tmp_path, "--work", tmp_path / "work", "--shard", part, *QUICK)
        assert said.exit_code == 0, said.output
        found.append({file.stem for file in (tmp_path / "work/pose2d").glob("*.h5")})
        assert f"{len(found[-1]) - len(found[-2] if found[1:] else ())} of 8 videos are in shard {part}" in said.output
    assert [len(stems) for stems in found] == [2, 5, 8]
    assert all(extract.in_shard("a", "1/1") for _ in range(3))
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(UsageError, match="expected i/n"):
            extract.in_shard("a", wrong)
    empty = next(f"{k}/50" for k in range(1, 51) if not any(extract.in_shard(stem, f"{k}/50") for stem in found[-1]))
    assert gaitreid("extract", tmp_path, "--work", tmp_path / "work", "--shard", empty, *QUICK).exit_code == 0


def while_it_is_read(change: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Callable[..., Any] = vars(extract)["extract_video"]

    def changed(*arguments: Any, **options: Any) -> Any:
        found = whole(*arguments, **options)
        change()
        return found

    monkeypatch.setattr(extract, "extract_video", changed)


def test_a_video_that_changes_while_it_is_read_is_not_done(video: Path, tmp_path: Path) -> None:
    command = ("extract", video, "--work", tmp_path / "work", *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        while_it_is_read(lambda: video.write_bytes(video.read_bytes() + b"more"), patch)
        said = gaitreid(*command)
    assert isinstance(said.exception, EmptyError)
    assert "changed: the file changed while it was read" in said.output
    assert not (tmp_path / "work/pose2d").exists()
    with pytest.MonkeyPatch.context() as patch:  # only touched
        while_it_is_read(lambda: os.utime(video, (1, 1)), patch)
        assert gaitreid(*command).exit_code == 0
    assert of(tmp_path / "work")["tracks"] == 1


def test_what_others_code_raises_ends_one_video_and_is_tried_again(video: Path, tmp_path: Path) -> None:
    def broken() -> None:
        raise ZeroDivisionError("in a decoder")

    shutil.copy(video, tmp_path / "002-nm-01-090.avi")
    (tmp_path / "work/pose2d").mkdir(parents=True)
    command = ("extract", video, tmp_path / "002-nm-01-090.avi", "--work", tmp_path / "work", *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        while_it_is_read(broken, patch)
        assert "error: ZeroDivisionError: in a decoder" in gaitreid(*command).output
    assert gaitreid(*command).exit_code == 0


def test_a_copy_that_was_cut_short_is_done_and_marked(video: Path, tmp_path: Path) -> None:
    command = ("extract", video, "--work", tmp_path / "work", *QUICK)
    gaitreid(*command)
    assert of(tmp_path / "work")["truncated"] is False
    claim(video, 60)
    said = gaitreid(*command)
    assert "of 30 frames (truncated: 60 promised)" in said.output
    assert of(tmp_path / "work")["truncated"] is True
    claim(video, 30)
    gaitreid(*command)
    assert of(tmp_path / "work")["truncated"] is False


def test_no_file_too_large_a_file_and_one_that_is_gone_have_their_reasons(video: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "large.avi").touch()
    os.truncate(tmp_path / "large.avi", 2 * 10**9)
    videos = (video, tmp_path / "pipe.avi", tmp_path / "large.avi")
    said = gaitreid("extract", *videos, "--work", tmp_path / "work", *QUICK, "--set", "limits.gigabytes=1")
    assert said.exit_code == 1
    assert "large          too-large: 2.0 GB, 1 are allowed (limits.gigabytes): cut it" in said.output
    assert "pipe           not-a-file: " in said.output
    job = extract.Job(tmp_path / "gone.avi", "gone", Work(tmp_path / "work"), ExtractConfig(), Labels(), False)
    assert extract.extract_one(job).reason == "unreadable"
    with pytest.raises(UsageError, match=r"gone\.avi: not there on .*: every worker must see the same paths"):
        extract.extract_one(extract._remote(job))


def test_a_video_that_is_cut_off_is_written_down_and_not_tried_again_unasked(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(jobs.IN_PROCESS)
    command = ("extract", video, "--work", tmp_path / "work", "--jobs", 1)
    said = gaitreid(*command, "--set", "limits.seconds=0.1")  # less than a worker needs to import MediaPipe
    assert "timeout: nothing new came of it for 0.1 s (limits.seconds)" in said.output
    assert str(of(tmp_path / "work")["reason"]).startswith("timeout: ")
    again = gaitreid(*command)
    assert "timeout: nothing new came of it for 0.1 s (limits.seconds) (up to date)" in again.output
    job = extract.Job(video, video.stem, Work(tmp_path / "work"), ExtractConfig(), Labels("001", "nm", "01", "090"), False)
    assert extract.known(job) == extract.Outcome(video.stem, "timeout", again.output.splitlines()[0].split("  ")[1], 0, True)
    retried = extract.Job(**{**vars(job), "retry": True, "config": ExtractConfig()})
    assert extract.known(retried) is None
    assert extract.lost(job, Lost("crashed", "twice")).reason == "crashed"
    assert of(tmp_path / "work")["reason"] == "crashed: twice"


def test_what_was_made_stays_when_the_disk_of_videos_is_gone(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("extract", tmp_path, "--work", tmp_path / "work", *QUICK)
    gaitreid(*command)
    made = (tmp_path / "work/pose2d/001-nm-01-090.h5").read_bytes()

    def gone(path: Path) -> str:
        raise ItemError("unreadable", "cannot be read: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(extract, "hashed", gone)
        said = gaitreid(*command)
    assert "unreadable: cannot be read: Input/output error" in said.output
    assert (tmp_path / "work/pose2d/001-nm-01-090.h5").read_bytes() == made
    assert "1 were up to date" in gaitreid(*command).output


def test_a_video_keeps_its_stem_whatever_is_named_beside_it(video: Path, tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        (tmp_path / day).mkdir()
        shutil.copy(video, tmp_path / day / "01.avi")
    video.unlink()
    work = Work(tmp_path / "work")

    def posed(*videos: Path) -> list[str]:
        assert gaitreid("extract", *videos, "--work", work.root, *QUICK).exit_code == 0
        return work.stems("pose2d")

    assert posed(tmp_path / "day1") == ["01"]
    assert posed(tmp_path) == ["01", "day2-01"]
    assert posed(tmp_path / "day2") == ["01", "day2-01"]
    assert extract.by_stem(work, [tmp_path]) == {"01": tmp_path / "day1/01.avi", "day2-01": tmp_path / "day2/01.avi"}
    assert "2 were up to date" in gaitreid("extract", tmp_path, "--work", work.root, *QUICK).output


def test_names_that_no_file_can_have_fail_and_the_others_go_on(video: Path, tmp_path: Path) -> None:
    long = "a" * 246
    for folder in ("1", "2"):  # their stems, with the folders before them, are longer than any name may be
        (tmp_path / "folder" / f"{folder}234").mkdir(parents=True)
        shutil.copy(video, tmp_path / "folder" / f"{folder}234" / f"{long}.avi")
    command = ("extract", tmp_path, "--work", tmp_path / "work", *QUICK)
    for _ in range(2):  # nothing is written down of them
        said = gaitreid(*command)
        assert said.exit_code == 1
        assert said.output.count("bad-name: its name is longer than 220 bytes: rename it") == 2
    assert Work(tmp_path / "work").stems("pose2d") == ["001-nm-01-090"]
    assert gaitreid("status", tmp_path, "--work", tmp_path / "work").exit_code == 0
    assert gaitreid(*command, "--dry-run").exit_code == 0
    stem = os.fsdecode(b"no\xfftext")
    copy = Path(shutil.copy(video, tmp_path / f"{stem}.avi"))
    job = extract.Job(copy, stem, Work(tmp_path / "work"), ExtractConfig(), Labels(), False)
    assert extract.known(job) is None
    assert extract.extract_one(job).line == "bad-name: its path is no UTF-8 text: rename it"
    assert extract.in_shard(stem, "1/1")


def test_our_own_videos_are_no_input(video: Path, tmp_path: Path) -> None:
    own = tmp_path / "work/identified/001-nm-01-090-abcdef.mp4"
    own.parent.mkdir(parents=True)
    shutil.copy(video, own)
    assert extract.find_videos([tmp_path], tmp_path / "work") == [video]
    assert extract.find_videos([tmp_path / "work"], tmp_path / "work") == [own]  # named itself
    assert [path for path, _, _ in watch._files(tmp_path, (tmp_path / "work", tmp_path / "other"))] == [video]
    assert extract.find_videos([tmp_path]) == [video, own]


def masked(work: Work, stem: str, **attributes: store.Attribute) -> Path:
    path = work.silhouettes(stem)
    facts = {name: value for name, value in of(work.root, stem).items() if not name.startswith("schema")}
    store.write(path, "silhouettes", {}, {**facts, **attributes})
    return path


def test_silhouettes_of_other_tracks_go_and_imported_ones_stay(video: Path, tmp_path: Path) -> None:
    work, command = Work(tmp_path / "work"), ("extract", video, "--work", tmp_path / "work", *QUICK)
    gaitreid(*command)
    path = masked(work, video.stem)
    gaitreid(*command)
    assert path.exists()
    gaitreid(*command, "--overwrite")
    assert not path.exists()
    masked(work, video.stem, imported="silhouettes")
    gaitreid(*command, "--overwrite")
    assert path.exists()


def test_labels_reach_silhouettes_too(video: Path, tmp_path: Path) -> None:
    work, command = Work(tmp_path / "work"), ("extract", video, "--work", tmp_path / "work", *QUICK)
    gaitreid(*command)
    path = masked(work, video.stem)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"video,subject,condition,number,view\n{video.name},Erika,nm,01,090\n")
    assert "1 were up to date" in gaitreid(*command, "--labels", labels).output
    assert store.attributes(path, "silhouettes")["subject"] == of(work.root)["subject"] == "Erika"


def test_a_failure_with_silhouettes_is_not_tried_again_and_they_stay_asked_for(video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.avi").write_text("no video")
    command = ("extract", tmp_path / "text.avi", "--silhouettes", "--work", tmp_path / "work", *QUICK)
    gaitreid(*command)
    assert "(up to date)" in gaitreid(*command).output
    session = Session(Work(tmp_path / "work"), Config(), Console(-1), 1)
    assert session._running(False, None).config.extract.silhouettes


def test_limits_are_positive() -> None:
    with pytest.raises(UsageError, match=r"limits\.pace is 0, expected a number above 0"):
        LimitsConfig(pace=0)
    assert LimitsConfig(memory=2.0).most_memory(3) == 2 * 10**9
    assert 0 < LimitsConfig().most_memory(4) * 3.9 < LimitsConfig().most_memory(1)


def test_folders_that_are_not_looked_into_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos/day").mkdir(parents=True)
    (tmp_path / "videos/loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos/day/clip.avi").write_text("no video")
    scandir = os.scandir

    def closed(place: Any) -> Any:  # permissions do not bind everybody who runs the tests
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    (tmp_path / "videos/closed").mkdir()
    monkeypatch.setattr(os, "scandir", closed)
    found = extract.unseen([tmp_path / "videos", tmp_path / "videos/day/clip.avi"])
    assert found == [f"{tmp_path}/videos/loop (a link)", f"{tmp_path}/videos/closed (Permission denied)"]
    with pytest.raises(EmptyError):
        Session(Work(tmp_path / "work"), Config(), Console()).extract([tmp_path / "videos"])
    assert "videos in 2 folders are left out, unless they are named: " in capsys.readouterr().err
