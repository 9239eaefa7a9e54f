"""Encoders that learn from labels: the baselines that CAGE is compared with."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gaitreid.pose.errors import UsageError
from gaitreid.pose.skeleton import CASIA14, mapping
from gaitreid.reid.config import SupervisedConfig
from gaitreid.reid.encode import Batch, Input
from gaitreid.reid.encoders.standard import AXES, Standardize

POSEGAIT_WIDTH = 512


class _Supervised(nn.Module):
    """What they share: cross-entropy over the subjects; windows of unknown subject do not count."""

    ahead = 0
    regularisation = 0.0
    supervised = True

    def __init__(self, takes: Input, config: SupervisedConfig) -> None:
        super().__init__()
        if len(takes.subjects) < 2:
            raise UsageError("this model learns from labels: it needs windows of two or more known subjects")
        self.length = takes.length
        self.standardize = Standardize(takes.joints, config.standardize)

    def prepare(self, frames: Tensor) -> None:
        """See `Encoder`."""
        self.standardize.prepare(frames)

    def classify(self, windows: Tensor) -> Tensor:
        """Logits of the subjects: (B, f, J, 3) -> (B, C)."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Encoder`."""
        total = _cross_entropy(self.classify(batch.windows), batch.subject)
        return total, {"loss": total.detach()}


def _cross_entropy(logits: Tensor, subject: Tensor) -> Tensor:
    """Mean over the windows of known subject."""
    each = cross_entropy(logits, subject, ignore_index=-1, reduction="sum")
    return each / (subject >= 0).sum().clamp_min(1)


class Lstm(_Supervised):
    """LSTM over the joints of a frame, a hidden layer and a class layer on every frame, logits averaged over the window.

    With two layers it is the gait encoder of CAGE trained from labels alone ("GE" of CAGE's table 4 has the figures of the
    multi-layer LSTM of table 2).
    """

    layers = 1

    def __init__(self, takes: Input, config: SupervisedConfig | None = None) -> None:
        config = config or SupervisedConfig()
        super().__init__(takes, config)
        width = config.hidden
        self.recurrent = nn.LSTM(takes.joints * AXES, width, config.layers or self.layers, batch_first=True)
        self.classes = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(takes.subjects)))

    def features(self, windows: Tensor) -> Tensor:
        """Hidden states of the top layer, (B, f, K)."""
        hidden: Tensor = self.recurrent(self.standardize(windows).flatten(2))[0]
        return hidden

    def classify(self, windows: Tensor) -> Tensor:
        """See base."""
        logits: Tensor = self.classes(self.features(windows))
        return logits.mean(dim=1)


class LstmMulti(Lstm):
    """Two layers."""

    layers = 2


class PoseGait(_Supervised):
    """PoseGait (Liao et al., Pattern Recognition 2020): 81 hand-made features a frame of 14 joints, and a CNN over them in time.

    Layers as in the released code, but padded in time, since six frames would not survive it. Its centre loss draws the vectors
    of a person to a centre that is learnt beside them: half the mean squared distance (Wen et al., ECCV 2016, eq. 2, whose
    centres move by running means instead).
    """

    weights: Tensor

    def __init__(self, takes: Input, config: SupervisedConfig | None = None) -> None:
        config = config or SupervisedConfig()
        super().__init__(takes, config)
        self.standardize = Standardize(1, False)
        self.register_buffer("weights", torch.as_tensor(mapping(takes.skeleton, CASIA14), dtype=torch.float32), persistent=False)
        self.scale = nn.BatchNorm1d(POSE_FEATURES)
        self.first = nn.Sequential(*_convolution(1, 32), *_convolution(32, 64), nn.MaxPool2d(2, ceil_mode=True))
        self.middle, self.second = nn.Sequential(*_convolution(64, 64)), nn.Sequential(*_convolution(64, 128))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.last = nn.Sequential(*_convolution(128, 128))
        height, width = -(-POSE_FEATURES // 4), -(-takes.length // 4)
        self.dense = nn.Linear(128 * height * width, POSEGAIT_WIDTH)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(POSEGAIT_WIDTH, len(takes.subjects))
        self.centre_weight = config.centre_weight
        self.centres = nn.Parameter(torch.zeros(len(takes.subjects), POSEGAIT_WIDTH)) if config.centre_weight else None

    def features(self, windows: Tensor) -> Tensor:
        """One vector a window: (B, 1, 512)."""
        x = pose_features(torch.einsum("kj,bfjc->bfkc", self.weights, windows)).transpose(1, 2)
        x = self.first(self.scale(x)[:, None])
        x = x + self.middle(self.middle(x))  # the released code passes through the same weights twice
        x = self.pool(self.second(x))
        x = x + self.last(self.last(x))
        hidden: Tensor = self.dense(self.dropout(x.flatten(1)))
        return hidden[:, None]

    def classify(self, windows: Tensor) -> Tensor:
        """See base."""
        return self._classify(self.features(windows)[:, 0])

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Encoder`: cross-entropy and, where it weighs anything, the centre loss."""
        vectors = self.features(batch.windows)[:, 0]
        total = _cross_entropy(self._classify(vectors), batch.subject)
        parts = {}
        if self.centres is not None:
            known = batch.subject >= 0
            apart = (vectors - self.centres[batch.subject.clamp_min(0)]).square().sum(dim=1)
            parts["centre"] = 0.5 * (apart * known).sum() / known.sum().clamp_min(1)
            total = total + self.centre_weight * parts["centre"]
        return total, {"loss": total.detach(), **{name: part.detach() for name, part in parts.items()}}

    def _classify(self, vectors: Tensor) -> Tensor:
        logits: Tensor = self.classes(torch.relu(vectors))
        return logits


POSE_FEATURES = 14 * 3 + 13 * 2 + 13  # positions, two angles a limb, lengths: 81


def pose_features(xyz: Tensor) -> Tensor:
    """PoseGait's features of every frame: (B, f, 14, 3) in CASIA14's order -> (B, f, 81).

    Positions from the neck in units of the distance from the neck to the middle of the hips; angles alpha = atan(dy / dx) and
    beta = atan(dz / sqrt(dx^2 + dy^2)) of every limb, pi / 2 where the denominator is 0; lengths of the limbs.
    """
    neck, hips = CASIA14.index("neck"), CASIA14.indices("left_hip", "right_hip")
    centre = xyz[:, :, neck]
    size = (xyz[:, :, hips].mean(dim=2) - centre).norm(dim=-1).clamp_min(1e-6)
    pose = (xyz - centre[:, :, None]) / size[..., None, None]
    parent, child = torch.tensor(CASIA14.edges, device=xyz.device).T
    limb = pose[:, :, child] - pose[:, :, parent]
    dx, dy, dz = limb.unbind(dim=-1)
    flat = (dx * dx + dy * dy).sqrt()
    angles = torch.stack([_angle(dy, dx), _angle(dz, flat)], dim=-1)
    return torch.cat([pose.flatten(2), angles.flatten(2), limb.norm(dim=-1)], dim=-1)


def _angle(opposite: Tensor, adjacent: Tensor) -> Tensor:
    none = adjacent == 0
    return torch.where(none, torch.pi / 2, torch.atan(opposite / torch.where(none, 1.0, adjacent)))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
