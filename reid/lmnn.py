"""A metric learnt from labels: large margin nearest neighbours (Weinberger and Saul, JMLR 2009)."""

import numpy as np
import torch
from torch import nn

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.adam import Adam


def lmnn(
    vectors: FloatArray, subject: IntArray, *, neighbours: int = 3, dimensions: int = 100, steps: int = 100, seed: int = 0
) -> FloatArray:
    """A linear map under which neighbours of one subject are near and others a margin away.

    Vectors are centred and reduced to their principal components first. Target neighbours are fixed at the start (of the original
    metric); the map is found by gradient descent (Adam) on pull + hinge, all triplets at once.

    Args:
        vectors: (N, D).
        subject: (N,).
        dimensions: principal components kept, at most.

    Returns:
        (D, D'): vectors @ it are compared by Euclidean distance.
    """
    torch.manual_seed(seed)
    x = torch.as_tensor(vectors - vectors.mean(axis=0), dtype=torch.float32)
    _, values, directions = torch.linalg.svd(x, full_matrices=False)
    kept = min(dimensions, int((values > 1e-6 * values[0]).sum()))
    reduce = directions[:kept].T / (values[0] / np.sqrt(len(x)))  # the largest direction gets unit deviation
    y = x @ reduce
    label = torch.as_tensor(subject)
    same = label[:, None] == label[None, :]
    distance = torch.cdist(y, y)
    others_of_own = distance.masked_fill(~same, float("inf")).fill_diagonal_(float("inf"))
    near, target = others_of_own.topk(min(neighbours, len(x) - 1), largest=False)
    found = torch.isfinite(near)
    if not found.any():
        return np.asarray(reduce.numpy())
    linear = nn.Parameter(torch.eye(kept))
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
