"""GaitGL for CASIA-B as one would write it in PyTorch from its table of layers: one convolution a strip, torch's memory layout.

The yardstick of `gaittake.py`, and the oracle of the tests of `gaitreid.reid.encoders.gaitgl`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MARGIN = 0.2


class PlainGlConv(nn.Module):
    """Global convolution, and a local one over each of `strips` strips; added, or laid one upon the other."""

    def __init__(self, inputs: int, outputs: int, strips: int, upon: bool) -> None:
        super().__init__()
        self.glob = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.loc = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.strips, self.upon = strips, upon

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W)."""
        whole = self.glob(x)
        local = torch.cat([self.loc(strip) for strip in x.chunk(self.strips, dim=3)], dim=3)
        if self.upon:
            return F.leaky_relu(torch.cat([whole, local], dim=3), 0.01)
        return F.leaky_relu(whole, 0.01) + F.leaky_relu(local, 0.01)


class PlainGaitGl(nn.Module):
    """64 x 44 silhouettes in, 64 strips of 128 numbers and their logits out."""

    def __init__(self, subjects: int = 74, channels: tuple[int, ...] = (32, 64, 128, 128), strips: int = 8) -> None:
        super().__init__()
        a, b, c, d = channels
        self.stem = nn.Conv3d(1, a, 3, padding=1, bias=False)
        self.lta = nn.Conv3d(a, a, (3, 1, 1), stride=(3, 1, 1), bias=False)
        self.conv0 = PlainGlConv(a, b, strips, False)
        self.conv1 = PlainGlConv(b, c, strips, False)
        self.conv2 = PlainGlConv(c, d, strips, True)
        self.p = nn.Parameter(torch.tensor(6.5))
        self.head0 = nn.Parameter(torch.empty(64, d, 128))
        self.bn = nn.BatchNorm1d(128)
        self.head1 = nn.Parameter(torch.empty(64, 128, subjects))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def stages(self, silhouettes: Tensor) -> dict[str, Tensor]:
        """What comes out of every stage, in the order of the table; silhouettes (B, T, 64, 44)."""
        found = {"stem": F.leaky_relu(self.stem(silhouettes[:, None]), 0.01)}
        found["lta"] = F.leaky_relu(self.lta(found["stem"]), 0.01)
        found["GLConvA0"] = self.conv0(found["lta"])
        found["pool"] = F.max_pool3d(found["GLConvA0"], (1, 2, 2))
        found["GLConvA1"] = self.conv1(found["pool"])
        found["GLConvB2"] = self.conv2(found["GLConvA1"])
        found["TP"] = found["GLConvB2"].max(dim=2)[0]
        found["GeM"] = found["TP"].clamp(min=1e-6).pow(self.p).mean(dim=3).pow(1 / self.p)
        found["head0"] = torch.stack([found["GeM"][:, :, k] @ self.head0[k] for k in range(64)], dim=2)
        found["bn"] = self.bn(found["head0"])
        found["head1"] = torch.stack([found["bn"][:, :, k] @ self.head1[k] for k in range(64)], dim=2)
        return found

    def loss(self, silhouettes: Tensor, subject: Tensor) -> Tensor:
        """Batch-all triplet loss, the mean over strips, and cross-entropy."""
        found = self.stages(silhouettes)
        same = subject[:, None] == subject[None]
        others = torch.eye(len(subject), dtype=torch.bool, device=subject.device).logical_not()
        triplets = (same & others)[:, :, None] & ~same[:, None, :]
        losses = []
        for k in range(64):
            distance = torch.cdist(found["bn"][:, :, k], found["bn"][:, :, k])
            cost = F.relu(MARGIN + distance[:, :, None] - distance[:, None, :])[triplets]
            losses.append(cost.sum() / (cost > 0).sum().clamp(min=1))
        entropy = F.cross_entropy(found["head1"], subject[:, None].expand(-1, 64))
        return torch.stack(losses).mean() + entropy

    def embed(self, silhouettes: Tensor) -> Tensor:
        """(B, 64 x 128), strip after strip."""
        return self.stages(silhouettes)["bn"].transpose(1, 2).flatten(1)


def load_ours(plain: PlainGaitGl, state: dict[str, Tensor]) -> PlainGaitGl:
    """The weights of `gaitreid.reid.encoders.gaitgl.GaitGl` of the same layers."""
    names = {
        "maps.stem.0": "stem",
        "maps.aggregate": "lta",
        **{f"maps.stages.{k}.0.whole": f"conv{k}.glob" for k in range(3)},
        **{f"maps.stages.{k}.0.local": f"conv{k}.loc" for k in range(3)},
        "gem.exponent": "p",
        "separate.weight": "head0",
        "scale": "bn",
        "classes.weight": "head1",
    }
    renamed = {}
    for name, value in state.items():
        old = next(old for old in names if name.startswith(old))
        renamed[names[old] + name.removeprefix(old)] = value
    plain.load_state_dict(renamed)
    return plain
