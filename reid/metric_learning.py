"""Metrics learnt from labels, for any vectors: LMNN (Weinberger and Saul, JMLR 2009) and ITML (Davis et al., ICML 2007)."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.adam import Adam

MOST = 2000  # vectors that are learnt from: of more so many are drawn
DIMENSIONS = 100  # principal components kept, at most
PAIRS = 2000  # ITML: of one subject, and as many of two
SWEEPS, SETTLED = 1000, 1e-3  # ITML: over its pairs at most, and the change of their multipliers that ends it


def lmnn(vectors: FloatArray, subject: IntArray, *, neighbours: int = 3, steps: int = 100, seed: int = 0) -> FloatArray:
    """A linear map under which neighbours of one subject are near and others a margin away.

    Vectors are centred and reduced to their principal components first. Target neighbours are fixed at the start (of the original
    metric); the map is found by gradient descent (Adam) on pull + hinge, all triplets at once.

    Args:
        vectors: (N, D).
        subject: (N,).

    Returns:
        (D, D'): vectors @ it are compared by Euclidean distance.
    """
    torch.manual_seed(seed)
    vectors, subject = _drawn(vectors, subject, seed)
    reduce, y = _principal(vectors)
    label = torch.as_tensor(subject)
    same = label[:, None] == label[None, :]
    distance = torch.cdist(y, y)
    others_of_own = distance.masked_fill(~same, float("inf")).fill_diagonal_(float("inf"))
    near, target = others_of_own.topk(min(neighbours, len(y) - 1), largest=False)
    found = torch.isfinite(near)
    if not found.any():
        return np.asarray(reduce.numpy())
    linear = nn.Parameter(torch.eye(y.shape[1]))
    optimiser = Adam([linear], 0.02)
    for _ in range(steps):
        moved = y @ linear
        square = torch.cdist(moved, moved).square()
        pull = square.gather(1, target)
        hinge = torch.relu(1 + pull[:, :, None] - square[:, None, :]).masked_fill(same[:, None, :], 0.0)
        loss = (pull + hinge.sum(dim=2))[found].sum() / found.sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return np.asarray((reduce @ linear.detach()).numpy())


def itml(vectors: FloatArray, subject: IntArray, *, slack: float = 1.0, seed: int = 0) -> FloatArray:
    """A linear map whose metric is the nearest to the Euclidean one (LogDet divergence) that keeps pairs of one subject near.

    Algorithm 1 of the paper: pairs of one subject are to be no farther apart than the nearest 5 % of all pairs, others no nearer
    than the farthest 5 %, each with a slack. Of either kind there are at most ten random pairs for each pair of subjects, and
    PAIRS; the metric is projected onto one after the other until the multipliers settle. Vectors are centred and reduced to their
    principal components first.

    Args:
        vectors: (N, D).
        subject: (N,).
        slack: gamma: how much the pairs count against staying with the Euclidean metric.

    Returns:
        (D, D'): vectors @ it are compared by Euclidean distance.
    """
    rng = np.random.default_rng(seed)
    vectors, subject = _drawn(vectors, subject, seed)
    reduce, reduced = _principal(vectors)
    y = reduced.numpy().astype(np.float64)
    first, second = np.triu_indices(len(y), 1)
    square = pdist(y, "sqeuclidean")
    near, far = np.percentile(square[square > 0], (5, 95)) if (square > 0).any() else (0.0, 0.0)
    alike = subject[first] == subject[second]
    count = min(10 * len(np.unique(subject)) ** 2, PAIRS)
    rows = [rng.permutation(np.flatnonzero(kind & (square > 0)))[:count] for kind in (alike, ~alike)]
    if not all(map(len, rows)) or not near:
        return np.asarray(reduce.numpy())
    chosen = rng.permutation(np.concatenate(rows))
    difference, sign = y[first[chosen]] - y[second[chosen]], np.where(alike[chosen], 1.0, -1.0)
    bound = np.where(alike[chosen], near, far)
    metric, multiplier = np.eye(y.shape[1]), np.zeros(len(chosen))
    for _ in range(SWEEPS):
        before = multiplier.copy()
        for k, (v, s) in enumerate(zip(difference, sign, strict=True)):
            along = metric @ v
            apart = float(v @ along)
            step = min(multiplier[k], s / 2 * (1 / apart - slack / bound[k]))
            multiplier[k] -= step
            bound[k] = slack * bound[k] / (slack + s * step * bound[k])
            metric += s * step / (1 - s * step * apart) * np.outer(along, along)
        if np.abs(multiplier - before).sum() <= SETTLED * max(float(before.sum() + multiplier.sum()), 1e-12):
            break
    values, directions = np.linalg.eigh((metric + metric.T) / 2)
    return np.asarray(reduce.numpy() @ (directions * np.sqrt(values.clip(0))), dtype=np.float32)


LEARNT: dict[str, Callable[[FloatArray, IntArray], FloatArray]] = {"lmnn": lmnn, "itml": itml}


def _drawn(vectors: FloatArray, subject: IntArray, seed: int) -> tuple[FloatArray, IntArray]:
    rows = np.random.default_rng(seed).permutation(len(vectors))[:MOST] if len(vectors) > MOST else slice(None)
    return vectors[rows], subject[rows]


def _principal(vectors: FloatArray) -> tuple[Tensor, Tensor]:
    """A map to principal components (D, D'), of which the largest gets unit deviation, and where it takes the vectors (N, D')."""
    x = torch.as_tensor(vectors - vectors.mean(axis=0), dtype=torch.float32)
    _, values, directions = torch.linalg.svd(x, full_matrices=False)
    kept = max(1, min(DIMENSIONS, int((values > 1e-6 * values[0]).sum())))
    reduce = directions[:kept].T / (values[0] / np.sqrt(len(x))).clamp_min(1e-12)
    return reduce, x @ reduce
