"""A small network of keypoints over time, learnt from labels as GaitGL and GaitTAKE are: what skeletons alone can do.

Graph convolutions over COCO's joints and convolutions over time, in the manner of ST-GCN (Yan et al., AAAI 2018) and GaitGraph
(Teepe et al., ICIP 2021), but with fewer weights, and with embeddings of parts of the body that are compared one by one.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.config import SkeletonConfig
from gaitreid.reid.encoders.gaitgl import SeparateLinear
from gaitreid.reid.losses.triplet import triplet_loss
from gaitreid.reid.walks import Clips, body_keypoints

JOINTS = len(COCO17.joints)
MIRROR = COCO17.mirror()
_HEAD = "nose left_eye right_eye left_ear right_ear"
_ARMS = "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist"
_LEGS = "left_hip right_hip left_knee right_knee left_ankle right_ankle"
PARTS = tuple(COCO17.indices(*names.split()) for names in (_HEAD, _ARMS, _LEGS, " ".join(COCO17.joints)))
# The joint that each one hangs on; nose and hips hang on the middle of the hips, which is the origin.
_BONES = "eye-nose ear-eye shoulder-hip elbow-shoulder wrist-elbow knee-hip ankle-knee"
_PAIRS = [bone.split("-") for bone in _BONES.split()]
BONES = [
    COCO17.indices(f"{side}_{end}", start if start == "nose" else f"{side}_{start}")
    for side in ("left", "right")
    for end, start in _PAIRS
]
INPUTS = 7  # x, y, score; movement and bone, x and y each


class Skeleton(nn.Module):
    """Fulfils `gaitreid.reid.walks.WalkEncoder`; a walk and its mirror image have the same vectors.

    Joints count as much as they are sure, from the first layer to the pooling; missing ones not at all. Under torchrun every
    process normalises by its own part of a batch.

    Args:
        subjects: whom it tells apart in training.
    """

    needs: tuple[str, ...] = ("keypoints",)
    supervised = True
    parts = len(PARTS)

    def __init__(self, subjects: tuple[str, ...], config: SkeletonConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SkeletonConfig()
        if len(subjects) < 2:
            raise UsageError("this model learns from labels: it needs walks of two or more known subjects")
        widths = (INPUTS, *config.channels)
        self.first = nn.BatchNorm1d(INPUTS * JOINTS)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, config.kernel, 1 + k % 2) for k, (inputs, outputs) in enumerate(pairwise(widths))
        )
        self.separate = SeparateLinear(self.parts, 2 * widths[-1], config.embed_dim)
        self.scale = nn.BatchNorm1d(config.embed_dim)
        self.classes = SeparateLinear(self.parts, config.embed_dim, len(subjects)) if config.ce_weight else None

    def prepare(self, walks: Iterator[tuple[Clips, int]]) -> None:
        """See `WalkEncoder`: it learns everything step by step."""

    def trunk(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`: (B, C, parts)."""
        body = body_keypoints(clips)
        if not self.config.mirror:
            return self.pooled(body)
        one, other = self.pooled(torch.cat([body, mirrored(body)])).chunk(2)
        return (one + other) / 2

    def pooled(self, body: Tensor) -> Tensor:
        """Keypoints (B, T, 17, 3) to features of parts (B, C, parts): mean and maximum over their joints and over time."""
        score = body[..., 2]
        x = inputs(body)
        batch, frames = x.shape[:2]
        x = self.first(x.reshape(batch * frames, -1)).view(batch, frames, JOINTS, INPUTS).permute(0, 3, 1, 2)  # (B, C, T, J)
        for block in self.blocks:
            x, score = block(x, score)
        pooled = []
        for joints in PARTS:
            of, sure = x[..., joints], score[:, None, :, joints]
            mean = (of * sure).sum(dim=(2, 3)) / sure.sum(dim=(2, 3)).clamp_min(1e-6)
            pooled.append(torch.cat([mean, (of * sure).amax(dim=(2, 3))], dim=1))
        return torch.stack(pooled, dim=2)

    def loss(self, features: Tensor, clips: Clips, subject: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """See `WalkEncoder`."""
        config = self.config
        embedding = self.scale(self.separate(features))
        parts = {"triplet": triplet_loss(embedding.permute(2, 0, 1), subject, config.triplet, config.margin)}
        total = config.triplet_weight * parts["triplet"]
        if self.classes:
            each = subject[:, None].expand(-1, self.parts)
            parts["cross_entropy"] = cross_entropy(self.classes(embedding), each, label_smoothing=config.smoothing)
            total = total + config.ce_weight * parts["cross_entropy"]
        return total, {"loss": total.detach(), **{name: value.detach() for name, value in parts.items()}}

    def vectors(self, clips: Clips) -> Tensor:
        """See `WalkEncoder`."""
        embedding: Tensor = self.scale(self.separate(self.trunk(clips)))
        return embedding.transpose(1, 2).flatten(1)


class Block(nn.Module):
    """Joints from their neighbours, then frames from theirs, with the input added: (B, C, T, J) -> (B, D, T / stride, J).

    A joint takes from itself, from those one bone away, and from the one on the other side, by weights of their own each.
    """

    neighbours: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.register_buffer("neighbours", adjacency(), persistent=False)
        self.balance = nn.Parameter(torch.ones(3, JOINTS, JOINTS))  # how much each neighbour counts is learnt
        self.joints = nn.Linear(3 * inputs, outputs)
        self.first = nn.BatchNorm2d(outputs)
        self.frames = nn.Conv2d(outputs, outputs, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.second = nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        self.past = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), nn.BatchNorm2d(outputs))
        self.stride = stride

    def forward(self, x: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """See class; scores (B, T, J) go along, those of frames that are left."""
        sure = (x * score[:, None]).permute(0, 2, 3, 1)  # (B, T, J, C), as it lies in memory: channels last
        taken = [torch.matmul(neighbours, sure) for neighbours in self.neighbours * self.balance]
        mixed = self.joints(torch.cat(taken, dim=3)).permute(0, 3, 1, 2)
        out = self.second(self.frames(torch.relu(self.first(mixed))))
        return torch.relu(out + self.past(x)), score[:, :: self.stride]


def adjacency() -> Tensor:
    """How joints are joined, (3, 17, 17), rows of a sum of 1: with themselves, by bones, and left with right."""
    bones = torch.zeros(JOINTS, JOINTS)
    for a, b in COCO17.edges:
        bones[a, b] = bones[b, a] = 1
    both = torch.stack([torch.eye(JOINTS), bones, torch.eye(JOINTS)[MIRROR]])
    return both / both.sum(dim=2, keepdim=True).clamp_min(1)


def inputs(body: Tensor) -> Tensor:
    """What the network is shown of keypoints (B, T, 17, 3): (B, T, 17, 7).

    Place and score; the movement since the frame before; and the way from the joint that it hangs on. What needs a joint that is
    missing is 0.
    """
    xy, there = body[..., :2], body[..., 2] > 0
    both = there[:, 1:] & there[:, :-1]
    movement = torch.zeros_like(xy)
    movement[:, 1:] = torch.where(both[..., None], xy[:, 1:] - xy[:, :-1], 0.0)
    end, start = torch.tensor(BONES, device=body.device).T
    bone = xy.clone()
    bone[:, :, end] = torch.where((there[:, :, end] & there[:, :, start])[..., None], xy[:, :, end] - xy[:, :, start], 0.0)
    return torch.cat([body, movement, bone], dim=-1)


def mirrored(body: Tensor) -> Tensor:
    """Keypoints from the middle of the hips (B, T, 17, 3), left and right in each other's place."""
    return body[:, :, MIRROR] * body.new_tensor([-1, 1, 1])
