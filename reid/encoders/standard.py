"""Coordinates brought to zero mean and unit deviation, as many encoders want them."""

from torch import Tensor, nn, ones, zeros

AXES = 3


class Standardize(nn.Module):
    """Mean and deviation of every coordinate of every joint over the training frames.

    Args:
        on: whether it does anything.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, joints: int, on: bool) -> None:
        super().__init__()
        self.on = on
        self.register_buffer("mean", zeros(joints, AXES))
        self.register_buffer("deviation", ones(joints, AXES))

    def prepare(self, frames: Tensor) -> None:
        """Take both from frames (F, J, 3)."""
        if self.on:
            self.mean.copy_(frames.mean(dim=0))
            self.deviation.copy_(frames.std(dim=0).clamp_min(1e-3))

    def forward(self, windows: Tensor) -> Tensor:
        """(..., J, 3) -> (..., J, 3)."""
        return (windows - self.mean) / self.deviation
