import csv
import io
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pose.arrays import IntArray, take
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.reid.compare import compare
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import CSV_COLUMNS, Matches, rank, ranking_rows
from gaitreid.reid.records import Embeddings

Exclude = Literal["same-recording", "same-window", "overlap", "same-view", "nothing"]
EVERYTHING = euclidean(exclude="nothing", top=100)


def ranked(of: Embeddings, config: MatchConfig, probe: IntArray | None = None, gallery: IntArray | None = None) -> Matches:
    every = np.arange(len(of.video))
    return rank(of, every if probe is None else probe, every if gallery is None else gallery, config)


def slow_ranking(of: Embeddings, config: MatchConfig, probe: int) -> list[tuple[float, int]]:
    """(distance, item) of one probe against all, by loops from the definitions."""
    window = config.unit == "window"
    vectors, track = (of.window, of.window_track) if window else (of.vector, np.arange(len(of.video)))
    found = []
    for item in range(len(vectors)):
        a, b = vectors[probe].astype(float), vectors[item].astype(float)
        tracks = int(track[probe]), int(track[item])
        excluded = {
            "nothing": False,
            "same-window": probe == item,
            "same-recording": of.recording[tracks[0]] == of.recording[tracks[1]],
            "overlap": tracks[0] == tracks[1] and (not window or share_frames(of.window_frame[probe], of.window_frame[item])),
        }[config.exclude]
        if not excluded:
            distance = (
                np.linalg.norm(a - b) if config.metric == "euclidean" else 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            )
            found.append((float(distance), item))
    return sorted(found)


def share_frames(a: IntArray, b: IntArray) -> bool:
    return bool(set(range(a[0], a[1] + 1)) & set(range(b[0], b[1] + 1)))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("exclude", ["same-recording", "same-window", "overlap", "nothing"])
@pytest.mark.parametrize("unit", ["track", "window"])
def test_like_loops(metric: Any, exclude: Any, unit: Any) -> None:
    rng = np.random.default_rng(1)
    walks = [(f"{k // 4}", "nm", str(k // 2), str(k % 2)) for k in range(12)]
    of = embeddings(walks, rng.normal(size=(12, 5)), windows=4)
    config = MatchConfig(metric=metric, exclude=exclude, unit=unit, top=100, block=5)
    ranking = ranked(of, config).ranking
    for probe in range(len(ranking.probe)):
        slow = slow_ranking(of, config, probe)
        kept = ranking.order[probe] >= 0
        assert ranking.excluded[probe] == len(ranking.gallery) - len(slow) == (~kept).sum()
        # Nearly equal distances may change places: compare by distance, and each item with its own distance.
        own = {item: distance for distance, item in slow}
        np.testing.assert_allclose(ranking.distance[probe, kept], [d for d, _ in slow], atol=1e-6)
        np.testing.assert_allclose([own[i] for i in ranking.order[probe, kept]], ranking.distance[probe, kept], atol=1e-6)
        assert np.isnan(ranking.distance[probe, ~kept]).all()


@pytest.mark.parametrize(
    ("unit", "exclude", "expected"),
    [
        ("track", "same-recording", [1, 2, 3]),  # tracks 0 (itself), 4 (other view), 5 (second pass in the video) are out
        ("track", "same-window", [1, 2, 3, 4, 5]),
        ("track", "overlap", [1, 2, 3, 4, 5]),
        ("track", "same-view", [2, 3, 4]),  # the person in another view, and others in this one
        ("track", "nothing", [0, 1, 2, 3, 4, 5]),
        ("window", "same-recording", [3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("window", "same-window", [*range(1, 18)]),
        ("window", "overlap", [*range(2, 18)]),  # window 1 shares half its frames with window 0, window 2 none
        ("window", "nothing", [*range(18)]),
    ],
)
def test_exclusion_by_hand(unit: Any, exclude: Exclude, expected: list[int]) -> None:
    walks = [("1", "nm", "1", "0"), ("1", "nm", "2", "0"), ("2", "nm", "1", "0"), ("2", "nm", "2", "0"), ("1", "nm", "1", "90")]
    of = embeddings([*walks, ("1", "nm", "1", "0")], np.arange(12.0).reshape(6, 2), windows=3)
    of.video[5], of.track[5] = of.video[0], 2
    ranking = ranked(of, euclidean(unit=unit, exclude=exclude, top=100), probe=np.array([0])).ranking
    assert sorted(i for i in ranking.order[0] if i >= 0) == expected


def test_unlabelled_videos_are_their_own_recordings() -> None:
    of = embeddings([("", "", "", "")] * 4, np.arange(4.0)[:, None])
    of.recording[1] = of.recording[0]
    assert ranked(of, euclidean()).ranking.order.tolist() == [[2, 3, -1, -1], [2, 3, -1, -1], [1, 3, 0, -1], [2, 1, 0, -1]]
    somebody_else = ranked(of, euclidean(exclude="same-view")).ranking
    assert somebody_else.order.tolist() == [[1, 2, 3, -1], [0, 2, 3, -1], [1, 3, 0, -1], [2, 1, 0, -1]]


def test_ties_are_in_the_order_of_rows() -> None:
    of = embeddings([(str(k), "nm", "1", "0") for k in range(6)], np.array([[0.0], [1], [-1], [1], [2], [-1]]))
    ranking = ranked(of, EVERYTHING, probe=np.array([0]), gallery=np.array([5, 4, 3, 2, 1, 1])).ranking
    assert ranking.gallery.tolist() == [1, 2, 3, 4, 5]
    assert ranking.order.tolist() == [[1, 2, 3, 5, 4]]
    assert ranking.distance.tolist() == [[1, 1, 1, 1, 2]]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), block=st.integers(1, 20), metric=st.sampled_from(["euclidean", "cosine"]))
def test_blocks_do_not_matter(seed: int, block: int, metric: Any) -> None:
    rng = np.random.default_rng(seed)
    of = embeddings([(f"{k % 4}", "nm", str(k), "0") for k in range(17)], rng.integers(-9, 9, size=(17, 3)).astype(float))
    whole, parts = (ranked(of, MatchConfig(metric=metric, block=b)) for b in (512, block))
    for name in ("compared", "hit_probe", "hit_rank", "own", "other", "view_first"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-6)
    np.testing.assert_array_equal(parts.ranking.order, whole.ranking.order)


def test_a_block_holds_no_more_pairs_than_it_may() -> None:
    of = casia(subjects=2)
    blocks = compare(of, np.arange(17), np.arange(7), MatchConfig(block=24)).blocks()
    assert [(rows.start, rows.stop) for rows in blocks] == [(0, 3), (3, 6), (6, 9), (9, 12), (12, 15), (15, 17)]


def test_moving_all_vectors_changes_nothing() -> None:
    of = casia(subjects=4)
    moved = take(of, "K", np.arange(len(of.video)), vector=of.vector + 3)
    np.testing.assert_array_equal(ranked(moved, euclidean()).ranking.order, ranked(of, euclidean()).ranking.order)


def test_close_vectors_far_from_the_origin_keep_their_distance() -> None:
    of = embeddings([("1", "nm", "1", "0"), ("2", "nm", "1", "0")], np.array([[1000.0, 0], [1000, 0.125]]))
    assert ranked(of, EVERYTHING).ranking.distance.tolist() == [[0, 0.125], [0, 0.125]]


def test_cosine_of_a_zero_vector_is_nothing() -> None:
    of = embeddings([("1", "nm", "1", "0"), ("2", "nm", "1", "0"), ("3", "nm", "1", "0")], np.array([[0.0, 0], [1, 0], [-2, 0]]))
    ranking = ranked(of, replace(EVERYTHING, metric="cosine"), probe=np.array([1])).ranking
    assert ranking.order.tolist() == [[1, 0, 2]]
    assert ranking.distance.tolist() == [[0, 1, 2]]


def test_top_keeps_less_and_the_hits_stay() -> None:
    of = casia(subjects=5)
    long, short = ranked(of, euclidean(top=1000)), ranked(of, euclidean(top=2))
    np.testing.assert_array_equal(short.ranking.order, long.ranking.order[:, :2])
    np.testing.assert_array_equal(short.hit_rank, long.hit_rank)


def test_hits_nearest_and_views_by_hand() -> None:
    walks = [("a", "nm", "1", "0"), ("a", "cl", "1", "0"), ("b", "cl", "1", "0"), ("a", "cl", "1", "90"), ("", "cl", "", "90")]
    of = embeddings(walks, np.array([[0.0], [4], [1], [3], [2]]))
    matches = rank(of, np.array([0]), rows(of, condition="cl"), euclidean())
    assert matches.ranking.order.tolist() == [[2, 4, 3, 1]]
    assert matches.hit_probe.tolist() == [0, 0]
    assert matches.hit_rank.tolist() == [3, 4]
    assert matches.gallery_subjects.tolist() == ["a", "b"]
    assert (matches.own.tolist(), matches.other.tolist()) == ([3], [1])
    assert matches.views.tolist() == ["0", "90"]
    assert matches.view_first.tolist() == [[2, 2]]  # view 90: the unknown person is nearer than a
    assert (matches.people.threshold.tolist(), matches.people.upto.tolist(), matches.people.impostors) == ([3], [1], 1)
    pairs = matches.verification
    assert pairs.threshold.tolist() == [3, 4]
    assert pairs.genuine.tolist() == [1, 2]
    assert pairs.upto.tolist() == [1, 1]
    assert pairs.impostors == 1  # the unknown person is neither


def test_nothing_left_to_compare() -> None:
    of = embeddings([("1", "nm", "1", "0"), ("1", "nm", "1", "90")], np.eye(2))
    with pytest.raises(EmptyError, match="excluded as same-recording"):
        ranked(of, euclidean())
    more = embeddings([("1", "nm", "1", "0"), ("1", "nm", "1", "90"), ("2", "nm", "1", "0")], np.arange(3.0)[:, None])
    found = ranked(more, euclidean(), probe=np.array([0, 2]), gallery=np.array([0, 1])).ranking
    assert (found.order.tolist(), found.excluded.tolist()) == ([[-1, -1], [1, 0]], [2, 0])  # of one probe there is enough


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "robust"])
def test_nobody_on_one_side(metric: Any) -> None:
    every, nobody = np.arange(2), np.arange(0)
    of = embeddings([("1", "nm", "1", "0"), ("2", "nm", "1", "90")], np.eye(2))
    for probes, items in ((every, nobody), (nobody, every)):
        with pytest.raises(EmptyError, match=f"{len(probes)} probe and {len(items)} gallery tracks"):
            rank(of, probes, items, MatchConfig(metric=metric))


def test_vectors_that_are_no_numbers() -> None:
    of = embeddings([("1", "nm", "1", "0"), ("2", "nm", "1", "0")], np.array([[np.nan], [1]]))
    with pytest.raises(FormatError, match="made-up"):
        ranked(of, euclidean())


@pytest.mark.parametrize("unit", ["track", "window"])
def test_rows_of_the_table(unit: Any) -> None:
    walks = [("=1", "nm", "1", "0"), ('b,"', "nm", "1", "0"), ("c", "nm", "1", "0")]
    of = embeddings(walks, np.array([[0.0], [1.2345678], [3]]), windows=2 if unit == "window" else 1)
    file = io.StringIO()
    csv.writer(file).writerows([CSV_COLUMNS, *ranking_rows(ranked(of, euclidean(unit=unit)).ranking, of)])
    table = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert tuple(table[0]) == CSV_COLUMNS
    assert [row["probe_subject"] for row in table] == [w[0] for w in walks for _ in range(2 if unit == "track" else 8)]
    assert all(row["probe_video"] in of.video and row["gallery_video"] in of.video for row in table)
    if unit == "track":
        assert [(row["rank"], row["gallery_subject"], row["distance"]) for row in table[:2]] == [
            ("1", 'b,"', "1.234568"),
            ("2", "c", "3.0"),
        ]


@pytest.mark.parametrize("metric", ["lmnn", "itml"])
@pytest.mark.parametrize("unit", ["track", "window"])
def test_a_metric_is_learnt_from_the_gallery_alone(metric: Any, unit: Any) -> None:
    rng = np.random.default_rng(0)
    walks = [(f"{k % 4}", "nm", str(k // 4), "090") for k in range(80)]
    vectors = rng.normal(size=(80, 6)) * np.array([8.0, 8, 8, 1, 1, 1])
    vectors[:, 3] += 4 * (np.arange(80) % 4)  # what tells people apart is small beside the rest
    of = embeddings(walks, vectors, windows=2)
    first, second = np.arange(40), np.arange(40, 80)
    before = ranked(of, euclidean(unit=unit), second, first)
    learnt = ranked(of, MatchConfig(metric=metric, unit=unit), second, first)
    assert (learnt.hit_rank == 1).mean() > (before.hit_rank == 1).mean() + 0.01
    assert np.isfinite(learnt.ranking.distance).all()
    mislabelled = replace(of, subject=np.where(np.arange(80) < 40, of.subject, "x"))
    same = ranked(mislabelled, MatchConfig(metric=metric, unit=unit), second, first)
    np.testing.assert_array_equal(same.ranking.order, learnt.ranking.order)  # of the probes' labels nothing is known


@pytest.mark.parametrize("metric", ["lmnn", "itml"])
def test_those_without_a_name_teach_nothing_and_what_is_learnt_knows_no_parts(metric: Any) -> None:
    walks = [("" if 8 <= k < 16 else f"{k % 2}", "nm", str(k), "090") for k in range(20)]
    of = embeddings(walks, np.random.default_rng(0).normal(size=(20, 6)))
    config, probes = MatchConfig(metric=metric), np.arange(16, 20)
    fewer, more = ranked(of, config, probes, np.arange(8)), ranked(replace(of, parts=2), config, probes, np.arange(16))
    assert np.isfinite(fewer.own).all()
    np.testing.assert_array_equal(more.own, fewer.own)


def test_a_learnt_metric_wants_labels_that_are_not_the_probes() -> None:
    walks = [(f"{k % 2}", "nm", str(k // 2), "090") for k in range(8)]
    of = embeddings(walks, np.random.default_rng(0).normal(size=(8, 3)))
    config = MatchConfig(metric="lmnn")
    with pytest.raises(UsageError, match="no recording may be in both"):
        ranked(of, config, np.arange(5), np.arange(4, 8))  # one of them is in both
    for somebody in ("", "a"):
        few = replace(of, subject=np.where(np.arange(8) % 2, "", somebody), recording=of.video)
        with pytest.raises(UsageError, match="two people of known names"):
            ranked(few, config, np.arange(4), np.arange(4, 8))
    with pytest.raises(UsageError, match="--rerank"):
        MatchConfig(metric="itml", rerank=20)
