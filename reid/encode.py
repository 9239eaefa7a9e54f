"""Windows to vectors, by any encoder."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.skeleton import Skeleton


@dataclass(frozen=True)
class Input:
    """What an encoder is made for.

    Attributes:
        length: f, frames a window.
        normalize: of the coordinates: none, root or gait.
        subjects: whom an encoder that learns from labels tells apart.
    """

    skeleton: Skeleton
    length: int
    normalize: str = "gait"
    subjects: tuple[str, ...] = ()

    @property
    def joints(self) -> int:
        """J."""
        return len(self.skeleton.joints)


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows to learn from.

    Attributes:
        windows: (B, f, J, 3).
        index: (B,), number of each window; windows k and k + 1 of one track are neighbours in time, and no others.
        track: (B,).
        later: (B, f, J, 3), the frames `ahead` frames later, and has_later (B,), of which windows they are there.
        subject: (B,), place in `Input.subjects`; -1 is unknown.
        generator: of random numbers.
    """

    windows: Tensor
    index: Tensor
    track: Tensor
    later: Tensor
    has_later: Tensor
    subject: Tensor
    generator: torch.Generator | None = None

    def pairs(self, interval: int) -> Tensor:
        """Whether window i + interval of the batch comes `interval` windows after window i in the same track: (B - interval,)."""
        apart = self.index[interval:] == self.index[:-interval] + interval
        return apart & (self.track[interval:] == self.track[:-interval])

    def weight(self, counts: Tensor, summed: bool = False) -> Tensor | float:
        """What a mean over those of these windows that count, (B,), is multiplied by in a loss.

        Under torchrun these are one process's part of the batch, and gradients are averaged over the processes: parts weigh by
        how many of their windows count, so that the average is the gradient of the whole batch's loss.

        Args:
            summed: whether the loss is the sum over the windows that count, not their mean.
        """
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        if processes == 1 and not summed:
            return 1.0
        own = counts.sum()
        if summed:
            return own * processes
        whole = own.clone()
        distributed.all_reduce(whole)
        return own * processes / whole.clamp_min(1)

    def replace(self, **changes: Any) -> "Batch":
        """The same with changes."""
        return replace(self, **changes)


class Encoder(Protocol):
    """A torch module that turns windows into features and knows its own training loss.

    One that has no parameters and is supervised learns in one go: `fit` is given what it measured of each track, and whose it is.

    Attributes:
        ahead: frames between a window and the later one that it is to predict; 0 if none.
        regularisation: weight of half the squared norm of all parameters, which the training loop adds.
        supervised: whether it needs labels.

    One whose training step does the same work on the same shapes whatever the windows hold, and never waits for the host, may say
    so with `steady = True`: see `TrainConfig.graphs`.
    """

    ahead: int
    regularisation: float
    supervised: bool

    def prepare(self, frames: Tensor) -> None:
        """Take what it needs from all training frames (F, J, 3), once, before training."""

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss and its parts, detached; `loss` is the sum.

        A supervised encoder's loss is a mean over the windows of known subject; others weigh theirs by `Batch.weight`.
        """

    def features(self, windows: Tensor) -> Tensor:
        """(B, f, J, 3) -> (B, f, D), one vector a frame; (B, 1, D) where there is but one a window."""


def gather(frames: Tensor, start: Tensor, length: int) -> Tensor:
    """Windows from frames: (F, J, 3) and (B,) -> (B, length, J, 3)."""
    return frames[start[:, None] + torch.arange(length, device=start.device)]


@torch.no_grad()
def encode(
    encoder: Any, frames: FloatArray, start: IntArray, length: int, form: str, batch: int, device: torch.device
) -> FloatArray:
    """One vector a window.

    Args:
        encoder: fulfils `Encoder`.
        frames: (F, J, 3); window n is rows start[n] ... start[n] + length - 1.
        form: mean over the frames of a window; sc: frames concatenated; frames: as they are.

    Returns:
        (N, D) float32, for `frames` (N, f, D).
    """
    encoder.to(device).eval()
    rows = torch.as_tensor(frames, dtype=torch.float32, device=device)
    result = []
    starts = torch.as_tensor(start, device=device)
    for first in range(0, len(start), batch):
        features = encoder.features(gather(rows, starts[first : first + batch], length)).float()
        formed = features.mean(dim=1) if form == "mean" else features if form == "frames" else features.flatten(1)
        result.append(formed.cpu().numpy())
    return np.concatenate(result)


def pool(vectors: FloatArray, track: IntArray, tracks: int) -> FloatArray:
    """Mean of each track's window vectors: (N, D) and (N,) -> (tracks, D)."""
    total = np.zeros((tracks, vectors.shape[1]))
    np.add.at(total, track, vectors)
    return (total / np.bincount(track, minlength=tracks)[:, None]).astype(np.float32)
