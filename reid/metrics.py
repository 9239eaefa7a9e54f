"""Figures of merit of a ranking: arrays in, numbers out; fractions, None where a figure is not defined.

Identification figures are means over the mated probes: those whose subject is in the gallery that they were compared with
(ISO/IEC 19795-1). The others could not be right; `probes_without_match` and `probes_unlabelled` count them. Gallery items
of unknown subject stay in the rankings and are nobody's hit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray, TextArray
from gaitreid.reid.match import Matches, Verification

FALSE_ACCEPT_RATES = ("0.1", "0.01", "0.001")
Floats = NDArray[np.float64]


def evaluate(matches: Matches, *, seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """All figures of plain matching, ready for JSON.

    Args:
        seed, draws: of the bootstrap.
    """
    first = first_hits(matches.hit_probe, matches.hit_rank, len(matches.subject))
    mated, curve = first > 0, cmc(first, int(matches.compared.max(initial=0)))
    per_probe = _per_probe(matches, first, len(curve))
    far, tar = roc(matches.verification)
    return {
        **_counts(matches, mated),
        **{name: _mean(values[mated]) for name, values in per_probe.items()},
        "nauc_micro_roc": area(*roc(matches.people)),
        "eer": eer(far, tar),
        "tar_at_far": _at_rates(lambda rate: tar_at_far(matches.verification, rate)),
        "dir_at_far": _at_rates(lambda rate: dir_at_far(first, matches.own, matches.other[matches.subject != ""], rate)),
        "ci95": {
            name: bootstrap(values[mated], matches.subject[mated], seed=seed, draws=draws) for name, values in per_probe.items()
        },
        "by_view": cells.table(dropped=True) if (cells := view_cells(matches)) else None,
    }


def first_hits(hit_probe: IntArray, hit_rank: IntArray, probes: int) -> IntArray:
    """Rank of the first hit of each probe (P,), 0 where there is none; arguments as in `Matches`."""
    result = np.zeros(probes, dtype=np.int64)
    result[hit_probe[::-1]] = hit_rank[::-1]  # the last to write is the first hit
    return result


def cmc(first: IntArray, ranks: int) -> Floats:
    """Cumulative match characteristic: share of mated probes with a hit among the k nearest, k = 1 ... ranks; NaN without any.

    Args:
        first: rank of each probe's first hit, 0 where there is none (P,).
    """
    found = first[first > 0]
    if not len(found):
        return np.full(ranks, np.nan)
    return np.asarray(np.cumsum(np.bincount(found, minlength=ranks + 1)[1 : ranks + 1]) / len(found), dtype=np.float64)


def chance_cmc(compared: IntArray, hits: IntArray, ranks: int) -> Floats:
    """The CMC to be expected of galleries in random order.

    A probe with m hits among n items misses k times in a row with probability (n-m)/n (n-m-1)/(n-1) ... (n-m-k+1)/(n-k+1).

    Args:
        compared, hits: n and m of each mated probe (P,).
    """
    if not len(compared):
        return np.full(ranks, np.nan)
    kinds, count = np.unique(np.stack([compared, hits], 1), axis=0, return_counts=True)
    n, m, k = kinds[:, :1], kinds[:, 1:], np.arange(ranks)
    miss = np.cumprod(np.maximum(n - m - k, 0) / np.maximum(n - k, 1), axis=1)
    return np.asarray(1 - count @ miss / len(compared), dtype=np.float64)


def average_precision(hit_probe: IntArray, hit_rank: IntArray, probes: int) -> Floats:
    """Mean over a probe's hits of the precision at the hit (P,), 0 without hits; its mean over probes is mAP."""
    hits = np.bincount(hit_probe, minlength=probes)
    before = np.cumsum(hits) - hits
    nth = np.arange(len(hit_probe)) - before[hit_probe] + 1
    return np.asarray(np.bincount(hit_probe, nth / hit_rank, probes) / np.maximum(hits, 1), dtype=np.float64)


def inverse_penalty(hit_probe: IntArray, hit_rank: IntArray, probes: int) -> Floats:
    """Number of hits over the rank of the last one (P,), 0 without hits; its mean over probes is mINP (Ye et al. 2021)."""
    last = np.ones(probes, dtype=np.int64)
    last[hit_probe] = hit_rank
    return np.asarray(np.bincount(hit_probe, minlength=probes) / last, dtype=np.float64)


def roc(pairs: Verification) -> tuple[Floats, Floats]:
    """Corners of the ROC over pairs, (0, 0) to (1, 1): false accept and true accept rates; empty if not defined."""
    if not len(pairs.threshold) or not pairs.impostors:
        return np.empty(0), np.empty(0)
    total = pairs.genuine[-1]
    before = np.concatenate([[0], pairs.genuine[:-1]])
    far = np.stack([pairs.below, pairs.upto], 1).ravel() / pairs.impostors
    tar = np.stack([before, pairs.genuine], 1).ravel() / total
    return np.concatenate([[0.0], far, [1.0]]), np.concatenate([[0.0], tar, [1.0]])


def area(far: Floats, tar: Floats) -> float | None:
    """Area under an ROC. Over `Matches.people` it is micro-averaged over (probe, gallery subject) scores, what the code released
    with Locality-Awareness-SGE prints as nAUC; the papers' nAUC is `nauc_cmc`.
    """
    return float(np.trapezoid(tar, far)) if len(far) else None


def eer(far: Floats, tar: Floats) -> float | None:
    """Equal error rate over pairs: where the ROC, its corners joined by straight lines, has FAR = 1 - TAR."""
    if not len(far):
        return None
    gap = far + tar - 1  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def tar_at_far(pairs: Verification, rate: float) -> float | None:
    """Largest share of genuine pairs within a distance that at most `rate` of the impostor pairs are within.

    With fewer than 1 / rate impostor pairs that is the share accepted with no false accept at all.
    """
    if not len(pairs.threshold) or not pairs.impostors:
        return None
    within = pairs.upto <= _allowed(rate, pairs.impostors)
    return float(pairs.genuine[within].max(initial=0) / pairs.genuine[-1])


def dir_at_far(first: IntArray, own: FloatArray, other: FloatArray, rate: float) -> float | None:
    """Open-set detection and identification rate (Phillips, Grother and Micheals 2011) at a false accept rate.

    Every probe searches twice: the gallery as it is, and the gallery without its own subject. A distance is allowed when at
    most `rate` of the second searches find anybody within it. The rate is the share of mated probes that have a hit at rank 1
    within the largest allowed distance.

    Args:
        first: rank of each probe's first hit, 0 where not mated (P,).
        own: distance of the nearest item of the probe's subject (P,).
        other: distance of the nearest item of another subject, of every probe of known subject (Q,).
    """
    other = np.sort(other[np.isfinite(other)])
    if not (first > 0).any() or not len(other):
        return None
    allowed = _allowed(rate, len(other))
    limit = other[allowed] if allowed < len(other) else np.inf
    return float(np.mean((first == 1) & (own < limit), where=first > 0))


def bootstrap(
    values: FloatArray, subjects: TextArray, *, groups: TextArray | None = None, seed: int, draws: int = 1000
) -> list[float] | None:
    """95 % interval of the mean over probes, subjects drawn with replacement; None for fewer than two subjects.

    Probes of one person are alike, so people are drawn, not probes.

    Args:
        values: of each probe (P,).
        subjects: of each probe (P,).
        groups: of each probe (P,): the mean is that over groups of their means, whatever their sizes.
    """
    names, subject = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        return None
    kinds, kind = np.unique(np.zeros(len(subject)) if groups is None else groups, return_inverse=True)
    total, count = np.zeros((2, len(names), len(kinds)))
    np.add.at(total, (subject, kind), values)
    np.add.at(count, (subject, kind), 1)
    drawn = _drawn(len(names), seed, draws)
    return _middle(_known_mean(_shares(drawn @ total, drawn @ count)))


@dataclass(frozen=True, eq=False)
class ViewCells:
    """Searches of one view's probes within one view's gallery items.

    Attributes:
        probe_views, gallery_views: names (Vp,), (Vg,).
        subject: of each probe of known subject and view (Q,), and its `view`, a row of probe_views.
        first: rank of its first hit in each gallery view, 0 where there is none to be had (Q, Vg).
    """

    probe_views: TextArray
    gallery_views: TextArray
    subject: TextArray
    view: IntArray
    first: IntArray

    def rates(self, k: int, *, dropped: bool) -> Floats:
        """Rank-k of every cell (Vp, Vg), NaN where nobody is searched for.

        Args:
            dropped: whether probes without a hit to be had are left out; they are wrong otherwise, as in OpenGait.
        """
        right, there = (self._sums(cells, np.zeros_like(self.view))[0] for cells in self._right(k, dropped))
        return _shares(right, there)

    def counts(self, *, dropped: bool) -> IntArray:
        """Probes of every cell (Vp, Vg)."""
        _, there = self._right(1, dropped)
        counts: IntArray = self._sums(there, np.zeros_like(self.view))[0].astype(np.int64)
        return counts

    def across(self, k: int, *, dropped: bool) -> float | None:
        """Rank-k across views: the mean over the other gallery views of each probe view, and of these over the probe views."""
        mean = float(self._across(self.rates(k, dropped=dropped)))
        return mean if np.isfinite(mean) else None

    def interval(self, k: int, *, dropped: bool, seed: int, draws: int = 1000) -> list[float] | None:
        """95 % interval of `across`, subjects drawn with replacement; None for fewer than two, or where `across` is."""
        names, person = np.unique(self.subject, return_inverse=True)
        if len(names) < 2:
            return None
        drawn = _drawn(len(names), seed, draws)
        right, there = (np.tensordot(drawn, self._sums(cells, person), 1) for cells in self._right(k, dropped))
        return _middle(self._across(_shares(right, there)))

    def table(self, *, dropped: bool) -> dict[str, dict[str, float | None]]:
        """Rank-1 of every cell: {probe view: {gallery view: rank-1}}."""
        rates = self.rates(1, dropped=dropped)
        return {
            str(p): {str(g): float(v) if np.isfinite(v) else None for g, v in zip(self.gallery_views, row, strict=True)}
            for p, row in zip(self.probe_views, rates, strict=True)
        }

    def _right(self, k: int, dropped: bool) -> tuple[BoolArray, BoolArray]:
        """Of each probe in each gallery view (Q, Vg): whether it is right, and whether it counts."""
        there = self.first > 0
        return there & (self.first <= k), there if dropped else np.ones_like(there)

    def _sums(self, cells: BoolArray, group: IntArray) -> Floats:
        """Over the probes of one view and one group: (Q, Vg) and (Q,) -> (groups, Vp, Vg)."""
        result = np.zeros((int(group.max(initial=0)) + 1, len(self.probe_views), cells.shape[1]))
        np.add.at(result, (group, self.view), cells)
        return result

    def _across(self, rates: Floats) -> Floats:
        """The mean that `across` is, of each of (..., Vp, Vg); NaN where there is none."""
        other = self.probe_views[:, None] != self.gallery_views[None, :]
        return _known_mean(_known_mean(np.where(other, rates, np.nan)))


def view_cells(matches: Matches) -> ViewCells | None:
    """The searches within single views; None where views are not known."""
    known = (matches.subject != "") & (matches.view != "")
    if not known.any() or not len(matches.views):
        return None
    views, view = np.unique(matches.view[known], return_inverse=True)
    return ViewCells(views, matches.views, matches.subject[known], view, matches.view_first[known])


def _counts(matches: Matches, mated: BoolArray) -> dict[str, Any]:
    ranking, config, known = matches.ranking, matches.config, matches.subject != ""
    return {
        "unit": config.unit,
        "metric": config.metric,
        "exclude": config.exclude,
        "probes": len(ranking.probe),
        "probes_without_match": int((known & ~mated).sum()),
        "probes_unlabelled": int((~known).sum()),
        "gallery_items": len(ranking.gallery),
        "subjects": len(np.union1d(matches.subject[known], matches.gallery_subjects)),
        "excluded": int(ranking.excluded.sum()),
    }


def _per_probe(matches: Matches, first: IntArray, ranks: int) -> Mapping[str, Floats]:
    """The figures that are means over probes, before the mean."""
    hits = (matches.hit_probe, matches.hit_rank, len(first))
    return {
        **{f"rank{k}": np.asarray(first <= k, dtype=np.float64) for k in (1, 5, 10)},
        "map": average_precision(*hits),
        "minp": inverse_penalty(*hits),
        "nauc_cmc": (ranks - first + 1) / max(ranks, 1),  # the mean of a step that rises at rank `first`
    }


def _at_rates(figure: Callable[[float], float | None]) -> dict[str, float | None]:
    return {rate: figure(float(rate)) for rate in FALSE_ACCEPT_RATES}


def _allowed(rate: float, impostors: int) -> int:
    """False accepts that a rate allows; a product such as 0.29 * 100 must not fall just short of 29."""
    return int(np.floor(rate * impostors + 1e-9))


def _drawn(people: int, seed: int, draws: int) -> Floats:
    """How often each person is drawn (draws, people), as many as there are, with replacement."""
    drawn = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)
    return drawn.astype(np.float64)  # numpy multiplies matrices of whole numbers many times slower


def _middle(values: Floats) -> list[float] | None:
    """The bounds of the middle 95 % of the values that are known; None where none is."""
    known = values[np.isfinite(values)]
    return [float(bound) for bound in np.percentile(known, [2.5, 97.5])] if len(known) else None


def _shares(part: Floats, whole: Floats) -> Floats:
    """Quotients, NaN where the whole is nothing."""
    shares: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return shares


def _known_mean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    return _shares(np.asarray(np.where(known, values, 0).sum(axis=-1)), np.asarray(known.sum(axis=-1, dtype=np.float64)))


def _mean(values: Floats | IntArray | BoolArray) -> float | None:
    return float(values.mean()) if len(values) else None
