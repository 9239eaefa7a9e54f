from dataclasses import replace

import numpy as np
import pytest

from gaitreid.pose.lifters.motions import (
    FPS,
    TWINS,
    WALK18,
    Camera,
    Motion,
    at_rate,
    err,
    from_points,
    from_walker,
    mirrored,
    rebuilt,
    see,
    stretched,
)
from gaitreid.pose.skeleton import CMU31, H36M17

CAMERAS = [
    Camera(heading=0.4, distance=3.0, height=2.5, aside=0.2, tilt=-0.1, roll=0.05),
    Camera(heading=-2.0, distance=9.0, height=0.6, aside=-0.3, tilt=0.05, roll=-0.1),
]


def bones(xyz: np.ndarray) -> np.ndarray:
    edges = np.array(WALK18.edges)
    return np.asarray(xyz[:, edges[:, 1]] - xyz[:, edges[:, 0]])


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_picture_and_its_truth_belong_together(camera: Camera) -> None:
    xyz = at_rate(from_walker(0, 1, 1.0), FPS)
    xy, truth = see(xyz, camera)
    assert truth[:, 0] == pytest.approx(0)
    np.testing.assert_allclose(np.linalg.norm(bones(truth), axis=-1), np.linalg.norm(bones(xyz), axis=-1), atol=1e-5)
    for t in range(len(xyz)):
        # A camera turned to the pelvis: its axes from the pelvis' line of sight alone, x level in the picture.
        sight = np.array([*xy[t, 0], 1.0])
        z = sight / np.linalg.norm(sight)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        turned = np.concatenate([xy[t], np.ones((18, 1))], axis=1) @ np.stack([x, np.cross(z, x), z]).T
        slopes = turned[:, :2] / turned[:, 2:]
        # slope = (X, Y) / (Z + d) for every joint, with one distance d to the pelvis
        distance = np.sum(slopes * (truth[t, :, :2] - slopes * truth[t, :, 2:])) / np.sum(slopes**2)
        np.testing.assert_allclose(slopes * (truth[t, :, 2:] + distance), truth[t, :, :2], atol=2e-4)
        assert distance > 1


def test_a_camera_looks_at_the_middle_of_the_path_unless_it_is_held_otherwise() -> None:
    xyz = np.repeat(at_rate(from_walker(0, 1, 1.0), FPS)[:1], 3, axis=0)
    xyz[:, :, [0, 2]] += np.array([[-1.0, -2.0], [0.2, 0.4], [1.4, 2.8]])[:, None] + 7  # the middle one is in the middle
    pelvis = xyz[1, 0, 1]
    for camera, expected in (
        (Camera(heading=0.3, distance=6.0, height=2.0), (0, 0)),
        (Camera(heading=0.3, distance=6.0, height=2.0, roll=0.2), (0, 0)),
        (Camera(heading=0.3, distance=6.0, height=2.0, tilt=0.1), (0, -np.tan(0.1))),
        (Camera(heading=0.3, distance=6.0, height=float(pelvis), aside=0.1), (np.tan(0.1), 0)),
    ):
        seen = see(xyz, camera)[0]
        np.testing.assert_allclose(seen[1, 0], expected, atol=1e-6)
        np.testing.assert_allclose(see(xyz + np.array([30, 0, -20]), camera)[0], seen, atol=1e-5)
    raised = xyz.copy()
    raised[..., 1] += 0.5
    near, far = (see(raised, Camera(distance=d, height=float(pelvis) + 0.5)) for d in (6.0, 12.0))
    size = [np.ptp(xy[1, :, 1]) / np.ptp(truth[1, :, 1]) for xy, truth in (near, far)]
    assert size == pytest.approx([1 / 6, 1 / 12], rel=0.02)


def test_a_camera_sees_who_walks_away_from_behind() -> None:
    xyz = at_rate(from_walker(0, 2, 2.0), FPS)
    left, right, nose = (WALK18.index(j) for j in ("left_shoulder", "right_shoulder", "nose"))
    xy, truth = see(xyz, Camera(heading=0.0))
    assert (xy[:, left, 0] < xy[:, right, 0]).all()
    assert (truth[:, nose, 2] > 0).all()
    assert np.ptp(xy[-1, :, 1]) < np.ptp(xy[0, :, 1])
    xy, truth = see(xyz, Camera(heading=np.pi))
    assert (xy[:, left, 0] > xy[:, right, 0]).all()
    assert (truth[:, nose, 2] < 0).all()
    assert (truth[:, WALK18.index("head"), 1] < -0.4).all()  # y is down


def test_a_camera_above_sees_people_lean() -> None:
    xyz = at_rate(from_walker(0, 2, 1.0), FPS)
    head = WALK18.index("head")
    lean = [see(xyz, replace(Camera(distance=3.0), height=height))[1][:, head, 2].mean() for height in (1.0, 3.0)]
    assert lean[1] < lean[0] - 0.2


def test_errors_are_as_large_and_last_as_long_as_asked() -> None:
    rng = np.random.default_rng(0)
    xy = np.zeros((4000, 16, 2), np.float32)
    xy[:, 0, 1] = 2.0  # the height of the box
    found, score = err(xy, rng, 0.025, 0.7, 0.05)
    errors = found - xy
    assert np.isnan(found).mean() == pytest.approx(0.05, abs=0.003)
    assert ((score == 0) == np.isnan(found).any(axis=-1)).all()
    assert np.nanstd(errors) == pytest.approx(0.05, rel=0.03)
    a, b = errors[1:], errors[:-1]
    both = np.isfinite(a) & np.isfinite(b)
    assert np.corrcoef(a[both], b[both])[0, 1] == pytest.approx(0.7, abs=0.02)


def test_errors_may_differ_by_joint() -> None:
    xy = np.zeros((500, 16, 2), np.float32)
    xy[:, 0, 1] = 1.0
    sigma = np.where(np.arange(16) < 8, 0.0, 0.1)
    found, _ = err(xy, np.random.default_rng(0), sigma, 0.5, 0.0)
    assert (found[:, :8] == xy[:, :8]).all()
    assert np.std(found[:, 8:]) > 0.08


def test_the_mirror_swaps_sides() -> None:
    xyz = at_rate(from_walker(0, 3, 1.0), FPS)
    twice = mirrored(mirrored(xyz))
    assert (twice == xyz).all()
    assert (mirrored(xyz)[:, WALK18.index("left_knee"), 0] == -xyz[:, WALK18.index("right_knee"), 0]).all()
    assert [WALK18.joints[k] for k in TWINS[:6]] == ["pelvis", "thorax", "head", "nose", "right_shoulder", "left_shoulder"]


def test_other_limbs_keep_the_movement() -> None:
    xyz = at_rate(from_walker(0, 3, 1.0), FPS)
    other = stretched(xyz, np.random.default_rng(1), 0.2)
    before, after = np.linalg.norm(bones(xyz), axis=-1), np.linalg.norm(bones(other), axis=-1)
    ratio = after / before
    assert np.ptp(after, axis=0).max() < 1e-4  # one length a bone, throughout
    assert np.ptp(ratio.mean(axis=0)) > 0.1
    limbs = [k for k, (a, _) in enumerate(WALK18.edges) if WALK18.joints[a].startswith("left")]
    twins = [WALK18.edges.index((TWINS[WALK18.edges[k][0]], TWINS[WALK18.edges[k][1]])) for k in limbs]
    np.testing.assert_allclose(ratio[:, limbs].mean(axis=0), ratio[:, twins].mean(axis=0), rtol=1e-3)
    assert np.abs(np.log(ratio[:, limbs])).max() < 2.5 * 0.2 + 1e-3
    along = (bones(xyz) * bones(other)).sum(axis=-1) / (before * after)
    assert along[:, limbs].min() > 0.9999


def test_at_its_own_rate_a_walk_stays_as_it_is() -> None:
    motion = from_walker(0, 3, 1.0)
    np.testing.assert_allclose(at_rate(motion, motion.fps), motion.xyz, atol=1e-6)
    twice = at_rate(motion, 2 * motion.fps)
    np.testing.assert_allclose(twice[::2], motion.xyz, atol=1e-6)
    np.testing.assert_allclose(twice[1], (motion.xyz[0] + motion.xyz[1]) / 2, atol=1e-6)
    assert len(at_rate(motion, FPS, start=0.4, frames=7)) == 7


def test_motion_capture_gets_a_nose_before_the_face() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.05, (4, 31, 3))
    points[:, CMU31.index("left_shoulder"), 0] += 0.2  # faces +z: left is +x
    points[:, CMU31.index("right_shoulder"), 0] -= 0.2
    xyz = from_points(points, CMU31)
    forward = xyz[:, WALK18.index("nose")] - points[:, CMU31.index("skull")]
    assert np.linalg.norm(forward, axis=-1) == pytest.approx(0.1, abs=1e-5)
    assert (forward[:, 2] > 0.08).all()
    hips = points[:, CMU31.indices("left_hip", "right_hip")].mean(axis=1)
    np.testing.assert_allclose(xyz[:, 0], hips, atol=1e-6)


def test_who_has_no_feet_gets_none() -> None:
    xyz = from_points(np.random.default_rng(0).normal(size=(3, 17, 3)), H36M17)
    assert np.isnan(xyz[:, WALK18.indices("left_foot", "right_foot")]).all()
    assert np.isfinite(xyz[:, : WALK18.index("left_foot")]).all()
    np.testing.assert_allclose(rebuilt(xyz)[:, 0], xyz[:, 0], atol=1e-6)


def test_walkers_do_not_slide() -> None:
    motion: Motion = from_walker(4, 1, 3.0)
    ankles = motion.xyz[:, WALK18.indices("left_ankle", "right_ankle")]
    speed = np.linalg.norm(np.diff(ankles, axis=0), axis=-1).min(axis=1) * FPS
    assert np.median(speed) < 0.6  # of the foot that stands, m/s; the body walks at 1 to 1.5
    assert motion.xyz[-1, 0, 2] - motion.xyz[0, 0, 2] > 2
