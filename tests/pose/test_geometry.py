import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pose.geometry import body_height, heading, normalize, steadied
from gaitreid.pose.render import scene
from gaitreid.pose.skeleton import CASIA14, COCO17, H36M17, remap
from gaitreid.pose.walker import walker

TIME = np.arange(50) / 25


def body(view=90.0, subject=1):
    xyz = np.stack([r.people[0].xyz for r in scene([walker(0, subject)], "nm", view, 2.0, (0, subject))])
    return xyz - xyz[:, :1]


def turn(xyz, angle):
    c, s = np.cos(angle), np.sin(angle)
    return xyz @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-3.1, 3.1), scale=st.floats(0.5, 2), shift=st.floats(-5, 5))
def test_gait_takes_out_heading_place_and_size(angle, scale, shift):
    xyz = body()
    np.testing.assert_allclose(
        normalize(turn(xyz, angle) * scale + shift, H36M17, "gait", TIME), normalize(xyz, H36M17, "gait", TIME), atol=1e-6
    )


@pytest.mark.parametrize("view", [0.0, 54.0, 90.0, 180.0])
def test_body_axes(view):
    xyz = normalize(body(view), H36M17, "gait", TIME).mean(axis=0)
    assert xyz[H36M17.index("left_hip"), 0] > 0.02 > -0.02 > xyz[H36M17.index("right_hip"), 0]
    assert xyz[H36M17.index("head"), 1] > 0.3
    assert xyz[H36M17.index("nose"), 2] > 0.02  # the nose is in front


def test_the_same_walk_from_all_sides_is_one():
    walks = [normalize(body(v), H36M17, "gait", TIME) for v in (0, 90, 144)]
    np.testing.assert_allclose(walks[0], walks[1], atol=1e-6)
    np.testing.assert_allclose(walks[0], walks[2], atol=1e-6)


def test_root_and_none():
    xyz = body() + 3
    assert normalize(xyz, H36M17, "none", TIME) is xyz
    np.testing.assert_allclose(normalize(xyz, H36M17, "root", TIME), xyz - xyz[:, :1], atol=1e-9)


@pytest.mark.parametrize(("hips", "shoulders"), [((0.2, 0.1), (0.1, 0.3)), ((0.2, -0.1), None), (None, (-0.3, 0.2))])
def test_the_heading_is_that_of_the_lines_from_right_to_left_hip_and_shoulder(hips, shoulders):
    xyz = np.zeros((5, 17, 3))
    lean = np.array([0.4, -0.5, 0.7])  # where the trunk leans does not matter
    for name, line, middle in (("hip", hips, 0 * lean), ("shoulder", shoulders, lean)):
        half = np.full(3, np.nan) if line is None else np.array([line[0], 0.05, line[1]]) / 2
        for side, sign in (("left", 1), ("right", -1)):
            xyz[:, H36M17.index(f"{side}_{name}")] = middle + sign * half
    x, z = np.sum([line for line in (hips, shoulders) if line is not None], axis=0)
    np.testing.assert_allclose(heading(xyz, H36M17, TIME[:5]), np.arctan2(-z, x))


def test_the_heading_is_a_mean_over_the_window_whenever_that_is():
    xyz = np.stack([turn(body()[:1], angle)[0] for angle in 0.5 * np.sin(2 * np.pi * TIME / 0.6)])  # two turns a window
    still = heading(body()[:1].repeat(50, axis=0), H36M17, TIME)
    for start in (0.0, 1000.0):
        off = heading(xyz, H36M17, TIME + start) - still
        assert np.abs(off[15:-15]).max() < 0.02  # what turns to and fro within a stride is gait, not heading
        slow = heading(xyz, H36M17, TIME * 10 + start) - still  # six seconds a turn: now it is the heading that turns
        assert np.abs(slow).max() > 0.3


@pytest.mark.parametrize("gap", [1.3, 100.0])
def test_who_turned_within_a_long_gap_faces_ahead_on_both_sides_of_it(gap):
    there, back = body(54.0), turn(body(54.0), 2.0)
    time = np.concatenate([TIME, TIME + TIME[-1] + gap])
    found = normalize(np.concatenate([there, back]), H36M17, "gait", time)
    np.testing.assert_allclose(found, np.tile(normalize(there, H36M17, "gait", TIME), (2, 1, 1)), atol=1e-6)


def test_single_flips_hardly_turn_the_body():
    xyz = body()
    flipped = xyz.copy()
    swap = [H36M17.joints.index(j.replace("left", "L").replace("right", "left").replace("L", "right")) for j in H36M17.joints]
    flipped[20] = flipped[20][swap]
    difference = np.angle(np.exp(1j * (heading(xyz, H36M17, TIME) - heading(flipped, H36M17, TIME))))
    assert np.abs(difference).max() < 0.1


def test_missing_stays_missing_and_goes_no_further():
    xyz = body()
    xyz[10, H36M17.index("left_wrist")] = np.nan
    result = normalize(xyz, H36M17, "gait", TIME)
    assert np.argwhere(np.isnan(result).any(axis=-1)).tolist() == [[10, H36M17.index("left_wrist")]]


def test_height_and_skeletons_without_a_pelvis():
    person = walker(0, 1).length
    xyz = body()
    legs = person["thigh"] + person["shank"]
    assert legs + person["trunk"] < body_height(xyz, H36M17) < legs + person["trunk"] + 2 * (person["neck"] + person["head"])
    casia, _ = remap(xyz, np.ones(xyz.shape[:2]), H36M17, CASIA14)
    root = normalize(casia, CASIA14, "root", TIME)
    np.testing.assert_allclose(root[:, CASIA14.indices("left_hip", "right_hip")].mean(axis=1), 0, atol=1e-9)


def test_steadied_bones_have_one_length_on_both_sides() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(30, 17, 3))
    steady = steadied(xyz, H36M17)
    bones = np.array(H36M17.edges)
    lengths = np.linalg.norm(steady[:, bones[:, 1]] - steady[:, bones[:, 0]], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-6)
    twin = H36M17.mirror()
    for k, (a, b) in enumerate(H36M17.edges):
        other = H36M17.edges.index((twin[a], twin[b])) if (twin[a], twin[b]) in H36M17.edges else k
        assert lengths[0, k] == pytest.approx(lengths[0, other])
        before = np.median([np.median(np.linalg.norm(xyz[:, bones[j, 1]] - xyz[:, bones[j, 0]], axis=-1)) for j in (k, other)])
        assert lengths[0, k] == pytest.approx(before, rel=0.1)
        along = ((xyz[:, b] - xyz[:, a]) * (steady[:, b] - steady[:, a])).sum(axis=-1)
        assert (along > 0).all()


def test_what_is_missing_stays_missing_when_bones_are_steadied() -> None:
    xyz = np.random.default_rng(0).normal(size=(10, 17, 3))
    xyz[3, H36M17.index("left_knee")] = np.nan
    steady = steadied(xyz, H36M17)
    assert np.isnan(steady[3, H36M17.indices("left_knee", "left_ankle")]).all()
    assert np.isfinite(np.delete(steady, H36M17.indices("left_knee", "left_ankle"), axis=1)).all()


def test_a_bone_that_was_never_seen_is_as_long_as_the_other_sides() -> None:
    xyz = np.random.default_rng(0).normal(size=(10, 17, 3))
    left, right, elbow = H36M17.indices("left_wrist", "right_wrist", "right_elbow")
    xyz[:, left] = np.nan
    steady = steadied(xyz, H36M17)
    assert np.isfinite(np.delete(steady, left, axis=1)).all()
    length = np.median(np.linalg.norm(xyz[:, right] - xyz[:, elbow], axis=-1))
    np.testing.assert_allclose(np.linalg.norm(steady[:, right] - steady[:, elbow], axis=-1), length)
    xyz[:, right] = np.nan
    steady = steadied(xyz, H36M17)
    assert np.isnan(steady[:, [left, right]]).all()
    assert np.isfinite(np.delete(steady, [left, right], axis=1)).all()


def test_loops_of_a_skeleton_follow_from_the_rest() -> None:
    xyz = np.random.default_rng(0).normal(size=(10, 17, 3))
    steady = steadied(xyz, COCO17)  # shoulders and hips are joined both ways
    a, b = COCO17.indices("left_hip", "left_knee")
    assert np.ptp(np.linalg.norm(steady[:, a] - steady[:, b], axis=-1)) < 1e-6
