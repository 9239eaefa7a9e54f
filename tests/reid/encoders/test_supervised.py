import math

import pytest
import torch
from walks import batch, people, takes

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import CASIA14, KINECT20
from gaitreid.reid.config import SupervisedConfig, TrainConfig
from gaitreid.reid.encode import Input
from gaitreid.reid.encoders.supervised import Lstm, LstmMulti, PoseGait, pose_features
from gaitreid.reid.train import train

WHO = ("a", "b", "c")


def test_an_lstm_learns_who_is_who():
    frames, start, track, subject = people()
    torch.manual_seed(0)
    model = LstmMulti(takes(subjects=WHO), SupervisedConfig(hidden=16))
    for _ in train(model, frames, start, track, TrainConfig(epochs=8, batch=16, learning_rate=5e-3),
                   torch.device("cpu"), 0, subject=subject):  # fmt: skip
        pass
    windows = torch.as_tensor(frames[start[:, None] + range(5)])
    right = model.classify(windows).argmax(dim=1) == torch.as_tensor(subject)
    assert float(right.float().mean()) > 0.9


def test_layers():
    assert Lstm(takes(subjects=WHO)).recurrent.num_layers == 1
    assert LstmMulti(takes(subjects=WHO)).recurrent.num_layers == 2


def test_unknown_people_do_not_count():
    model = Lstm(takes(subjects=WHO), SupervisedConfig(hidden=4))
    windows = torch.randn(4, 5, 4, 3)
    some = model.loss(batch(windows, subject=torch.tensor([0, 1, -1, -1])))[0]
    torch.testing.assert_close(some, model.loss(batch(windows[:2], subject=torch.tensor([0, 1])))[0])
    with pytest.raises(UsageError, match="two or more known subjects"):
        Lstm(takes(subjects=("a",)))


def test_posegaits_81_features_by_hand():
    xyz = torch.zeros(1, 1, 14, 3)
    xyz[..., CASIA14.index("head"), :] = torch.tensor([0.0, -0.5, 0.0])
    xyz[..., CASIA14.index("right_shoulder"), :] = torch.tensor([1.0, 1.0, 0.0])
    for hip in ("left_hip", "right_hip"):
        xyz[..., CASIA14.index(hip), :] = torch.tensor([0.0, 2.0, 0.0])
    (features,) = pose_features(xyz)[0]
    assert features.shape == (81,)
    assert features[CASIA14.index("right_shoulder") * 3] == 0.5  # in units of neck to hips
    limb = CASIA14.edges.index((CASIA14.index("neck"), CASIA14.index("right_shoulder")))
    assert float(features[42 + 2 * limb]) == pytest.approx(math.atan(1))
    assert float(features[42 + 2 * limb + 1]) == 0
    assert float(features[68 + limb]) == pytest.approx(math.sqrt(0.5))
    up = CASIA14.edges.index((CASIA14.index("head"), CASIA14.index("neck")))
    assert float(features[42 + 2 * up]) == pytest.approx(math.pi / 2)  # straight down: no x
    still = CASIA14.edges.index((CASIA14.index("right_elbow"), CASIA14.index("right_wrist")))
    assert float(features[42 + 2 * still + 1]) == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("length", [6, 20])
def test_posegait_takes_any_skeleton_and_length(length):
    model = PoseGait(Input(KINECT20, length, "gait", WHO)).eval()
    assert model.features(torch.randn(2, length, 20, 3)).shape == (2, 1, 512)
    assert model.classify(torch.randn(2, length, 20, 3)).shape == (2, 3)


def test_posegaits_centre_loss_by_hand():
    torch.manual_seed(0)
    plain = PoseGait(Input(KINECT20, 6, "gait", WHO)).eval()
    torch.manual_seed(0)
    model = PoseGait(Input(KINECT20, 6, "gait", WHO), SupervisedConfig(centre_weight=0.25)).eval()
    centres = model.centres
    assert centres is not None
    with torch.no_grad():
        centres.copy_(torch.randn(3, 512))
    windows, who = torch.randn(4, 6, 20, 3), [0, 2, 2, -1]
    made = batch(windows, subject=torch.tensor(who))
    total, parts = model.loss(made)
    vectors = model.features(windows)[:, 0]
    by_hand = sum(float((v - centres[k]).detach().square().sum()) / 2 for v, k in zip(vectors, who, strict=True) if k >= 0) / 3
    assert float(parts["centre"]) == pytest.approx(by_hand, rel=1e-5)
    assert float(total.detach()) == pytest.approx(float(plain.loss(made)[0].detach()) + 0.25 * by_hand, rel=1e-5)
    assert "centre" not in plain.loss(made)[1]
    total.backward()
    assert centres.grad is not None
    assert not centres.grad[1].any()  # nobody of the batch
    torch.testing.assert_close(centres.grad[0], 0.25 * (centres[0] - vectors[0]).detach() / 3)
