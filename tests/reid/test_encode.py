"""What every encoder must fulfil."""

from typing import Any

import numpy as np
import pytest
import torch
from walks import batch

from gaitreid.pipeline import plugins
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.encode import Input, encode, pool
from gaitreid.reid.encoders.cage import Cage

RNG = np.random.default_rng(0)
JOINTS, LENGTH = 17, 6
FRAMES = np.cumsum(RNG.normal(0, 0.1, (80, JOINTS, 3)), axis=0).astype(np.float32)
START = np.arange(0, 70, 3)
CPU = torch.device("cpu")
TAKES = Input(H36M17, LENGTH, "gait", ("a", "b"))


@pytest.fixture(params=sorted(plugins.BUILT_IN["encoder"]))
def encoder(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    made: Any = plugins.load("encoder", request.param)(TAKES)
    made.prepare(torch.as_tensor(FRAMES))
    if hasattr(made, "fit"):  # learns in one go
        measured = made.measure(torch.as_tensor(FRAMES[START[:, None] + np.arange(LENGTH)]))[:, 0]
        made.fit(measured.numpy(), np.arange(len(START)) % 2)
    encoder: torch.nn.Module = made
    return encoder


def test_one_finite_vector_a_window_whatever_the_batch(encoder: torch.nn.Module) -> None:
    mean = encode(encoder, FRAMES, START, LENGTH, "mean", 512, CPU)
    assert mean.shape[0] == len(START)
    assert np.isfinite(mean).all()
    assert mean.std(axis=0).max() > 0
    np.testing.assert_allclose(encode(encoder, FRAMES, START, LENGTH, "mean", 5, CPU), mean, atol=1e-5)
    frames = encode(encoder, FRAMES, START, LENGTH, "frames", 512, CPU)
    assert frames.shape[1] in {1, LENGTH}
    np.testing.assert_allclose(frames.mean(axis=1), mean, atol=1e-5)
    whole = encode(encoder, FRAMES, START, LENGTH, "sc", 512, CPU)
    np.testing.assert_allclose(whole, frames.reshape(len(START), -1), atol=1e-6)


def test_its_loss_is_finite_falls_and_says_what_it_is_made_of(encoder: torch.nn.Module) -> None:
    encoder.train()
    windows = torch.as_tensor(FRAMES[START[:, None] + np.arange(LENGTH)])
    if not list(encoder.parameters()):
        assert not encoder.loss(batch(windows))[0]  # type: ignore[operator]
        return
    optimiser = torch.optim.Adam(encoder.parameters(), lr=5e-4)
    losses = []
    for _ in range(12):
        loss, parts = encoder.loss(batch(windows))  # type: ignore[operator]
        assert float(parts["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(parts["loss"]))
    assert min(losses[-4:]) < losses[0]


def test_its_weights_are_tensors_that_bring_it_back(encoder: torch.nn.Module) -> None:
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(1)
    other = type(encoder)(TAKES)
    if not isinstance(encoder, Cage):
        other.load_state_dict(state)
    else:
        other = Cage(TAKES, encoder.config)
        other.load_state_dict(state)
    a, b = (encode(e, FRAMES, START, LENGTH, "mean", 512, CPU) for e in (encoder, other))
    np.testing.assert_array_equal(a, b)


def test_a_tracks_vector_is_the_mean_of_its_windows() -> None:
    vectors, track = RNG.normal(size=(6, 3)), np.array([0, 2, 0, 1, 2, 2])
    for k, vector in enumerate(pool(vectors, track, 3)):
        np.testing.assert_allclose(vector, vectors[track == k].mean(axis=0), rtol=1e-6)
