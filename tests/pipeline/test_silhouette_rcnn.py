"""Keypoint R-CNN learns from silhouettes of videos and finds keypoints in others, as a user runs it."""

from pathlib import Path
from typing import Any

import made_walks
import numpy as np
import pytest
from commands import run as here

from gaitreid.pipeline import checkpoints, store
from gaitreid.pipeline.silhouette_rcnn import labelled
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.silhouettes import SilhouetteRcnnConfig
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.records import Walks

TINY = ["backbone=resnet18", "side=44", "head=8", "places=4", "iterations=2", "batch=2", "every=1"]
SETTINGS = [word for value in TINY for word in ("--set", f"silhouette_rcnn.{value}")]
TRAIN = ["train", "--model", "silhouette-rcnn", "--device", "cpu", *SETTINGS]
LABELS = {"subject": "001", "condition": "nm", "number": "01", "view": "090"}


def outlines(work: Path, stem: str, *, placed: bool = True, frames: int = 6) -> Work:
    """Silhouettes of a walk, cut from a picture such that they are the joints' times 0.64, less (10, 12.8)."""
    masks = made_walks.masks(frames, 6.0, 8.0, 0.0).astype(np.uint8) * 255
    place = {"scale": np.full((frames, 2), 0.64), "shift": np.tile([-10, -12.8], (frames, 1))} if placed else {}
    record = Silhouettes(frame=np.arange(2, frames + 2), mask=masks, **place)
    facts = {**LABELS, "config": "{}", "made_from": stem}
    store.write(Work(work).silhouettes(stem), "silhouettes", {"/tracks/000001": record}, facts)
    return Work(work)


def keypoints(work: Path, stem: str, frames: int = 6) -> None:
    """The joints of the same walk in the video's pictures, beginning two frames before; the nose is hardly seen."""
    points = made_walks.keypoints(frames, 6.0, 8.0, 0.0)
    points = np.concatenate([points[:2], points])
    points[:, 0, 2] = 0.2
    track = Track2D(
        frame=np.arange(frames + 2),
        time=np.arange(frames + 2) / 25,
        box=np.tile(np.array([30, 20, 70, 120], np.float32), (frames + 2, 1)),
        xy=points[..., :2],
        score=points[..., 2],
        world=np.full((frames + 2, 17, 3), np.nan, np.float32),
        skeleton=COCO17,
    )
    facts = {**LABELS, "config": "{}", "made_from": stem}
    store.write(Work(work).pose2d(stem), "pose2d", {"/tracks/000001": track}, facts)


def test_labels_are_the_pictures_keypoints_in_the_silhouettes_of_the_same_frames(tmp_path: Path) -> None:
    work = outlines(tmp_path, "a")
    keypoints(tmp_path, "a")
    masks, points = labelled(work, {"a": "001"}, SilhouetteRcnnConfig())
    assert masks.shape == (6, 64, 44)
    np.testing.assert_allclose(
        points[:, 1:, :2], made_walks.keypoints(6, 6.0, 8.0, 0.0)[:, 1:, :2] * 0.64 - [10, 12.8], atol=1e-5
    )
    assert (points[:, 1:, 2] == 1).all()
    assert not points[:, 0].any()  # too little sure
    hip = points[:, COCO17.index("left_hip"), :2].round().astype(int)
    assert masks[np.arange(6), hip[:, 1], hip[:, 0]].all()
    few, _ = labelled(work, {"a": "001"}, SilhouetteRcnnConfig(examples=2))
    np.testing.assert_array_equal(few, masks[[0, 5]])


def test_it_is_taught_and_finds_keypoints_in_silhouettes_without_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outlines(tmp_path / "taught", "a")
    keypoints(tmp_path / "taught", "a")
    model = tmp_path / "taught/models/silhouette-rcnn"
    with monkeypatch.context() as patch:  # cut off after the first of two rounds

        def once(path: Path, state: dict[str, Any]) -> None:
            checkpoints_save(path, state)
            raise KeyboardInterrupt

        checkpoints_save = checkpoints._save
        patch.setattr(checkpoints, "_save", once)
        here(*TRAIN, "--work", tmp_path / "taught", expect=130)
    assert not (model / "estimator.safetensors").exists()
    out = here(*TRAIN, "--work", tmp_path / "taught").output
    assert "on 6 silhouettes of 1 video, 94% of their keypoints known, 2 iterations" in out
    assert '"epoch": 2' in (model / "log.jsonl").read_text()
    assert "up to date" in here(*TRAIN, "--work", tmp_path / "taught").output
    files = {path: path.read_bytes() for path in model.iterdir()}
    for other, words in (("head=16", "has shape"), ("iterations=1", "1 are asked for, and 2 steps are done")):
        refused = here(*TRAIN, "--work", tmp_path / "taught", "--resume", "--set", f"silhouette_rcnn.{other}", expect=2)
        assert words in str(refused.exception)
        assert {path: path.read_bytes() for path in model.iterdir()} == files
    here(*TRAIN, "--work", tmp_path / "taught", "--resume", "--iterations", 3)
    assert '"epoch": 3' in (model / "log.jsonl").read_text()
    work = outlines(tmp_path / "other", "b", placed=False)
    from gaitreid.pipeline.config import load
    from gaitreid.pipeline.console import Console
    from gaitreid.pipeline.session import Session

    config = load(overrides=["pack.keypoints=silhouette", f"silhouette_rcnn.use={model}", "device=cpu"])
    session = Session(work, config, Console(-1))
    session.pack()
    found = store.read(work.silhouette_pose2d("b"), "pose2d", Track2D, "/tracks/000001")
    assert found.frame.tolist() == list(range(2, 8))
    assert found.skeleton == COCO17
    assert (found.box[:, [1, 3]] == [-0.5, 63.5]).all()
    walks = store.read(work.walks, "walks", Walks, "/walks")
    assert walks.source == "silhouette"
    np.testing.assert_array_equal(walks.keypoints[..., :2], found.xy)
    assert walks.subject.tolist() == ["001"]
    before = work.silhouette_pose2d("b").stat().st_mtime_ns
    session.pack()
    assert work.silhouette_pose2d("b").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="train --model silhouette-rcnn"):
        Session(work, load(overrides=["pack.keypoints=silhouette"]), Console(-1)).pack()
    (model / "estimator.safetensors").write_bytes(b"damaged")
    with pytest.raises(FormatError, match="not a whole model"):
        session.pack()


def test_walks_cannot_be_chosen(tmp_path: Path) -> None:
    outlines(tmp_path, "a")
    keypoints(tmp_path, "a")
    refused = here(*TRAIN, "--work", tmp_path, "--set", "train.select=nm", expect=2)
    assert str(refused.exception).startswith("train.select: 'silhouette-rcnn' learns from whole videos")


def test_silhouettes_that_do_not_say_where_they_lie_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmptyError, match="of 0 videos that have both"):
        raise here(*TRAIN, "--work", tmp_path, expect=3).exception or ValueError
    outlines(tmp_path, "a", placed=False)
    keypoints(tmp_path, "a")
    with pytest.raises(EmptyError, match=r"of 1 video that have both, 1 do not say where .* --silhouettes --overwrite"):
        raise here(*TRAIN, "--work", tmp_path, expect=3).exception or ValueError
