from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from galleries import casia, embeddings, rows

from gaitreid.pose.arrays import take
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import compare
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.fuse import fuse
from gaitreid.reid.match import rank
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings


def spread(distance: Any, every: Any) -> float:
    return float(distance[~np.eye(len(every), dtype=bool)].std())


def test_fused_cosines_are_their_weighted_mean() -> None:
    one, two = casia(subjects=3, seed=0), casia(subjects=3, seed=1)
    every = np.arange(len(one.video))
    config = MatchConfig(exclude="nothing")
    parts = [compare(of, every, every, config).distances(slice(0, len(every))) for of in (one, two)]
    weights = [1 / spread(p, every) for p in parts]
    expected = (weights[0] * parts[0] + weights[1] * parts[1]) / sum(weights)
    fused = fuse([one, replace(two, encoder="other", weights="12ab")], "cosine")
    np.testing.assert_allclose(compare(fused, every, every, config).distances(slice(0, len(every))), expected, atol=1e-5)
    assert (fused.encoder, fused.weights) == ("made-up+other", "+12ab")


def test_fused_euclidean_distances_are_the_root_of_their_squares_each_over_its_mean() -> None:
    one, two = casia(subjects=3, seed=0), casia(subjects=3, seed=1, noise=3.0)
    config = MatchConfig(metric="euclidean", exclude="nothing")
    parts = [distances(of, config) for of in (one, two)]
    expected = np.sqrt(sum((p / p[~np.eye(len(p), dtype=bool)].mean()) ** 2 for p in parts))
    np.testing.assert_allclose(distances(fuse([one, two], "euclidean"), config), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "robust"])
def test_two_together_are_better(metric: Any) -> None:
    one, two = casia(noise=1.6, seed=0), casia(noise=1.6, seed=1)
    config = MatchConfig(metric=metric)
    figures = [
        evaluate(rank(of, rows(of, condition="cl"), rows(of, condition="nm"), config), draws=5)["map"]
        for of in (one, two, fuse([one, two], metric))
    ]
    assert figures[2] > max(figures[:2])


def parted(of: Embeddings, parts: int) -> Embeddings:
    """The same vectors, compared part by part."""
    return take(of, "K", slice(None), parts=parts)


def distances(of: Embeddings, config: MatchConfig) -> Any:
    every = np.arange(len(of.video))
    return compare(of, every, every, config).distances(slice(0, len(every)))


def test_embeddings_of_parts_keep_the_distances_of_their_parts() -> None:
    """As many parts as they may have, such as the strips of GaitGL and the limbs of a skeleton."""
    one, two = parted(casia(subjects=3, seed=0), 4), parted(casia(subjects=3, seed=1), 2)
    cosine, euclidean = (MatchConfig(metric=metric, exclude="nothing") for metric in ("cosine", "euclidean"))
    parts = [distances(of, cosine) for of in (one, two)]
    weights = [1 / spread(p, p) for p in parts]
    expected = (weights[0] * parts[0] + weights[1] * parts[1]) / sum(weights)
    np.testing.assert_allclose(distances(fuse([one, two], "cosine"), cosine), expected, atol=1e-5)
    parts = [distances(of, euclidean) for of in (one, two)]
    fused = fuse([one, two], "euclidean")
    assert fused.parts == 6
    expected = sum(p / p[~np.eye(len(p), dtype=bool)].mean() for p in parts)
    np.testing.assert_allclose(distances(fused, euclidean), expected, rtol=1e-4, atol=1e-4)
    with_one = fuse([one, parted(two, 1)], "euclidean")
    alone = distances(parted(two, 1), euclidean)
    expected = parts[0] / parts[0][~np.eye(len(alone), dtype=bool)].mean() + alone / alone[~np.eye(len(alone), dtype=bool)].mean()
    np.testing.assert_allclose(distances(with_one, euclidean), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("metric", ["robust", "alike"])
def test_one_part_that_differs_much_decides_little(metric: Any) -> None:
    """The mean over all parts of log(1 + 20 d), or d^2 / (d^2 + 0.15^2), d between directions and over its mean."""
    one, two = parted(casia(subjects=3, seed=0), 4), parted(casia(subjects=3, seed=1), 1)
    every = []
    for of in (one, two):
        for part in np.split(of.vector.astype(float), of.parts, axis=1):
            unit = part / np.linalg.norm(part, axis=1, keepdims=True)
            apart = np.linalg.norm(unit[:, None] - unit[None], axis=2)
            apart /= apart[~np.eye(len(apart), dtype=bool)].mean()
            every.append(np.log(1 + 20 * apart) if metric == "robust" else apart**2 / (apart**2 + 0.15**2))
    fused = fuse([one, two], metric)
    assert fused.parts == 5
    config = MatchConfig(metric=metric, exclude="nothing")
    found = distances(fused, config)
    every_row = np.arange(len(found))
    assert found.max() <= compare(fused, every_row, every_row, config).limit
    off = ~np.eye(len(found), dtype=bool)
    np.testing.assert_allclose(found[off], np.mean(every, axis=0)[off], atol=1e-4)
    windows = compare(fused, every_row, every_row, replace(config, unit="window"))  # a window is all of its track
    np.testing.assert_array_equal(windows.distances(slice(0, len(every_row))), found)


def test_like_is_compared_with_like() -> None:
    """The robust distance of a part with context: what says nothing, and exp(-c^2) of what the part says beyond it."""
    rng = np.random.default_rng(0)
    one, two = casia(subjects=3, seed=0), parted(casia(subjects=3, seed=1), 2)
    seen = rng.normal(0, 0.7, (len(two.vector), 2, 2))
    seen[:, 0, 1] = 0
    split = two.vector.reshape(len(seen), 2, -1)
    vector = np.concatenate([split, seen], axis=2).reshape(len(seen), -1).astype(np.float32)
    windows = vector[two.window_track]
    of = take(two, "K", slice(None), vector=vector, window=windows, context=2)
    fused = fuse([one, of], "robust")
    assert (fused.parts, fused.context) == (3, 2)
    plain = fuse([one, two], "robust")
    width = plain.vector.shape[1] // 3
    parts = plain.vector.astype(float).reshape(len(seen), 3, width)
    apart = np.log(1 + 20 * np.linalg.norm(parts[:, None] - parts[None], axis=3))
    square = ((seen[:, None] - seen[None]) ** 2).sum(axis=3)
    neither = np.log(21)
    apart[..., 1:] = neither + np.exp(-square) * (apart[..., 1:] - neither)
    off = ~np.eye(len(seen), dtype=bool)
    robust = MatchConfig(metric="robust", exclude="nothing")
    np.testing.assert_allclose(distances(fused, robust)[off], apart.mean(axis=2)[off], atol=1e-4)
    for metric in ("cosine", "euclidean"):
        other = MatchConfig(metric=metric, exclude="nothing")
        np.testing.assert_array_equal(distances(of, other), distances(two, other))
        np.testing.assert_array_equal(fuse([one, of], metric).vector, fuse([one, two], metric).vector)


def of_two_windows(of: Embeddings) -> Embeddings:
    """The same tracks, with two windows each."""
    track = np.repeat(np.arange(len(of.video)), 2)
    half = np.tile([1.0, -1.0], len(of.video))[:, None]
    frame = np.arange(4 * len(of.video)).reshape(-1, 2)
    return take(of, "K", slice(None), window=(of.vector[track] + half).astype(np.float32), window_track=track, window_frame=frame)


def test_three_of_which_each_lacks_a_track() -> None:
    every = [casia(subjects=3, seed=seed) for seed in range(3)]
    rows = [np.setdiff1d(np.arange(len(every[0].video)), [lacks]) for lacks in (1, 4, 8)]
    windows = {"window": every[0].vector[rows[0]], "window_track": np.arange(len(rows[0]))}
    frames = np.zeros((len(rows[0]), 2), dtype=int)
    some = [take(of, "K", own, **windows, window_frame=frames) for of, own in zip(every, rows, strict=True)]
    assert fuse(some, "cosine").video.tolist() == np.delete(every[0].video, [1, 4, 8]).tolist()


def test_as_many_windows_of_other_tracks_are_not_the_same() -> None:
    of, other = casia(subjects=3, seed=0), casia(subjects=3, seed=1)
    shifted = np.maximum(np.arange(len(of.video)) - 1, 0)  # the first track has two, the last has none
    others = [take(other, "K", slice(None), window=other.vector[shifted], window_track=shifted), other]
    for fused in (fuse([of, others[0]], "cosine"), fuse([of, *others], "cosine")):
        np.testing.assert_array_equal(fused.window, fused.vector)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "robust", "alike"])
@pytest.mark.parametrize("tracks", [1, 3])
def test_tracks_that_say_nothing_of_distances(metric: Any, tracks: int) -> None:
    """One alone, or some that are all alike."""
    of = parted(embeddings([("", "", "", "")] * tracks, np.ones((tracks, 4))), 2)
    fused = fuse([of, of], metric)
    assert np.isfinite(fused.vector).all()
    np.testing.assert_allclose(distances(fused, MatchConfig(metric=metric, exclude="nothing")), 0, atol=1e-6)


def test_tracks_that_one_of_them_lacks_are_left_out() -> None:
    of, other = (of_two_windows(casia(subjects=3, seed=seed)) for seed in (0, 1))
    rows = np.arange(len(of.video) - 1, 4, -1)  # in another order, too
    windows = np.concatenate([np.flatnonzero(other.window_track == row) for row in rows])
    fewer = take(
        other,
        "K",
        rows,
        window=other.window[windows],
        window_track=np.searchsorted(-rows, -other.window_track[windows]),
        window_frame=other.window_frame[windows],
    )
    fused, whole = fuse([of, fewer], "cosine"), fuse([of, other], "cosine")
    assert fused.video.tolist() == of.video[5:].tolist()
    later = whole.window_track >= 5
    np.testing.assert_array_equal(fused.window_track, whole.window_track[later] - 5)
    np.testing.assert_array_equal(fused.window_frame, whole.window_frame[later])
    config = MatchConfig(exclude="nothing")
    half = of.vector.shape[1]  # by what they are scaled differs, as it is measured on the tracks that are there
    for ratio in (fused.vector / whole.vector[5:], fused.window / whole.window[later]):
        for side in (slice(0, half), slice(half, None)):
            np.testing.assert_allclose(ratio[:, side], ratio[0, side][0], rtol=1e-3)
    assert np.isfinite(distances(fused, config)).all()


def test_walks_and_windows_of_the_same_tracks_are_fused_as_tracks() -> None:
    of, walks = casia(subjects=3, seed=0), casia(subjects=3, seed=1)
    count = len(of.video)
    more = np.repeat(np.arange(count), 2)
    windowed = take(
        of, "K", slice(None), window=of.vector[more], window_track=more, window_frame=np.tile([[0, 9], [5, 20]], (count, 1))
    )
    whole = take(
        walks, "K", slice(None), window=walks.vector, window_track=np.arange(count), window_frame=np.zeros((count, 2), int)
    )
    fused = fuse([windowed, whole], "cosine")
    np.testing.assert_array_equal(fused.window, fused.vector)
    assert fused.window_track.tolist() == list(range(count))
    assert fused.window_frame.tolist() == [[0, 20]] * count


def test_other_tracks() -> None:
    of = casia(subjects=3)
    others = take(of, "K", slice(None), video=np.char.add("other-", of.video))
    with pytest.raises(UsageError, match="not of the same tracks"):
        fuse([of, others], "cosine")
    renamed = take(of, "K", slice(None), subject=np.char.add("x", of.subject))
    with pytest.raises(UsageError, match="not of the same tracks"):
        fuse([of, renamed], "cosine")


def test_thousands_of_tracks_are_brought_together() -> None:
    vectors = np.random.default_rng(0).normal(size=(8000, 4))
    windows = embeddings([(f"{k // 4}", "nm", f"{k % 4}", "000") for k in range(8000)], vectors, windows=3)
    walks = embeddings([(f"{k // 4}", "nm", f"{k % 4}", "000") for k in range(8000)], vectors)
    both = fuse([windows, walks], "cosine")
    assert len(both.vector) == 8000
    assert both.window_frame[[0, -1]].tolist() == [[0, 39], [0, 39]]
