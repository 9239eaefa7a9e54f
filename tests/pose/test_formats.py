import numpy as np
import pytest

from gaitreid.pose.errors import FormatError
from gaitreid.pose.formats import KGBD_ORDER, kgbd_sequence, ks20_frame, tracked_frame
from gaitreid.pose.skeleton import KINECT20


def biwi(state=2, person=1, rows=20):
    return "\n".join(
        f"{person},{k * 0.1:.3f},{1 - k * 0.05:.3f},{2 + k * 0.01:.3f},9,9,{state if k == 3 else 2},0,{k},{k + 1},0,0,0,1"
        for k in range(rows)
    )


def test_a_frame_of_biwi_in_camera_axes():
    xyz = tracked_frame(biwi(), "frame")
    assert xyz is not None
    assert xyz.shape == (20, 3)
    np.testing.assert_allclose(xyz[3], np.array([-0.3, -0.85, 2.03]), atol=1e-6)  # x right, y down
    assert tracked_frame(biwi(state=1), "frame") is not None  # inferred counts


@pytest.mark.parametrize("text", [biwi(state=0), biwi(person=0)])
def test_a_joint_that_is_not_tracked_or_nobody_there(text):
    assert tracked_frame(text, "frame") is None


@pytest.mark.parametrize(
    ("text", "message"), [(biwi(rows=12), "12 rows"), ("1,2,3", "3 columns"), ("a,b,c,d,e,f,g", "not numbers")]
)
def test_what_is_no_frame_is_named(text, message):
    with pytest.raises(FormatError, match=f"frame.*{message}"):
        tracked_frame(text, "frame")


def test_only_the_first_person_of_a_frame_counts():
    one, two = (tracked_frame(text, "frame") for text in (biwi(), biwi() + "\n" + biwi().replace("1,", "2,", 1)))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one, two)


def test_kgbds_joints_are_put_in_kinects_order():
    # The fact sheet's permutation, file to Kinect's order.
    permutation = [11, 10, 1, 0, 3, 5, 7, 9, 2, 4, 6, 8, 13, 15, 17, 19, 12, 14, 16, 18]
    assert [KGBD_ORDER.index(joint) for joint in KINECT20.joints] == permutation
    lines = [f"{name};{k + 1};{f};{2 + f}" for f in range(3) for k, name in enumerate(KGBD_ORDER)]
    frames = kgbd_sequence("\n".join(lines), "walk")
    assert frames.shape == (3, 20, 3)
    np.testing.assert_allclose(-frames[1, :, 0], np.array(permutation) + 1)
    np.testing.assert_allclose(frames[1, 0, 1:], [-1, 3])
    lines[25] = "neck;0;0;0"
    assert np.isnan(kgbd_sequence("\n".join(lines), "walk")).all(axis=(1, 2)).tolist() == [False, True, False]
    with pytest.raises(FormatError, match="59 rows"):
        kgbd_sequence("\n".join(lines[:-1]), "walk")


def test_a_frame_of_ks20():
    lines = [f"Joint{k},{k + 1},{2 * k},{3},extra" for k in range(25)]
    xyz = ks20_frame("\n".join(lines).replace(",extra", ""), "frame")
    assert xyz is not None
    np.testing.assert_allclose(xyz[4], [-5, -8, 3])
    assert ks20_frame("\n".join([*lines[:24], "Joint24,0,0,0"]).replace(",extra", ""), "frame") is None
    with pytest.raises(FormatError, match="24 rows"):
        ks20_frame("\n".join(lines[:24]).replace(",extra", ""), "frame")


@pytest.mark.parametrize("frame", [tracked_frame, ks20_frame])
@pytest.mark.parametrize("text", ["", "\r\n"])
def test_in_an_empty_file_of_a_frame_is_nobody(frame, text):
    assert frame(text, "frame") is None
