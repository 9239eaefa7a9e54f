"""Triplet losses over the strips of a body: an anchor is nearer to those of its person than to others, by a margin.

Every strip's distances make a loss of their own, and the mean over the strips counts (GaitGL; GaitTAKE, section 3.3).
"""

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["adaptive", "all", "hard"]


def triplet_loss(embedding: Tensor, subject: Tensor, kind: Kind, margin: float) -> Tensor:
    """The mean over strips of a triplet loss on Euclidean distances.

    all: [m + d_ap - d_an]+ of every triplet, the mean over those above 0 (Hermans et al., 2017, "batch all").
    hard: the farthest positive and the nearest negative of every anchor, the mean over anchors ("batch hard").
    adaptive: [m + sum_p w_p d_ap - sum_n w_n d_an]+ (GaitTAKE, eq. 11), w_p the softmax of d_ap over the anchor's positives, w_n
    that of -d_an over its negatives (Ristani and Tomasi, CVPR 2018); the mean over anchors. Weights have no gradient: with one, a
    negative that is far away would be drawn nearer, since it makes the near ones weigh less.

    An anchor is no positive of its own. Anchors without a positive or without a negative do not count.

    Args:
        embedding: (P, B, D), P strips of B clips.
        subject: (B,), whose they are.

    Returns:
        A scalar; 0 where no anchor counts.
    """
    distance = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    same = subject[:, None] == subject[None, :]
    positive, negative = same & ~torch.eye(len(subject), dtype=torch.bool, device=same.device), ~same
    counts = positive.any(dim=1) & negative.any(dim=1)
    if kind == "all":
        return _every(distance, positive & counts[:, None], negative, margin)
    if kind == "hard":
        far = distance.masked_fill(~positive, -torch.inf).amax(dim=2)
        near = distance.masked_fill(~negative, torch.inf).amin(dim=2)
    else:
        far, near = _weighted(distance, distance, positive), _weighted(distance, -distance, negative)
    cost = torch.where(counts, torch.relu(margin + far - near), 0.0)
    return cost.sum(dim=1).mean() / counts.sum().clamp_min(1)


def _weighted(distance: Tensor, towards: Tensor, among: Tensor) -> Tensor:
    """Distances weighted by the softmax of `towards` over those that are `among`: (P, B, B) -> (P, B)."""
    some = among | ~among.any(dim=1, keepdim=True)  # a row of nothing would be NaN
    weights = torch.softmax(towards.detach().masked_fill(~some, -torch.inf), dim=2)
    return (weights * distance).sum(dim=2)


def _every(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    anchor, other = positive.nonzero(as_tuple=True)
    cost = torch.relu(margin + distance[:, anchor, other][..., None] - distance[:, anchor])  # (P, pairs, B)
    cost = torch.where(negative[anchor], cost, 0.0)
    return (cost.sum(dim=(1, 2)) / (cost > 0).sum(dim=(1, 2)).clamp_min(1)).mean()
