"""Locality-aware contrastive learning: windows that follow one another are alike (CAGE, TPAMI 2021, eq. 11, alg. 1)."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def contrastive_loss(z: Tensor, pairs: Tensor, temperature: float, paper: bool, track: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross-entropy over pairs of neighbouring windows; the sum over axes of means over rows.

    Its shapes do not depend on which pairs there are, so on a GPU nothing waits for the host.

    Args:
        z: (axes, B, K), projections of windows in the order of time.
        pairs: (B - interval,), whether windows i and i + interval of the batch are a pair.
        paper: as published, each window stands in both halves of the batch, so its own copy is among the negatives; else
            the copy is left out.
        track: (B,), where negatives are to be of a window's own track, as those of alg. 1 are, whose batches are of one person;
            None takes all windows of the batch. The loss is then alg. 1's of each track, weighed by its number of pairs.

    Returns:
        A scalar; 0 where there is no pair.
    """
    interval, half = z.shape[1] - len(pairs), len(pairs)
    place = torch.arange(half, device=z.device)
    rows = torch.cat([place + interval, place])  # Z of alg. 1: partners are half the batch apart
    counts = torch.cat([pairs, pairs])
    here = torch.arange(2 * half, device=z.device)
    partner = here.roll(half)
    unit = normalize(torch.cat([z[:, interval:], z[:, :half]], dim=1), dim=-1)
    similarity = unit @ unit.transpose(1, 2) / temperature
    left_out = here[:, None] == here[None, :]
    if not paper:
        left_out = (rows[:, None] == rows[None, :]) & (here[None, :] != partner[:, None])
    others = ~counts[None, :].expand_as(left_out)
    if track is not None:
        others = others | (track[rows][:, None] != track[rows][None, :])
    # Rows that do not count keep their partner, so that no row is empty; they weigh nothing.
    left_out = left_out | (others & (here[None, :] != partner[:, None]))
    log_share = torch.log_softmax(similarity.masked_fill(left_out, float("-inf")), dim=-1)
    losses = -log_share.gather(2, partner.expand(len(z), -1)[..., None])[..., 0]
    return (losses * counts).sum() / counts.sum().clamp_min(1)
