from typing import Any

import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows

from gaitreid.pose.arrays import FloatArray
from gaitreid.reid.compare import compare
from gaitreid.reid.match import rank
from gaitreid.reid.metrics import evaluate

EXPANSION, ORIGINAL = 6, 0.3  # as published: k2 and lambda


def dense(distance: FloatArray, k1: int) -> FloatArray:
    """Zhong et al.'s equations with full matrices: distances of everybody to everybody (n, n), infinite ones stay so."""
    count = len(distance)
    k1 = min(k1, count - 1)
    farthest = distance.max(axis=1, keepdims=True, where=np.isfinite(distance), initial=0)
    among = np.minimum(distance, farthest)  # pairs that do not count are nobody's neighbours
    among[np.isinf(distance)] += 1
    np.fill_diagonal(among, 0)
    scaled = np.minimum(among / farthest, 1)
    order = np.argsort(among - np.eye(count), axis=1, kind="stable")

    def reciprocal(i: int, k: int) -> list[int]:
        return [j for j in order[i, : k + 1] if i in order[j, : k + 1]]

    weights = np.zeros((count, count))
    for i in range(count):
        mine = reciprocal(i, k1)
        found = set(mine)
        for j in mine:
            theirs = reciprocal(j, round(k1 / 2))
            if len(set(theirs) & set(mine)) >= 2 / 3 * len(theirs):
                found |= set(theirs)
        last = scaled[i, order[i, k1]]
        for j in found:
            weights[i, j] = np.exp(-scaled[i, j] if j in order[i, : k1 + 1] else -last)
        weights[i] /= weights[i].sum()
    weights = np.array([weights[order[i, :EXPANSION]].mean(axis=0) for i in range(count)])
    least = np.minimum(weights[:, None], weights[None]).sum(axis=2)
    most = np.maximum(weights[:, None], weights[None]).sum(axis=2)
    return np.asarray((1 - ORIGINAL) * (1 - least / most) + ORIGINAL * distance / farthest)


@pytest.mark.parametrize("exclude", ["nothing", "same-recording"])
@pytest.mark.parametrize("k1", [4, 7, 1000])  # half of an odd one is rounded; the last is more than there are
def test_like_the_equations(k1: int, exclude: Any) -> None:
    of = casia(subjects=4, views=("000", "090"))
    every = np.arange(len(of.video))
    plain = compare(of, every, every, euclidean(exclude=exclude))
    found = compare(of, every, every, euclidean(exclude=exclude, rerank=k1))
    expected = dense(plain.distances(slice(0, len(every))).astype(float), k1)
    np.testing.assert_allclose(found.distances(slice(0, len(every))), expected, atol=1e-5)


def test_copies_come_first() -> None:
    of = casia()
    vectors = np.repeat(of.vector[:24], 2, axis=0)  # everybody twice
    walks = [("", "", "", "")] * len(vectors)
    matches = rank(embeddings(walks, vectors), np.arange(48), np.arange(48), euclidean(rerank=8, exclude="same-window"))
    found = matches.ranking
    assert (found.distance >= 0).all()
    assert (found.order[:, 0] // 2 == np.arange(48) // 2).all()


def test_a_few_that_are_all_alike() -> None:
    of = embeddings([("", "", "", "")] * 3, np.ones((3, 2)))
    found = rank(of, np.arange(3), np.arange(3), euclidean(rerank=20)).ranking
    assert found.order.tolist() == [[1, 2, -1], [0, 2, -1], [0, 1, -1]]
    np.testing.assert_allclose(found.distance[:, :2], 0, atol=1e-6)


def test_it_helps_where_walks_form_groups() -> None:
    of = casia(subjects=12)
    probe, gallery = rows(of, condition="cl"), rows(of, condition="nm")
    plain, again = (evaluate(rank(of, probe, gallery, euclidean(rerank=k)), draws=5) for k in (0, 6))
    assert again["map"] > plain["map"]


def test_blocks_and_exclusion() -> None:
    of = casia(subjects=5)
    every = np.arange(len(of.video))
    whole, parts = (rank(of, every, every, euclidean(rerank=5, block=b)) for b in (10**6, 300))
    np.testing.assert_array_equal(whole.ranking.order, parts.ranking.order)
    assert (whole.ranking.excluded == 3).all()
    shown = whole.ranking.order
    same = of.recording[np.maximum(shown, 0)] == of.recording[:, None]
    assert not same[shown >= 0].any()
