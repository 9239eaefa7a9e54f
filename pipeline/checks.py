"""What a record from a file must hold beyond dims and dtypes, before anything relies on it: a file may come from anyone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gaitreid.pose.arrays import FloatArray, IntArray, Record
from gaitreid.pose.errors import FormatError
from gaitreid.pose.records import Silhouettes, Track2D, Track3D
from gaitreid.pose.skeleton import Skeleton
from gaitreid.reid.records import Cohort, Embeddings, Gallery, Ranking, Sequences, Tracks, Walks

LAST = 10_000_000  # frames: more than 100 hours
LATEST = 1e8  # seconds: three years
FARTHEST = 1e6  # pixels or metres


def check(record: Record) -> None:
    """Raises: FormatError: a value is one that no file of this kind can hold; the message names the field."""
    for kind, rule in RULES:
        if isinstance(record, kind):
            rule(record)


def _track(of: Any) -> None:
    _require(_rises(of.frame, 0, LAST), "frame", f"must rise and lie in 0 to {LAST}")


def _keypoints(of: Any) -> None:
    falls = bool((of.time[1:] < of.time[:-1]).any())
    _require(_within(of.time, LATEST) and not falls, "time", "must be finite and not fall")
    _require(_within(of.score, FARTHEST), "score", "must be finite")
    for name in ("box", "xy", "world", "xyz"):
        if hasattr(of, name):
            _require(_within(getattr(of, name), FARTHEST, missing=True), name, f"must lie within {FARTHEST:g}, or be NaN")
    _skeleton(of.skeleton, of.score.shape[1])


def _tracks(of: Tracks) -> None:
    places = any(bad in video for video in of.video.tolist() for bad in "/\0")
    _require(not places, "video", "must hold names of files without folders")


def _sequences(of: Sequences) -> None:
    _require(of.length >= 2, "length", "must be 2 or more")
    _require(0 <= of.fps <= FARTHEST, "fps", f"must lie in 0 to {FARTHEST:g}")
    _require(_in_range(of.start, len(of.xyz) - of.length + 1), "start", "must be rows that a whole window follows")
    _require(_in_range(of.window_track, len(of.video)), "window_track", "must be rows of tracks")
    _require(_within(of.xyz, FARTHEST, missing=True), "xyz", f"must lie within {FARTHEST:g}, or be NaN")
    _skeleton(of.skeleton, of.xyz.shape[1])


def _walks(of: Walks) -> None:
    _require(bool((of.length >= 1).all()), "length", "must be 1 or more")
    _require(_in_range(of.start, len(of.frame)) and _in_range(of.start + of.length - 1, len(of.frame)), "start", "must be rows")
    _require(_within(of.keypoints, FARTHEST, missing=True), "keypoints", f"must lie within {FARTHEST:g}, or be NaN")
    _require(_within(of.keypoints[..., 2], FARTHEST), "keypoints", "must have finite scores")
    _require(_within(of.box, FARTHEST, missing=True), "box", f"must lie within {FARTHEST:g}, or be NaN")


def _embeddings(of: Embeddings) -> None:
    _require(_in_range(of.window_track, len(of.video)), "window_track", "must be rows of tracks")
    _require(_within(of.window), "window", "must be finite")
    _vectors(of)
    _parts(of)


def _gallery(of: Gallery) -> None:
    names = of.name.tolist()
    _require(all(n.strip() and n.isprintable() for n in names), "name", "must be names in letters that can be printed")
    _vectors(of)
    _parts(of)


def _vectors(of: Any) -> None:
    _require(_within(of.vector), "vector", "must be finite")


def _parts(of: Embeddings | Gallery) -> None:
    size = of.vector.shape[1]
    _require(of.parts >= 1 and size % of.parts == 0, "parts", f"must divide the {size} numbers of a vector")
    _require(0 <= of.context < max(size // of.parts, 1), "context", "must leave something of every part")


def _ranking(of: Ranking) -> None:
    _require(bool((of.order >= -1).all()), "order", "must be rows, or -1")
    _require(bool((of.probe >= 0).all() and (of.gallery >= 0).all()), "probe and gallery", "must be rows")
    _require(of.unit in ("track", "window"), "unit", "must be track or window")


RULES: tuple[tuple[type[Record], Callable[[Any], None]], ...] = (
    (Track2D, _track),
    (Track2D, _keypoints),
    (Track3D, _track),
    (Track3D, _keypoints),
    (Silhouettes, _track),
    (Tracks, _tracks),
    (Sequences, _sequences),
    (Walks, _walks),
    (Embeddings, _embeddings),
    (Gallery, _gallery),
    (Cohort, _vectors),
    (Ranking, _ranking),
)


def _skeleton(of: Skeleton, joints: int) -> None:
    _require(len(set(of.joints)) == len(of.joints) == joints, "skeleton", f"must name {joints} different joints")


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise FormatError(f"{name} {what}")


def _rises(values: IntArray, low: int, high: int) -> bool:
    return not len(values) or bool((values[1:] > values[:-1]).all() and low <= values[0] and values[-1] <= high)


def _in_range(rows: IntArray, count: int) -> bool:
    return not len(rows) or bool(rows.min() >= 0 and rows.max() < count)


def _within(values: FloatArray, limit: float = np.inf, *, missing: bool = False) -> bool:
    """Whether all numbers are finite and no farther from 0 than a limit; NaN is one where it may be missing."""
    if not values.size:
        return True
    if missing:
        low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
        return not (low < -limit or high > limit or np.isinf(low) or np.isinf(high))
    low, high = values.min(), values.max()  # NaN where any is
    return bool(np.isfinite(low) and np.isfinite(high) and -limit <= low and high <= limit)
