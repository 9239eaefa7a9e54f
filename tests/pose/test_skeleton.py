import numpy as np
import pytest

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import BLAZEPOSE33, CASIA14, COCO17, H36M17, KINECT20, KINECT25, SKELETONS, mapping, remap, skeleton


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


def test_bones_join_all_joints():
    for s in SKELETONS.values():
        if s.name in {"blazepose33", "coco17"}:  # the face hangs free
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
