"""Rank the gallery for every probe, and gather what the figures need, without holding all distances at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray, TextArray
from gaitreid.pose.errors import EmptyError
from gaitreid.reid.compare import Comparison, compare, ranking_tracks
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.records import Embeddings, Ranking

CSV_COLUMNS = (
    "probe_video",
    "probe_track",
    "probe_subject",
    "rank",
    "gallery_video",
    "gallery_track",
    "gallery_subject",
    "distance",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Verification:
    """Pairs of a probe and a gallery item, both of known subjects, counted at every distance that a genuine pair has.

    Attributes:
        threshold: distances of genuine pairs (same subject), rising, each once (M,).
        genuine: genuine pairs at most that far apart (M,).
        below, upto: impostor pairs (other subject) nearer than that, and at most that far apart (M,).
        impostors: impostor pairs in all.
    """

    threshold: FloatArray
    genuine: IntArray
    below: IntArray
    upto: IntArray
    impostors: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """A ranking and what the figures need of the whole of it. A hit is a gallery item of the probe's subject.

    Attributes:
        subject: of each probe (P,), empty where unknown.
        compared: gallery items each probe was compared with (P,).
        hit_probe, hit_rank: row of the probe and rank from 1 of every hit, by probe, then rank (H,).
        gallery_subjects: known subjects of the gallery, sorted (S,).
        nearest: distance of the nearest item of each gallery subject (P, S), infinite where the probe was compared with none.
        views: known views of the gallery, sorted (V,).
        view: of each probe (P,), empty where unknown.
        view_hit: within one gallery view, whether the nearest item is a hit: 1 or 0, -1 where there is none to be had (P, V).
    """

    ranking: Ranking
    config: MatchConfig
    subject: TextArray
    compared: IntArray
    hit_probe: IntArray
    hit_rank: IntArray
    gallery_subjects: TextArray
    nearest: NDArray[np.float32]
    views: TextArray
    view: TextArray
    view_hit: IntArray
    verification: Verification


def rank(embeddings: Embeddings, probe_tracks: IntArray, gallery_tracks: IntArray, config: MatchConfig) -> Matches:
    """Rank the gallery for every probe, nearest first; items equally far are in the order of their rows.

    Time grows with P x G x (D + log G), memory with config.block x G.

    Args:
        probe_tracks, gallery_tracks: rows of `embeddings`' tracks.

    Raises:
        EmptyError: not one pair is left to compare.
    """
    comparison = compare(embeddings, probe_tracks, gallery_tracks, config)
    gather = _Gather(comparison)
    for rows, distance in comparison.blocks():
        gather.add(rows, distance)
    if not gather.compared.any():
        raise EmptyError(
            f"match: nothing to compare: {len(comparison.probe)} probe and {len(comparison.gallery)} gallery {config.unit}s, "
            f"all pairs excluded as {config.exclude}; more videos, other selectors or another --exclude would help"
        )
    return gather.matches()


def ranking_rows(ranking: Ranking, embeddings: Embeddings) -> Iterator[tuple[str, int, str, int, str, int, str, float]]:
    """Rows of ranking.csv, `CSV_COLUMNS`: probe by probe, rank 1 first."""
    probes, found = ranking_tracks(ranking, embeddings)
    names = list(zip(embeddings.video.tolist(), embeddings.track.tolist(), embeddings.subject.tolist(), strict=True))
    for probe, items, distances in zip(probes, found, ranking.distance, strict=True):
        for place, (item, distance) in enumerate(zip(items, distances, strict=True), 1):
            if item >= 0:
                yield (*names[probe], place, *names[item], float(f"{distance:.7g}"))


class _Gather:
    """Collects the matches of a comparison, block by block."""

    def __init__(self, comparison: Comparison) -> None:
        self.of = comparison
        probe, gallery = comparison.probe, comparison.gallery
        self.subject, self.view = comparison.labels("subject", probe), comparison.labels("view", probe)
        self.gallery_subject = comparison.labels("subject", gallery)
        self.subjects, self.by_subject = _groups(self.gallery_subject)
        self.views, self.by_view = _groups(comparison.labels("view", gallery))
        top = min(comparison.config.top, len(gallery))
        self.order = np.full((len(probe), top), -1, dtype=np.int32)
        self.distance = np.full((len(probe), top), np.nan, dtype=np.float32)
        self.compared = np.zeros(len(probe), dtype=np.int64)
        self.nearest = np.full((len(probe), len(self.subjects)), np.inf, dtype=np.float32)
        self.view_hit = np.full((len(probe), len(self.views)), -1, dtype=np.int8)
        self.hits: list[tuple[IntArray, IntArray]] = []
        self.genuine: list[FloatArray] = []

    def add(self, rows: slice, distance: NDArray[np.float32]) -> None:
        counts = np.isfinite(distance)
        same = self.same(rows) & counts
        self.compared[rows] = counts.sum(1)
        order = np.argsort(distance, axis=1, kind="stable")
        probe, place = np.nonzero(np.take_along_axis(same, order, 1))
        self.hits.append((probe + rows.start, place + 1))
        self.genuine.append(distance[same])
        first = order[:, : self.order.shape[1]]
        nearest = np.take_along_axis(distance, first, 1)
        self.order[rows] = np.where(np.isfinite(nearest), self.of.gallery[first], -1)
        self.distance[rows] = np.where(np.isfinite(nearest), nearest, np.nan)
        for subject, items in enumerate(self.by_subject):
            self.nearest[rows, subject] = distance[:, items].min(1)
        for view, items in enumerate(self.by_view):
            self.view_hit[rows, view] = _nearest_hits(distance[:, items], same[:, items])

    def same(self, rows: slice) -> BoolArray:
        subject = self.subject[rows, None]
        return np.asarray(np.equal(subject, self.gallery_subject[None, :]) & (subject != ""), dtype=np.bool_)

    def matches(self) -> Matches:
        comparison, config = self.of, self.of.config
        ranking = Ranking(
            order=self.order,
            distance=self.distance,
            probe=comparison.probe,
            gallery=comparison.gallery,
            excluded=len(comparison.gallery) - self.compared,
            unit=config.unit,
            metric=config.metric,
        )
        return Matches(
            ranking=ranking,
            config=config,
            subject=self.subject,
            compared=self.compared,
            hit_probe=np.concatenate([probe for probe, _ in self.hits]),
            hit_rank=np.concatenate([place for _, place in self.hits]),
            gallery_subjects=self.subjects,
            nearest=self.nearest,
            views=self.views,
            view=self.view,
            view_hit=self.view_hit,
            verification=self.verification(),
        )

    def verification(self) -> Verification:
        """Impostors counted in a second pass over the distances: there are too many of them to keep."""
        threshold, count = np.unique(np.concatenate(self.genuine), return_counts=True)
        below, upto, impostors = np.zeros_like(count), np.zeros_like(count), 0
        known = self.gallery_subject != ""
        if len(threshold):
            for rows, distance in self.of.blocks():
                other = ~self.same(rows) & known & (self.subject[rows, None] != "") & np.isfinite(distance)
                impostor = np.sort(distance[other])
                below += np.searchsorted(impostor, threshold, "left")
                upto += np.searchsorted(impostor, threshold, "right")
                impostors += len(impostor)
        return Verification(threshold=threshold, genuine=np.cumsum(count), below=below, upto=upto, impostors=impostors)


def _groups(labels: TextArray) -> tuple[TextArray, list[IntArray]]:
    """The known labels, sorted, and the columns that each is at."""
    known = np.unique(labels[labels != ""])
    return known, [np.flatnonzero(labels == label) for label in known]


def _nearest_hits(distance: FloatArray, same: BoolArray) -> IntArray:
    """Whether the nearest column is a hit, -1 where no column is."""
    hit = np.take_along_axis(same, distance.argmin(1)[:, None], 1)[:, 0]
    return np.where(same.any(1), hit.astype(np.int8), np.int8(-1))
