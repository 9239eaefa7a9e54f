"""Gait energy images: the mean silhouette of a walk (Han and Bhanu, PAMI 2006), as it is, or where PCA and LDA carry it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH
from gaitreid.reid.config import GeiConfig
from gaitreid.reid.walks import Clips

HALF = SILHOUETTE_HEIGHT // 2
TRUNK, SHINS = slice(0, 36), slice(48, SILHOUETTE_HEIGHT)  # rows; below the knee a coat seldom hangs
STEP = range(8, 26)  # frames that a step may take: 0.3 to 1 s at 25 a second


class Gei(nn.Module):
    """The image itself. Fulfils `gaitreid.reid.walks.WalkEncoder`; nothing is learnt."""

    needs: tuple[str, ...] = ("silhouettes",)
    parts = 1
    supervised = False

    def __init__(self, subjects: tuple[str, ...], config: GeiConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeiConfig()

    def prepare(self, walks: Iterator[tuple[Clips, int]]) -> None:
        """See `WalkEncoder`."""

    def trunk(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`: (B, pixels)."""
        silhouettes = clips.silhouettes
        counted = (silhouettes > 0).any(dim=3).any(dim=2)
        if self.config.frames == "cycles":
            counted &= whole_cycles(silhouettes)
        shown = silhouettes[:, :, HALF:] if self.config.rows == "lower" else silhouettes
        total = torch.einsum("bt,btp->bp", counted.to(shown.dtype), shown.flatten(2))
        return total / counted.sum(dim=1, keepdim=True).clamp_min(1)

    def loss(self, features: Tensor, clips: Clips, subject: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Nothing is learnt."""
        zero = features.new_zeros(())
        return zero, {"loss": zero}

    def vectors(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`."""
        return self.trunk(clips)

    @property
    def pixels(self) -> int:
        """Of an image."""
        return (HALF if self.config.rows == "lower" else SILHOUETTE_HEIGHT) * SILHOUETTE_WIDTH


class GeiParts(Gei):
    """The image in two parts, trunk with head and legs below the knee, of somebody who walks to the right; nothing is learnt.

    What is worn and carried changes the trunk, the pace changes the legs, seldom both: `match --metric robust` compares them one
    by one. Between them hangs the coat. Every pixel, inside in a share p of the frames, becomes the roots of p and of 1 - p: so
    every part has the same length, and the distance of two is Hellinger's.
    """

    parts = 2

    def __init__(self, subjects: tuple[str, ...], config: GeiConfig | None = None) -> None:
        super().__init__(subjects, replace(config or GeiConfig(), rows="all"))

    def trunk(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`: (B, 4 x pixels of the trunk), the shins' filled up with zeros."""
        image = super().trunk(facing_right(clips)).clamp(0, 1).view(-1, 1, SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH)
        both = torch.cat([image, 1 - image], dim=1).sqrt()
        trunk, shins = both[:, :, TRUNK].flatten(1), both[:, :, SHINS].flatten(1)
        return torch.cat([trunk, nn.functional.pad(shins, (0, trunk.shape[1] - shins.shape[1]))], dim=1)


class GeiLda(Gei):
    """The image, carried by PCA and then LDA to where people are told apart; learnt from one image a walk, in one go.

    The directions are one fewer than the people who are learnt from; those that the images do not have are zero.
    """

    supervised = True
    mean: Tensor
    directions: Tensor

    def __init__(self, subjects: tuple[str, ...], config: GeiConfig | None = None) -> None:
        super().__init__(subjects, config)
        if len(subjects) < 2:
            raise UsageError("this model learns from labels: it needs walks of two or more known subjects")
        self.register_buffer("mean", torch.zeros(self.pixels))
        self.register_buffer("directions", torch.zeros(self.pixels, len(subjects) - 1))

    def prepare(self, walks: Iterator[tuple[Clips, int]]) -> None:
        """See `WalkEncoder`.

        Raises:
            UsageError: nobody has two walks.
        """
        images, subject = zip(*((self.trunk(clips)[0].cpu().numpy(), who) for clips, who in walks), strict=True)
        mean, directions = discriminants(np.stack(images), np.array(subject), self.config.variance)
        self.mean.copy_(torch.from_numpy(mean))
        self.directions[:, : directions.shape[1]] = torch.from_numpy(directions).to(self.directions)

    def vectors(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`."""
        return (self.trunk(clips) - self.mean) @ self.directions


def facing_right(clips: Clips) -> Clips:
    """Silhouettes mirrored where the person's box moves to the left; those whose box is not known stay."""
    middle = (clips.box[..., 0] + clips.box[..., 2]) / 2
    known = middle.isfinite()
    count = known.sum(dim=1, keepdim=True).clamp_min(1)
    middle = torch.where(known, middle, 0.0)
    time = torch.arange(middle.shape[1], device=middle.device, dtype=middle.dtype).expand_as(middle) * known
    apart = [(of - of.sum(dim=1, keepdim=True) / count) * known for of in (time, middle)]
    left = (apart[0] * apart[1]).sum(dim=1) < 0
    return replace(clips, silhouettes=torch.where(left[:, None, None, None], clips.silhouettes.flip(-1), clips.silhouettes))


def discriminants(images: FloatArray, subject: IntArray, variance: float) -> tuple[FloatArray, FloatArray]:
    """PCA to so much of the variance, then LDA with the covariance within people shrunk (Ledoit and Wolf).

    Args:
        images: (N, D).
        subject: (N,).

    Returns:
        Mean (D,), and directions (D, C - 1) at most.

    Raises:
        UsageError: nobody has two images.
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    people = len(np.unique(subject))
    if people < 2 or people == len(subject):
        raise UsageError("gei-lda learns how walks of one person differ: it needs two of somebody, and two people")
    pca = PCA(variance, svd_solver="full").fit(images.astype(np.float64))
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(pca.transform(images), subject)
    scalings = lda.scalings_[:, : min(people - 1, pca.n_components_)]
    return pca.mean_.astype(np.float32), (pca.components_.T @ scalings).astype(np.float32)


def whole_cycles(silhouettes: Tensor) -> Tensor:
    """Which frames make whole cycles of two steps, from the first on: (B, T, 64, 44) -> (B, T).

    How broad the legs are rises and falls once a step; the step is the lag at which that is most like itself, more so than at the
    lags beside it. All frames count where there is no such lag, as from the front, or less than one cycle.
    """
    columns = torch.arange(silhouettes.shape[3], device=silhouettes.device, dtype=silhouettes.dtype)
    legs = silhouettes[:, :, HALF:].sum(dim=2)
    mass = legs.sum(dim=2).clamp_min(1)
    middle = (legs * columns).sum(dim=2) / mass
    broad = (legs * (columns - middle[..., None]) ** 2).sum(dim=2) / mass
    broad = broad - broad.mean(dim=1, keepdim=True)
    frames = broad.shape[1]
    counted = torch.ones_like(broad, dtype=torch.bool)
    lags = [lag for lag in range(STEP.start - 1, STEP.stop + 1) if 2 * lag <= frames + 2]
    if len(lags) < 3:
        return counted
    like = torch.stack([_correlation(broad, lag) for lag in lags], dim=1)
    peak = (like[:, 1:-1] > like[:, :-2]) & (like[:, 1:-1] >= like[:, 2:]) & (like[:, 1:-1] > 0)
    best = torch.where(peak, like[:, 1:-1], 0.0).argmax(dim=1)
    cycle = 2 * torch.tensor(lags[1:-1], device=broad.device)[best]
    used = torch.where(peak.any(dim=1), frames // cycle * cycle, frames)
    return counted & (torch.arange(frames, device=broad.device) < used[:, None])


def _correlation(values: Tensor, lag: int) -> Tensor:
    """Of values (B, T) with themselves `lag` later, (B,)."""
    a, b = values[:, lag:], values[:, :-lag]
    return (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt().clamp_min(1e-9)
