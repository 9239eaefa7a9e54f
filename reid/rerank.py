"""Re-ranking with k-reciprocal neighbours (Zhong et al., CVPR 2017): who shares neighbours with a probe comes nearer.

The neighbours are sought among all probes and gallery items, but for pairs that the comparison leaves out, so that no excluded
recording lends a hand.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from gaitreid.pose.arrays import FloatArray, IntArray

EXPANSION = 6  # k2: neighbours whose weights are averaged
ORIGINAL = 0.3  # lambda: weight of the distance as it was


class Reranking:
    """Jaccard distances of sparse neighbour weights.

    Args:
        order, distance: the nearest of each item, itself first (n, k1 + 1 or more), and how far they are.
        longest: distance of the farthest item (n,), by which the others are scaled.
        k1: neighbours that are looked at.
    """

    def __init__(self, order: IntArray, distance: FloatArray, longest: FloatArray, k1: int) -> None:
        self.order, self.longest = order, longest
        self.near = distance / np.maximum(longest, 1e-12)[:, None]
        self.k1 = min(k1, order.shape[1] - 1)

    @cached_property
    def weights(self) -> csr_array:
        """Of the neighbours of each item, rows sum to one (n, n)."""
        count = len(self.order)
        whole, half = self._reciprocal(self.k1), self._reciprocal(round(self.k1 / 2))
        rows, columns, values = [], [], []
        for i in range(count):
            found = set(whole[i])
            for j in whole[i]:
                if 3 * len(half[j] & whole[i]) >= 2 * len(half[j]):
                    found |= half[j]
            near = slice(0, self.k1 + 1)
            own = dict(zip(self.order[i, near].tolist(), self.near[i, near].tolist(), strict=True))
            items = sorted(found)
            # An item that the expansion brought in and that is not among the neighbours counts as the farthest of these.
            weight = np.exp(-np.array([own.get(j, float(self.near[i, self.k1])) for j in items]))
            rows.append(np.full(len(items), i))
            columns.append(np.array(items))
            values.append(weight / weight.sum())
        matrix = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count))
        size = min(EXPANSION, self.order.shape[1])
        mean = csr_array(
            (np.full(count * size, 1 / size), (np.repeat(np.arange(count), size), self.order[:, :size].ravel())),
            shape=(count, count),
        )
        return csr_array(mean @ matrix)

    @cached_property
    def _columns(self) -> csc_array:
        return csc_array(self.weights)

    def distances(self, items: IntArray, against: IntArray, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """New distances of items to others: (B, G) from the old ones; infinite ones stay so."""
        result = np.empty_like(distance)
        for row, item in enumerate(items.tolist()):
            own = slice(self.weights.indptr[item], self.weights.indptr[item + 1])
            shared = np.zeros(len(self.order))
            for column, weight in zip(self.weights.indices[own], self.weights.data[own], strict=True):
                there = slice(self._columns.indptr[column], self._columns.indptr[column + 1])
                shared[self._columns.indices[there]] += np.minimum(self._columns.data[there], weight)
            jaccard = 1 - shared[against] / (2 - shared[against])
            result[row] = (1 - ORIGINAL) * jaccard + ORIGINAL * distance[row] / max(float(self.longest[item]), 1e-12)
        np.maximum(result, 0, out=result)  # rounding leaves duplicates just below, and `match` sorts by bits
        return result

    def _reciprocal(self, k: int) -> list[set[int]]:
        """Of each item, those among its k nearest that have it among theirs; itself is one of them."""
        near = [set(row[: k + 1].tolist()) for row in self.order]
        return [{j for j in near[i] if i in near[j]} for i in range(len(near))]
