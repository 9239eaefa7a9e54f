"""Reverse skeleton reconstruction (CAGE, TPAMI 2021, eq. 2)."""

from torch import Tensor


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Half the sum of squared errors, over everything but the batch; the mean over the batch.

    The official code sums over the batch too; a mean keeps the balance with the other losses at any batch size.

    Args:
        output, target: (axes, B, f, J).
    """
    return 0.5 * (output - target).square().sum(dim=(0, 2, 3)).mean()
