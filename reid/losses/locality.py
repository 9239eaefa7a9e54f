"""Locality-aware attention alignment (CAGE, TPAMI 2021, eq. 5-7)."""

import torch
from torch import Tensor


def locality_mask(length: int, window: int) -> Tensor:
    """How near each encoder step is to the one that a decoder step should attend to, the reverse of its own place.

    l_t(j) = exp(-(j - p_t)^2 / (2 sigma^2)), p_t = f - t + 1, sigma = D / 2, and 0 outside p_t - D ... p_t + D.

    Args:
        window: D.

    Returns:
        (f, f): row t, column j.
    """
    step = torch.arange(length, dtype=torch.float32)
    distance = step[None, :] - (length - 1 - step)[:, None]
    return torch.exp(-(distance**2) / (2 * (window / 2) ** 2)) * (distance.abs() <= window)


def locality_loss(attention: Tensor, mask: Tensor) -> Tensor:
    """Half the sum of (a - a l)^2 over axes and steps, the mean over the batch.

    Args:
        attention: (axes, B, f, f), rows sum to one.
        mask: (f, f).
    """
    return 0.5 * (attention * (1 - mask)).square().sum(dim=(0, 2, 3)).mean()
