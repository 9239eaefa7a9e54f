"""The training loop of models of whole walks: steps of P people x K walks, and a pause for a snapshot now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from gaitreid.pose.arrays import IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.rounds import Epoch, steps_done
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import WalksConfig
from gaitreid.reid.train import average_gradients
from gaitreid.reid.walks import Packed, Sampler


def train(
    encoder: Any,
    packed: Packed,
    rows: IntArray,
    subject: IntArray,
    config: WalksConfig,
    device: torch.device,
    seed: int,
    state: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train an encoder of walks; stopping between rounds of `config.every` steps and going on from a snapshot changes nothing.

    Under torchrun every process does its part of the trunk and all do the rest on the whole batch: distances, cross-entropy and
    batch normalisation are those of one process. An encoder without weights is prepared and yielded once.

    Args:
        encoder: fulfils `gaitreid.reid.walks.WalkEncoder`.
        rows, subject: the walks that are trained on (W,), and whose they are, as numbers from 0; -1 is unknown.
        state: a snapshot to go on from; rounds are counted on, and begin at its last step.

    Yields:
        Number of the round from 1, the last step and the mean of each loss over the round, and a function that gives a snapshot.

    Raises:
        UsageError: as of `steps_done`.
    """
    encoder.to(device).train()
    encoder.prepare((packed.walk(int(row)), int(who)) for row, who in zip(rows, subject, strict=True))
    parameters = list(encoder.parameters())
    if not parameters:
        yield 1, {"loss": 0.0}, lambda: {"encoder": encoder.state_dict(), "optimiser": {}, "epoch": 1}
        return
    sampler = Sampler(packed.start[rows], packed.length[rows], subject, config, seed)
    optimiser = Adam(parameters, config.learning_rate, regularisation=config.weight_decay)
    done, before = steps_done(state, config), 0
    if state:
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        before = int(state["epoch"])
    for number, first in enumerate(range(done, config.iterations, config.every), before + 1):
        torch.manual_seed(seed * 1_000_003 + number)  # dropout draws from torch's own
        last = min(first + config.every, config.iterations)
        total: dict[str, Tensor] = {}
        for step in range(first, last):
            optimiser.rate = config.learning_rate * config.decay ** sum(step >= m for m in config.milestones)
            for name, value in _step(encoder, packed, sampler, step, optimiser, device).items():
                total[name] = total.get(name, torch.zeros((), device=device)) + value / (last - first)
        losses = {"iteration": float(last), **{name: float(value) for name, value in total.items()}}
        yield number, losses, partial(_snapshot, encoder, optimiser, number, last)


def _step(
    encoder: Any,
    packed: Packed,
    sampler: Sampler,
    step: int,
    optimiser: Adam,
    device: torch.device,
) -> dict[str, Tensor]:
    """One step; the losses, on the device."""
    rows, subject = sampler.step(step)
    clips = packed.clips(rows)
    halved = _halved(sampler.config.precision, device)
    with _sound_products(halved, device):
        with torch.autocast(device.type, torch.bfloat16, enabled=halved):
            features = encoder.trunk(clips.part(_own_part(len(clips))))
        loss, parts = encoder.loss(_gathered(features.float()), clips, torch.as_tensor(subject, device=device))
        optimiser.zero_grad()
        loss.backward()
    average_gradients(optimiser.parameters)
    optimiser.step()
    return dict(parts)


@contextmanager
def _sound_products(halved: bool, device: torch.device) -> Iterator[None]:
    """On processors with AVX-512 oneDNN's bfloat16 gradients of 3D convolutions hold numbers that nobody wrote: not by it."""
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = before and not (halved and device.type == "cpu")
    try:
        yield
    finally:
        onednn.enabled = before


def _halved(precision: str, device: torch.device) -> bool:
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def _own_part(count: int) -> slice:
    """The clips of a batch whose trunk this process does."""
    if not distributed.is_initialized():
        return slice(None)
    size, place = distributed.get_world_size(), distributed.get_rank()
    if count % size:
        raise UsageError(f"{size} processes cannot share {count} clips evenly: change walks.people or walks.walks")
    return slice(place * count // size, (place + 1) * count // size)


class _Gather(torch.autograd.Function):
    """All processes' parts of a batch, one after the other; backwards the own part.

    Every process has the same loss of the whole batch, and sends back the gradient of its own part alone. Gradients of parameters
    are averaged afterwards, so here they count as many times as there are processes.
    """

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        size = distributed.get_world_size()
        return gradients[0].chunk(size)[distributed.get_rank()] * size


def _gathered(features: Tensor) -> Tensor:
    if not distributed.is_initialized():
        return features
    gathered: Tensor = _Gather.apply(features)
    return gathered


def _snapshot(encoder: Any, optimiser: Adam, number: int, step: int) -> dict[str, Any]:
    return {"encoder": encoder.state_dict(), "optimiser": optimiser.state_dict(), "epoch": number, "step": step}
