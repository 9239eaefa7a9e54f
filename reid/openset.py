"""Somebody of the gallery, or nobody: a threshold for strangers, scores, and names for people seen at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray, TextArray
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import SATURATING
from gaitreid.reid.search import Metric, search

NEAREST = 1000  # gallery items that a probe's names are looked for among
OWN = 64  # nearest items among which somebody else is sought first; who has more of their own is sought without these
STRANGERS = 4096  # items of a gallery that play strangers; of larger ones a sample
COHORT_PEOPLE = 8.0  # people that the cohort's spread counts for, beside those of the gallery
COHORT_MEAN = 0.1  # and its mean: other cameras and clothes move distances more than they spread them


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far strangers are from the nearest of a gallery: square roots of distances, as a Student distribution.

    Everybody in the gallery in turn plays a stranger to the others, and a cohort, people whom the encoder was trained on, says
    how such distances spread where the gallery has few people. What is predicted is the next stranger, so few people make a
    strict threshold (the predictive distribution of a normal sample with a conjugate prior).

    Attributes:
        names: people in the gallery.
        people: those who played strangers; each counts the same, however many tracks they have.
        searches: searches they made.
        cohort: people of the cohort.
        mean, deviation, freedom: of the distribution.
    """

    names: int
    people: int
    searches: int
    cohort: int
    mean: float
    deviation: float
    freedom: float

    @cached_property
    def _strangers(self) -> Any:
        from scipy import stats

        return stats.t(self.freedom, self.mean, self.deviation)

    def threshold(self, rate: float) -> float:
        """The distance within which a stranger is taken for somebody of the gallery at this rate of searches.

        Who played stranger had one name less to be near to; with independent names the rates of N and N - 1 names are related by
        1 - F_N = (1 - F_(N-1))^(N / (N-1)).
        """
        return float(max(self._strangers.ppf(1 - (1 - rate) ** (1 / self._names_more)), 0.0) ** 2)

    def score(self, distance: FloatArray) -> FloatArray:
        """Share of strangers that would be farther away, in [0, 1]: 1 less the false accept rate of this distance."""
        return np.asarray(self._strangers.sf(np.sqrt(distance)) ** self._names_more)

    def interval(self, rate: float) -> tuple[float, float]:
        """Where the false accept rate met will be in 95 of 100 galleries like this one, given that `rate` is asked for.

        What varies are the people: Clopper and Pearson's interval with as many trials as people played strangers, from 0 where
        fewer than one of them would be taken for somebody.
        """
        from scipy import stats

        trials = self.people or 1
        taken = rate * trials
        low = stats.beta.ppf(0.025, taken, trials - taken + 1) if taken >= 1 else 0.0
        return float(low), float(stats.beta.ppf(0.975, taken + 1, trials - taken))

    @property
    def _names_more(self) -> float:
        return self.names / (self.names - 1) if self.people else 1.0


def calibrate(
    vectors: FloatArray,
    names: TextArray,
    cohort: FloatArray | None = None,
    metric: Metric = "cosine",
    *,
    parts: int = 1,
    context: int = 0,
) -> Calibration:
    """How far strangers are from a gallery.

    Args:
        vectors, names: of the gallery's items (K, D), (K,).
        cohort: vectors of other people, one each (C, D), or none.

    Raises:
        UsageError: there is only one name and no cohort.
    """
    known = np.unique(names)
    if not len(known):
        raise UsageError("nobody is in the gallery")
    like: Any = {"metric": metric, "parts": parts, "context": context}
    nobody: tuple[FloatArray, IntArray] = (np.empty(0), np.empty(0, dtype=np.int64))
    own, person = _stranger_distances(vectors, names, cohort, like) if len(known) > 1 else nobody
    roots = np.sqrt(own)
    people = len(np.unique(person))
    weight = 1 / np.bincount(person)[person] / people if people else np.empty(0)
    mean = float(weight @ roots) if people else 0.0
    spread = float(weight @ (roots - mean) ** 2) * people  # sum of squares, of one search a person
    if cohort is None or len(cohort) < 3:
        if people < 2:
            raise UsageError("a threshold for strangers takes two or more people in the gallery")
        return Calibration(
            names=len(known), people=people, searches=len(roots), cohort=0, mean=mean,
            deviation=float(np.sqrt(max(spread / (people - 1), 1e-6) * (1 + 1 / people))), freedom=people - 1,
        )  # fmt: skip
    before = np.sqrt(_cohort_distances(cohort, len(known), like))
    weight_of_mean = COHORT_MEAN + people
    centre = (COHORT_MEAN * before.mean() + people * mean) / weight_of_mean
    freedom = COHORT_PEOPLE + people
    moved = COHORT_MEAN * people / weight_of_mean * (mean - before.mean()) ** 2
    variance = (COHORT_PEOPLE * before.var() + spread + moved) / freedom
    return Calibration(
        names=len(known),
        people=people,
        searches=len(roots),
        cohort=len(cohort),
        mean=float(centre),
        deviation=float(np.sqrt(max(variance, 1e-6) * (1 + 1 / max(weight_of_mean, 1)))),
        freedom=freedom,
    )


def name_distances(
    probe: FloatArray,
    vectors: FloatArray,
    names: TextArray,
    metric: Metric = "cosine",
    *,
    cohort: FloatArray | None = None,
    parts: int = 1,
    context: int = 0,
) -> tuple[TextArray, NDArray[np.float32]]:
    """Distance of each probe to the nearest item of each name.

    Args:
        cohort: other people, as of `calibrate`; `robust` and `alike` distances are standardised by those to them.

    Returns:
        Names, sorted (N,), and distances (P, N), infinite where none of a name's items is among the NEAREST of the probe.
    """
    known, code = np.unique(names, return_inverse=True)
    distance, item = search(probe, vectors, NEAREST, metric, parts=parts, context=context)
    result = np.full((len(probe), len(known)), np.inf, dtype=np.float32)
    np.minimum.at(result, (np.arange(len(probe))[:, None], code[item]), distance)
    like: Any = {"metric": metric, "parts": parts, "context": context}
    return known, _standardised(result, probe, cohort, like)


def assign(distance: FloatArray, limit: float, together: Sequence[IntArray]) -> IntArray:
    """Who is who, when nobody is in two places at once.

    The sum of distances is least, `limit` counting for a stranger. Where all probes are together this is the assignment that the
    Hungarian method finds; tracks that follow one another may bear one name, so it is solved as an integer programme.

    Args:
        distance: of probes to names (P, N).
        limit: a name farther away than this is no candidate.
        together: sets of rows of probes that were seen at the same moment.

    Returns:
        Column of the name of each probe, -1 for a stranger (P,).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    probe, name = np.nonzero(distance <= limit)
    result = np.full(len(distance), -1, dtype=np.int64)
    if not len(probe):
        return result
    rows = np.split(np.arange(len(probe)), np.flatnonzero(np.diff(probe)) + 1)  # pairs that exclude one another
    for group in together:
        near = np.flatnonzero(np.isin(probe, group))
        rows += [near[name[near] == n] for n in np.unique(name[near])]
    rows = [row for row in rows if len(row) > 1]
    # A little is gained by naming somebody who is exactly at the limit, so that ties do not end as strangers.
    gain = distance[probe, name].astype(np.float64) - limit * (1 + 1e-9) - 1e-12
    constraints = []
    if rows:
        of_row = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        matrix = csr_array((np.ones(len(of_row)), (of_row, np.concatenate(rows))), shape=(len(rows), len(probe)))
        constraints.append(LinearConstraint(matrix, ub=1))
    found = milp(gain, integrality=np.ones(len(probe), dtype=np.int64), bounds=Bounds(0, 1), constraints=constraints)
    assert found.x is not None, found.message  # naming nobody is always a solution
    chosen = np.flatnonzero(found.x > 0.5)
    result[probe[chosen]] = name[chosen]
    return result


def at_once(first: FloatArray, last: FloatArray) -> list[IntArray]:
    """Largest sets of intervals that share a moment, of intervals from `first` to `last` (P,); sets of one are left out."""
    starts = np.unique(first)
    sets = [np.flatnonzero((first <= start) & (last >= start)) for start in starts]
    # Where all of a set are still there when somebody else begins, the next set has them all.
    return [s for s, then in zip(sets, np.append(starts, np.inf)[1:], strict=True) if len(s) > 1 and last[s].min() < then]


def _stranger_distances(
    vectors: FloatArray, names: TextArray, cohort: FloatArray | None, like: dict[str, Any]
) -> tuple[FloatArray, IntArray]:
    """Distance of items to the nearest item of another name (n,), and whose item it is (n,)."""
    code = np.unique(names, return_inverse=True)[1]
    items = np.arange(len(names))
    if len(items) > STRANGERS:
        items = np.sort(np.random.default_rng(0).choice(items, STRANGERS, replace=False))
    most = int(np.bincount(code).max())
    distance, found = search(vectors[items], vectors, min(most + 1, OWN), **like)
    other = np.where(code[found] == code[items][:, None], np.inf, distance).min(axis=1)
    among = np.flatnonzero(np.isinf(other))  # their own alone are near
    who = code[items[among]], code
    other[among] = search(vectors[items[among]], vectors, OWN, **like, strangers=who)[0][:, 0]
    other = _standardised(other[:, None], vectors[items], cohort, like)[:, 0]
    return other, np.unique(code[items], return_inverse=True)[1]


def _cohort_distances(cohort: FloatArray, names: int, like: dict[str, Any]) -> FloatArray:
    """Distance of each of the cohort to the nearest of `names` others, drawn ten times."""
    distance, _ = search(cohort, cohort, len(cohort), **like)
    others = distance[:, 1:]  # the first is the person
    if like["metric"] in SATURATING:
        others = _beyond(others, others)
    rng = np.random.default_rng(0)
    count = min(names, others.shape[1])
    return np.concatenate([rng.permuted(others, axis=1)[:, :count].min(axis=1) for _ in range(10)])


def _standardised(
    distance: NDArray[np.float32], probe: FloatArray, cohort: FloatArray | None, like: dict[str, Any]
) -> NDArray[np.float32]:
    """Distances (P, N) as they are, but `robust` and `alike` ones by those of the same probes to a cohort.

    A walk from ahead, or at a pace of its own, is somewhat far from everybody, and one of which little was seen is far from
    nobody: it is the place among strangers that can be compared with a threshold (z-norm; Auckenthaler et al., 2000).
    """
    if like["metric"] not in SATURATING or cohort is None or len(cohort) < 3:
        return distance
    return _beyond(distance, search(probe, cohort, len(cohort), **like)[0])


def _beyond(distance: NDArray[np.float32], strangers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distances (P, N) by those to strangers (P, C): their mean is 1, and a deviation 0.1."""
    mean, deviation = strangers.mean(axis=1, keepdims=True), strangers.std(axis=1, keepdims=True)
    return np.asarray(np.maximum(1 + (distance - mean) / (10 * np.maximum(deviation, 1e-6)), 0), dtype=np.float32)
