"""Temporal clean-up of keypoint tracks: outliers masked, short gaps filled, smoothed. Array in, array out."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import BoolArray, FloatArray
from gaitreid.pose.errors import UsageError

# Frames a second: from FAST on feet turn round within five frames by little, below SLOW within three by much.
FAST, SLOW = 20.0, 15.0


@dataclass(frozen=True)
class CleanConfig:
    """How tracks are cleaned.

    Attributes:
        min_score: joints below it are missing.
        outlier: a joint farther from its running median than this many robust deviations is missing; 0 turns it off.
        max_gap: longest gap that is filled, in seconds; frames farther apart are smoothed each side by itself.
        cutoff: of the Butterworth low-pass, in Hz (gait has little above 6); 0 turns it off.
    """

    min_score: float = 0.0
    outlier: float = 5.0
    max_gap: float = 0.3
    cutoff: float = 6.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"lift.clean.min_score is {self.min_score}, expected 0 to 1")
        for name in ("outlier", "max_gap", "cutoff"):
            if getattr(self, name) < 0:
                raise UsageError(f"lift.clean.{name} is {getattr(self, name)}, expected 0 or more")


def clean(points: FloatArray, score: FloatArray, time: FloatArray, config: CleanConfig) -> tuple[FloatArray, FloatArray]:
    """Mask, fill and smooth.

    Args:
        points: (T, J, C), NaN is missing.
        score: (T, J).
        time: (T,) seconds, rising.

    Returns:
        (T, J, C) and (T, J): longer gaps stay NaN, nothing is extrapolated, and what was missing or masked has score 0.
    """
    result = np.array(points, dtype=np.float64)
    interval = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
    result[score < config.min_score] = np.nan
    if config.outlier:
        result[outliers(result, config.outlier, 1 / interval if interval > 0 else FAST)] = np.nan
    missing = np.isnan(result).any(axis=-1)
    result[missing] = np.nan
    for joint in range(result.shape[1]):
        _fill(result[:, joint], time, config.max_gap)
    if config.cutoff:
        for joint in range(result.shape[1]):
            for a, b in stretches(time, max(config.max_gap, 1.5 * interval) + 1e-9):
                _smooth(result[a:b, joint], time[a:b], config.cutoff)
    return result.astype(points.dtype), np.where(missing, 0, score).astype(score.dtype)


def outliers(points: FloatArray, threshold: float, rate: float = FAST) -> BoolArray:
    """Joints far from their running median (Hampel identifier; Pearson et al., EURASIP JASP 2016).

    Args:
        points: (T, J, C).
        threshold: in robust standard deviations of the joint's distance from its running median.
        rate: frames a second.

    Returns:
        (T, J).
    """
    from scipy.ndimage import median_filter  # here: importing it takes longer than a second run over a thousand videos

    width = 5 if rate >= FAST else 3
    distance = np.linalg.norm(points - median_filter(bridged(points), size=(width, 1, 1), mode="nearest"), axis=-1)
    distance[np.isnan(distance)] = 0
    scale = 1.4826 * np.median(distance, axis=0)
    # A smooth joint hardly leaves its running median but where it turns round, which is no outlier: a tenth of the body is.
    # In slow tracks it turns farther between two frames, by the square of their distance.
    tenth = 0.1 * max(1.0, (SLOW / rate) ** 2)
    spread = np.nanmax(np.abs(points), initial=0.0, where=np.isfinite(points)) * tenth
    found: BoolArray = distance > np.maximum(threshold * scale, spread)
    return found


def bridged(points: FloatArray) -> FloatArray:
    """All gaps of (T, ...) bridged by lines, however long; 0 where nothing was ever seen."""
    result = points.copy()
    flat = result.reshape(len(points), -1)
    index = np.arange(len(points))
    for column in flat.T:
        seen = np.isfinite(column)
        column[:] = np.interp(index, index[seen], column[seen]) if seen.any() else 0.0
    return result


def found(points: FloatArray) -> BoolArray:
    """Which joints are not missing: (..., J, C) to (..., J)."""
    return np.asarray(np.isfinite(points).all(axis=-1), dtype=np.bool_)


def runs(present: BoolArray) -> list[tuple[int, int]]:
    """First and last+1 of every run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def stretches(time: FloatArray, longest: float) -> list[tuple[int, int]]:
    """First and last+1 of every run of frames of which no neighbours are farther apart than `longest` seconds."""
    late = np.flatnonzero(np.diff(time) > longest) + 1
    return list(pairwise([0, *late.tolist(), len(time)]))


def _fill(series: NDArray[np.float64], time: FloatArray, max_gap: float) -> None:
    """Interpolate gaps in a (T, C) series, in place."""
    present = np.isfinite(series[:, 0])
    for (_, a), (b, _) in zip(found := runs(present), found[1:], strict=False):
        if time[b] - time[a - 1] <= max_gap + 1e-9:
            share = ((time[a:b] - time[a - 1]) / (time[b] - time[a - 1]))[:, None]
            series[a:b] = (1 - share) * series[a - 1] + share * series[b]


def _smooth(series: NDArray[np.float64], time: FloatArray, cutoff: float) -> None:
    """Zero-phase second-order Butterworth over every run without gaps of a (T, C) series, in place."""
    from scipy.signal import butter, sosfiltfilt

    for a, b in runs(np.isfinite(series[:, 0])):
        rate = (b - a - 1) / (time[b - 1] - time[a]) if b - a > 1 else 0.0
        if b - a < 10 or cutoff >= 0.45 * rate:  # too short for the filter's padding, or nothing above the cut-off
            continue
        low_pass = butter(2, cutoff, fs=rate, output="sos")
        even = np.linspace(time[a], time[b - 1], b - a)  # frame times may vary; the filter wants an even grid
        for c in range(series.shape[1]):
            smooth = sosfiltfilt(low_pass, np.interp(even, time[a:b], series[a:b, c]))
            series[a:b, c] = np.interp(time[a:b], even, smooth)
