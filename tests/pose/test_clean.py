import numpy as np
import pytest

from gaitreid.pose.clean import CleanConfig, clean, outliers, runs, stretches
from gaitreid.pose.errors import UsageError
from gaitreid.pose.walker import BODY, walker
from gaitreid.pose.walker import walk as walk_of

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
    score[10:40, 1], score[40:] = 0.1, 0.3
    result, _ = clean(points, score, time, CleanConfig(min_score=0.3, cutoff=0))
    assert np.isnan(result[10:40, 1]).all()
    assert np.isfinite(result[40:]).all()


def test_a_joint_without_one_coordinate_is_missing_and_filled_whole():
    points, score, time = walk()
    for c, frame in enumerate((20, 40)):
        points[frame, 0, c] = np.nan
    result, kept = clean(points, score, time, CleanConfig(cutoff=0))
    assert np.argwhere(kept == 0).tolist() == [[20, 0], [40, 0]]
    for frame in (20, 40):
        np.testing.assert_allclose(result[frame, 0], (points[frame - 1, 0] + points[frame + 1, 0]) / 2)


def test_the_longest_gap_that_is_filled_is():
    points, score, time = walk()
    assert time[14] - time[9] > 0.2  # as numbers of a machine are
    points[10:14] = np.nan
    for max_gap, filled in ((0.2, True), (0.19, False)):
        assert np.isfinite(clean(points, score, time, CleanConfig(outlier=0, max_gap=max_gap, cutoff=0))[0]).all() == filled


@pytest.mark.parametrize(("jump", "out"), [(0.08, False), (0.12, True)])
def test_a_tenth_of_the_body_is_an_outlier_and_less_is_not_of_a_joint_that_keeps_still(jump, out):
    points = np.zeros((40, 2, 2))
    points[:, 1, 1] = 1.0
    points[20, 0, 0] = jump
    assert outliers(points, 5.0).any() == out


def test_outliers_against_a_slow_reading():
    points = np.random.default_rng(0).normal(0, 0.2, (40, 3, 2)) * np.array([1.0, 0.1, 3])[:, None]
    distance = np.empty((40, 3))
    for t, joint in np.ndindex(40, 3):
        around = points[np.clip(range(t - 2, t + 3), 0, 39), joint]
        distance[t, joint] = np.hypot(*(points[t, joint] - np.median(around, axis=0)))
    tenth = 0.1 * np.abs(points).max()
    for threshold in (1.0, 1.5):
        expected = distance > np.maximum(threshold * 1.4826 * np.median(distance, axis=0), tenth)
        assert expected.any()
        assert outliers(points, threshold).tolist() == expected.tolist()


@pytest.mark.parametrize("rate", [8.3, 10.0, 12.5, 15.0, 20.0, 29.97])
def test_feet_that_turn_round_are_no_outliers_in_slow_tracks_but_jumps_are(rate):
    time = np.arange(round(6 * rate)) / rate
    score = np.ones((len(time), len(BODY)))
    for subject in range(8):
        points = walk_of(walker(0, subject), time, np.random.default_rng(subject))[0]
        points -= points[:, :1]
        assert (clean(points, score, time, CleanConfig())[1] == 1).all()
        points[20, BODY.index("left_wrist"), 0] += 0.6
        kept = clean(points, score, time, CleanConfig())[1]
        assert np.argwhere(kept == 0).tolist() == [[20, BODY.index("left_wrist")]]


@pytest.mark.parametrize("gap", [1.0, 10.0])
def test_both_sides_of_a_long_gap_are_smoothed_as_if_alone(gap):
    points, score, time = walk(60)
    points = points + np.random.default_rng(0).normal(0, 0.02, points.shape)
    config = CleanConfig(outlier=0)
    both, _ = clean(
        np.concatenate([points, points + 0.2]),
        np.concatenate([score, score]),
        np.concatenate([time, time + time[-1] + gap]),
        config,
    )
    alone = clean(points, score, time, config)[0]
    np.testing.assert_allclose(both, np.concatenate([alone, alone + 0.2]), atol=1e-9)


@pytest.mark.parametrize("max_gap", [0.0, 0.3])
def test_frames_that_are_left_out_here_and_there_are_no_gap(max_gap):
    points, score, time = walk(60)
    noisy = points + np.random.default_rng(0).normal(0, 0.02, points.shape)
    kept = np.delete(np.arange(60), [20, 21, 40]) if max_gap else np.arange(60)
    result, _ = clean(noisy[kept], score[kept], time[kept], CleanConfig(outlier=0, max_gap=max_gap))
    assert np.std(result - points[kept]) < 0.8 * np.std(noisy - points)


def test_stretches():
    assert stretches(np.array([0.0, 0.1, 0.2, 0.6, 0.7]), 0.3) == [(0, 3), (3, 5)]
    assert stretches(np.array([4.0]), 0.3) == [(0, 1)]


@pytest.mark.parametrize("frequency", [3.0, 6.0, 9.0])
def test_the_low_pass_is_a_butterworth_there_and_back(frequency):
    rate, cutoff = 50.0, 6.0
    time = np.arange(400) / rate
    points = np.sin(2 * np.pi * frequency * time)[:, None, None]
    result, _ = clean(points, np.ones((400, 1)), time, CleanConfig(outlier=0, cutoff=cutoff))
    gain = 1 / (1 + (np.tan(np.pi * frequency / rate) / np.tan(np.pi * cutoff / rate)) ** 4)  # of its second order, squared
    np.testing.assert_allclose(result[100:300], gain * points[100:300], atol=0.003)


@pytest.mark.parametrize("frames", [120, 60, 9])
def test_what_was_before_and_when_it_was_do_not_matter(frames):
    points, score, time = walk(frames)
    points = points + np.random.default_rng(0).normal(0, 0.01, points.shape)
    points[50:53, 0] = np.nan
    alone, _ = clean(points, score, time, CleanConfig())
    late = np.concatenate([np.full((40, 2, 2), np.nan), points])
    result, _ = clean(late, np.ones((40 + frames, 2)), np.arange(40 + frames) / RATE + 500, CleanConfig())
    assert np.isnan(result[:40]).all()
    np.testing.assert_allclose(result[40:], alone, atol=1e-6)


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
