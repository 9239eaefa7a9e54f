"""Locality-aware contrastive learning: windows that follow one another are alike (CAGE, TPAMI 2021, eq. 11, alg. 1)."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def contrastive_loss(z: Tensor, follows: Tensor, temperature: float, paper: bool) -> Tensor:
    """Normalised temperature-scaled cross-entropy over pairs of neighbouring windows; the sum over axes of means over rows.

    Args:
        z: (axes, B, K), projections of windows in the order of time.
        follows: (B - 1,), whether window i + 1 is the next window of the same track as window i.
        paper: as published, each window stands in both halves of the batch, so its own copy is among the negatives; else
            the copy is left out.

    Returns:
        A scalar; 0 where no window follows another.
    """
    first = torch.nonzero(follows).flatten()
    if not len(first):
        return z.sum() * 0
    rows = torch.cat([first + 1, first])  # Z of alg. 1: partners are half the batch apart
    unit = normalize(z[:, rows], dim=-1)
    similarity = unit @ unit.transpose(1, 2) / temperature
    itself = torch.eye(len(rows), dtype=torch.bool, device=z.device)
    if not paper:
        positive = torch.arange(len(rows), device=z.device).roll(len(first))
        itself = (rows[:, None] == rows[None, :]) & (torch.arange(len(rows), device=z.device)[None, :] != positive[:, None])
    log_share = torch.log_softmax(similarity.masked_fill(itself, float("-inf")), dim=-1)
    partner = torch.arange(len(rows), device=z.device).roll(len(first))
    return -log_share[:, torch.arange(len(rows), device=z.device), partner].mean(dim=1).sum()
