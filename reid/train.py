"""A training loop that one can read. Knows arrays; who keeps the snapshots is the caller's affair."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.config import TrainConfig
from gaitreid.reid.encode import gather

Epoch = tuple[int, dict[str, float], Callable[[], dict[str, Any]]]


def train(
    encoder: Any,
    frames: FloatArray,
    start: IntArray,
    window_track: IntArray,
    config: TrainConfig,
    device: torch.device,
    seed: int,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train an encoder, epoch by epoch; stopping between epochs and going on from a snapshot gives the same weights.

    Windows of a track stay together and in order, since neighbours are what the contrastive loss learns from; the order of the
    tracks is drawn anew each epoch, from the seed and the epoch's number alone.

    Args:
        encoder: fulfils `gaitreid.reid.encode.Encoder`.
        frames: (F, J, 3); window n is rows start[n] ... start[n] + encoder.length - 1, of track window_track[n].
        state: a snapshot to go on from.

    Yields:
        Number of the epoch from 1, mean of each loss over its windows, and a function that gives a snapshot.
    """
    encoder.to(device).train()
    rows = torch.as_tensor(frames, dtype=torch.float32, device=device)
    used = torch.as_tensor(np.unique(start[:, None] + np.arange(encoder.length)), device=device)
    encoder.prepare(rows[used])
    optimiser = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate)
    done = 0
    if state:
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["epoch"])
    starts = torch.as_tensor(start, device=device)
    tracks = torch.as_tensor(window_track, device=device)
    for epoch in range(done + 1, config.epochs + 1):
        total: dict[str, float] = {}
        for chosen in batches(window_track, config.batch, np.random.default_rng((seed, epoch))):
            index = torch.as_tensor(chosen, device=device)
            follows = (tracks[index[1:]] == tracks[index[:-1]]) & (index[1:] == index[:-1] + 1)
            loss, parts = encoder.loss(gather(rows, starts[index], encoder.length), follows)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_value_(encoder.parameters(), config.clip)
            optimiser.step()
            for name, value in parts.items():
                total[name] = total.get(name, 0.0) + value * len(chosen) / len(start)
        yield epoch, total, lambda epoch=epoch: _snapshot(encoder, optimiser, epoch)  # type: ignore[misc]


def batches(window_track: IntArray, size: int, rng: np.random.Generator) -> list[IntArray]:
    """Every window once: tracks in random order, their windows in the order of time, cut into batches of about one size."""
    edges = np.flatnonzero(np.diff(window_track)) + 1
    groups = np.split(np.arange(len(window_track)), edges)
    order = np.concatenate([groups[i] for i in rng.permutation(len(groups))])
    return list(np.array_split(order, max(1, round(len(order) / size))))


def _snapshot(encoder: Any, optimiser: torch.optim.Optimizer, epoch: int) -> dict[str, Any]:
    return {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
