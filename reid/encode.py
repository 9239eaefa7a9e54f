"""Windows to vectors, by any encoder."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gaitreid.pose.arrays import FloatArray, IntArray


class Encoder(Protocol):
    """A torch module that turns windows into features and knows its own training loss."""

    def prepare(self, frames: Tensor) -> None:
        """Take what it needs from all training frames (F, J, 3), once, before training."""

    def loss(self, windows: Tensor, follows: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Training loss of windows (B, f, J, 3), and its parts; follows (B - 1,): window i + 1 comes right after i."""

    def features(self, windows: Tensor) -> Tensor:
        """(B, f, J, 3) -> (B, f, D): one vector a frame."""


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
        form: mean over the frames of a window, or sc: frames concatenated.

    Returns:
        (N, D) float32.
    """
    encoder.to(device).eval()
    rows = torch.as_tensor(frames, dtype=torch.float32, device=device)
    result = []
    starts = torch.as_tensor(start, device=device)
    for first in range(0, len(start), batch):
        features = encoder.features(gather(rows, starts[first : first + batch], length))
        result.append((features.mean(dim=1) if form == "mean" else features.flatten(1)).cpu().numpy())
    return np.concatenate(result)


def pool(vectors: FloatArray, track: IntArray, tracks: int) -> FloatArray:
    """Mean of each track's window vectors: (N, D) and (N,) -> (tracks, D)."""
    total = np.zeros((tracks, vectors.shape[1]))
    np.add.at(total, track, vectors)
    return (total / np.bincount(track, minlength=tracks)[:, None]).astype(np.float32)
