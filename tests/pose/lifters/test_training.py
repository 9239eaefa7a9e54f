from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from gaitreid.pose.errors import UsageError
from gaitreid.pose.lift import LifterConfig
from gaitreid.pose.lifters.motions import from_walker
from gaitreid.pose.lifters.tcn import CHANNELS_IN, TRUNK, WALK16, Net
from gaitreid.pose.lifters.training import camera, estimated, example, losses, train

TINY = LifterConfig(width=16, epochs=2, examples=8, passes=2, batch=4, frames=24)
MOTIONS = [from_walker(5, n, 2.0) for n in range(2)]


def run(epochs: int, state: dict[str, Any] | None = None, stop: int | None = None) -> tuple[Net, dict[str, Any]]:
    torch.manual_seed(0)
    net = Net(TINY.width)
    snapshot: dict[str, Any] = {}
    for epoch, _, take in train(net, MOTIONS, replace(TINY, epochs=epochs), torch.device("cpu"), 3, state):
        snapshot = take()
        if epoch == stop:
            break
    return net, snapshot


def test_same_seed_same_weights_and_resuming_changes_nothing() -> None:
    whole, _ = run(2)
    again, _ = run(2)
    _, half = run(2, stop=1)
    resumed, _ = run(2, state=half)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    _, longer = run(3, state=half)  # more epochs than were to be
    assert longer["epoch"] == 3


def test_training_makes_the_loss_smaller() -> None:
    torch.manual_seed(0)
    net = Net(32)
    config = replace(TINY, width=32, epochs=6, examples=32, batch=8, passes=4, walkers=0.0)
    found = [values["place"] for _, values, _ in train(net, MOTIONS, config, torch.device("cpu"), 0)]
    assert found[-1] < 0.7 * found[0]


def test_what_is_kept_is_the_running_mean_of_the_weights() -> None:
    torch.manual_seed(0)
    first = Net(TINY.width).state_dict()
    net, snapshot = run(2)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, snapshot["mean"][f"module.{name}"])
        assert not torch.equal(tensor, first[name])


def test_how_far_off_a_joint_is_foretold_does_not_move_it() -> None:
    truth, counts = torch.randn(2, 4, 16, 3), torch.tensor([4, 4])
    joints = torch.randn(2, 4, 16, 3, requires_grad=True)
    scale = (
        ((joints.detach() - truth).norm(dim=-1) / 3).log().requires_grad_()
    )  # the likeliest scale of a distance is a third of it
    turn = functional.normalize(torch.randn(2, 4, 2), dim=2)
    stub: Any = lambda inputs, inside: (joints, scale, turn)  # noqa: E731
    foretold = losses(stub, torch.zeros(2, 4, CHANNELS_IN), truth, counts)[1]["foretold"]
    of_joints, of_scale = torch.autograd.grad(foretold, [joints, scale], allow_unused=True)
    assert of_joints is None
    torch.testing.assert_close(of_scale, torch.zeros_like(scale), atol=1e-5, rtol=0)


def test_losses_are_what_they_say() -> None:
    torch.manual_seed(1)
    net = Net(8).eval()
    inputs, truth, counts = torch.randn(3, 10, CHANNELS_IN), torch.randn(3, 10, 16, 3), torch.tensor([10, 4, 1])
    inside = (torch.arange(10) < counts[:, None]).float()
    joints, log_scale, turn = net(inputs, inside)
    off, moved, told, faced = [], [], [], []
    for b in range(3):
        for t in range(int(counts[b])):
            across = (truth[b, t, TRUNK[0]] - truth[b, t, TRUNK[1]]) + (truth[b, t, TRUNK[2]] - truth[b, t, TRUNK[3]])
            left = torch.stack([across[0], -across[2]])
            faced.append(1 - (turn[b, t] @ left / left.norm()).item())
            for j in range(16):
                distance = (joints[b, t, j] - truth[b, t, j]).norm().item()
                scale = log_scale[b, t, j].exp().item()
                off.append(distance)
                told.append(distance / scale + 3 * np.log(scale))
                if t:
                    step = (joints[b, t, j] - joints[b, t - 1, j]) - (truth[b, t, j] - truth[b, t - 1, j])
                    moved.append(step.norm().item())
    loss, parts = losses(net, inputs, truth, counts)
    expected = {"place": np.mean(off), "movement": np.sum(moved) / len(off), "foretold": np.mean(told), "facing": np.mean(faced)}
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value, rel=1e-3), name
    weighted = expected["place"] + expected["movement"] + 0.01 * expected["foretold"] + 0.05 * expected["facing"]
    assert loss.item() == pytest.approx(weighted, rel=1e-3)


def test_examples_are_whole_and_in_body_heights() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        inputs, truth, count = example(MOTIONS, rng, TINY)
        assert inputs.shape == (24, CHANNELS_IN)
        assert np.isfinite(inputs).all()
        assert np.isfinite(truth).all()
        assert 2 <= count <= 24
        assert not truth[count:].any()
        head, foot = truth[:count, WALK16.index("head")], truth[:count, WALK16.index("left_ankle")]
        assert 0.6 < np.median(np.linalg.norm(head - foot, axis=-1)) < 1.3
        hips = truth[:count, TRUNK[2:]].mean(axis=1)
        assert np.abs(hips).max() < 1e-4


def test_estimators_lose_joints_and_say_so() -> None:
    rng = np.random.default_rng(0)
    xy = np.random.default_rng(1).normal(size=(60, 16, 2)).astype(np.float32)
    lost = []
    for _ in range(60):
        found, score = estimated(xy, rng)
        assert ((score == 0) == np.isnan(found).any(axis=-1)).all()
        assert score.min() >= 0
        assert score.max() <= 1
        lost.append(np.isnan(found).mean())
    assert 0.02 < np.mean(lost) < 0.25


def test_cameras_are_as_people_hang_them() -> None:
    rng = np.random.default_rng(0)
    made = [camera(rng, path=4.0) for _ in range(300)]
    heights, distances = np.array([c.height for c in made]), np.array([c.distance for c in made])
    assert heights.min() > 0.5
    assert heights.max() < 3.0
    assert distances.min() >= 3.4  # a path of 4 m is not walked into the camera
    assert distances.max() > 10


@pytest.mark.parametrize("wrong", [{"walkers": 1.5}, {"epochs": 0}, {"learning_rate": 0.0}, {"stretch": -0.1}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="lifter"):
        LifterConfig(**wrong)
