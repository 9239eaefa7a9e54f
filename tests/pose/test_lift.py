import numpy as np
import pytest

from gaitreid.pose.clean import CleanConfig
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.geometry import normalize, root
from gaitreid.pose.lift import LiftConfig, lift
from gaitreid.pose.lifters.world import World
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import BLAZEPOSE33, skeleton

STILL = CleanConfig(outlier=0, cutoff=0)


def track(frames: int = 50, seed: int = 0) -> Track2D:
    """A body whose joints swing each in its own place."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    places, swing = rng.normal(0, 0.4, (33, 3)), rng.normal(0, 0.1, (33, 3))
    world = places + swing * np.sin(2 * np.pi * time)[:, None, None]
    return Track2D(
        frame=np.arange(frames),
        time=time,
        box=np.zeros((frames, 4), np.float32),
        xy=np.zeros((frames, 33, 2), np.float32),
        score=np.ones((frames, 33), np.float32),
        world=world.astype(np.float32),
        skeleton=BLAZEPOSE33,
    )


def lifted(of: Track2D, name: str = "h36m17", clean: CleanConfig = STILL) -> np.ndarray:
    return np.asarray(lift(of, LiftConfig(skeleton=name, clean=clean), lambda _: World()).xyz)


@pytest.mark.parametrize("name", ["h36m17", "casia14", "kinect20", "kinect25"])
def test_joints_of_the_same_name_are_the_same_joints(name: str) -> None:
    of, target = track(), skeleton(name)
    xyz = lifted(of, name)
    assert xyz.shape == (50, len(target.joints), 3)
    shared = [joint for joint in target.joints if joint in BLAZEPOSE33.joints]
    assert len(shared) >= 12
    ours, theirs = xyz[:, target.indices(*shared)], of.world[:, BLAZEPOSE33.indices(*shared)]
    np.testing.assert_allclose(ours - ours[:, :1], theirs - theirs[:, :1], atol=1e-5)
    hips = xyz[:, target.indices("left_hip", "right_hip")].mean(axis=1)
    np.testing.assert_allclose(hips, 0, atol=1e-6)
    assert np.isfinite(normalize(xyz, target, "gait", of.time)).all()


def test_noise_is_smoothed_and_a_jump_masked() -> None:
    of = track()
    truth = lifted(of)
    noisy = of.world + np.random.default_rng(1).normal(0, 0.01, of.world.shape).astype(np.float32)
    noisy[20, BLAZEPOSE33.index("left_ankle")] += 1.5
    result = lift(
        Track2D(**{**vars(of), "world": noisy}), LiftConfig(clean=CleanConfig()), lambda _: World()
    )  # the outlier is filled in from its neighbours
    ankle = result.skeleton.index("left_ankle")
    assert result.score[20, ankle] == 0
    assert np.abs(result.xyz[20, ankle] - truth[20, ankle]).max() < 0.05
    inside = slice(8, -8)
    rough = lifted(Track2D(**{**vars(of), "world": noisy}))
    assert np.abs(result.xyz[inside] - truth[inside]).mean() < 0.7 * np.abs(rough[inside] - truth[inside]).mean()


@pytest.mark.parametrize("name", ["h36m17", "casia14", "kinect20"])
def test_bones_of_one_length_hang_from_the_hips(name: str) -> None:
    rigid = World()
    rigid.rigid = True
    target = skeleton(name)
    xyz = lift(track(), LiftConfig(skeleton=name, clean=STILL), lambda _: rigid).xyz
    np.testing.assert_allclose(root(xyz, target), 0, atol=1e-6)


def test_what_hangs_from_a_missing_joint_has_score_0() -> None:
    of = track()
    of.world[20:35, BLAZEPOSE33.index("left_knee")] = np.nan  # too long to be bridged
    of.world[:, BLAZEPOSE33.index("left_wrist")] = np.nan
    rigid = World()
    rigid.rigid = True
    result = lift(of, LiftConfig(clean=STILL), lambda _: rigid)
    joints = result.skeleton
    missing = np.zeros(result.score.shape, bool)
    missing[20:35, joints.indices("left_knee", "left_ankle")] = True
    missing[:, joints.index("left_wrist")] = True
    assert (np.isnan(result.xyz).all(axis=-1) == missing).all()
    assert ((result.score == 0) == missing).all()


def test_an_estimator_without_3d_is_said_so() -> None:
    of = track()
    flat = Track2D(**{**vars(of), "world": np.full_like(of.world, np.nan)})
    with pytest.raises(ItemError, match="--lifter") as error:
        lifted(flat)
    assert error.value.reason == "no-3d"


def test_unknown_skeletons_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="h36m17"):
        LiftConfig(skeleton="h36m71")
