import os
from pathlib import Path

import numpy as np
import pytest

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import (
    BLAZEPOSE33,
    BODY25,
    CASIA14,
    CMU31,
    COCO17,
    COCO18,
    H36M17,
    HALPE26,
    KINECT20,
    KINECT25,
    SKELETONS,
    known,
    mapping,
    remap,
    skeleton,
)

PAIRS = [(a, b) for a in SKELETONS.values() for b in SKELETONS.values()]


@pytest.mark.parametrize("target", [COCO17, H36M17, CASIA14, KINECT20, KINECT25], ids=lambda s: s.name)
def test_maps_are_affine(target):
    weights = mapping(BLAZEPOSE33, target)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    shift = np.array([3.0, -2.0, 5.0])
    points = np.random.default_rng(0).normal(size=(4, 33, 3))
    score = np.ones((4, 33))
    np.testing.assert_allclose(
        remap(points + shift, score, BLAZEPOSE33, target)[0], remap(points, score, BLAZEPOSE33, target)[0] + shift
    )


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda s: s.name)
def test_every_pair(source, target):
    weights = known(source, target)
    built = ~np.isnan(weights).any(axis=1)
    np.testing.assert_allclose(weights[built].sum(axis=1), 1)
    for row, joint in enumerate(target.joints):
        if joint in source.joints:
            assert weights[row].tolist() == [float(name == joint) for name in source.joints]
    mirrored = weights[target.mirror()][:, source.mirror()]  # left stays left
    np.testing.assert_allclose(mirrored, weights)
    points = np.random.default_rng(0).normal(size=(5, len(source.joints), 3))
    there, score = remap(points, np.full((5, len(source.joints)), 0.5), source, target, partial=True)
    assert np.isnan(there[:, ~built]).all()
    assert np.isfinite(there[:, built]).all()
    assert score.tolist() == np.where(built, 0.5, 0.0)[None].repeat(5, axis=0).tolist()
    back, _ = remap(there, score, target, source, partial=True)
    shared = [joint in target.joints for joint in source.joints]
    np.testing.assert_array_equal(back[:, shared], points[:, shared])


WHOLE = {
    COCO17: (BLAZEPOSE33, COCO18, BODY25, HALPE26),
    H36M17: tuple(SKELETONS.values()),
    CASIA14: tuple(SKELETONS.values()),
}


@pytest.mark.parametrize("target", WHOLE, ids=lambda s: s.name)
def test_what_can_be_built_whole(target):
    for source in SKELETONS.values():
        if source in (*WHOLE[target], target):
            assert np.isfinite(mapping(source, target)).all()
        else:
            with pytest.raises(UsageError, match=f"skeleton {target.name} cannot be built from {source.name}: choose another"):
                mapping(source, target)


@pytest.mark.parametrize("s", SKELETONS.values(), ids=lambda s: s.name)
def test_mirror(s):
    other = s.mirror()
    assert [other[i] for i in other] == list(range(len(s.joints)))
    for joint, i in zip(s.joints, other, strict=True):
        assert (s.joints[i] == joint) == ("left" not in joint and "right" not in joint)


def test_known_places():
    points = np.zeros((33, 2))
    points[BLAZEPOSE33.index("left_hip")] = [2, 0]
    points[BLAZEPOSE33.index("right_hip")] = [0, 4]
    score = np.ones(33)
    score[BLAZEPOSE33.index("right_hip")] = 0.25
    xy, s = remap(points, score, BLAZEPOSE33, H36M17)
    assert xy[0].tolist() == [1, 2]
    assert s[0] == 0.25
    assert xy[H36M17.index("left_hip")].tolist() == [2, 0]


def test_missing_stays_missing():
    points = np.zeros((33, 2))
    points[BLAZEPOSE33.index("left_hip")] = np.nan
    xy, _ = remap(points, np.ones(33), BLAZEPOSE33, H36M17)
    missing = {H36M17.joints[i] for i in np.flatnonzero(np.isnan(xy[:, 0]))}
    assert missing == {"pelvis", "left_hip", "spine"}


def test_orders_of_the_papers():
    assert CASIA14.joints[:5] == ("head", "neck", "right_shoulder", "right_elbow", "right_wrist")
    assert (KINECT20.joints[0], KINECT20.joints[3], KINECT20.joints[16]) == ("pelvis", "head", "right_hip")
    assert KINECT25.joints[:20] == KINECT20.joints
    assert len(KINECT25.joints) == 25


def test_orders_of_other_tools():
    assert (BODY25.joints[1], BODY25.joints[8], BODY25.joints[19], BODY25.joints[24]) == (
        "thorax",
        "pelvis",
        "left_big_toe",
        "right_heel",
    )
    assert (COCO18.joints[2], COCO18.joints[8], COCO18.joints[14]) == ("right_shoulder", "right_hip", "right_eye")
    assert HALPE26.joints[:17] == COCO17.joints
    assert HALPE26.joints[17:20] == ("head", "neck", "pelvis")
    assert [len(s.joints) for s in (COCO18, BODY25, HALPE26, CMU31)] == [18, 25, 26, 31]


def test_the_table_in_the_docs():
    text = (Path(__file__).parents[2] / "docs/keypoints.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in text[text.index("| from \\ to") :].splitlines()]
    targets = [skeleton(name) for name in rows[0][1:]]
    assert [row[0] for row in rows[2:]] == list(SKELETONS)
    for name, *cells in rows[2:]:
        lacking = [np.isnan(known(skeleton(name), target)).any(axis=1).sum() for target in targets]
        assert cells == [str(n) if n else "+" for n in lacking]


@pytest.mark.skipif("GAITREID_DATA" not in os.environ, reason="GAITREID_DATA names no folder of real data")
def test_bones_of_real_motion_capture():
    """CMU's walkers in the joints of Human3.6M: bones as long as an adult's, and tops of heads above all else."""
    with np.load(Path(os.environ["GAITREID_DATA"]) / "mocap/cmu_walk.npz") as archive:
        points, parents = archive["joints"], archive["parents"]
    assert all(parents[child] == parent for parent, child in CMU31.edges)
    xyz, _ = remap(points, np.ones(points.shape[:2]), CMU31, H36M17)
    lengths = {(H36M17.joints[a], H36M17.joints[b]): np.linalg.norm(xyz[:, a] - xyz[:, b], axis=-1) for a, b in H36M17.edges}
    ranges = {
        ("left_hip", "left_knee"): (0.34, 0.45),
        ("left_knee", "left_ankle"): (0.38, 0.48),
        ("left_elbow", "left_wrist"): (0.2, 0.33),
        ("spine", "thorax"): (0.2, 0.3),
        ("nose", "head"): (0.12, 0.18),
        ("pelvis", "left_hip"): (0.06, 0.12),
    }
    for bone, (low, high) in ranges.items():
        np.testing.assert_array_less(low, lengths[bone])
        np.testing.assert_array_less(lengths[bone], high)
    assert (xyz[..., 1].argmax(axis=1) == H36M17.index("head")).all()


def test_bones_join_all_joints():
    for s in SKELETONS.values():
        if s in (BLAZEPOSE33, COCO17):  # the face hangs free
            continue
        assert len(s.edges) == len(s.joints) - 1
        assert {j for edge in s.edges for j in edge} == set(range(len(s.joints)))


def test_what_cannot_be_is_an_error():
    with pytest.raises(UsageError, match="cannot be built"):
        mapping(CASIA14, BLAZEPOSE33)
    with pytest.raises(UsageError, match="unknown skeleton"):
        skeleton("horse")
    with pytest.raises(UsageError, match="no joint 'tail'"):
        H36M17.index("tail")
