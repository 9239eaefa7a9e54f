import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pose.arrays import FloatArray
from gaitreid.reid import search as module
from gaitreid.reid.compare import Against
from gaitreid.reid.search import search


def slow(probe: FloatArray, gallery: FloatArray, metric: str, parts: int) -> FloatArray:
    """All distances, by loops from the definitions."""
    result = np.empty((len(probe), len(gallery)))
    for i, a in enumerate(probe.astype(float)):
        for j, b in enumerate(gallery.astype(float)):
            each = []
            for x, y in zip(np.split(a, parts), np.split(b, parts), strict=True):
                scale = np.linalg.norm(x) * np.linalg.norm(y)
                apart, angle = np.linalg.norm(x - y), 1 - x @ y / scale if scale else 1.0
                each.append(
                    {
                        "euclidean": apart,
                        "cosine": angle,
                        "robust": np.log(1 + 20 * apart),
                        "alike": apart**2 / (apart**2 + 0.15**2),
                    }[metric]
                )
            result[i, j] = sum(each) / parts
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(["cosine", "euclidean", "robust", "alike"]),
    parts=st.sampled_from([1, 2, 3]),
    k=st.integers(1, 40),
    whole=st.booleans(),
)
def test_like_loops(seed: int, metric: Any, parts: int, k: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    probe, gallery = (rng.integers(-2, 3, (n, 6)).astype(float) if whole else rng.normal(size=(n, 6)) for n in (5, 23))
    for vectors in (probe, gallery):
        vectors[0], vectors[1, :3] = 0, 0  # zeros have no direction
    distance, rows = search(probe, gallery, k, metric, parts=parts)
    expected = slow(probe, gallery, metric, parts)
    assert distance.shape == rows.shape == (5, min(k, 23))
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, 1), distance, atol=2e-6)
    assert all(len(set(row)) == len(row) for row in rows.tolist())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    metric=st.sampled_from(["robust", "alike"]),
    parts=st.sampled_from([1, 2, 3]),
    context=st.sampled_from([1, 2]),
)
def test_what_was_seen_otherwise_or_not_at_all_says_nothing(seed: int, metric: Any, parts: int, context: int) -> None:
    rng = np.random.default_rng(seed)
    probe, gallery = (rng.normal(size=(n, parts, 3 + context)) for n in (5, 23))
    for vectors in (probe, gallery):
        vectors[rng.random(vectors.shape[:2]) < 0.3, :3] = 0  # not seen
    expected = np.zeros((5, 23))
    for i, j, p in np.ndindex(5, 23, parts):
        a, b = probe[i, p], gallery[j, p]
        alike = np.exp(-(((a - b)[3:]) ** 2).sum()) if a[:3].any() and b[:3].any() else 0
        square = ((a - b)[:3] ** 2).sum()
        if metric == "robust":
            expected[i, j] += (alike * np.log(1 + 20 * np.sqrt(square)) + (1 - alike) * np.log(21)) / parts
        else:
            expected[i, j] += (alike * square / (square + 0.15**2) + (1 - alike) / (1 + 0.15**2)) / parts
    flat = probe.reshape(5, -1), gallery.reshape(23, -1)
    distance, rows = search(*flat, 7, metric, parts=parts, context=context)
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :7], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, 1), distance, atol=2e-6)
    np.testing.assert_allclose(Against(flat[1], metric, parts, context)(flat[0]), expected, atol=2e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "robust", "alike"])
def test_chunks_and_backends_do_not_matter(monkeypatch: pytest.MonkeyPatch, metric: Any) -> None:
    rng = np.random.default_rng(0)
    probe, gallery = rng.normal(size=(9, 8)), rng.normal(size=(4100, 8))
    gallery[4094:4098] = probe[:4]
    distance, rows = search(probe, gallery, 7, metric)
    assert rows[:4, 0].tolist() == [4094, 4095, 4096, 4097]
    monkeypatch.setattr(module, "CHUNK", 1000)
    np.testing.assert_array_equal(search(probe, gallery, 7, metric)[1], rows)
    monkeypatch.setattr(module, "_faiss", module._torch)
    torchs, places = search(probe, gallery, 7, metric)
    np.testing.assert_array_equal(places, rows)
    np.testing.assert_allclose(torchs, distance, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "robust"])
def test_the_nearest_of_another_person(monkeypatch: pytest.MonkeyPatch, metric: Any) -> None:
    monkeypatch.setattr(module, "CHUNK", 40)  # the first is one person's alone
    monkeypatch.setattr(module, "PAIRS", 400)
    rng = np.random.default_rng(4)
    who = np.sort(rng.integers(0, 4, 100))
    who[:45] = 0
    vectors = rng.normal(size=(4, 6))[who] + 0.3 * rng.normal(size=(100, 6))
    distance, rows = search(vectors, vectors, 3, metric, parts=2, strangers=(who, who))
    expected = np.where(who[:, None] == who, np.inf, slow(vectors, vectors, metric, 2))
    np.testing.assert_allclose(distance, np.sort(expected, axis=1)[:, :3], atol=2e-6)
    assert (who[rows] != who[:, None]).all()
    distance, _ = search(vectors[:2], vectors[:45], 3, metric, parts=2, strangers=(who[:2], who[:45]))
    assert np.isinf(distance).all()


@pytest.mark.parametrize("parts", [1, 2])
def test_items_equally_far_are_in_the_order_of_their_rows(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    rng = np.random.default_rng(0)
    gallery = np.tile(rng.normal(size=(3, 4)), (6, 1))
    _, rows = search(rng.normal(size=(5, 4)), gallery, 18, parts=parts)
    alike = rows.reshape(5, 3, 6)
    assert (np.diff(alike, axis=2) == 3).all()  # each of the three, from its first row to its last


def test_memory_does_not_grow_with_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS", 1)
    vectors = np.random.default_rng(0).normal(size=(600, 300)).astype(np.float32)
    every = search(vectors[:100], vectors, 600, "euclidean")
    monkeypatch.setattr(module, "MEASURED", 2**18)
    tracemalloc.start()
    found = search(vectors[:100], vectors, 600, "euclidean")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found[0], every[0])
    assert held < 10e6  # 72 MB are the vectors of all that are found


def test_close_vectors_far_from_the_origin() -> None:
    gallery = np.array([[4096.0, 0], [4096, 0.125], [4096, 3]], dtype=np.float32)
    distance, rows = search(gallery[:1], gallery, 3, "euclidean")
    assert rows.tolist() == [[0, 1, 2]]
    assert distance.tolist() == [[0, 0.125, 3]]


def test_an_empty_side() -> None:
    distance, rows = search(np.ones((2, 3)), np.empty((0, 3)), 5)
    assert distance.shape == rows.shape == (2, 0)
    assert search(np.empty((0, 3)), np.ones((4, 3)), 2)[0].shape == (0, 2)
