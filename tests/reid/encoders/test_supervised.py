import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d
from walks import batch, people, takes

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import CASIA14, KINECT20, remap
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


@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_reads_frame_by_frame_and_says_the_mean_over_the_frames(layers):
    torch.manual_seed(0)
    model = Lstm(takes(subjects=WHO), SupervisedConfig(hidden=4, layers=layers, standardize=True))
    model.prepare(3 * torch.randn(50, 4, 3) + 1)
    windows = torch.randn(3, 5, 4, 3)
    for window, found in zip(windows, model.classify(windows), strict=True):
        state, logits = None, []
        for frame in window:
            hidden, state = model.recurrent(model.standardize(frame[None, None]).reshape(1, 1, 12), state)
            logits.append(model.classes(hidden[0, 0]))
        torch.testing.assert_close(found, torch.stack(logits).mean(dim=0))
    assert not torch.allclose(model.standardize(windows), windows, atol=0.1)


def test_posegaits_features_like_loops():
    xyz = torch.randn(2, 3, 14, 3, dtype=torch.float64)
    neck, left, right = CASIA14.indices("neck", "left_hip", "right_hip")
    for b, f in itertools.product(range(2), range(3)):
        body = (xyz[b, f] - xyz[b, f, neck]) / (xyz[b, f, [left, right]].mean(dim=0) - xyz[b, f, neck]).norm()
        angles, lengths = [], []
        for parent, child in CASIA14.edges:
            dx, dy, dz = (body[child] - body[parent]).tolist()
            angles += [math.atan(dy / dx), math.atan(dz / math.hypot(dx, dy))]
            lengths.append(math.hypot(dx, dy, dz))
        expected = torch.cat([body.flatten(), torch.tensor(angles + lengths, dtype=torch.float64)])
        torch.testing.assert_close(pose_features(xyz)[b, f], expected)


def test_posegait_passes_twice_through_two_layers_beside_what_they_add_to():
    torch.manual_seed(0)
    model = PoseGait(Input(KINECT20, 6, "gait", WHO)).eval()
    windows = torch.randn(2, 6, 20, 3)
    casia, _ = remap(windows.numpy(), np.ones((2, 6, 20)), KINECT20, CASIA14)

    def block(name, x):
        of: Any = model.get_submodule(name)
        for k in range(0, len(of), 3):
            convolution, norm = of[k], of[k + 1]
            x = torch.relu(norm(conv2d(x, convolution.weight, convolution.bias, padding=1)))
        return x

    x = model.scale(pose_features(torch.from_numpy(casia).float()).transpose(1, 2))[:, None]
    model.first, pooled = model.first[:6], model.first[6]
    x = pooled(block("first", x))
    x = x + block("middle", block("middle", x))
    x = model.pool(block("second", x))
    x = x + block("last", block("last", x))
    vectors = x.flatten(1) @ model.dense.weight.T + model.dense.bias
    logits = torch.relu(vectors) @ model.classes.weight.T + model.classes.bias
    model.first.append(pooled)
    torch.testing.assert_close(model.features(windows)[:, 0], vectors, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.classify(windows), logits, atol=1e-4, rtol=1e-4)


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
