"""Skeleton reconstruction (CAGE, TPAMI 2021, eq. 2)."""

from torch import Tensor


def reconstruction_loss(output: Tensor, target: Tensor, counts: Tensor | None = None) -> Tensor:
    """Half the sum of squared errors, over everything but the batch; the mean over the batch.

    The official code sums over the batch too (`cage.reduction`); a mean keeps the balance with the other losses at any batch
    size.

    Args:
        output, target: (f, axes, J, B).
        counts: (B,), which windows have a target; None is all.
    """
    each = 0.5 * (output - target).square().sum(dim=(0, 1, 2))
    return each.mean() if counts is None else (each * counts).sum() / counts.sum().clamp_min(1)
