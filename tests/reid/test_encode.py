"""What every encoder must fulfil."""

import numpy as np
import pytest
import torch

from gaitreid.pipeline import plugins
from gaitreid.reid.encode import encode, pool

RNG = np.random.default_rng(0)
JOINTS, LENGTH = 17, 6
FRAMES = np.cumsum(RNG.normal(0, 0.1, (80, JOINTS, 3)), axis=0).astype(np.float32)
START = np.arange(0, 70, 3)
CPU = torch.device("cpu")


@pytest.fixture(params=sorted(plugins.BUILT_IN["encoder"]))
def encoder(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = plugins.load("encoder", request.param)(JOINTS, LENGTH)
    made.prepare(torch.as_tensor(FRAMES))  # type: ignore[operator]
    return made


def test_one_finite_vector_a_window_whatever_the_batch(encoder: torch.nn.Module) -> None:
    mean = encode(encoder, FRAMES, START, LENGTH, "mean", 512, CPU)
    assert mean.shape[0] == len(START)
    assert np.isfinite(mean).all()
    assert mean.std(axis=0).max() > 0
    np.testing.assert_allclose(encode(encoder, FRAMES, START, LENGTH, "mean", 5, CPU), mean, atol=1e-5)
    whole = encode(encoder, FRAMES, START, LENGTH, "sc", 512, CPU)
    np.testing.assert_allclose(whole.reshape(len(START), LENGTH, -1).mean(axis=1), mean, atol=1e-5)


def test_its_loss_is_finite_falls_and_says_what_it_is_made_of(encoder: torch.nn.Module) -> None:
    windows = torch.as_tensor(FRAMES[START[:, None] + np.arange(LENGTH)])
    follows = torch.ones(len(START) - 1, dtype=torch.bool)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=5e-4)
    losses = []
    for _ in range(12):
        loss, parts = encoder.loss(windows, follows)  # type: ignore[operator]
        assert parts["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(parts["loss"])
    assert losses[-1] < losses[0]


def test_its_weights_are_tensors_that_bring_it_back(encoder: torch.nn.Module) -> None:
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(1)
    other = type(encoder)(JOINTS, LENGTH)
    other.load_state_dict(state)
    a, b = (encode(e, FRAMES, START, LENGTH, "mean", 512, CPU) for e in (encoder, other))
    np.testing.assert_array_equal(a, b)


def test_a_tracks_vector_is_the_mean_of_its_windows() -> None:
    vectors, track = RNG.normal(size=(6, 3)), np.array([0, 2, 0, 1, 2, 2])
    for k, vector in enumerate(pool(vectors, track, 3)):
        np.testing.assert_allclose(vector, vectors[track == k].mean(axis=0), rtol=1e-6)
