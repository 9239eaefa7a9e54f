import numpy as np
import pytest

from gaitreid.pose.clean import CleanConfig, clean, outliers, runs
from gaitreid.pose.errors import UsageError

RATE = 25.0


def walk(frames=60, rate=RATE):
    time = np.arange(frames) / rate
    points = np.stack([0.3 * np.sin(2 * np.pi * time), np.cos(2 * np.pi * time)], axis=-1)[:, None]
    return np.repeat(points, 2, axis=1), np.ones((frames, 2)), time


def test_clean_signal_is_left_alone():
    points, score, time = walk()
    result, kept = clean(points, score, time, CleanConfig())
    assert np.abs(result - points)[5:-5].max() < 0.02
    assert (kept == 1).all()


def test_short_gaps_are_filled_long_ones_and_ends_are_not():
    points, score, time = walk()
    points[20:23, 0] = np.nan
    points[40:55, 1] = np.nan
    points[:3, 0] = np.nan
    result, kept = clean(points, score, time, CleanConfig(max_gap=0.2, cutoff=0))
    assert np.isfinite(result[20:23, 0]).all()
    assert np.isnan(result[40:55, 1]).all()
    assert np.isnan(result[:3, 0]).all()
    assert (kept[20:23, 0] == 0).all()
    np.testing.assert_allclose(result[21, 0], (points[19, 0] + points[23, 0]) / 2, atol=1e-12)


def test_a_jump_is_an_outlier_and_filled():
    points, score, time = walk()
    points[30, 0] += 2.0
    assert np.argwhere(outliers(points, 5.0)).tolist() == [[30, 0]]
    result, kept = clean(points, score, time, CleanConfig())
    assert np.abs(result[30, 0] - walk()[0][30, 0]).max() < 0.1
    assert kept[30, 0] == 0


def test_low_scores_are_missing():
    points, score, time = walk()
    score[10:40, 1] = 0.1
    result, _ = clean(points, score, time, CleanConfig(min_score=0.3, cutoff=0))
    assert np.isnan(result[10:40, 1]).all()


def test_noise_is_smoothed_at_an_uneven_rate():
    rng = np.random.default_rng(0)
    points, score, time = walk(120)
    time = time + rng.uniform(-0.005, 0.005, 120)
    truth = points.copy()
    noisy = points + rng.normal(0, 0.02, points.shape)
    result, _ = clean(noisy, score, time, CleanConfig())
    assert np.std(result - truth) < 0.8 * np.std(noisy - truth)


@pytest.mark.parametrize("frames", [1, 2, 5, 9])
def test_short_tracks_pass(frames):
    points, score, time = walk(frames)
    result, _ = clean(points, score, time, CleanConfig(outlier=0))
    np.testing.assert_allclose(result, points)


def test_low_rates_are_not_filtered():
    points, score, time = walk(30, rate=8.0)
    np.testing.assert_allclose(clean(points, score, time, CleanConfig(outlier=0))[0], points)


def test_runs():
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == []


def test_ranges_are_checked():
    with pytest.raises(UsageError, match="min_score"):
        CleanConfig(min_score=2)
    with pytest.raises(UsageError, match="cutoff"):
        CleanConfig(cutoff=-1)
