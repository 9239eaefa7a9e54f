"""Rank the gallery for every probe, and gather what the figures need, without holding all distances at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray, TextArray
from gaitreid.pose.errors import EmptyError
from gaitreid.reid.compare import THREADS, Comparison, compare, ranking_tracks
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


BINS = 2**18  # of the grid that distances are counted on where there are too many to keep


@dataclass(frozen=True, kw_only=True, eq=False)
class Verification:
    """Claims that are true (genuine) and that are not (impostor), counted at every distance that a genuine one has.

    Where there are more than `MatchConfig.block` claims they are counted on a grid of BINS steps from 0 to the largest possible
    distance, so that memory does not grow with them; those that fall into one step count as equally far.

    Attributes:
        threshold: distances of genuine claims, rising, each once (M,).
        genuine: genuine claims at most that far apart (M,).
        below, upto: impostor claims nearer than that, and at most that far apart (M,).
        impostors: impostor claims in all.
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
        own, other: distance of the nearest item of the probe's own and of any other subject (P,), infinite where there is none.
        views: known views of the gallery, sorted (V,).
        view: of each probe (P,), empty where unknown.
        view_first: rank of the first hit when only the gallery items of one view are ranked, 0 where there is none (P, V).
        verification: claims that a probe and a gallery item are of one subject, both known.
        people: claims that a probe is somebody of the gallery, by the nearest item of theirs.
    """

    ranking: Ranking
    config: MatchConfig
    subject: TextArray
    compared: IntArray
    hit_probe: IntArray
    hit_rank: IntArray
    gallery_subjects: TextArray
    own: FloatArray
    other: FloatArray
    views: TextArray
    view: TextArray
    view_first: IntArray
    verification: Verification
    people: Verification


def rank(embeddings: Embeddings, probe_tracks: IntArray, gallery_tracks: IntArray, config: MatchConfig) -> Matches:
    """Rank the gallery for every probe, nearest first; items equally far are in the order of their rows.

    Time grows with P x G x (D + log G), memory with config.block, and with P x (top + V) and the number of hits.

    Args:
        probe_tracks, gallery_tracks: rows of `embeddings`' tracks.

    Raises:
        EmptyError: not one pair is left to compare.
    """
    comparison = compare(embeddings, probe_tracks, gallery_tracks, config)
    gather = _Gather(comparison)
    comparison.against  # noqa: B018  before the threads, each of which would work it out
    if config.rerank:
        comparison.reranking.weights  # noqa: B018
    # numpy lets go of the interpreter in all that takes time here; threads of the matrix products beside these would wait in vain
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(gather.add, comparison.blocks()):
            pass
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
        gallery_subject = comparison.labels("subject", gallery)
        self.by_subject, self.by_view = _Groups(gallery_subject), _Groups(comparison.labels("view", gallery))
        codes = {subject: k for k, subject in enumerate(np.union1d(self.subject, gallery_subject).tolist()) if subject}
        self.code = np.array([codes.get(s, -2) for s in self.subject.tolist()], dtype=np.int32)
        self.gallery_code = np.array([codes.get(s, -1) for s in gallery_subject.tolist()], dtype=np.int32)
        self.group_code = np.array([codes[s] for s in self.by_subject.names.tolist()], dtype=np.int32)
        top = min(comparison.config.top, len(gallery))
        self.order = np.full((len(probe), top), -1, dtype=np.int32)
        self.distance = np.full((len(probe), top), np.nan, dtype=np.float32)
        self.compared = np.zeros(len(probe), dtype=np.int64)
        self.own, self.other = (np.full(len(probe), np.inf, dtype=np.float32) for _ in range(2))
        self.view_first = np.zeros((len(probe), len(self.by_view.names)), dtype=np.int32)
        self.hits: dict[int, tuple[IntArray, IntArray]] = {}
        bins = BINS if len(probe) * len(gallery) > comparison.config.block else 0
        self.verification, self.people = (_Claims(comparison.limit, bins) for _ in range(2))

    def add(self, rows: slice) -> None:
        """Take a block of probes; threads may take one each at the same time."""
        distance = self.of.distances(rows)
        counts = np.isfinite(distance)
        same = np.equal(self.code[rows, None], self.gallery_code) & counts
        self.compared[rows] = counts.sum(1)
        order = _order(distance)
        probe, place = np.nonzero(np.take_along_axis(same, order, 1))
        self.hits[rows.start] = (probe + rows.start, place + 1)
        first = order[:, : self.order.shape[1]]
        nearest = np.take_along_axis(distance, first, 1)
        self.order[rows] = np.where(np.isfinite(nearest), self.of.gallery[first], -1)
        self.distance[rows] = np.where(np.isfinite(nearest), nearest, np.nan)
        known = self.code[rows] >= 0
        if known.any():
            self._add_labelled(rows, distance, same, known)

    def _add_labelled(self, rows: slice, distance: NDArray[np.float32], same: BoolArray, known: BoolArray) -> None:
        claimed = distance
        if not known.all() or (self.gallery_code < 0).any():
            claimed = distance[np.ix_(known, self.gallery_code >= 0)]
        self.verification.add(distance[same], claimed)
        nearest = self.by_subject.reduce(distance)
        own = np.equal(self.code[rows, None], self.group_code)
        self.people.add(nearest[own], nearest[known])
        self.own[rows] = np.where(own, nearest, np.inf).min(1, initial=np.inf)
        self.other[rows] = np.where(own, np.inf, nearest).min(1, initial=np.inf)
        for view, items in enumerate(self.by_view.items):
            self.view_first[rows, view] = _first_hit(distance[:, items], same[:, items])

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
            hit_probe=np.concatenate([probe for _, (probe, _) in sorted(self.hits.items())]),
            hit_rank=np.concatenate([place for _, (_, place) in sorted(self.hits.items())]),
            gallery_subjects=self.by_subject.names,
            own=self.own,
            other=self.other,
            views=self.by_view.names,
            view=self.view,
            view_first=self.view_first,
            verification=self.verification.counted(),
            people=self.people.counted(),
        )


class _Groups:
    """Columns by label: names are the known labels, sorted, and items the columns that each is at, rising."""

    def __init__(self, labels: TextArray) -> None:
        self.names, group = np.unique(labels, return_inverse=True)
        order = np.argsort(group, kind="stable")
        edges = np.searchsorted(group[order], np.arange(len(self.names)))
        if len(self.names) and not self.names[0]:  # the unknown come first
            self.names, edges = self.names[1:], edges[1:]
        self.columns = order[edges[0] :] if len(edges) else order[:0]
        self.edges = edges - edges[0] if len(edges) else edges
        self.items = np.split(self.columns, self.edges[1:]) if len(edges) else []

    def reduce(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """The least of each group: (B, G) -> (B, groups)."""
        if not len(self.edges):
            return np.empty((len(distance), 0), dtype=np.float32)
        return np.minimum.reduceat(distance[:, self.columns], self.edges, axis=1)


class _Claims:
    """Counts claims by distance: as they are, or on a grid of `bins` steps and one more for pairs that do not count."""

    def __init__(self, limit: float, bins: int) -> None:
        self.step, self.bins = max(limit, 1e-30) / max(bins - 1, 1), bins
        self.kept: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        self.grid = np.zeros((2, bins + 1), dtype=np.int64)
        self.lock = Lock()

    def add(self, genuine: NDArray[np.float32], every: NDArray[np.float32]) -> None:
        """Args: distances of genuine claims, and of all of them; infinite ones do not count."""
        if self.bins:
            counts = [np.bincount(self._places(values), minlength=self.bins + 1) for values in (genuine, every)]
            with self.lock:
                self.grid += counts
        else:
            with self.lock:
                for kept, values in zip(self.kept, (genuine, every), strict=True):
                    kept.append(values[np.isfinite(values)])

    def counted(self) -> Verification:
        if self.bins:
            genuine, every = self.grid[:, : self.bins]
            place = np.flatnonzero(genuine)
            threshold, count = np.asarray((place + 1) * self.step), genuine[place]
            within = np.concatenate([[0], np.cumsum(every)])
            below, upto = within[place], within[place + 1]
            total = int(every.sum())
        else:
            true, claims = (np.concatenate(side) if side else np.empty(0, dtype=np.float32) for side in self.kept)
            threshold, count = np.unique(true, return_counts=True)
            claims = np.sort(claims)
            below = np.asarray(np.searchsorted(claims, threshold, "left"))
            upto = np.asarray(np.searchsorted(claims, threshold, "right"))
            total = len(claims)
        so_far: IntArray = np.cumsum(count)
        return Verification(
            threshold=threshold,
            genuine=so_far,
            below=below - (so_far - count),
            upto=upto - so_far,
            impostors=total - int(count.sum()),
        )

    def _places(self, values: NDArray[np.float32]) -> IntArray:
        scaled = values.ravel() * np.float32(1 / self.step)
        places: IntArray = np.minimum(scaled, self.bins, out=scaled).astype(np.int64)
        return places


def _order(distance: NDArray[np.float32]) -> IntArray:
    """Columns by rising distance, equal ones by column: what a stable argsort gives, several times as fast.

    Distances are not negative, so their bits sort as they do; the column goes into the lower half of a 64-bit key.
    """
    key = np.empty(distance.shape, dtype="<u8")
    halves = key.view("<u4")
    halves[:, 0::2] = np.arange(distance.shape[1], dtype=np.uint32)
    halves[:, 1::2] = (distance + np.float32(0)).view(np.uint32)  # + 0 makes -0 a 0
    key.sort(axis=1)
    return np.ascontiguousarray(halves[:, 0::2]).view(np.int32)


def _first_hit(distance: FloatArray, same: BoolArray) -> IntArray:
    """Rank of the first hit among some columns (B,), 0 where there is none; equal distances are in the order of columns."""
    own = np.where(same, distance, np.inf)
    column = own.argmin(1)
    nearest = np.take_along_axis(own, column[:, None], 1)
    before = (distance < nearest).sum(1) + ((distance == nearest) & (np.arange(distance.shape[1]) < column[:, None])).sum(1)
    return np.where(np.isfinite(nearest[:, 0]), before + 1, 0)
