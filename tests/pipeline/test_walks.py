from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_walks import masks

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.walks import pack
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import BLAZEPOSE33, COCO17, Skeleton
from gaitreid.reid.config import PackConfig
from gaitreid.reid.records import Walks

LABELS = {"subject": "001", "condition": "nm", "number": "01", "view": "090"}


def silhouettes(frames: list[int]) -> Silhouettes:
    return Silhouettes(frame=np.array(frames), mask=masks(len(frames), 6, 8, 0.0).astype(np.uint8) * 255)


def pose(frames: list[int], skeleton: Skeleton = COCO17, at: float = 0.0) -> Track2D:
    count, joints = len(frames), len(skeleton.joints)
    xy = at + np.arange(count * joints * 2, dtype=np.float32).reshape(count, joints, 2)
    xy[0, 4] = np.nan
    score = np.full((count, joints), 0.5, np.float32)
    score[0, 4] = 0
    return Track2D(
        frame=np.array(frames),
        time=np.array(frames) / 25,
        box=np.tile(np.array([1, 2, 3, 4], np.float32), (count, 1)),
        xy=xy,
        score=score,
        world=np.full((count, joints, 3), np.nan, np.float32),
        skeleton=skeleton,
    )


def write(path: Path, schema: str, *tracks: Silhouettes | Track2D, **labels: str) -> None:
    store.write(path, schema, {f"/tracks/{k:06d}": track for k, track in enumerate(tracks, 1)}, {**LABELS, **labels})


def packed(work: Work, config: PackConfig | None = None) -> Walks:
    return store.read(pack(work, config or PackConfig(), Console()), "walks", Walks, "/walks")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A video with both, one with silhouettes alone, one with keypoints alone."""
    work = Work(tmp_path / "work")
    write(work.silhouettes("both"), "silhouettes", silhouettes([2, 3, 4, 5, 7, 8]), subject="old")
    write(work.pose2d("both"), "pose2d", pose([0, 1, 3, 4, 5, 6, 7]))
    write(work.silhouettes("alone"), "silhouettes", silhouettes(list(range(6))), subject="002")
    write(work.pose2d("posed"), "pose2d", pose(list(range(9)), BLAZEPOSE33, at=5.0))
    return work


def test_keypoints_stand_beside_the_silhouettes_of_the_same_frames(work: Work) -> None:
    walks = packed(work)
    assert walks.video.tolist() == ["alone", "both", "posed"]
    assert walks.subject.tolist() == ["002", "001", "001"]  # the labels of pose2d are those that are kept up to date
    assert walks.recording.tolist() == ["002/nm/01", "001/nm/01", "001/nm/01"]
    assert (walks.start.tolist(), walks.length.tolist()) == ([0, 6, 12], [6, 6, 9])
    assert (walks.outlined.tolist(), walks.posed.tolist()) == ([6, 6, 0], [0, 4, 9])
    both = slice(6, 12)
    assert walks.frame[both].tolist() == [2, 3, 4, 5, 7, 8]
    truth = pose([0, 1, 3, 4, 5, 6, 7])
    for row, theirs in ((7, 2), (8, 3), (9, 4), (10, 6)):
        np.testing.assert_array_equal(walks.keypoints[row, :, :2], truth.xy[theirs])
        np.testing.assert_array_equal(walks.box[row], [1, 2, 3, 4])
    for row in (6, 11):
        assert np.isnan(walks.keypoints[row, :, :2]).all()
        assert not walks.keypoints[row, :, 2].any()
    bits = np.unpackbits(walks.silhouette[both], axis=1).reshape(6, 64, 44)
    np.testing.assert_array_equal(bits, masks(6, 6, 8, 0.0))


def test_joints_come_by_name_and_a_missing_one_is_missing(work: Work) -> None:
    walks = packed(work)
    first = walks.keypoints[walks.start[2]]
    truth = pose([0], BLAZEPOSE33, at=5.0)
    for joint in ("nose", "left_knee", "right_ear"):
        np.testing.assert_array_equal(first[COCO17.index(joint), :2], truth.xy[0, BLAZEPOSE33.index(joint)])
    assert not walks.silhouette[walks.start[2] :].any()
    assert walks.keypoints[12, :, 2].min() == 0.5  # joint 4 of BlazePose is none of COCO's


def test_what_is_there_is_said_and_second_time_nothing_is_done(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    packed(work)
    said = capsys.readouterr().out
    assert said == (
        "pack: 3 walks, 21 frames, without silhouettes: 1, without keypoints: 1; 33% of the silhouettes have keypoints\n"
    )
    before = work.walks.read_bytes()
    packed(work)
    assert capsys.readouterr().out == ""
    write(work.silhouettes("alone"), "silhouettes", silhouettes([0, 1, 2]), subject="002")
    walks = packed(work)
    assert walks.video.tolist() == ["both", "posed"]
    assert "left out: 1 too-short" in capsys.readouterr().out
    assert work.walks.read_bytes() != before


def test_keypoints_of_silhouettes_are_taken_when_asked_for(work: Work) -> None:
    write(work.silhouette_pose2d("both"), "pose2d", pose([2, 3, 4, 5, 7, 8], at=1000.0))
    walks = packed(work, PackConfig(keypoints="silhouette"))
    assert walks.video.tolist() == ["alone", "both"]
    assert np.isnan(walks.time).all()  # a box that moves in silhouettes, which are centred, goes nowhere
    assert walks.source == "silhouette"
    assert walks.posed.tolist() == [0, 6]
    assert np.nanmin(walks.keypoints[6:, :, 0]) >= 1000
    assert packed(work).source == "rgb"


def test_frames_at_the_edge_of_the_picture_are_left_out_where_others_remain(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    frames = list(range(9))
    boxes = np.array([(left, 10, left + 30, 90) for left in (0, 1, 4, 40, 80, 100, 110, 129, 150)], np.float32)
    write(work.silhouettes("a"), "silhouettes", silhouettes(frames))
    pose2d = replace(pose(frames), box=boxes)
    store.write(work.pose2d("a"), "pose2d", {"/tracks/000001": pose2d}, {**LABELS, "width": 160})
    assert packed(work).frame.tolist() == [2, 3, 4, 5, 6]
    assert packed(work, PackConfig(min_frames=6)).frame.tolist() == frames
    assert packed(work, PackConfig(whole=False)).frame.tolist() == frames


def test_only_one_of_two_at_once_bears_the_label(tmp_path: Path) -> None:
    work = Work(tmp_path)
    write(work.silhouettes("two"), "silhouettes", silhouettes(list(range(9))), silhouettes(list(range(12))))
    assert packed(work).subject.tolist() == ["", "001"]


def test_a_track_without_a_silhouette_has_its_keypoints(tmp_path: Path) -> None:
    work = Work(tmp_path)
    write(work.silhouettes("two"), "silhouettes", silhouettes(list(range(9))), silhouettes([]))
    write(work.pose2d("two"), "pose2d", pose(list(range(9))), pose(list(range(20, 26))))
    walks = packed(work)
    assert (walks.outlined.tolist(), walks.posed.tolist()) == ([9, 0], [9, 6])


def test_nothing_is_never_silent(tmp_path: Path) -> None:
    with pytest.raises(EmptyError, match=r"gaitreid extract VIDEOS\.\.\. --silhouettes"):
        pack(Work(tmp_path), PackConfig(), Console())
