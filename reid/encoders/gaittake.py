"""GaitTAKE: GaitGL's maps weighted by attention over time, and keypoints beside them (Hsu et al., ICASSP 2022).

What the paper leaves open is settled as `docs/gaittake.md` says; `GaitTakeConfig` has a switch for each.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, pad

from gaitreid.pose.records import SILHOUETTE_WIDTH
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.config import GaitTakeConfig
from gaitreid.reid.encoders.gaitgl import TRIPLE, GaitGl, SeparateLinear
from gaitreid.reid.walks import Clips, body_keypoints

POSE = 3 * len(COCO17.joints)  # x, y, score of every joint


class Attention(nn.Module):
    """How much every frame counts: two convolutions and a softmax over each clip (eq. 7 to 9).

    The first convolution sees one frame at a time, the second three frames of one clip.

    Args:
        inputs: numbers a frame.
        clip: L, frames a clip.
        keep: whether frames after the last whole clip are a shorter one, and not dropped.
    """

    def __init__(self, inputs: int, hidden: int, clip: int, *, keep: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(inputs, hidden, 1), nn.Conv1d(hidden, 1, 3, padding=1)
        self.clip, self.keep = clip, keep

    def forward(self, frames: Tensor) -> Tensor:
        """Weights of frames whose sum weighted by them is the mean over clips of the clips' sums: (N, inputs, T) -> (N, T).

        The weights of a clip add up to one over the number of clips. Frames that are in no clip have weight zero, and so has
        what a clip shorter than L (a tail that is kept, or a walk of less than L frames) is filled up with.
        """
        hidden = torch.relu(self.first(frames))
        count, channels, length = hidden.shape
        clips = max(-(-length // self.clip) if self.keep else length // self.clip, 1)
        slots = clips * self.clip
        filled = pad(hidden, (0, slots - length)) if slots > length else hidden[:, :, :slots]
        split = filled.reshape(count, channels, clips, self.clip).transpose(1, 2).flatten(0, 1)
        scores = self.second(split).float().view(count, slots)
        if slots > length:
            scores = scores.masked_fill(torch.arange(slots, device=scores.device) >= length, -torch.inf)
        weights = torch.softmax(scores.view(count, clips, self.clip), dim=2).flatten(1) / clips
        return pad(weights, (0, length - slots)) if slots < length else weights[:, :length]


class GaitTake(GaitGl):
    """Fulfils `gaitreid.reid.walks.WalkEncoder`.

    Args:
        subjects: whom it tells apart in training.
    """

    config: GaitTakeConfig

    def __init__(self, subjects: tuple[str, ...], config: GaitTakeConfig | None = None) -> None:
        config = config or GaitTakeConfig()
        super().__init__(subjects, config)
        attention, keep = config.attention, config.tail == "keep"
        self.posed = config.pose_fusion != "none"
        self.needs = ("silhouettes", "keypoints") if self.posed else ("silhouettes",)
        self.attention = self.pose_attention = None
        if attention.streams in {"both", "silhouette"}:
            width = SILHOUETTE_WIDTH // config.shrink // 2 if attention.input == "full" else 1
            height = 1 if attention.per_part else self.strips
            self.attention = Attention(config.channels[-1] * height * width, attention.hidden, config.clip_len, keep=keep)
        if self.posed:
            self.pose_scale = nn.BatchNorm1d(POSE)
            if attention.streams in {"both", "pose"}:
                self.pose_attention = Attention(POSE, attention.pose_hidden, config.clip_len, keep=keep)

    def pooled(self, maps: Tensor) -> Tensor:
        """See base: the maximum over time gives way to the weighted mean."""
        if self.attention is None:
            return super().pooled(maps)
        weights = self.weights(maps).to(maps.dtype)
        pooled: Tensor = self.gem(torch.einsum("bthwc,bth->bchw", maps.permute(0, 2, 3, 4, 1), weights))
        return pooled

    def weights(self, maps: Tensor) -> Tensor:
        """What a frame, or with `per_part` a row of a frame, counts: (B, C, T, H, W) -> (B, T, H)."""
        assert self.attention is not None
        seen = maps.mean(dim=4, keepdim=True) if self.config.attention.input == "pooled" else maps
        batch, _, frames, height, _ = seen.shape
        if self.config.attention.per_part:
            rows = seen.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (B H, C W, T)
            each: Tensor = self.attention(rows).view(batch, height, frames).transpose(1, 2)
            return each
        weights: Tensor = self.attention(seen.permute(0, 1, 3, 4, 2).flatten(1, 3))
        return weights[:, :, None].expand(-1, -1, height)

    def pose(self, clips: Clips) -> Tensor:
        """Keypoints of a clip over time: (B, 51)."""
        frames = body_keypoints(clips, self.config.pose_norm == "box").flatten(2).transpose(1, 2)
        if self.config.lta:
            if frames.shape[2] < TRIPLE:
                frames = frames.repeat(1, 1, -(-TRIPLE // frames.shape[2]))
            frames = avg_pool1d(frames, TRIPLE)
        scaled: Tensor = self.pose_scale(frames)
        if self.pose_attention is None:
            return scaled.mean(dim=2)
        return torch.einsum("bct,bt->bc", scaled, self.pose_attention(scaled))

    def embed(self, features: Tensor, clips: Clips) -> Tensor:
        """See base: keypoints come in beside the strips' channels, or as a strip of their own."""
        config, more = self.config, []
        if config.pose_fusion == "channel":
            features = torch.cat([features, self.pose(clips)[:, :, None].expand(-1, -1, self.strips)], dim=1)
        elif self.posed:
            more = [self.separate_pose(self.pose(clips)[:, :, None])]
        if config.fc_input == "all":
            features = features.flatten(1)[:, :, None].expand(-1, -1, self.strips)
        return torch.cat([self.separate(features), *more], dim=2)

    def _make_embedding(self) -> int:
        config: GaitTakeConfig = self.config
        inputs = config.channels[-1] + (POSE if config.pose_fusion == "channel" else 0)
        if config.fc_input == "all":
            inputs *= self.strips
        self.separate = SeparateLinear(self.strips, inputs, config.embed_dim)
        if config.pose_fusion != "extra_part":
            return self.strips
        self.separate_pose = SeparateLinear(1, POSE, config.embed_dim)
        return self.strips + 1
