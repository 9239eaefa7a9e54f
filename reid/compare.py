"""Probes against a gallery: distances in blocks of probes, and the pairs that do not count."""

import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray, TextArray
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.records import Embeddings, Ranking
from gaitreid.reid.rerank import EXPANSION, Reranking

THREADS = min(4, os.cpu_count() or 1)
SATURATING = ("robust", "alike")  # metrics that compare part by part
SATURATION = 20.0  # of `robust`; distances are in units of their mean over pairs, as `fuse` makes them
NEAR = 0.15  # of `alike`: a distance that counts half of the most that one can


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

    def blocks(self) -> list[slice]:
        """Rows of `probe`, cut so that a block holds about `config.block` pairs."""
        size = max(1, self.config.block // max(1, len(self.gallery)))
        return [slice(first, min(first + size, len(self.probe))) for first in range(0, len(self.probe), size)]

    def distances(self, rows: slice) -> NDArray[np.float32]:
        """Of these rows of probes to the whole gallery (B, G), infinite where a pair does not count."""
        result = self.against(self.vectors[self.probe[rows]])
        self.exclusion.remove(rows, result)
        if self.config.rerank:
            mine, theirs = (np.searchsorted(self.everybody, side) for side in (self.probe[rows], self.gallery))
            return self.reranking.distances(mine, theirs, result)
        return result

    @cached_property
    def everybody(self) -> IntArray:
        """Rows of the items that are probes, gallery items or both, rising (n,)."""
        return np.union1d(self.probe, self.gallery)

    @cached_property
    def reranking(self) -> Reranking:
        """The neighbours of everybody; an item is its own nearest whatever the rule of exclusion."""
        among = Comparison(self.embeddings, self.everybody, self.everybody, replace(self.config, rerank=0))
        size = min(max(self.config.rerank + 1, EXPANSION), len(self.everybody))
        order = np.empty((len(self.everybody), size), dtype=np.int64)
        near = np.empty(order.shape)
        longest = np.empty(len(order))
        for rows in among.blocks():
            distance = among.distances(rows)
            longest[rows] = np.where(np.isfinite(distance), distance, 0).max(axis=1)
            distance[np.arange(len(distance)), np.arange(rows.start, rows.stop)] = -1
            nearest = np.argsort(distance, axis=1, kind="stable")[:, :size]
            order[rows] = nearest
            near[rows] = np.take_along_axis(distance, nearest, 1).clip(0, longest[rows][:, None])
        return Reranking(order, near, longest, self.config.rerank)

    @cached_property
    def exclusion(self) -> "Exclusion":
        """The pairs that do not count."""
        return Exclusion(self)

    @cached_property
    def against(self) -> "Against":
        """Distances to the gallery."""
        return Against(
            self.vectors[self.gallery], self.config.metric, 1 if self.config.learns else self.embeddings.parts, self.context
        )

    @cached_property
    def vectors(self) -> NDArray[np.float64]:
        """Of all items; every part of length 1 for the cosine, and without context where the metric knows none."""
        of = self.embeddings
        stored: FloatArray = of.window if self.config.unit == "window" else of.vector
        if not np.isfinite(stored).all():
            raise FormatError(f"embeddings by '{of.encoder}' are not all finite: train the encoder again, then encode")
        if not self.context:
            stored = divided(stored, of.parts, of.context)[0].reshape(len(stored), -1)
        if self.config.learns:
            return stored.astype(np.float64) @ self._learnt(stored)
        return directions(stored, of.parts) if self.config.metric == "cosine" else stored.astype(np.float64)

    def _learnt(self, vectors: FloatArray) -> NDArray[np.float64]:
        """The linear map that LMNN or ITML learn from the gallery (D, D').

        Raises:
            UsageError: the gallery's labels would tell of the probes, or it has none.
        """
        from gaitreid.reid.metric_learning import LEARNT

        subject = self.labels("subject", self.gallery)
        if np.isin(self.labels("recording", self.probe), self.labels("recording", self.gallery)).any():
            raise UsageError(
                f"--metric {self.config.metric} learns from the gallery: no recording may be in both, probes and gallery"
            )
        known = self.gallery[subject != ""]
        people, label = np.unique(subject[subject != ""], return_inverse=True)
        if len(people) < 2:
            raise UsageError(f"--metric {self.config.metric} learns from the gallery: it needs two people of known names there")
        return np.asarray(LEARNT[self.config.metric](vectors[known], label), dtype=np.float64)

    @property
    def context(self) -> int:
        """Numbers of context in each part of `vectors`."""
        return self.embeddings.context if self.config.metric in SATURATING else 0

    @cached_property
    def limit(self) -> float:
        """A distance that none exceeds."""
        if self.config.rerank:
            return 1.0
        if self.config.metric == "cosine":
            return 2.0
        farthest = float(2 * np.sqrt((self.vectors**2).sum(axis=1).max(initial=0.0)))
        if self.config.metric in SATURATING:
            return float(saturated(np.array([max(farthest, 1.0)], dtype=np.float32), self.config.metric)[0])
        return farthest


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


def _people(embeddings: Embeddings) -> TextArray:
    """Subject of each track; a text of its own where it is unknown."""
    unknown = np.array([f"?{k}" for k in range(len(embeddings.subject))])
    return np.where(embeddings.subject == "", unknown, embeddings.subject)


class Exclusion:
    """Which pairs do not count, by `MatchConfig.exclude`.

    same-recording: both of one walk, over all its views, so of one video at least. same-window: an item with itself.
    overlap: items of one track that share frames. same-view: of one person in one view (an unknown person is somebody new in
    every track). nothing: every pair counts, even an item with itself.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.of = comparison
        embeddings, window = comparison.embeddings, comparison.config.unit == "window"
        track = item_tracks(embeddings, comparison.config.unit)
        self.item = np.arange(len(track))
        self.recording, self.person, self.view = (
            np.unique(column, return_inverse=True)[1][track]
            for column in (embeddings.recording, _people(embeddings), embeddings.view)
        )
        self.track = track
        # A track's own frames are all of them: two tracks share frames only where they are the same one.
        self.frames = embeddings.window_frame if window else np.zeros((len(track), 2), dtype=np.int64)

    def remove(self, rows: slice, distance: NDArray[np.float32]) -> None:
        """Put infinity where pairs of these rows of probes with the gallery do not count: distance (B, G)."""
        probe, gallery, rule = self.of.probe[rows][:, None], self.of.gallery[None, :], self.of.config.exclude
        if rule == "same-recording":
            distance[np.equal(self.recording[probe], self.recording[gallery])] = np.inf
        elif rule == "same-window":
            distance[np.equal(probe, gallery)] = np.inf
        elif rule == "same-view":
            distance[np.equal(self.person[probe], self.person[gallery]) & np.equal(self.view[probe], self.view[gallery])] = np.inf
        elif rule == "overlap":
            first, last = self.frames[:, 0], self.frames[:, 1]
            shared = (first[probe] <= last[gallery]) & (first[gallery] <= last[probe])
            distance[shared & np.equal(self.track[probe], self.track[gallery])] = np.inf


def _parted(vectors: Any, parts: int) -> Any:
    """(N, ...) -> (N, P, ...), be N 0."""
    return vectors.reshape(len(vectors), parts, math.prod(vectors.shape[1:]) // parts)


def directions(vectors: FloatArray, parts: int = 1) -> NDArray[np.float64]:
    """Vectors (N, D) with every part of length 1; where it is zero it stays so."""
    split = _parted(vectors.astype(np.float64), parts)
    length = np.linalg.norm(split, axis=2, keepdims=True)
    return np.asarray((split / np.where(length > 0, length, 1)).reshape(vectors.shape))


def divided(vectors: Any, parts: int, context: int) -> tuple[Any, Any]:
    """Vectors (N, P x (D + C)) as what their parts are (N, P, D), and how they were seen (N, P, C), both views."""
    split = _parted(vectors, parts)
    size = split.shape[2] - context
    return split[:, :, :size], split[:, :, size:]


def saturated(distance: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """What a part's Euclidean distance d counts: log(1 + 20 d) for `robust`, d^2 / (d^2 + 0.15^2) for `alike`.

    A coat changes the trunk of everybody in the gallery by more than people differ in it; of a sum of distances it would take
    all. A sum of logarithms leaves the order to the other parts. So does Geman and McClure's estimator (1987), for which parts
    that differ are all about as far, by whatever they differ: those that are alike decide. That finds who of a gallery it is
    more often; whether it is anybody of it the logarithms tell better, since a stranger, too, is often like somebody in one part.
    """
    if metric == "alike":
        square = distance * distance
        return np.asarray(square / (square + np.float32(NEAR**2)), dtype=np.float32)
    return np.asarray(np.log1p(np.float32(SATURATION) * distance), dtype=np.float32)


def neither(metric: str) -> float:
    """What the mean distance counts, which speaks neither for nor against."""
    return float(saturated(np.ones(1, dtype=np.float32), metric)[0])


def like_with_like(
    distance: NDArray[np.float32], apart: NDArray[np.floating[Any]], known: NDArray[np.bool_], metric: str
) -> NDArray[np.float32]:
    """What saturated distances of parts count, by the squares of how far apart they were seen and by whether both were."""
    alike = known * np.exp(-apart)
    return np.asarray(alike * distance + (1 - alike) * neither(metric), dtype=np.float32)


class Against:
    """Distances to a gallery (G, D), the mean over the parts of: Euclidean, 1 - cosine (1 for a zero vector), or `saturated`.

    In double precision, since the expanded square loses half the digits where two vectors are close.

    Args:
        gallery: for the cosine `directions`.
        parts: stretches of equal length that a vector has, such as the strips of a body (GaitGL, GaitTAKE).
        context: numbers at the end of each part that say how a walk was seen (`robust`, `alike`). Where those of a probe and a
            gallery item are c apart, the part counts by exp(-c^2), and for the rest what tells nothing: a part that was seen
            from elsewhere, or at another pace, is no reason to prefer anybody. Nor is one that is all zeros: it was not seen.
    """

    def __init__(self, gallery: NDArray[np.float64], metric: str, parts: int = 1, context: int = 0) -> None:
        self.metric, self.parts, self.context = metric, parts, context
        shape, self.seen = divided(gallery, parts, context)
        split = list(shape.transpose(1, 0, 2)) if metric != "cosine" else [gallery]  # cosines add up to one product
        # The square of the gallery vector comes as one more column, so that the product has it added.
        self.gallery = [np.column_stack([g, (g**2).sum(1)]) if metric != "cosine" else g for g in split]

    def __call__(self, probe: NDArray[np.float64]) -> NDArray[np.float32]:
        """All distances: (B, D) -> (B, G)."""
        if self.metric == "cosine":
            product = (probe * (-1 / self.parts)) @ self.gallery[0].T
            product += 1
            return np.asarray(np.clip(product, 0, 2, out=product), dtype=np.float32)
        total = None
        shape, seen = divided(probe, self.parts, self.context)
        for part, g in enumerate(self.gallery):
            p = shape[:, part]
            product = np.column_stack([-2 * p, np.ones(len(p))]) @ g.T
            product += (p**2).sum(1)[:, None]
            distance = np.asarray(np.sqrt(np.maximum(product, 0, out=product), out=product), dtype=np.float32)
            if self.metric in SATURATING:
                distance = saturated(distance, self.metric)
            if self.context:
                known = p.any(axis=1)[:, None] & g[:, :-1].any(axis=1)
                distance = like_with_like(distance, _squares(seen[:, part], self.seen[:, part]), known, self.metric)
            total = distance if total is None else total + distance
        assert total is not None
        return total / np.float32(self.parts) if self.parts > 1 else total


def _squares(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squares of Euclidean distances, without their rounding errors near zero: (B, C), (G, C) -> (B, G)."""
    return np.asarray(sum((a[:, k, None] - b[None, :, k]) ** 2 for k in range(a.shape[1])))
