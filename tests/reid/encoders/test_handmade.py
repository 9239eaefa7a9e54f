import numpy as np
import pytest
import torch

from gaitreid.pose.skeleton import H36M17, KINECT20
from gaitreid.reid.encode import Input
from gaitreid.reid.encoders.handmade import D13, D16, Bones, Joints
from gaitreid.reid.handmade import bone_lengths, joint_statistics


def person(skeleton=KINECT20):
    """Somebody who stands upright, y up: lengths in decimetres that one can add up."""
    at = {
        "pelvis": (0, 10, 0), "spine": (0, 12, 0), "neck": (0, 15, 0), "thorax": (0, 15, 0), "head": (0, 18, 0),
        "nose": (0, 17, 1), "left_shoulder": (2, 15, 0), "right_shoulder": (-2, 15, 0), "left_elbow": (2, 12, 0),
        "right_elbow": (-2, 12, 0), "left_wrist": (2, 10, 0), "right_wrist": (-2, 10, 0), "left_hand": (2, 9, 0),
        "right_hand": (-2, 9, 0), "left_hip": (1, 10, 0), "right_hip": (-1, 10, 0), "left_knee": (1, 6, 0),
        "right_knee": (-1, 6, 0), "left_ankle": (1, 1, 0), "right_ankle": (-1, 1, 0), "left_foot": (1, 0, 1),
        "right_foot": (-1, 0, 1),
    }  # fmt: skip
    return torch.tensor([at[joint] for joint in skeleton.joints], dtype=torch.float32)


@pytest.mark.parametrize("skeleton", [KINECT20, H36M17])
@pytest.mark.parametrize("turn", [1, -1])
def test_thirteen_descriptors_by_hand(skeleton, turn):
    windows = person(skeleton).expand(2, 3, -1, -1) * torch.tensor([1.0, turn, 1.0])
    found = D13(Input(skeleton, 3)).features(windows)[0, 0]
    torso, right = 3.0, 4.0
    slanted = (2**2 + 3**2) ** 0.5
    expected = [17, 14, 2, 2, slanted, 5, 5, right, right, torso, 2, torso / right, torso / right]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    more = D16(Input(skeleton, 3)).features(windows)[0, 0]
    torch.testing.assert_close(more, torch.tensor([*expected[:11], slanted, 5, 5, 3, 4], dtype=torch.float32))


def test_features_are_scaled_by_what_they_were_prepared_on():
    model = D13(Input(KINECT20, 3))
    frames = person() * torch.linspace(0.8, 1.2, 50)[:, None, None]
    model.prepare(frames)
    scaled = model.features(frames[:, None])
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-2)
    assert float(scaled[..., 0].std()) == pytest.approx(1, rel=1e-3)


def test_bones_and_joints_are_the_features_of_whole_tracks():
    windows = torch.randn(2, 7, 20, 3)
    lengths = Bones(Input(KINECT20, 7)).features(windows)[0]
    np.testing.assert_allclose(np.median(lengths, axis=0), bone_lengths(windows[0].numpy(), KINECT20), rtol=1e-5)
    statistics = Joints(Input(KINECT20, 7)).features(windows)
    assert statistics.shape == (2, 1, 120)
    np.testing.assert_allclose(statistics[0, 0], joint_statistics(windows[0].numpy()), rtol=1e-4, atol=1e-5)
