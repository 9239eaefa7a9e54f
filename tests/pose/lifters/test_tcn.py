from pathlib import Path

import numpy as np
import pytest
import torch

from gaitreid.pose.errors import FormatError, ItemError
from gaitreid.pose.lift import WEIGHTS, LiftConfig, lift
from gaitreid.pose.lifters import tcn
from gaitreid.pose.lifters.motions import FPS, WALK18, Camera, Motion, about_x, about_y, at_rate, from_walker, see
from gaitreid.pose.lifters.tcn import CHANNELS_IN, WALK16, Net, Tcn, _at, _turned, features, lifted
from gaitreid.pose.metrics import nmpjpe, pmpjpe
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import COCO17, H36M17, Skeleton, remap, skeleton


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net(width=24).eval()


def walk(seconds: float = 2.0, subject: int = 1, heading: float = 0.7, fps: float = FPS) -> tuple[np.ndarray, np.ndarray]:
    xyz = at_rate(from_walker(99, subject, seconds), fps)
    xy, truth = see(xyz, Camera(heading=heading, distance=5.0, height=1.4))
    return xy[:, 2:], truth


def track(xy: np.ndarray, of: Skeleton = WALK16, time: np.ndarray | None = None) -> Track2D:
    frames = np.arange(len(xy))
    return Track2D(
        frame=frames,
        time=frames / FPS if time is None else time,
        box=np.zeros((len(xy), 4), np.float32),
        xy=xy.astype(np.float32),
        score=np.isfinite(xy).all(axis=-1).astype(np.float32),
        world=np.full((*xy.shape[:2], 3), np.nan, np.float32),
        skeleton=of,
    )


def test_features_do_not_know_where_and_how_large() -> None:
    xy, _ = walk()
    score = np.ones(xy.shape[:2])
    np.testing.assert_allclose(features(300 * xy + [500, 200], score), features(xy, score), atol=1e-4)


def test_features_tell_which_way_somebody_moves() -> None:
    score = np.ones((50, 16))
    across, _ = walk(heading=np.pi / 2)
    nearer, _ = walk(heading=np.pi)
    x, _, growth = features(across, score)[:, -3:].mean(axis=0)
    assert abs(x) > 0.4
    assert abs(growth) < 0.05
    x, _, growth = features(nearer, score)[:, -3:].mean(axis=0)
    assert abs(x) < 0.05
    assert growth > 0.1


def test_missing_keypoints_are_zero_and_known_to_be() -> None:
    xy, _ = walk()
    xy[3:9, 4] = np.nan
    found = features(xy, np.ones(xy.shape[:2]))
    assert np.isfinite(found).all()
    assert (found[3:9, 8:10] == 0).all()
    assert (found[3:9, 32 + 4] == 0).all()
    assert (found[:3, 32:48] == 1).all()


def test_one_frame_or_no_person_give_features_too() -> None:
    assert np.isfinite(features(np.full((1, 16, 2), np.nan), np.zeros((1, 16)))).all()
    assert np.isfinite(features(np.zeros((1, 16, 2)), np.ones((1, 16)))).all()


@pytest.mark.parametrize("frames", [1, 2, 30, 31])
def test_what_comes_after_the_end_of_a_track_does_not_matter(net: Net, frames: int) -> None:
    inputs = torch.randn(2, 50, CHANNELS_IN)
    inside = (torch.arange(50) < frames).float().expand(2, 50)
    padded = net(inputs, inside)
    alone = net(inputs[:, :frames], torch.ones(2, frames))
    for a, b in zip(padded, alone, strict=True):
        torch.testing.assert_close(a[:, :frames], b, atol=1e-5, rtol=1e-4)


def test_a_frame_depends_on_about_three_seconds_around_it(net: Net) -> None:
    inputs = torch.randn(1, 301, CHANNELS_IN, requires_grad=True)
    net(inputs, torch.ones(1, 301))[0][0, 150].sum().backward()
    assert inputs.grad is not None
    frames = inputs.grad[0].abs().sum(dim=1).nonzero().flatten()
    reach = 2 * sum(net.dilations)
    assert frames.min() == 150 - reach
    assert frames.max() == 151 + reach
    assert 27 <= 2 * reach + 2 <= 81


def test_the_hips_are_around_the_origin(net: Net) -> None:
    joints, _, turn = net(torch.randn(2, 20, CHANNELS_IN), torch.ones(2, 20))
    hips = joints[:, :, WALK16.indices("left_hip", "right_hip")].mean(dim=2)
    assert hips.abs().max() < 1e-5
    torch.testing.assert_close(turn.norm(dim=2), torch.ones(2, 20))


def test_bodies_are_turned_about_the_vertical_and_then_towards_the_camera() -> None:
    joints = np.random.default_rng(0).normal(size=(1, 1, 16, 3))
    for turn, down in ((0.0, 0.0), (2.0, 0.4), (-0.7, -0.9)):
        by = torch.tensor([[[np.cos(turn), np.sin(turn)]]]), torch.full((1, 1, 1), np.sin(down))
        expected = joints @ (about_x(down) @ about_y(turn)).T
        np.testing.assert_allclose(_turned(torch.from_numpy(joints), *by), expected, atol=1e-6)


def test_a_score_is_how_likely_a_joint_is_to_be_within_a_decimetre(shipped: Tcn, monkeypatch: pytest.MonkeyPatch) -> None:
    xy, _ = walk()
    scale = np.linspace(0.01, 0.2, 16)  # metres: errors have a density in space that falls with exp(-distance / scale)
    monkeypatch.setattr(tcn, "lifted", lambda net, xy, score: (np.zeros((len(xy), 16, 3)), np.tile(scale / 1.65, (len(xy), 1))))
    found = shipped.lift(track(xy), WALK18)[1][7]
    away = np.linspace(0, 10, 200_001)
    density = away**2 * np.exp(-away / scale[:, None])
    expected = density[:, away <= 0.1].sum(axis=1) / density.sum(axis=1)
    np.testing.assert_allclose(found[2:], expected, atol=1e-3)
    for built, pair in (("pelvis", "hip"), ("thorax", "shoulder")):
        both = WALK16.indices(f"left_{pair}", f"right_{pair}")
        assert found[WALK18.index(built)] == pytest.approx(min(expected[both]), abs=1e-3)


def test_the_mirror_image_is_lifted_to_the_mirror_image(net: Net) -> None:
    xy, _ = walk()
    score = np.ones(xy.shape[:2])
    twins = WALK16.mirror()
    joints, off = lifted(net, xy, score)
    other, same = lifted(net, xy[:, twins] * [-1, 1], score)
    np.testing.assert_allclose(other[:, twins] * [-1, 1, 1], joints, atol=1e-5)
    np.testing.assert_allclose(same[:, twins], off, rtol=1e-4)


@pytest.fixture(scope="module")
def shipped() -> Tcn:
    return Tcn()


@pytest.mark.parametrize("heading", np.arange(0.3, 2 * np.pi, np.pi / 3))
def test_walkers_it_never_saw_are_lifted(shipped: Tcn, heading: float) -> None:
    xy, truth = walk(seconds=3.0, subject=7, heading=heading)
    truth, _ = remap(truth, np.ones(truth.shape[:2]), WALK18, H36M17)
    found = lift(track(1000 * xy), LiftConfig(lifter="tcn"), lambda _: shipped)
    assert nmpjpe(found.xyz, truth) < 0.08
    assert pmpjpe(found.xyz, truth) < 0.06
    flat = np.concatenate([truth[..., :2], np.zeros_like(truth[..., 2:])], axis=-1)
    assert nmpjpe(found.xyz, truth) < nmpjpe(flat, truth)


@pytest.mark.parametrize("name", ["h36m17", "casia14", "kinect20", "kinect25"])
def test_bones_keep_their_length(shipped: Tcn, name: str) -> None:
    xy, _ = walk()
    found = lift(track(xy), LiftConfig(lifter="tcn", skeleton=name), lambda _: shipped)
    edges = np.array(skeleton(name).edges)
    lengths = np.linalg.norm(found.xyz[:, edges[:, 1]] - found.xyz[:, edges[:, 0]], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 1e-4
    assert np.median(lengths) > 0.05


def test_estimators_without_feet_are_lifted_too(shipped: Tcn) -> None:
    xy, truth = walk(seconds=3.0)
    coco = np.full((len(xy), 17, 2), np.nan)
    for k, joint in enumerate(COCO17.joints):
        if joint in WALK16.joints:
            coco[:, k] = xy[:, WALK16.index(joint)]
    found = lift(track(coco, COCO17), LiftConfig(lifter="tcn"), lambda _: shipped)
    truth, _ = remap(truth, np.ones(truth.shape[:2]), WALK18, H36M17)
    legs = [0, *H36M17.indices("left_knee", "right_knee", "left_ankle", "right_ankle")]
    assert nmpjpe(found.xyz[:, legs], truth[:, legs]) < 0.1


def test_joints_that_were_missing_are_filled_in_with_score_0(shipped: Tcn) -> None:
    xy, _ = walk()
    whole = lift(track(xy), LiftConfig(lifter="tcn"), lambda _: shipped)
    wrist, k = WALK16.index("left_wrist"), H36M17.index("left_wrist")
    xy[10:20, wrist] = np.nan
    found = lift(track(xy), LiftConfig(lifter="tcn"), lambda _: shipped)
    assert np.isfinite(found.xyz).all()
    assert (found.score[10:20, k] == 0).all()
    assert (found.score[20:, k] > 0).all()
    assert np.linalg.norm(found.xyz[10:20, k] - whole.xyz[10:20, k], axis=-1).mean() < 0.15


def test_frames_may_come_at_any_rate(shipped: Tcn) -> None:
    xy, _ = walk(seconds=4.0)
    every = lift(track(xy), LiftConfig(lifter="tcn"), lambda _: shipped)
    half = lift(track(xy[::2], time=np.arange(0, len(xy), 2) / FPS), LiftConfig(lifter="tcn"), lambda _: shipped)
    assert np.linalg.norm(half.xyz - every.xyz[::2], axis=-1).mean() < 0.05


@pytest.mark.parametrize("fps", [6.0, 8.0])
def test_slow_tracks_are_lifted_as_others_are(shipped: Tcn, fps: float) -> None:
    whole = lift(track(walk(seconds=4.0)[0]), LiftConfig(lifter="tcn"), lambda _: shipped)
    xy, _ = walk(seconds=4.0, fps=fps)
    slow = lift(track(xy, time=np.arange(len(xy)) / fps), LiftConfig(lifter="tcn"), lambda _: shipped)
    expected = at_rate(Motion(whole.xyz, FPS, "the same walk"), fps)
    assert len(slow.xyz) == len(expected)
    assert np.linalg.norm(slow.xyz - expected, axis=-1).mean() < 0.02
    assert slow.score.mean() > whole.score.mean() - 0.05


def test_a_gap_is_longer_than_other_steps_of_its_track() -> None:
    frames, time = np.array([0, 1, 2, 3, 7, 8]) / 6, np.arange(0, 8 / 6, 1 / FPS)
    xy, score = _at(time, frames, np.ones((6, 16, 2)), np.ones((6, 16)))
    lost = (time > 3 / 6) & (time < 7 / 6)
    assert (np.isnan(xy).all(axis=(1, 2)) == lost).all()
    np.testing.assert_array_equal(score, np.tile(~lost[:, None], 16))
    assert np.isfinite(_at(np.zeros(1), np.zeros(1), np.ones((1, 16, 2)), np.ones((1, 16)))[0]).all()


@pytest.mark.parametrize("first", [0, 7, 1234])
def test_at_its_own_rate_a_track_is_taken_as_it_is(first: int) -> None:
    frames = np.delete(first + np.arange(100), range(60, 70)) / FPS
    xy = np.random.default_rng(0).normal(size=(90, 16, 2))
    xy[::7, 3] = np.nan
    found, score = _at(np.arange(frames[0], frames[-1] + 0.5 / FPS, 1 / FPS), frames, xy, np.ones((90, 16)))
    assert np.isnan(found[60:70]).all()
    assert not score[60:70].any()
    np.testing.assert_allclose(np.delete(found, range(60, 70), axis=0), xy, atol=1e-5)


def test_hardly_any_keypoints_are_an_error_of_the_track(shipped: Tcn) -> None:
    xy, _ = walk()
    xy[:, 5:] = np.nan
    with pytest.raises(ItemError, match="8 keypoints") as caught:
        shipped.lift(track(xy), H36M17)
    assert caught.value.reason == "too-few-keypoints"


def test_a_folder_without_a_lifter_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not a whole lifter"):
        Tcn(str(tmp_path))
    (tmp_path / WEIGHTS).write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match="gaitreid train --model lifter"):
        Tcn(str(tmp_path))
