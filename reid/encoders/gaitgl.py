"""GaitGL: global and local convolutions over silhouettes and time (Lin, Zhang, Bao: "GaitGL", 2022; layers as in OpenGait)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, leaky_relu

from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import SILHOUETTE_HEIGHT
from gaitreid.reid.config import GaitGlConfig
from gaitreid.reid.losses.triplet import triplet_loss
from gaitreid.reid.walks import Clips

SLOPE = 0.01
TRIPLE = 3  # frames that local temporal aggregation makes one of


class GlobalLocal(nn.Module):
    """A convolution over the whole map and one over each of its strips, which share weights: (B, C, T, H, W) -> (B, D, T, H, W).

    Args:
        upon: the two are laid one upon the other, (B, D, T, 2 H, W) (GLConvB), and not added (GLConvA).
    """

    def __init__(self, inputs: int, outputs: int, partitions: int, *, upon: bool = False) -> None:
        super().__init__()
        self.whole = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.local = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.partitions, self.upon = partitions, upon

    def forward(self, x: Tensor) -> Tensor:
        """See class."""
        whole, local = (leaky_relu(y, SLOPE, inplace=True) for y in (self.whole(x), self._strips(x)))
        return torch.cat([whole, local], dim=3) if self.upon else whole + local

    def _strips(self, x: Tensor) -> Tensor:
        """All strips in one convolution, as more clips: channels stay last in memory."""
        batch, _, frames, height, width = x.shape
        strips, rows = self.partitions, height // self.partitions
        last = x.permute(0, 2, 3, 4, 1).reshape(batch, frames, strips, rows, width, -1)
        folded = last.transpose(1, 2).reshape(batch * strips, frames, rows, width, -1).permute(0, 4, 1, 2, 3)
        out: Tensor = self.local(folded).permute(0, 2, 3, 4, 1).reshape(batch, strips, frames, rows, width, -1)
        return out.transpose(1, 2).reshape(batch, frames, height, width, -1).permute(0, 4, 1, 2, 3)


class Maps(nn.Module):
    """Silhouettes to maps by stem, local temporal aggregation (T to T // 3) and stages: (B, T, 64, 44) -> (B, C, T, 64, 22).

    With `shrink` height and width are smaller. No batch normalisation, no bias; weights Xavier uniform.
    """

    def __init__(self, config: GaitGlConfig) -> None:
        super().__init__()
        first, *widths = config.channels
        self.shrink = config.shrink
        stem = [
            (nn.Conv3d(first if k else 1, first, 3, padding=1, bias=False), nn.LeakyReLU(SLOPE, inplace=True))
            for k in range(config.stem)
        ]
        self.stem = nn.Sequential(*[module for pair in stem for module in pair])
        self.aggregate = nn.Conv3d(first, first, (TRIPLE, 1, 1), (TRIPLE, 1, 1), bias=False) if config.lta else None
        self.stages = nn.ModuleList()
        inputs = first
        for stage, (width, blocks) in enumerate(zip(widths, config.blocks, strict=True), 1):
            upon = [stage == len(widths) and k == blocks - 1 for k in range(blocks)]
            self.stages.append(
                nn.Sequential(
                    *[GlobalLocal(inputs if not k else width, width, config.partitions, upon=u) for k, u in enumerate(upon)]
                )
            )
            inputs = width
        self.pool = nn.MaxPool3d((1, 2, 2))
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, silhouettes: Tensor) -> Tensor:
        """See class; fewer than three frames are repeated where three make one."""
        if self.shrink > 1:
            silhouettes = avg_pool2d(silhouettes, self.shrink)
        x = silhouettes[:, None]
        if self.aggregate and x.shape[2] < TRIPLE:
            x = x.repeat(1, 1, -(-TRIPLE // x.shape[2]), 1, 1)
        x = self.stem(x)
        if self.aggregate:
            x = leaky_relu(self.aggregate(x), SLOPE, inplace=True)
        for k, stage in enumerate(self.stages):
            x = stage(x)
            if not k:
                x = self.pool(x)
        return x


class GeM(nn.Module):
    """Generalised mean over the width with one learnt exponent: (B, C, H, W) -> (B, C, H) (GaitGL; GaitTAKE, eq. 10)."""

    def __init__(self, exponent: float = 6.5, least: float = 1e-6) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        """See class."""
        return x.float().clamp_min(self.least).pow(self.exponent).mean(dim=-1).pow(1 / self.exponent)


class SeparateLinear(nn.Module):
    """A linear layer of its own for every strip, without bias: (B, C, P) -> (B, D, P)."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(parts, inputs, outputs)))

    def forward(self, x: Tensor) -> Tensor:
        """See class."""
        return torch.bmm(x.permute(2, 0, 1), self.weight).permute(1, 2, 0)


class GaitGl(nn.Module):
    """Fulfils `gaitreid.reid.walks.WalkEncoder`.

    Args:
        subjects: whom it tells apart in training.
    """

    needs: tuple[str, ...] = ("silhouettes",)
    supervised = True

    def __init__(self, subjects: tuple[str, ...], config: GaitGlConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GaitGlConfig()
        if len(subjects) < 2:
            raise UsageError("this model learns from labels: it needs walks of two or more known subjects")
        self.strips = SILHOUETTE_HEIGHT // config.shrink  # halved by pooling, doubled by the last convolution
        self.maps = Maps(config)
        self.gem = GeM()
        self.parts = self._make_embedding()
        self.scale = nn.BatchNorm1d(config.embed_dim)
        with torch.device("cpu"):  # on `meta`, where a model is planned, normal numbers load half of torch
            self.scale.weight = nn.Parameter(1 + 0.02 * torch.randn(config.embed_dim))
        self.classes = SeparateLinear(self.parts, config.embed_dim, len(subjects)) if config.ce_weight else None

    def prepare(self, walks: Any) -> None:
        """See `WalkEncoder`: it learns everything step by step."""

    def trunk(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`: (B, C, strips)."""
        return self.pooled(self.maps(clips.silhouettes))

    def pooled(self, maps: Tensor) -> Tensor:
        """Maps over time and width: (B, C, T, H, W) -> (B, C, H)."""
        pooled: Tensor = self.gem(maps.max(dim=2).values)
        return pooled

    def embed(self, features: Tensor, clips: Clips) -> Tensor:
        """The trunk's features to (B, D, P), before the batch normalisation."""
        embedded: Tensor = self.separate(features)
        return embedded

    def loss(self, features: Tensor, clips: Clips, subject: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `WalkEncoder`."""
        before = self.embed(features, clips)
        after = self.scale(before)
        compared = after if self.config.neck == "bn" else before
        parts = {"triplet": triplet_loss(compared.permute(2, 0, 1), subject, self.config.triplet, self.config.margin)}
        total = self.config.triplet_weight * parts["triplet"]
        if self.classes:
            logits = self.classes(after)
            each = subject[:, None].expand(-1, logits.shape[2])
            parts["cross_entropy"] = cross_entropy(logits, each, label_smoothing=self.config.smoothing)
            total = total + self.config.ce_weight * parts["cross_entropy"]
        return total, {"loss": total.detach(), **{name: value.detach() for name, value in parts.items()}}

    def vectors(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`."""
        before = self.embed(self.trunk(clips), clips)
        embedding = self.scale(before) if self.config.neck == "bn" else before
        return embedding.transpose(1, 2).flatten(1)

    def _make_embedding(self) -> int:
        """Make the layers of `embed`; the number of strips that come out."""
        self.separate = SeparateLinear(self.strips, self.config.channels[-1], self.config.embed_dim)
        return self.strips
