import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pose.arrays import FloatArray, take
from gaitreid.reid import metrics
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import Matches, Verification, rank
from gaitreid.reid.records import Embeddings

Pairs = list[tuple[float, bool]]


def verification(genuine: list[float], impostor: list[float]) -> Verification:
    threshold, count = np.unique(np.array(genuine, dtype=float), return_counts=True)
    far = np.array(impostor)
    return Verification(
        threshold=threshold,
        genuine=np.cumsum(count),
        below=np.array([(far < t).sum() for t in threshold], dtype=int),
        upto=np.array([(far <= t).sum() for t in threshold], dtype=int),
        impostors=len(impostor),
    )


class TestByHand:
    """Two probes: hits of the first at ranks 2 and 3 of 5, of the second at rank 1 of 4; a third has none."""

    hit_probe, hit_rank = np.array([0, 0, 1]), np.array([2, 3, 1])
    first = np.array([2, 1, 0])

    def test_first_hits(self) -> None:
        assert metrics.first_hits(self.hit_probe, self.hit_rank, 3).tolist() == [2, 1, 0]

    def test_cmc(self) -> None:
        assert metrics.cmc(self.first, 5).tolist() == [0.5, 1, 1, 1, 1]
        assert np.isnan(metrics.cmc(np.array([0]), 2)).all()

    def test_average_precision(self) -> None:
        expected = [(1 / 2 + 2 / 3) / 2, 1, 0]
        np.testing.assert_allclose(metrics.average_precision(self.hit_probe, self.hit_rank, 3), expected)

    def test_inverse_penalty(self) -> None:
        np.testing.assert_allclose(metrics.inverse_penalty(self.hit_probe, self.hit_rank, 3), [2 / 3, 1, 0])

    def test_chance(self) -> None:
        # One hit of four: 1/4, 2/4, ...; two of five: 1 - 3/5, 1 - 3/5 2/4, 1 - 3/5 2/4 1/3, then certain.
        both = metrics.chance_cmc(np.array([4, 5]), np.array([1, 2]), 5)
        np.testing.assert_allclose(both, np.mean([[0.25, 0.5, 0.75, 1, 1], [0.4, 0.7, 0.9, 1, 1]], axis=0))

    def test_chance_is_what_shuffling_gives(self) -> None:
        rng = np.random.default_rng(0)
        first = [1 + min(np.flatnonzero(rng.permutation(8) < 3)) for _ in range(4000)]
        expected = metrics.chance_cmc(np.array([8]), np.array([3]), 8)
        np.testing.assert_allclose(metrics.cmc(np.array(first), 8), expected, atol=0.03)


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([1, 2], [3, 4], 0.0),
        ([3, 4], [1, 2], 1.0),
        ([1, 3], [2, 4], 0.5),
        ([1, 1], [1, 1], 0.5),
        ([1, 2, 3, 9], [4, 8, 10, 11], 0.25),
        ([1, 2, 3, 9, 9], [4, 8, 10, 11], 0.4),  # within any distance from 3 to 9, two of five are refused: between 0.25 and 0.5
    ],
)
def test_eer_by_hand(genuine: list[float], impostor: list[float], expected: float) -> None:
    assert metrics.eer(*metrics.roc(verification(genuine, impostor))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.1, 0.5), (0.09, 0.25), (0.2, 0.75), (0.001, 0.25), (1.0, 1.0)],
)
def test_tar_by_hand(rate: float, expected: float) -> None:
    pairs = verification([1, 3, 5, 30], [2, 4, *range(10, 18)])
    assert metrics.tar_at_far(pairs, rate) == expected


def test_tar_does_not_accept_a_tie() -> None:
    assert metrics.tar_at_far(verification([1, 2], [2, 3]), 0.1) == 0.5


def test_dir_by_hand() -> None:
    # Five probes, the last not mated; without their own subject the nearest others are at 2, 3, 4, 5, 6.
    first, own = np.array([1, 1, 2, 1, 0]), np.array([1.0, 2.5, 4.5, 4, np.inf])
    other = np.array([2.0, 3, 4, 5, 6])
    assert metrics.dir_at_far(first, own, other, 0.1) == 1 / 4  # no false accept: nearer than 2
    assert metrics.dir_at_far(first, own, other, 0.2) == 2 / 4  # one: nearer than 3
    assert metrics.dir_at_far(first, own, other, 0.4) == 2 / 4  # two: nearer than 4, so 4 is not within
    assert metrics.dir_at_far(first, own, other, 0.6) == 3 / 4
    assert metrics.dir_at_far(first, own, other, 1.0) == 3 / 4  # rank 2 never counts
    assert metrics.dir_at_far(np.zeros(5, dtype=int), own, other, 0.1) is None
    assert metrics.dir_at_far(first, own, other[:0], 0.1) is None


numbers = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(genuine=numbers, impostor=numbers)
def test_roc_like_scikit_learn(genuine: list[float], impostor: list[float]) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    truth, score = np.repeat([1, 0], [len(genuine), len(impostor)]), -np.array(genuine + impostor)
    far, tar = metrics.roc(verification(genuine, impostor))
    assert np.trapezoid(tar, far) == pytest.approx(roc_auc_score(truth, score))
    theirs, their_tar, _ = roc_curve(truth, score, drop_intermediate=False)
    for rate in (0.1, 0.5):
        expected = their_tar[theirs <= rate + 1e-12].max()
        assert metrics.tar_at_far(verification(genuine, impostor), rate) == pytest.approx(expected)
    grid = np.linspace(0, 1, 2001)
    line = 1 - np.interp(grid, theirs, their_tar)
    crossing = grid[np.argmax(line <= grid + 1e-12)]
    steep = any(abs(step) < 1e-12 for step in np.diff(theirs))  # upright steps: np.interp knows one of their ends only
    value = metrics.eer(far, tar)
    assert value is not None
    assert abs(value - crossing) < 1e-3 or steep
    # Whatever the shape: at no threshold are both rates lower, and at none both higher.
    assert not ((theirs < value - 1e-9) & (1 - their_tar < value - 1e-9)).any()
    assert not ((theirs > value + 1e-9) & (1 - their_tar > value + 1e-9)).any()


def slow(of: Embeddings, matches: Matches) -> dict[str, Any]:
    """Figures of a small ranking, by loops from the definitions."""
    ranking, config = matches.ranking, matches.config
    firsts, precisions, penalties, excluded = [], [], [], 0
    genuine: list[float] = []
    impostor: list[float] = []
    claims: Pairs = []
    strangers: list[float] = []
    named: list[float] = []
    cells: dict[tuple[str, str], list[bool]] = {}
    for probe in ranking.probe:
        others = [g for g in ranking.gallery if config.exclude == "nothing" or of.recording[g] != of.recording[probe]]
        excluded += len(ranking.gallery) - len(others)
        far = {g: float(np.float32(np.linalg.norm(of.vector[probe].astype(float) - of.vector[g].astype(float)))) for g in others}
        order = sorted(others, key=lambda g: (far[g], g))
        if not of.subject[probe]:
            continue
        for view in sorted(set(of.view[ranking.gallery])):
            inside = [of.subject[g] == of.subject[probe] for g in order if of.view[g] == view]
            cells.setdefault((of.view[probe], view), []).extend(inside[:1] if any(inside) else [])
        others = [g for g in others if of.subject[g]]
        for g in others:
            (genuine if of.subject[g] == of.subject[probe] else impostor).append(far[g])
        for subject in sorted({of.subject[g] for g in others}):
            nearest = min(far[g] for g in others if of.subject[g] == subject)
            claims.append((nearest, subject == of.subject[probe]))
        places = [place for place, g in enumerate(order, 1) if of.subject[g] == of.subject[probe]]
        others_nearest = [far[g] for g in others if of.subject[g] != of.subject[probe]]
        strangers += [min(others_nearest)] if others_nearest else []
        if places:
            firsts.append(places[0])
            named.append(far[order[0]] if places[0] == 1 else np.inf)
            precisions.append(sum((i + 1) / p for i, p in enumerate(places)) / len(places))
            penalties.append(len(places) / places[-1])
    longest = int(max(len(ranking.gallery) - ranking.excluded))
    curve = [np.mean([f <= k for f in firsts]) for k in range(1, longest + 1)]
    wins = [1.0 if g < i else 0.5 if g == i else 0.0 for g, own in claims if own for i, mine in claims if not mine]
    return {
        **{f"rank{k}": np.mean([f <= k for f in firsts]) for k in (1, 5, 10)},
        "map": np.mean(precisions),
        "minp": np.mean(penalties),
        "nauc_cmc": np.mean(curve),
        "nauc_micro_roc": np.mean(wins),
        "excluded": excluded,
        "by_view": {cell: np.mean(right) if right else None for cell, right in cells.items()},
        "tar_at_far": {rate: slow_tar(genuine, impostor, float(rate)) for rate in metrics.FALSE_ACCEPT_RATES},
        "dir_at_far": {
            rate: np.mean([np.isfinite(d) and sum(s <= d for s in strangers) <= float(rate) * len(strangers) for d in named])
            for rate in metrics.FALSE_ACCEPT_RATES
        },
    }


def slow_tar(genuine: list[float], impostor: list[float], rate: float) -> float:
    best = 0.0
    for threshold in genuine:
        if sum(i <= threshold for i in impostor) <= rate * len(impostor):
            best = max(best, sum(g <= threshold for g in genuine) / len(genuine))
    return best


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    exclude=st.sampled_from(["same-recording", "nothing"]),
    unknown=st.sampled_from(["nobody", "probes", "some"]),
    block=st.sampled_from([50, 1000]),  # the smaller counts on a grid
)
def test_everything_like_loops(seed: int, exclude: Any, unknown: str, block: int) -> None:
    rng = np.random.default_rng(seed)
    nameless = {"nobody": [], "probes": range(4), "some": rng.choice(20, 4, replace=False)}[unknown]
    walks = [("" if k in nameless else f"{k % 4}", "nm", f"{k // 8}", f"{k // 4 % 2}") for k in range(20)]
    of = embeddings(walks, rng.integers(-4, 4, size=(20, 3)).astype(float))
    matches = rank(of, np.arange(12), np.arange(4, 20), euclidean(exclude=exclude, block=block))
    found, expected = metrics.evaluate(matches, draws=10), slow(of, matches)
    found["by_view"] = {(probe, view): value for probe, row in found["by_view"].items() for view, value in row.items()}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


@pytest.mark.parametrize(
    "config",
    [
        euclidean(),
        MatchConfig(),
        euclidean(rerank=5),
        MatchConfig(metric="robust"),
        MatchConfig(metric="alike", exclude="overlap"),
    ],
)
def test_counting_on_a_grid_gives_the_same_figures(config: MatchConfig) -> None:
    of = casia(subjects=8)
    probes, items = rows(of, condition="nm"), rows(of, condition="cl")
    if config.metric in ("robust", "alike"):  # near each other, but where one part was not seen: that is as far as the mean
        vector = np.where((np.arange(len(of.video)) % 3 == 0)[:, None] & (np.arange(16) < 6), 0, of.vector / 1000)
        of = take(of, "K", slice(None), vector=vector, parts=2, context=2)
    both = [rank(of, probes, items, replace(config, block=b)) for b in (10**6, 100)]
    exact, counted = (metrics.evaluate(matches, draws=10) for matches in both)
    for claims in ("verification", "people"):
        whole, grid = (getattr(matches, claims) for matches in both)
        assert (grid.genuine[-1], grid.impostors) == (whole.genuine[-1], whole.impostors)
    for name in ("eer", "nauc_micro_roc", "rank1", "map"):
        assert counted[name] == pytest.approx(exact[name], abs=1e-3), name
    for rate, value in exact["tar_at_far"].items():
        assert counted["tar_at_far"][rate] == pytest.approx(value, abs=0.01)
    assert counted["dir_at_far"] == exact["dir_at_far"]


def test_perfect_and_worst() -> None:
    walks = [(subject, condition, "1", "0") for condition in ("nm", "cl") for subject in "abc"]
    for shift, expected in ((0, 1.0), (1, 0.0)):
        vectors = np.concatenate([np.eye(3), np.roll(np.eye(3), shift, axis=0)])
        of = embeddings(walks, vectors)
        found = metrics.evaluate(rank(of, np.arange(3), np.arange(3, 6), euclidean()))
        assert found["rank1"] == expected
        assert found["ci95"]["rank1"] == [expected, expected]
        assert found["dir_at_far"]["0.1"] == expected
        assert found["tar_at_far"]["0.001"] == expected
        assert found["by_view"] == {"0": {"0": expected}}
        if expected:
            assert found["eer"] == 0
            assert found["nauc_cmc"] == found["nauc_micro_roc"] == found["map"] == found["minp"] == 1


def test_keys_and_ranges() -> None:
    of = casia(subjects=6)
    found = metrics.evaluate(rank(of, rows(of, condition="nm"), rows(of, condition="cl"), euclidean()))
    assert list(found["tar_at_far"]) == list(found["dir_at_far"]) == ["0.1", "0.01", "0.001"]
    assert (found["probes"], found["gallery_items"], found["subjects"], found["excluded"]) == (36, 18, 6, 0)
    for name in ("rank1", "rank5", "rank10", "map", "minp", "nauc_cmc", "nauc_micro_roc", "eer"):
        assert 0 <= found[name] <= 1
    assert found["rank1"] <= found["rank5"] <= found["rank10"]
    for name, (low, high) in found["ci95"].items():
        assert low <= found[name] <= high
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_by_view_is_rank_1_within_the_view() -> None:
    of = casia(subjects=5, noise=1.5)
    whole = metrics.evaluate(rank(of, rows(of, condition="nm"), rows(of, condition="cl"), euclidean()))["by_view"]
    for probe, cells in whole.items():
        for gallery, value in cells.items():
            alone = rank(of, rows(of, condition="nm", view=probe), rows(of, condition="cl", view=gallery), euclidean())
            assert metrics.evaluate(alone)["rank1"] == value


def undefined(found: dict[str, Any]) -> None:
    for name in ("rank1", "rank5", "rank10", "map", "minp", "nauc_cmc", "nauc_micro_roc", "eer"):
        assert found[name] is None, name
        assert found["ci95"].get(name) is None
    assert set(found["tar_at_far"].values()) == set(found["dir_at_far"].values()) == {None}
    json.dumps(found, allow_nan=False)


def test_without_labels() -> None:
    of = embeddings([("", "", "", "")] * 5, np.arange(5.0)[:, None])
    found = metrics.evaluate(rank(of, np.arange(5), np.arange(5), euclidean()))
    undefined(found)
    assert found["by_view"] is None
    assert (found["probes"], found["probes_unlabelled"], found["probes_without_match"], found["subjects"]) == (5, 5, 0, 0)


def test_without_a_match() -> None:
    of = embeddings([("a", "nm", "1", ""), ("b", "nm", "1", ""), ("c", "cl", "1", "")], np.eye(3))
    found = metrics.evaluate(rank(of, np.arange(2), np.arange(2, 3), euclidean()))
    undefined(found)
    assert (found["probes_unlabelled"], found["probes_without_match"], found["subjects"]) == (0, 2, 3)


def test_without_impostors() -> None:
    of = embeddings([("a", "nm", "1", ""), ("a", "cl", "1", "")], np.eye(2))
    found = metrics.evaluate(rank(of, np.arange(1), np.arange(1, 2), euclidean()))
    assert found["rank1"] == 1
    assert found["eer"] is None
    assert found["nauc_micro_roc"] is None
    assert found["ci95"]["rank1"] is None  # one subject tells nothing of others


def test_probes_that_cannot_be_right_do_not_count() -> None:
    of = embeddings([("a", "nm", "1", ""), ("b", "nm", "1", ""), ("", "nm", "", ""), ("a", "cl", "1", "")], np.eye(4))
    found = metrics.evaluate(rank(of, np.arange(3), np.arange(3, 4), euclidean()))
    assert (found["rank1"], found["probes"], found["probes_without_match"], found["probes_unlabelled"]) == (1, 3, 1, 1)


class TestBootstrap:
    def slow(self, values: FloatArray, subjects: list[str], draws: int) -> tuple[float, float]:
        rng, names = np.random.default_rng(5), sorted(set(subjects))
        means = []
        for _ in range(draws):
            drawn = [v for name in rng.choice(names, len(names)) for v, s in zip(values, subjects, strict=True) if s == name]
            means.append(np.mean(drawn))
        low, high = np.percentile(means, [2.5, 97.5])
        return float(low), float(high)

    def test_like_loops(self) -> None:
        rng = np.random.default_rng(2)
        subjects = [f"{k % 7}" for k in range(40)] + ["7"] * 10
        values = rng.random(50) + np.array([int(s) for s in subjects])
        low, high = metrics.bootstrap(values, np.array(subjects), seed=0, draws=4000) or (0, 0)
        np.testing.assert_allclose([low, high], self.slow(values, subjects, 4000), rtol=0.06)

    def test_seed_decides(self) -> None:
        values, subjects = np.arange(9.0), np.array(list("abcabcabc"))
        assert metrics.bootstrap(values, subjects, seed=1) == metrics.bootstrap(values, subjects, seed=1)

    def test_draws_people_not_probes(self) -> None:
        # A hundred equal probes of two people: only three means can come out.
        values, subjects = np.repeat([0.0, 1.0], 50), np.repeat(["a", "b"], 50)
        assert metrics.bootstrap(values, subjects, seed=0) == [0, 1]

    def test_groups_count_alike(self) -> None:
        # Of five people, unequally many in two groups: like loops over the same draws, each group's mean for itself.
        rng = np.random.default_rng(3)
        subjects, groups = np.array(list("aaabbcdde")), np.array(list("xxyxyxxxx"))
        values = rng.random(9)
        drawn = np.random.default_rng(0).multinomial(5, np.full(5, 1 / 5), size=200)
        means = []
        for times in drawn:
            weight = times[np.unique(subjects, return_inverse=True)[1]]
            known = [rows for rows in (groups == "x", groups == "y") if weight[rows].sum()]
            means.append(np.mean([np.average(values[rows], weights=weight[rows]) for rows in known]))
        expected = np.percentile(means, [2.5, 97.5])
        assert metrics.bootstrap(values, subjects, groups=groups, seed=0, draws=200) == pytest.approx(expected)
        assert metrics.bootstrap(np.ones(9), subjects, groups=groups, seed=0) == [1, 1]

    def test_one_person(self) -> None:
        assert metrics.bootstrap(np.ones(3), np.array(["a"] * 3), seed=0) is None
        assert metrics.bootstrap(np.ones(0), np.array([], dtype=str), seed=0) is None


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_interval_across_views_like_loops(k: int, dropped: bool) -> None:
    rng = np.random.default_rng(4)
    subject, view, views = np.array(list("aaabbbccdd")), np.array([0, 1, 2, 0, 1, 1, 0, 2, 0, 1]), np.array(list("xyz"))
    first = rng.integers(0, 4, size=(10, 3))
    people = metrics.ViewCells(views, views, subject, view, first)
    found = []
    for times in np.random.default_rng(0).multinomial(4, np.full(4, 1 / 4), size=100):
        rows = np.repeat(np.arange(10), times[np.unique(subject, return_inverse=True)[1]])
        found.append(metrics.ViewCells(views, views, subject[rows], view[rows], first[rows]).across(k, dropped=dropped))
    expected = np.percentile([mean for mean in found if mean is not None], [2.5, 97.5])
    assert people.interval(k, dropped=dropped, seed=0, draws=100) == pytest.approx(expected)
    assert expected[0] < expected[1]


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("k", [1, 2])
def test_cells_of_views_like_loops(k: int, dropped: bool) -> None:
    rng = np.random.default_rng(4)
    view, views = np.array([0, 1, 2, 0, 1, 1, 0, 0, 0, 1]), np.array(list("xyz"))
    first = rng.integers(0, 4, size=(10, 3))
    first[2] = 0  # of the only probe from z nobody is there
    cells = metrics.ViewCells(views, views, np.array(list("aaabbbccdd")), view, first)
    expected = np.full((3, 3), np.nan)
    for p, g in np.ndindex(3, 3):
        ranks = [int(first[row, g]) for row in np.flatnonzero(view == p) if first[row, g] or not dropped]
        if ranks:
            expected[p, g] = np.mean([1 <= r <= k for r in ranks])
    np.testing.assert_allclose(cells.rates(k, dropped=dropped), expected)
    across = [np.mean([expected[p, g] for g in range(3) if g != p]) for p in range(2 if dropped else 3)]
    assert cells.across(k, dropped=dropped) == pytest.approx(np.mean(across))
    counts = [[sum(view == p) if not dropped else sum((view == p) & (first[:, g] > 0)) for g in range(3)] for p in range(3)]
    assert cells.counts(dropped=dropped).tolist() == counts
