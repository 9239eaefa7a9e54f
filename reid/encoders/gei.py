"""Gait energy images: the mean silhouette of a walk (Han and Bhanu, PAMI 2006), as it is, or where PCA and LDA carry it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.config import GeiConfig
from gaitreid.reid.walks import HIPS, Clips

HALF = SILHOUETTE_HEIGHT // 2
TRUNK, LEGS, SHINS = slice(0, 36), slice(36, SILHOUETTE_HEIGHT), slice(48, SILHOUETTE_HEIGHT)  # rows; shins show below a coat
SHOULDERS = COCO17.indices("left_shoulder", "right_shoulder")
BROAD = 0.8  # shoulders from the front, in lengths of the trunk (Winter, as in `gaitreid.pose.walker.SHARES`)
LENGTH = 5.0  # of a part, with which two people are about 1 apart
VIEW = 0.25  # how far `viewed` may differ until parts are hardly alike
PACE = 0.25  # and `paced`: a quarter faster
ASIDE = 0.1  # body heights a second: who moves less to a side comes or goes straight, and which side it is, is chance
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
    """The image in parts, trunk with head, and legs below the knee, of somebody who walks to the right; nothing is learnt.

    What is worn and carried changes the trunk, the pace changes the legs, seldom both: `match --metric alike` compares them one
    by one. Between them hangs the coat. Both count twice, beside a skeleton that counts once. Every frame's legs are centred by
    themselves, since a bag or a coat moves the middle of the body. Two by two pixels are one. Each, inside in a share p of
    the frames, becomes the roots of p and of 1 - p: so every part has the same length, and the distance of two is Hellinger's.

    At the end of each part stands how it was seen, in the units within which parts are alike: from where (`viewed`), and for the
    legs at which pace (`paced`).
    """

    parts = 4
    context = 2
    width = (TRUNK.stop - TRUNK.start) * SILHOUETTE_WIDTH // 2 + context  # numbers of a part

    def __init__(self, subjects: tuple[str, ...], config: GeiConfig | None = None) -> None:
        super().__init__(subjects, replace(config or GeiConfig(), rows="all"))

    def trunk(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`: (B, 4 x width), the legs' filled up with zeros."""
        clips = facing_right(clips)
        centred = replace(clips, silhouettes=legs_centred(clips.silhouettes))
        trunk, legs = (_roots(super(GeiParts, self).trunk(of), rows) for of, rows in ((clips, TRUNK), (centred, SHINS)))
        legs = nn.functional.pad(legs, (0, trunk.shape[1] - legs.shape[1]))
        view = viewed(clips)
        seen = torch.stack([view / VIEW, paced(clips, view) / PACE], dim=1).nan_to_num(0.0).to(trunk)
        legs, trunk = torch.cat([legs, seen], dim=1), torch.cat([trunk, seen * seen.new_tensor([1.0, 0.0])], dim=1)
        return torch.cat([trunk, trunk, legs, legs], dim=1)


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
    """Silhouettes mirrored where the person's box clearly moves to the left; those whose box is not known stay."""
    left = (_drift(clips) < -ASIDE * _height(clips))[:, None, None, None]
    return replace(clips, silhouettes=torch.where(left, clips.silhouettes.flip(-1), clips.silhouettes))


def legs_centred(silhouettes: Tensor) -> Tensor:
    """Frames (B, T, 64, 44) moved sideways by whole pixels until the middle of the legs' mass is in the middle."""
    columns = torch.arange(SILHOUETTE_WIDTH, device=silhouettes.device)
    legs = silhouettes[:, :, LEGS].sum(dim=2)
    middle = (legs * columns).sum(dim=2) / legs.sum(dim=2).clamp_min(1)
    off = torch.where(legs.any(dim=2), (middle + 0.5 - (SILHOUETTE_WIDTH - 1) / 2).floor(), 0.0).long()
    source = columns + off[..., None]
    inside = (source >= 0) & (source < SILHOUETTE_WIDTH)
    place = source.clamp(0, SILHOUETTE_WIDTH - 1)[:, :, None].expand_as(silhouettes)
    moved: Tensor = silhouettes.gather(3, place) * inside[:, :, None]
    return moved


def viewed(clips: Clips) -> Tensor:
    """From where a walk was seen: how broad the shoulders look, in lengths of the trunk, (B,); NaN where they are not seen.

    About 0 from the side, 0.8 from the front and -0.8 from behind, as the left shoulder is then on the right or on the left: the
    same for a walk and its mirror image. The median over the frames.
    """
    left, right, *hips = (clips.keypoints[:, :, joint, :2] for joint in SHOULDERS + HIPS)
    trunk = torch.linalg.vector_norm((left + right - hips[0] - hips[1]) / 2, dim=-1).nanmedian(dim=1).values
    return torch.div((left - right)[..., 0].nanmedian(dim=1).values, trunk.clamp_min(1))


def paced(clips: Clips, view: Tensor) -> Tensor:
    """Logarithm of the speed in body heights a second, (B,); NaN where the box is not known.

    How fast the box moves sideways, by its height, over the cosine of the angle at which `view` (B,) says that the person
    walks away from the picture's plane.
    """
    sine = (view.nan_to_num(0.0).abs() / BROAD).clamp_max(0.85)
    speed = _drift(clips).abs() / _height(clips) / (1 - sine**2).sqrt()
    return speed.clamp(0.2, 3.0).log()


def _height(clips: Clips) -> Tensor:
    """Of the box, pixels (B,): the median over the frames; NaN where none is known."""
    return (clips.box[..., 3] - clips.box[..., 1]).nanmedian(dim=1).values.clamp_min(1)


def _drift(clips: Clips) -> Tensor:
    """How fast the middle of the box moves to the right, pixels a second (B,), by least squares; NaN where nothing is known."""
    middle = ((clips.box[..., 0] + clips.box[..., 2]) / 2).to(clips.time.dtype)
    known = middle.isfinite() & clips.time.isfinite()
    count = known.sum(dim=1, keepdim=True)
    apart = []
    for values in (clips.time, middle):
        values = torch.where(known, values, 0.0)
        apart.append((values - values.sum(dim=1, keepdim=True) / count) * known)
    time, place = apart
    return (time * place).sum(dim=1) / time.square().sum(dim=1)


def _roots(image: Tensor, rows: slice) -> Tensor:
    """Of the shares and of what they lack to 1, in some rows of images (B, pixels), two by two pixels as one; LENGTH long."""
    shown = image.clamp(0, 1).view(-1, 1, SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH)[:, :, rows]
    share = nn.functional.avg_pool2d(shown, 2)
    roots = torch.cat([share, 1 - share], dim=1).flatten(1).sqrt()
    return torch.mul(roots, LENGTH / share[0].numel() ** 0.5)


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
