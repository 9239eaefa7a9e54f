"""Probes against a gallery: distances in blocks of probes, and the pairs that do not count."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray, TextArray
from gaitreid.pose.errors import FormatError
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.records import Embeddings, Ranking


@dataclass(frozen=True, eq=False)
class Comparison:
    """Who is compared with whom.

    Attributes:
        probe, gallery: rows of items, rising; an item is a track or a window, by `config.unit`.
    """

    embeddings: Embeddings
    probe: IntArray
    gallery: IntArray
    config: MatchConfig

    def labels(self, name: str, items: IntArray) -> TextArray:
        """A label (a field of `Tracks`) of items."""
        column: TextArray = getattr(self.embeddings, name)
        return column[item_tracks(self.embeddings, self.config.unit)[items]]

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Block by block of probes: which rows of `probe`, and their distances (B, G), infinite where a pair does not count."""
        vectors = _vectors(self.embeddings, self.config)
        against = vectors[self.gallery]
        excluded = _Exclusion(self)
        for first in range(0, len(self.probe), self.config.block):
            rows = slice(first, min(first + self.config.block, len(self.probe)))
            distance = _distances(vectors[self.probe[rows]], against, self.config.metric)
            distance[excluded(rows)] = np.inf
            yield rows, distance


def compare(embeddings: Embeddings, probe_tracks: IntArray, gallery_tracks: IntArray, config: MatchConfig) -> Comparison:
    """A comparison of tracks, or of all windows of these tracks.

    Args:
        probe_tracks, gallery_tracks: rows of `embeddings`' tracks in any order; repeats count once.
    """
    track = item_tracks(embeddings, config.unit)
    probe, gallery = (np.flatnonzero(np.isin(track, rows)) for rows in (probe_tracks, gallery_tracks))
    return Comparison(embeddings, probe, gallery, config)


def item_tracks(embeddings: Embeddings, unit: str) -> IntArray:
    """Row of the track of each item: of each window, or the tracks themselves."""
    return embeddings.window_track if unit == "window" else np.arange(len(embeddings.video))


def ranking_tracks(ranking: Ranking, embeddings: Embeddings) -> tuple[IntArray, IntArray]:
    """Rows of the tracks of the probes (P,) and of the ranked gallery items (P, R), -1 where there is none."""
    track = item_tracks(embeddings, ranking.unit)
    return track[ranking.probe], np.where(ranking.order < 0, -1, track[ranking.order])


class _Exclusion:
    """Which pairs do not count, by `MatchConfig.exclude`.

    same-recording: both of one walk, over all its views, so of one video at least. same-window: an item with itself.
    overlap: items of one track that share frames. nothing: every pair counts, even an item with itself.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.of = comparison
        embeddings, window = comparison.embeddings, comparison.config.unit == "window"
        track = item_tracks(embeddings, comparison.config.unit)
        self.item = np.arange(len(track))
        self.recording = np.unique(embeddings.recording, return_inverse=True)[1][track]
        self.track = track
        # A track's own frames are all of them: two tracks share frames only where they are the same one.
        self.frames = embeddings.window_frame if window else np.zeros((len(track), 2), dtype=np.int64)

    def __call__(self, rows: slice) -> BoolArray:
        """Whether pairs of these rows of probes with the gallery are excluded (B, G)."""
        probe, gallery, rule = self.of.probe[rows][:, None], self.of.gallery[None, :], self.of.config.exclude
        if rule == "same-recording":
            return np.equal(self.recording[probe], self.recording[gallery])
        if rule == "same-window":
            return np.equal(probe, gallery)
        if rule == "overlap":
            first, last = self.frames[:, 0], self.frames[:, 1]
            shared = (first[probe] <= last[gallery]) & (first[gallery] <= last[probe])
            return shared & np.equal(self.track[probe], self.track[gallery])
        return np.zeros(np.broadcast_shapes(probe.shape, gallery.shape), dtype=np.bool_)


def _vectors(embeddings: Embeddings, config: MatchConfig) -> NDArray[np.float64]:
    """Vectors of the items, of length 1 for the cosine."""
    stored: FloatArray = embeddings.window if config.unit == "window" else embeddings.vector
    vectors = stored.astype(np.float64)
    if not np.isfinite(vectors).all():
        raise FormatError(f"embeddings by '{embeddings.encoder}' are not all finite: train the encoder again, then encode")
    if config.metric == "cosine":
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1)
    return vectors


def _distances(probe: NDArray[np.float64], gallery: NDArray[np.float64], metric: str) -> NDArray[np.float32]:
    """All distances (B, G): Euclidean, or 1 - cosine (1 for a zero vector).

    In double precision, since the expanded square loses half the digits where two vectors are close.
    """
    product = probe @ gallery.T
    if metric == "cosine":
        return np.clip(1 - product, 0, 2).astype(np.float32)
    square = (probe**2).sum(1)[:, None] + (gallery**2).sum(1)[None, :] - 2 * product
    return np.asarray(np.sqrt(np.maximum(square, 0)), dtype=np.float32)
