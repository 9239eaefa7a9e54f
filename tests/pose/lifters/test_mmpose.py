from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import savgol_filter

from gaitreid.pose import openmmlab
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.lifters import mmpose
from gaitreid.pose.lifters.mmpose import MMPose, blended, box, overlapping, placed, resampled, windows
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import BLAZEPOSE33, CASIA14, COCO17, H36M17, Skeleton, remap

VIDEOPOSE = "video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m"
MOTIONBERT = "motionbert_dstformer-243frm_8xb32-240e_h36m"
BASELINE = "image-pose-lift_tcn_8xb64-200e_h36m"
SEMI = "video-pose-lift_tcn-27frm-semi-supv-cpn-ft_8xb64-200e_h36m"


def shrink(config: Any) -> Any:
    """The same model with a thousandth of the weights."""
    backbone, head = config.model.backbone, config.model.head
    if backbone.type == "TCN":
        backbone.stem_channels = head.in_channels = 32
        if "traj_backbone" in config.model:
            config.model.traj_backbone.stem_channels = config.model.traj_head.in_channels = 32
    else:
        backbone.update(feat_size=32, depth=1, seq_len=27)
        head.update(in_channels=32, embedding_size=32)
        for loader in (config.test_dataloader, config.val_dataloader):
            loader.dataset.multiple_target = 27
    return config


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MMPose]:
    """Makes a small lifter of the zoo's kind, with random weights in a checkpoint of its own."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str) -> MMPose:
        config, _ = openmmlab.load_config("mmpose", name)
        path = folder / f"{name}.py"
        if not path.exists():
            torch.manual_seed(0)
            shrink(config).dump(path)
            torch.save({"state_dict": openmmlab.construct("mmpose", config).state_dict()}, path.with_suffix(".pth"))
        return MMPose(f"{path},{path.with_suffix('.pth')}", trust_config=True)

    return make


def track(count: int, skeleton: Skeleton = H36M17, rate: float = 50, seed: int = 0) -> Track2D:
    """A body that walks across the picture, its joints swinging each in its own place."""
    rng = np.random.default_rng(seed)
    time = np.arange(count) / rate
    places, swing = rng.uniform([-30, -80], [30, 80], (len(skeleton.joints), 2)), rng.normal(0, 5, (len(skeleton.joints), 2))
    walk = np.stack([100 + 80 * time, 120 + 0 * time], axis=1)
    xy = walk[:, None] + places + swing * np.sin(2 * np.pi * time)[:, None, None]
    return Track2D(
        frame=np.arange(count),
        time=time,
        box=np.zeros((count, 4), np.float32),
        xy=xy.astype(np.float32),
        score=np.full((count, len(skeleton.joints)), 0.9, np.float32),
        world=np.full((count, len(skeleton.joints), 3), np.nan, np.float32),
        skeleton=skeleton,
    )


def changed(of: Track2D, **changes: Any) -> Track2D:
    return Track2D(**{**vars(of), **changes})


@pytest.mark.parametrize("name", [VIDEOPOSE, MOTIONBERT, BASELINE, SEMI])
@pytest.mark.parametrize("count", [1, 2, 10, 40])
def test_every_kind_lifts_tracks_of_any_length(small: Callable[[str], MMPose], name: str, count: int) -> None:
    xyz, score = small(name).lift(track(count), H36M17)
    assert xyz.shape == (count, 17, 3)
    assert xyz.dtype == np.float32
    assert np.isfinite(xyz).all()
    np.testing.assert_allclose(score, 0.9)


def by_mmpose(lifter: MMPose, name: str, xy: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """mmpose's own inference on one window (L, 17, 2) with the boxes (L, 4)."""
    from mmengine.structures import InstanceData
    from mmpose.apis.inference_3d import inference_pose_lifter_model
    from mmpose.structures import PoseDataSample

    results = []
    for keypoints, around in zip(xy, boxes, strict=True):
        sample = PoseDataSample(track_id=0)
        sample.pred_instances = InstanceData(keypoints=keypoints[None], bboxes=around[None])
        sample.gt_instances = InstanceData()
        results.append([sample])
    model = lifter._model
    model.cfg, model.dataset_meta = openmmlab.load_config("mmpose", name)[0], lifter._meta
    with openmmlab.quiet():
        (found,) = inference_pose_lifter_model(model, results, image_size=(1000, 1000), norm_pose_2d=True)
    return np.asarray(found.pred_instances.keypoints).reshape(17, 3)


@pytest.mark.parametrize(("name", "window"), [(VIDEOPOSE, (17, 44)), (SEMI, (17, 44)), (BASELINE, (30, 31))])
def test_one_window_is_lifted_as_mmpose_does_it(small: Callable[[str], MMPose], name: str, window: tuple[int, int]) -> None:
    lifter, of, frames = small(name), track(80), slice(*window)
    smooth = savgol_filter(box(of.xy.astype(np.float64)), 49, 1, axis=0)[frames]  # as `placed` has it
    theirs = by_mmpose(lifter, name, of.xy[frames], smooth)
    assert np.abs(theirs).max() > 1e-4
    np.testing.assert_allclose(lifter.lift(of, H36M17)[0][30], theirs, atol=1e-5)


def test_motionbert_on_one_frame_is_what_mmpose_gives(small: Callable[[str], MMPose]) -> None:
    """For this model mmpose's own inference takes no more than one frame."""
    lifter, of = small(MOTIONBERT), track(1)
    theirs = by_mmpose(lifter, MOTIONBERT, of.xy, box(of.xy))
    assert np.abs(theirs).max() > 1e-4
    np.testing.assert_allclose(lifter.lift(of, H36M17)[0][0], theirs, atol=1e-5)


def test_an_impulse_moves_the_frames_around_it_and_no_others(small: Callable[[str], MMPose]) -> None:
    lifter, of = small(VIDEOPOSE), track(120)
    moved = of.xy.copy()
    middle = of.xy.mean(axis=1)
    joint = int(np.abs(of.xy - middle[:, None]).max(axis=(0, 2)).argmin())  # one that does not reach the box
    moved[60, joint] = middle[60]
    before, _ = lifter.lift(of, H36M17)
    after, _ = lifter.lift(changed(of, xy=moved), H36M17)
    touched = np.flatnonzero(np.abs(after - before).max(axis=(1, 2)) > 0)
    assert (touched.min(), touched.max()) == (60 - 13, 60 + 13)


def test_a_body_that_is_enlarged_or_moved_is_lifted_the_same(small: Callable[[str], MMPose]) -> None:
    lifter, of = small(VIDEOPOSE), track(60)
    a, _ = lifter.lift(of, H36M17)
    b, _ = lifter.lift(changed(of, xy=of.xy * 3 + np.float32(50)), H36M17)
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_rate_of_the_video_is_brought_to_the_models(small: Callable[[str], MMPose]) -> None:
    lifter, fast, slow = small(VIDEOPOSE), track(101), track(51, rate=25)
    at_50, _ = lifter.lift(fast, H36M17)
    at_25, _ = lifter.lift(slow, H36M17)
    taken_for_50, _ = lifter.lift(changed(slow, time=slow.time / 2), H36M17)
    assert np.abs(at_50[::2] - at_25).max() < 0.2 * np.abs(at_50[::2] - taken_for_50).max()


def test_missing_joints_are_filled_from_the_frames_around(small: Callable[[str], MMPose]) -> None:
    lifter, of = small(VIDEOPOSE), track(60)
    xy, score = of.xy.copy(), of.score.copy()
    xy[20:24, 3], score[20:24, 3] = np.nan, 0
    full, _ = lifter.lift(of, H36M17)
    holed, seen = lifter.lift(changed(of, xy=xy, score=score), H36M17)
    assert np.abs(full - holed).max() < 0.1 * np.abs(full).max()
    assert (seen[20:24, 3] == 0).all()
    assert (np.delete(seen, 3, axis=1) > 0).all()
    xy[:, 3] = np.nan
    with pytest.raises(ItemError, match=r"right_ankle was never seen.*choose another --lifter") as error:
        lifter.lift(changed(of, xy=xy), H36M17)
    assert error.value.reason == "no-joint"
    legs = Skeleton("legs", H36M17.joints[:7], ())  # as a file of another tool may have it: the others can still be lifted
    with pytest.raises(ItemError, match=r"spine was never seen.*choose another --lifter"):
        lifter.lift(track(20, legs), H36M17)


@pytest.mark.parametrize("skeleton", [COCO17, BLAZEPOSE33], ids=lambda s: s.name)
def test_joints_are_carried_over_by_name(small: Callable[[str], MMPose], skeleton: Skeleton) -> None:
    lifter, of = small(VIDEOPOSE), track(30, skeleton)
    xy, score = remap(of.xy, of.score, skeleton, H36M17)
    direct = Track2D(**{**vars(track(30)), "xy": xy, "score": score})
    a, _ = lifter.lift(of, CASIA14)
    b, _ = lifter.lift(direct, CASIA14)
    assert a.shape == (30, 14, 3)
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_device_may_be_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: len(asked) == 1)
    monkeypatch.setattr(mmpose, "_built", lambda _, device, __: asked.append(device))
    for device in ("auto", "auto", "cuda:1"):
        with pytest.raises(AttributeError):  # nothing was built
            MMPose("any", device)
    assert asked == ["cpu", "cuda", "cuda:1"]


def test_weights_that_are_not_here_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAITREID_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="--download video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m"):
        MMPose(VIDEOPOSE)
    with pytest.raises(UsageError, match=r"did you mean .*motionbert_dstformer-243frm_8xb32-240e_h36m"):
        MMPose("motionbert_dstformer-243frm_h36m")


def test_a_model_of_2d_poses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = openmmlab.Built("rtmpose", None, torch.nn.Linear(1, 1), {})
    monkeypatch.setattr(mmpose, "_built", lambda *_: other)
    with pytest.raises(UsageError, match="mmpose:rtmpose is a Linear, which lifts no tracks"):
        MMPose("rtmpose")


def test_people_are_brought_to_the_place_and_size_of_the_data_sets() -> None:
    of = track(100)
    for scale, shift in ((1, 0), (0.3, 40), (7, -200)):
        found = placed(of.xy * scale + shift, np.array([528.0, 427.0]), 400.0)
        boxes = box(found)
        np.testing.assert_allclose(((boxes[:, :2] + boxes[:, 2:]) / 2).mean(axis=0), [528, 427], atol=1)
        assert (boxes[:, 2:] - boxes[:, :2]).max(axis=1).mean() == pytest.approx(400, rel=0.01)


def test_windows_are_centred_and_repeat_the_ends() -> None:
    np.testing.assert_array_equal(windows(4, 5, 2), [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]])
    np.testing.assert_array_equal(windows(3, 3, 2), [[0, 0, 0], [0, 0, 1], [0, 1, 2]])  # causal


@pytest.mark.parametrize(("count", "length"), [(1, 243), (5, 9), (9, 9), (10, 9), (100, 9), (7, 1)])
def test_overlapping_windows_cover_every_frame_and_blend_to_what_they_agree_on(count: int, length: int) -> None:
    index = overlapping(count, length)
    assert set(index.ravel()) == set(range(count))
    truth = np.random.default_rng(0).normal(size=(count, 17, 3))
    np.testing.assert_allclose(blended(truth[index], index, count), truth)


def test_resampling_goes_straight_between_what_was_seen() -> None:
    points = np.array([0.0, np.nan, 4.0, 8.0])[:, None, None].repeat(2, axis=2)
    found = resampled(points, np.array([0.0, 1.0, 2.0, 3.0]), np.array([-1.0, 0.5, 1.0, 2.5, 9.0]))
    np.testing.assert_allclose(found[:, 0, 0], [0, 1, 2, 6, 8])
