"""Tracks to windows of normalised walking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.clean import runs
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.geometry import Normalization, normalize
from gaitreid.pose.records import Track3D

MIN_RATE = 8.0  # frames a second: a step takes about half a second, and four samples hardly show it


@dataclass(frozen=True)
class SplitConfig:
    """How tracks are cut.

    Attributes:
        length: frames a window.
        step: frames between the starts of windows; null is half the length (CAGE, section 4.1).
        trim: frames dropped at each end of a track, at most a tenth of it (people enter and leave the picture there).
        normalize: none, root or gait.
        fps: rate that all tracks are brought to; null leaves the frames as they are.
        max_gap: longest time between two frames that is bridged, in seconds.
    """

    length: int = 20
    step: int | None = None
    trim: int = 10
    normalize: Normalization = "gait"
    fps: float | None = 25.0
    max_gap: float = 0.35

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.length < 2 or (self.step is not None and self.step < 1):
            raise UsageError("split.length must be 2 or more, and split.step 1 or more")
        if self.trim < 0 or (self.fps is not None and self.fps <= 0) or self.max_gap <= 0:
            raise UsageError("split.trim must be 0 or more, split.fps and split.max_gap above 0")

    @property
    def stride(self) -> int:
        """Frames between the starts of windows."""
        return self.step or self.length // 2


@dataclass(frozen=True)
class Windows:
    """Windows of one track: rows start[n] ... start[n] + length - 1 of xyz (F, J, 3); frame (F,) is the original index."""

    xyz: FloatArray
    frame: IntArray
    start: IntArray


def split_track(track: Track3D, config: SplitConfig) -> Windows:
    """Resample to `config.fps`, normalise, trim, and cut every stretch in which all joints are there.

    Raises:
        ItemError: no window came out: `too-short`, `rate-too-low` (under MIN_RATE frames a second) or `missing-joints`.
    """
    if len(track.time) > 1 and (rate := 1 / np.median(np.diff(track.time))) < MIN_RATE:  # gaps are cut out below
        raise ItemError("rate-too-low", f"{rate:.1f} frames a second, expected {MIN_RATE:g} or more")
    xyz, time, frame = resample(track, config) if config.fps else parted(track, config.max_gap)
    trim = min(config.trim, len(xyz) // 10)  # of short tracks every frame counts
    whole = np.asarray(np.isfinite(xyz).all(axis=(1, 2)))
    whole[:trim] = whole[len(whole) - trim :] = False
    starts = [s for a, b in runs(whole) for s in range(a, b - config.length + 1, config.stride)]
    if not starts:
        if len(xyz) - 2 * trim < config.length:
            left = f", {len(xyz) - 2 * trim} without those at its ends" if trim else ""
            raise ItemError("too-short", f"{len(xyz)} frames{left}; windows take {config.length}")
        raise ItemError("missing-joints", f"no {config.length} frames in a row with all joints")
    return Windows(normalize(xyz, track.skeleton, config.normalize, time), frame, np.array(starts))


def parted(track: Track3D, max_gap: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """A track at its own rate: as `resample`, with a frame of NaN wherever two lie farther apart than `max_gap` seconds."""
    late = np.flatnonzero(np.diff(track.time) > max_gap) + 1
    between = (track.time[late - 1] + track.time[late]) / 2
    return (
        np.insert(track.xyz, late, np.nan, axis=0),
        np.insert(track.time, late, between),
        np.insert(track.frame, late, track.frame[late - 1]),
    )


def resample(track: Track3D, config: SplitConfig) -> tuple[FloatArray, FloatArray, IntArray]:
    """A track at an even rate: xyz (F, J, 3), time (F,) s, and the nearest original frame (F,).

    Coordinates are interpolated linearly; where the two neighbours lie farther apart than `config.max_gap` they are NaN.
    """
    assert config.fps
    old = track.time
    count = int(np.floor((old[-1] - old[0]) * config.fps + 1e-6)) + 1 if len(old) else 0
    time = old[0] + np.arange(count) / config.fps if count else np.empty(0)
    after = np.clip(np.searchsorted(old, time - 1e-9), 1 if len(old) > 1 else 0, max(len(old) - 1, 0))
    before = np.maximum(after - 1, 0)
    span = old[after] - old[before]
    share = np.divide(time - old[before], span, out=np.zeros(count), where=span > 0).clip(0, 1)
    xyz = track.xyz[before] + share[:, None, None].astype(np.float32) * (track.xyz[after] - track.xyz[before])
    exact = share < 1e-6
    xyz[exact] = track.xyz[before][exact]  # a neighbour that is missing does not spoil a frame that needs only one
    ended = share > 1 - 1e-6
    xyz[ended] = track.xyz[after][ended]
    xyz[(span > config.max_gap) & ~exact & ~ended] = np.nan
    return xyz, time, track.frame[np.where(share < 0.5, before, after)]


def join(windows: Sequence[Windows]) -> dict[str, Any]:
    """Windows of all tracks in one: xyz, frame, start and window_track, as the record Sequences wants them."""
    offsets = np.cumsum([0, *(len(w.frame) for w in windows[:-1])])
    return {
        "xyz": np.concatenate([w.xyz for w in windows]),
        "frame": np.concatenate([w.frame for w in windows]),
        "start": np.concatenate([w.start + offset for w, offset in zip(windows, offsets, strict=True)]),
        "window_track": np.concatenate([np.full(len(w.start), i) for i, w in enumerate(windows)]),
    }
