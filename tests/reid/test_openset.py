from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linear_sum_assignment

from gaitreid.pose.arrays import FloatArray, TextArray
from gaitreid.pose.errors import UsageError
from gaitreid.reid.openset import assign, at_once, calibrate, name_distances
from gaitreid.reid.search import search


def crowd(people: int, tracks: int, seed: int, dims: int = 24, apart: float = 1.0) -> tuple[FloatArray, TextArray]:
    """Vectors and names of people who differ as much as `apart` says."""
    rng = np.random.default_rng(seed)
    who = apart * rng.normal(size=(people, dims))
    vectors = np.repeat(who, tracks, axis=0) + 0.5 * rng.normal(size=(people * tracks, dims))
    return vectors, np.repeat([f"p{k:03}" for k in range(people)], tracks)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_item_of_each_name(metric: Any) -> None:
    vectors, names = crowd(4, 3, 0)
    probe = crowd(2, 1, 1)[0]
    known, distance = name_distances(probe, vectors, names, metric)
    assert known.tolist() == ["p000", "p001", "p002", "p003"]
    for p in range(2):
        for n, name in enumerate(known):
            items = vectors[names == name]
            slow = [
                np.linalg.norm(probe[p] - v)
                if metric == "euclidean"
                else 1 - probe[p] @ v / np.linalg.norm(probe[p]) / np.linalg.norm(v)
                for v in items
            ]
            assert distance[p, n] == pytest.approx(min(slow), abs=1e-5)


def test_robust_distances_are_standardised_by_those_to_a_cohort() -> None:
    vectors, names = crowd(4, 3, 0)
    probe, cohort = crowd(2, 1, 1)[0], crowd(9, 1, 2)[0]

    def apart(a: FloatArray, b: FloatArray) -> float:
        return float(
            np.mean([np.log(1 + 20 * np.linalg.norm(x - y)) for x, y in zip(np.split(a, 2), np.split(b, 2), strict=True)])
        )

    known, plain = name_distances(probe, vectors, names, "robust", parts=2)
    _, found = name_distances(probe, vectors, names, "robust", cohort=cohort, parts=2)
    for p, n in np.ndindex(found.shape):
        nearest = min(apart(probe[p], v) for v in vectors[names == known[n]])
        strangers = [apart(probe[p], v) for v in cohort]
        assert plain[p, n] == pytest.approx(nearest, abs=1e-5)
        expected = 1 + 0.1 * (nearest - np.mean(strangers)) / np.std(strangers)
        assert found[p, n] == pytest.approx(max(expected, 0), abs=1e-4)
    for metric in ("cosine", "euclidean"):
        without, beside = (name_distances(probe, vectors, names, metric, cohort=of)[1] for of in (None, cohort))
        np.testing.assert_array_equal(beside, without)


def test_strangers_of_whom_little_was_seen_are_accepted_no_more() -> None:
    """Half of the tracks show but one part."""
    met = []
    for seed in range(30):
        vectors, names = crowd(50, 4, seed)
        cohort = crowd(40, 1, seed + 1000)[0]
        rng = np.random.default_rng(seed)
        for of in (vectors, cohort):
            of[rng.random(len(of)) < 0.5, 12:] = 0
        of, cohort = (np.insert(v.reshape(-1, 12), 12, 0, axis=1).reshape(-1, 26) for v in (vectors, cohort))  # and context
        known = np.isin(names, [f"p{k:03}" for k in range(10)])
        like: Any = {"metric": "robust", "parts": 2, "context": 1}
        found = calibrate(of[known], names[known], cohort, **like)
        nearest = name_distances(of[~known], of[known], names[known], cohort=cohort, **like)[1].min(axis=1)
        met.append(float((nearest <= found.threshold(0.2)).mean()))
    assert np.mean(met) == pytest.approx(0.2, abs=0.07)


@pytest.mark.parametrize("people", [5, 12, 40])
@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_strangers_are_accepted_at_the_rate_asked_for(people: int, rate: float, metric: Any) -> None:
    met, within = [], 0
    for seed in range(40):
        vectors, names = crowd(people + 40, 4, seed)
        known = np.isin(names, [f"p{k:03}" for k in range(people)])
        found = calibrate(vectors[known], names[known], None, metric)
        nearest = name_distances(vectors[~known], vectors[known], names[known], metric)[1].min(axis=1)
        met.append(float((nearest <= found.threshold(rate)).mean()))
        low, high = found.interval(rate)
        within += low <= met[-1] <= high
    assert np.mean(met) == pytest.approx(rate, abs=0.7 * rate)
    assert within >= 34  # of 40; the interval holds 95 %


def test_score_is_one_less_the_rate_at_the_threshold() -> None:
    found = calibrate(*crowd(8, 3, 0))
    for rate in (0.01, 0.1, 0.4):
        assert found.score(np.array([found.threshold(rate)]))[0] == pytest.approx(1 - rate)
    scores = found.score(np.array([0.0, 0.1, 0.5, 1, 2]))
    assert scores[0] > 0.999
    assert (np.diff(scores) <= 0).all()


def test_of_people_with_a_track_each_it_is_the_next_of_a_normal_sample() -> None:
    """Student's distribution of one more, from the mean and the deviation of so many (Student, 1908)."""
    vectors, names = crowd(7, 1, 0)
    apart = np.sqrt(np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + np.diag([np.inf] * 7))
    found, nearest = calibrate(vectors, names, None, "euclidean"), apart.min(axis=1)
    expected = (nearest.mean(), nearest.std(ddof=1) * np.sqrt(1 + 1 / 7), 6)
    assert (found.mean, found.deviation, found.freedom) == pytest.approx(expected, rel=1e-5)


def test_people_count_the_same_however_many_tracks_they_have() -> None:
    vectors, names = crowd(5, 2, 0)
    cohort = crowd(20, 1, 1)[0]
    often = np.repeat(np.arange(10), np.where(names == "p002", 4, 1))
    for of in (None, cohort):
        once, more = calibrate(vectors, names, of), calibrate(vectors[often], names[often], of)
        assert (more.mean, more.deviation, more.freedom) == pytest.approx((once.mean, once.deviation, once.freedom))


def test_a_cohort_is_the_prior_of_a_normal_sample() -> None:
    """Normal-gamma: the cohort's mean counts for 0.1 people and its spread for 8, here none as all are equally far apart."""
    vectors, names = crowd(6, 1, 0)
    prior, cohort = np.sqrt(3.0), 3 / np.sqrt(2) * np.eye(24)[:10]
    found = calibrate(vectors, names, cohort, "euclidean")
    apart = np.sqrt(np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + np.diag([np.inf] * 6)).min(axis=1)
    weight = 0.1 + 6
    squares = ((apart - apart.mean()) ** 2).sum() + 0.1 * 6 / weight * (apart.mean() - prior) ** 2
    expected = ((0.1 * prior + 6 * apart.mean()) / weight, np.sqrt(squares / 14 * (1 + 1 / weight)), 14)
    assert (found.mean, found.deviation, found.freedom) == pytest.approx(expected, rel=1e-4)


def test_strangers_of_a_cohort_search_as_many_names_as_there_are() -> None:
    cohort = crowd(40, 1, 1)[0]
    apart = np.sqrt(np.linalg.norm(cohort[:, None] - cohort[None], axis=2))
    one = calibrate(cohort[:1] + 100, np.array(["a"]), cohort, "euclidean")
    assert one.mean == pytest.approx(apart[~np.eye(40, dtype=bool)].mean(), rel=0.02)
    ranks = np.sort(apart, axis=1)[:, 1:]
    share = np.array(
        [(38 - k) * (37 - k) / 2 / (39 * 38 * 37 / 6) for k in range(39)]
    )  # that rank k is the nearest of three of 39
    of_three = (ranks @ share).mean()
    prior = calibrate(1000 * np.eye(24)[:3], np.array(list("abc")), cohort, "euclidean")
    own = np.sqrt(1000 * np.sqrt(2))
    assert (prior.mean * 3.1 - 3 * own) / 0.1 == pytest.approx(of_three, rel=0.05)


@pytest.mark.parametrize(("people", "taken"), [(20, 0), (20, 1), (20, 5), (100, 10)])
def test_the_interval_is_that_of_a_share_of_so_many_people(people: int, taken: int) -> None:
    found = replace(calibrate(*crowd(4, 2, 0)), people=people).interval(taken / people)
    exact = stats.binomtest(taken, people).proportion_ci(method="exact")
    assert found == pytest.approx((exact.low, exact.high))


def test_who_is_exactly_at_the_limit_is_named() -> None:
    assert assign(np.array([[0.5, 0.6]], dtype=np.float32), 0.5, []).tolist() == [0]


def test_a_cohort_speaks_where_the_gallery_is_small() -> None:
    vectors, names = crowd(3, 2, 0)
    cohort = crowd(50, 1, 1)[0]
    alone, helped = calibrate(vectors, names), calibrate(vectors, names, cohort)
    assert helped.freedom > alone.freedom
    assert helped.threshold(0.01) > alone.threshold(0.01)  # three people alone make a very strict one
    one = calibrate(vectors[:2], names[:2], cohort)
    assert (one.people, one.cohort, one.names) == (0, 50, 1)
    assert 0 < one.threshold(0.05) < one.threshold(0.3) < 2
    with pytest.raises(UsageError, match="two or more people"):
        calibrate(vectors[:2], names[:2])
    with pytest.raises(UsageError, match="nobody"):
        calibrate(vectors[:0], names[:0], cohort)


def test_a_large_gallery_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaitreid.reid.openset.STRANGERS", 100)
    vectors, names = crowd(60, 4, 0)
    found = calibrate(vectors, names)
    assert found.searches == 100
    monkeypatch.undo()
    assert found.threshold(0.1) == pytest.approx(calibrate(vectors, names).threshold(0.1), rel=0.1)


def test_somebody_with_half_of_all_tracks_is_calibrated_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many items are measured does not grow with the tracks of one person: they are more than memory holds."""
    vectors, names = crowd(40, 5, 0)
    names[:100] = "guard"
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = np.where(names[:, None] == names, np.inf, 1 - unit @ unit.T).min(axis=1)
    asked = []

    def counted(probe: FloatArray, gallery: FloatArray, k: int, *arguments: Any, **options: Any) -> Any:
        asked.append(k)
        return search(probe, gallery, k, *arguments, **options)

    monkeypatch.setattr("gaitreid.reid.openset.search", counted)
    found = calibrate(vectors, names)
    means = [np.sqrt(own[names == n]).mean() for n in np.unique(names)]
    assert found.mean == pytest.approx(np.mean(means), abs=1e-6)
    assert max(asked) <= 64


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), probes=st.integers(1, 5), names=st.integers(1, 5))
def test_all_together_like_the_hungarian_method(seed: int, probes: int, names: int) -> None:
    distance = np.random.default_rng(seed).uniform(0, 1, (probes, names)).astype(np.float32)
    limit = 0.6
    found = assign(distance, limit, [np.arange(probes)])
    padded = np.hstack([np.where(distance <= limit, distance, 9), np.full((probes, probes), limit)])
    row, column = linear_sum_assignment(padded)
    best = padded[row, column].sum()
    assert len(set(found[found >= 0].tolist())) == (found >= 0).sum()
    cost = sum(distance[p, n] if n >= 0 else limit for p, n in enumerate(found))
    assert cost == pytest.approx(best, abs=1e-5)


def test_one_after_the_other_may_be_the_same() -> None:
    distance = np.array([[0.1, 0.5], [0.2, 0.3], [0.15, 0.9]], dtype=np.float32)
    together = at_once(np.array([0.0, 1, 5]), np.array([4.0, 6, 9]))
    assert [group.tolist() for group in together] == [[0, 1], [1, 2]]
    assert assign(distance, 1.0, together).tolist() == [0, 1, 0]  # the middle one is beside both others
    assert assign(distance, 1.0, []).tolist() == [0, 0, 0]
    assert assign(distance, 0.12, together).tolist() == [0, -1, -1]
    assert assign(distance, 0.01, together).tolist() == [-1, -1, -1]


def test_at_once() -> None:
    groups = at_once(np.array([0.0, 1, 2, 10]), np.array([3.0, 4, 5, 11]))
    assert [group.tolist() for group in groups] == [[0, 1, 2]]
    assert at_once(np.array([]), np.array([])) == []


@settings(max_examples=60, deadline=None)
@given(ends=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=9))
def test_at_once_are_the_largest_sets(ends: list[tuple[int, int]]) -> None:
    first, last = (np.array([f + k * long for f, long in ends], dtype=float) for k in (0, 1))
    moments = [frozenset(np.flatnonzero((first <= t) & (t <= last)).tolist()) for t in range(13)]
    largest = {s for s in moments if len(s) > 1 and not any(s < other for other in moments)}
    groups = [frozenset(group.tolist()) for group in at_once(first, last)]
    assert len(groups) == len(largest)
    assert set(groups) == largest


def test_nobody_is_two_at_once_in_a_long_video_of_a_busy_place() -> None:
    rng = np.random.default_rng(0)
    first = np.sort(rng.uniform(0, 2000, 2000))
    together = at_once(first, first + rng.uniform(1, 12, 2000))
    found = assign(rng.uniform(0, 1, (2000, 100)), 0.01, together)
    assert all(len(set(found[g][found[g] >= 0])) == (found[g] >= 0).sum() for g in together)
