"""A training loop that one can read. Knows arrays; who keeps the snapshots is the caller's affair."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.rounds import Epoch
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import TrainConfig
from gaitreid.reid.encode import Batch, gather, pool
from gaitreid.reid.graphs import Recorded

MEASURED = 1024  # windows at a time


class Windows:
    """All training windows on the device, as frames and places: batches are gathered there, by index.

    Args:
        frames: (F, J, 3); window n is rows start[n] ... start[n] + length - 1, of track window_track[n] and subject[n].
        ahead: frames between the start of a window and that of the `length` frames that it is to predict.
    """

    def __init__(
        self,
        frames: FloatArray,
        start: IntArray,
        window_track: IntArray,
        subject: IntArray | None,
        length: int,
        ahead: int,
        device: torch.device,
    ) -> None:
        self.length = length
        self.frames = torch.as_tensor(frames, dtype=torch.float32, device=device)
        self.start = torch.as_tensor(start, device=device)
        self.track = torch.as_tensor(window_track, device=device)
        self.subject = torch.as_tensor(np.full(len(start), -1) if subject is None else subject, device=device)
        stretch, step = stretches(start, window_track, np.asarray(np.isfinite(frames).all(axis=(1, 2))))
        # Neighbours in time are 1 apart, windows of different stretches farther than any interval.
        self.number = torch.as_tensor(np.arange(len(start)) + stretch * len(start), device=device)
        later, last = start + ahead, np.searchsorted(stretch, stretch, side="right") - 1
        has_later = later <= start[last]
        if step >= length:  # between such windows, and from one to the next, rows need not be frames in a row
            has_later &= np.isin(later, start)
        self.has_later = torch.as_tensor(has_later, device=device)
        self.later = torch.as_tensor(np.where(has_later, later, start), device=device)
        self.used = torch.as_tensor(np.unique(start[:, None] + np.arange(length)), device=device)
        self.ahead = ahead

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The windows of these numbers."""
        windows = gather(self.frames, self.start[index], self.length)
        return Batch(
            windows=windows,
            index=self.number[index],
            track=self.track[index],
            later=gather(self.frames, self.later[index], self.length) if self.ahead else windows,
            has_later=self.has_later[index],
            subject=self.subject[index],
            generator=generator,
        )


def stretches(start: IntArray, window_track: IntArray, whole: BoolArray) -> tuple[IntArray, int]:
    """Windows of a track that follow one another without a gap: the number of each window's stretch, (N,), and their step.

    Within a stretch windows begin so many rows apart as they were cut, the least that there is without a gap. A gap is a row that
    is not whole, or windows that begin farther apart: imported ones have no rows between them, and where they do not overlap
    nothing tells.

    Args:
        whole: of each row, whether all joints are there (F,).
    """
    lost = np.concatenate([[0], np.cumsum(~whole)])
    apart, together = np.diff(start), (np.diff(window_track) == 0) & (np.diff(lost[start]) == 0)
    step = int(apart[together].min()) if together.any() else 0
    return np.concatenate([[0], np.cumsum(~together | (apart != step))]), step


def train(
    encoder: Any,
    frames: FloatArray,
    start: IntArray,
    window_track: IntArray,
    config: TrainConfig,
    device: torch.device,
    seed: int,
    state: dict[str, Any] | None = None,
    *,
    subject: IntArray | None = None,
) -> Iterator[Epoch]:
    """Train an encoder, epoch by epoch; stopping between epochs and going on from a snapshot gives the same weights.

    Windows of a track stay together and in order, since neighbours are what the contrastive loss learns from; the order of the
    tracks is drawn anew each epoch, from the seed and the epoch's number alone (`config.order` has others). Under torchrun every
    process takes its part of each batch, and gradients are averaged (`Batch.weight`). An encoder without parameters is prepared
    or fitted, and yielded once.

    Args:
        encoder: fulfils `gaitreid.reid.encode.Encoder`.
        frames: (F, J, 3); window n is rows start[n] ... start[n] + encoder.length - 1, of track window_track[n].
        state: a snapshot to go on from.
        subject: of each window (N,), for encoders that learn from labels; -1 is unknown.

    Yields:
        Number of the epoch from 1, mean of each loss over its windows, and a function that gives a snapshot.

    Raises:
        UsageError: the encoder is to predict frames that follow no window, or there are more processes than windows in a batch.
    """
    encoder.to(device).train()
    windows = Windows(frames, start, window_track, subject, encoder.length, encoder.ahead, device)
    if encoder.ahead and not windows.has_later.any():
        raise UsageError(
            f"prediction: after no window the {encoder.length} frames that it is to predict follow without a gap: set a shorter"
            " split.length, or a split.step below it"
        )
    encoder.prepare(windows.frames[windows.used])
    set_precision(encoder, getattr(torch, config.precision))
    if encoder.supervised:
        config = replace(config, order="windows")  # batches of one person's walk would teach little
    parameters = list(encoder.parameters())
    if not parameters:
        if encoder.supervised:
            encoder.fit(*_tracks(encoder, windows))
        yield 1, {"loss": 0.0}, lambda: {"encoder": encoder.state_dict(), "optimiser": {}, "epoch": 1}
        return
    optimiser = Adam(parameters, config.learning_rate, regularisation=encoder.regularisation, clip=config.clip)
    done = 0
    if state:
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["epoch"])
    generator = torch.Generator(device=device)

    def step(index: Tensor) -> dict[str, Tensor]:
        optimiser.zero_grad()
        batch = windows.batch(index, generator)
        loss, parts = encoder.loss(batch)
        if encoder.supervised:
            loss = loss * batch.weight(batch.subject >= 0)
        loss.backward()
        average_gradients(parameters)
        optimiser.step()
        measured: dict[str, Tensor] = parts
        return measured

    take: Callable[[Tensor], dict[str, Tensor]] = step
    if config.graphs and device.type == "cuda" and getattr(encoder, "steady", False) and not distributed.is_initialized():
        take = Recorded(step, device, generator)
    for epoch in range(done + 1, config.epochs + 1):
        generator.manual_seed(seed * 1_000_003 + epoch)
        torch.manual_seed(seed * 1_000_003 + epoch)  # dropout draws from torch's own
        total: dict[str, Tensor] = {}
        chosen = [_own_part(rows) for rows in batches(window_track, config, np.random.default_rng((seed, epoch)))]
        count = sum(map(len, chosen))
        order = torch.as_tensor(np.concatenate(chosen), device=device)  # once an epoch: no step waits for the host
        for index in torch.split(order, [len(rows) for rows in chosen]):
            for name, value in take(index).items():  # summed on the device: asking for a number would make a GPU wait
                total[name] = total.get(name, torch.zeros((), device=device)) + value * (len(index) / count)
        losses = {name: float(value) for name, value in total.items()}
        yield epoch, losses, lambda epoch=epoch: _snapshot(encoder, optimiser, epoch)  # type: ignore[misc]


@torch.no_grad()
def _tracks(encoder: Any, windows: Windows) -> tuple[FloatArray, IntArray]:
    """What an encoder measures of each track, (K, D), the mean over its windows, and whose it is, (K,)."""
    every = torch.split(torch.arange(len(windows.start), device=windows.start.device), MEASURED)
    measured = torch.cat([encoder.measure(windows.batch(index).windows)[:, 0] for index in every]).cpu().numpy()
    _, first, track = np.unique(windows.track.cpu().numpy(), return_index=True, return_inverse=True)
    return pool(measured, track, len(first)), windows.subject.cpu().numpy()[first]


def set_precision(encoder: Any, dtype: torch.dtype) -> None:
    """The dtype of the matrix products, in encoders that can choose."""
    for module in encoder.modules():
        if hasattr(module, "precision"):
            module.precision = dtype


def batches(window_track: IntArray, config: TrainConfig, rng: np.random.Generator) -> list[IntArray]:
    """Every window once, cut into batches of about one size; by tracks in random order unless `config.order` says otherwise."""
    track = window_track[: max(1, round(len(window_track) * config.share))]
    order = np.arange(len(track))
    if config.order == "windows":
        order = rng.permutation(order)
    elif config.order == "tracks":
        groups = np.split(order, np.flatnonzero(np.diff(track)) + 1)
        order = np.concatenate([groups[i] for i in rng.permutation(len(groups))])
    if config.drop_last and len(order) >= config.batch:
        return list(order[: len(order) // config.batch * config.batch].reshape(-1, config.batch))
    return list(np.array_split(order, max(1, round(len(order) / config.batch))))


@contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Under torchrun, together with the other processes until all are done; then each is by itself again.

    A process that ends without having left can abort: the group's threads outlive the interpreter.
    """
    joins = distributed.is_available() and distributed.is_torchelastic_launched() and not distributed.is_initialized()
    if joins:
        if device.type == "cuda":
            distributed.init_process_group("nccl", device_id=device)  # else the first barrier guesses which GPU is meant
        else:
            distributed.init_process_group("gloo")
    try:
        yield
        wait_for_group()
    finally:
        if joins:
            distributed.destroy_process_group()


def wait_for_group() -> None:
    """Until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Over the processes, if there are several."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _own_part(rows: IntArray) -> IntArray:
    """What of a batch this process trains on: all of it, unless there are several."""
    if not distributed.is_initialized():
        return rows
    parts = np.array_split(rows, distributed.get_world_size())
    if not len(parts[-1]):
        raise UsageError(f"{len(parts)} processes cannot share a batch of {len(rows)} windows: raise train.batch")
    return parts[distributed.get_rank()]


def _snapshot(encoder: Any, optimiser: Adam, epoch: int) -> dict[str, Any]:
    return {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
