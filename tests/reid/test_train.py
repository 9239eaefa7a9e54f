import numpy as np
import torch

from gaitreid.reid.config import CageConfig, TrainConfig
from gaitreid.reid.encode import encode, pool
from gaitreid.reid.encoders.cage import Cage
from gaitreid.reid.train import batches, train

RNG = np.random.default_rng(0)
FRAMES = np.cumsum(RNG.normal(0, 0.1, (200, 4, 3)), axis=0).astype(np.float32)
START = np.arange(0, 190, 5)
TRACK = START // 60
CPU = torch.device("cpu")


def run(epochs, state=None, seed=0):
    torch.manual_seed(seed)
    encoder = Cage(4, 6, CageConfig(hidden=8))
    config = TrainConfig(epochs=epochs, batch=16)
    losses, snapshots = [], []
    for _, parts, snapshot in train(encoder, FRAMES, START, TRACK, config, CPU, seed, state):
        losses.append(parts["loss"])
        snapshots.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in snapshot().items()})
    return encoder, losses, snapshots


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_same_seed_same_weights_and_loss_falls():
    (a, losses, _), (b, _, _), (c, _, _) = run(6), run(6), run(6, seed=1)
    assert same(a, b)
    assert not same(a, c)
    assert losses[-1] < losses[0]


def test_going_on_equals_no_interruption(tmp_path):
    whole, _, _ = run(4)
    torch.manual_seed(0)
    encoder = Cage(4, 6, CageConfig(hidden=8))
    for epoch, _, snapshot in train(encoder, FRAMES, START, TRACK, TrainConfig(epochs=4, batch=16), CPU, 0):
        if epoch == 2:
            torch.save(snapshot(), tmp_path / "c.pt")
            break
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    resumed, losses, _ = run(4, state)
    assert len(losses) == 2
    assert same(whole, resumed)


def test_every_window_once_and_neighbours_together():
    chosen = batches(TRACK, 16, np.random.default_rng(0))
    assert sorted(np.concatenate(chosen).tolist()) == list(range(len(TRACK)))
    neighbours = sum(int((np.diff(c) == 1).sum()) for c in chosen)
    assert neighbours >= len(TRACK) - len(set(TRACK.tolist())) - len(chosen)


def test_encoding_does_not_depend_on_the_batch():
    encoder, _, _ = run(1)
    one = encode(encoder, FRAMES, START, 6, "mean", 1, CPU)
    many = encode(encoder, FRAMES, START, 6, "mean", 64, CPU)
    np.testing.assert_allclose(one, many, atol=1e-5)
    sc = encode(encoder, FRAMES, START, 6, "sc", 64, CPU)
    np.testing.assert_allclose(sc.reshape(len(START), 6, -1).mean(axis=1), many, atol=1e-5)


def test_frames_outside_the_windows_do_not_count():
    spoilt = np.concatenate([FRAMES, np.full((10, 4, 3), np.nan, np.float32)])
    torch.manual_seed(0)
    encoder = Cage(4, 6, CageConfig(hidden=8))
    for _, parts, _ in train(encoder, spoilt, START, TRACK, TrainConfig(epochs=1), CPU, 0):
        assert np.isfinite(parts["loss"])


def test_pool_is_the_mean_over_a_tracks_windows():
    vectors = np.array([[1.0, 0], [3.0, 2], [5.0, 5]])
    assert pool(vectors, np.array([0, 0, 1]), 2).tolist() == [[2.0, 1.0], [5.0, 5.0]]
