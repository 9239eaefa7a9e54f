"""People of single frames to tracks: who is who from frame to frame, by the keypoints.

Each track is carried on by its velocity, and people go to the tracks that their keypoints are nearest to, all at once (the
assignment problem; Kuhn 1955). Where two people are so near one another that they could as well be exchanged, both tracks end and
new ones begin, as in `pose/extract.py`: a track is one person, or it is worth nothing.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gaitreid.pose.arrays import BoolArray, FloatArray
from gaitreid.pose.estimate import CORE
from gaitreid.pose.extract import STEADY, ExtractConfig, Rejected, iou
from gaitreid.pose.keypoint_files import Clip, Person
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton

# Distances are in sizes of the person (the longer side of the box), as means over the joints that both have.
REACH, REACH_PER_SECOND, FARTHEST = 0.2, 1.0, 0.6  # a person is sought so far from where they should be, more after a gap
OUTLYING = 0.5  # joints count as so far away at most: one that is on another limb must not decide
ALIKE = 0.08  # two people of one frame who are nearer are one, found twice
MARGIN = 0.1  # two people who could be exchanged for so little more cannot be told apart
SHARED = 3  # joints that two must have both to be compared by joints, else by their boxes
FEW = 0.5  # share of shoulders, hips, knees and ankles below which a track is not worth lifting


@dataclass(frozen=True)
class Association:
    """Tracks of a clip.

    Attributes:
        numbers: of the tracks; the file's own where it has them.
        named: whether the file said who is who.
        frames_used: frames in which somebody of a track is.
    """

    tracks: tuple[Track2D, ...]
    numbers: tuple[int, ...]
    rejected: tuple[Rejected, ...]
    named: bool
    frames_used: int


@dataclass
class Followed:
    """Somebody over the frames so far."""

    number: int
    index: list[int] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    xy: FloatArray = field(default_factory=lambda: np.empty((0, 2)))  # last known place of every joint
    size: float = 1.0
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2))  # pixels a second

    def add(self, index: int, person: Person, rate: float) -> None:
        """The person is seen again."""
        xy = person.xy.astype(np.float64)
        size = _size(person)
        if self.index:
            elapsed = (index - self.index[-1]) / rate
            moved = xy - self.xy
            seen = np.isfinite(moved[:, 0])
            if seen.any():
                kept = np.exp(-elapsed / STEADY)
                typical = np.sort(moved[seen], axis=0)[seen.sum() // 2]  # one joint on another limb must not count
                self.velocity = kept * self.velocity + (1 - kept) * typical / elapsed
            size = max(size, 0.95 * self.size)  # limbs that are lost for a moment do not make a person small
            shift = self.velocity * elapsed
            xy = np.where(np.isnan(xy), self.xy + shift, xy)
        self.xy, self.size = xy, size
        self.index.append(index)
        self.people.append(person)


def associate(clip: Clip, rate: float, config: ExtractConfig) -> Association:
    """Tracks of a clip: those of the file where it numbers everybody, else found here.

    Args:
        rate: frames a second.
        config: a track ends where its person is away for longer than `max_missing`; it is at least `min_seconds` long.
    """
    named = is_named(clip)
    found = _by_number(clip, rate, config) if named else _follow(clip, rate, config)
    kept: list[Followed] = []
    rejected: list[Rejected] = []
    for one in sorted(found, key=lambda one: (one.index[0], one.number)):
        reason = _reason(one, clip.skeleton, rate, config)
        if reason:
            rejected.append(Rejected(reason, one.index[0], one.index[-1], len(one.index)))
        else:
            kept.append(one)
    numbers = [one.number for one in kept] if named else list(range(1, len(kept) + 1))
    tracks = tuple(_track(one, clip.skeleton, rate) for one in kept)
    used = len({index for one in kept for index in one.index})
    return Association(tracks, tuple(numbers), tuple(rejected), named, used)


def is_named(clip: Clip) -> bool:
    """Whether every person has a track's number, and nobody the same as somebody else of the frame."""
    numbers = [[person.track for person in people] for people in clip.frames.values()]
    return all(None not in of_frame and len(set(of_frame)) == len(of_frame) for of_frame in numbers)


def distances(one: FloatArray, other: FloatArray, sizes: FloatArray) -> FloatArray:
    """Mean distance of joints between everybody of one group and of another, in sizes.

    Args:
        one, other: (N, J, 2) and (M, J, 2) pixels; NaN is missing.
        sizes: (N,) pixels.

    Returns:
        (N, M); infinite where two share fewer than `SHARED` joints.
    """
    apart = np.linalg.norm(one[:, None] - other[None], axis=-1) / sizes[:, None, None]
    seen = np.isfinite(apart)
    count = seen.sum(axis=-1)
    total = np.where(seen, np.minimum(apart, OUTLYING), 0).sum(axis=-1)
    return np.asarray(np.where(count >= SHARED, total / np.maximum(count, 1), np.inf))


def _by_number(clip: Clip, rate: float, config: ExtractConfig) -> list[Followed]:
    """Tracks of the file; one that is away for too long goes on as another, as nothing behind this can bridge that."""
    active: dict[int, Followed] = {}
    ended: list[Followed] = []
    unused = 1 + max((p.track for people in clip.frames.values() for p in people if p.track is not None), default=0)
    for index, people in clip.frames.items():
        for person in people:
            if person.track is None or not np.isfinite(person.xy).any():
                continue
            one = active.setdefault(person.track, Followed(person.track))
            if one.index and (index - one.index[-1]) / rate > config.max_missing + 1e-9:
                ended.append(one)
                one = active[person.track] = Followed(unused)
                unused += 1
            one.add(index, person, rate)
    return ended + list(active.values())


def _follow(clip: Clip, rate: float, config: ExtractConfig) -> list[Followed]:
    active: list[Followed] = []
    ended: list[Followed] = []
    for index, everybody in clip.frames.items():
        lost = [one for one in active if (index - one.index[-1]) / rate > config.max_missing + 1e-9]
        ended += lost
        active = [one for one in active if one not in lost]
        people = _once(everybody)
        cost, limit = _costs(active, people, index, rate)
        pairs = _pairs(cost, limit)
        gone = _indistinct(active, cost, limit, pairs, index, rate, config)
        for k, n in pairs.items():
            if k not in gone:
                active[k].add(index, people[n], rate)
        taken = {n for k, n in pairs.items() if k not in gone}
        ended += [active[k] for k in sorted(gone)]
        active = [one for k, one in enumerate(active) if k not in gone]
        for n, person in enumerate(people):
            if n not in taken:
                active.append(Followed(0))
                active[-1].add(index, person, rate)
    return ended + active


def _once(people: list[Person]) -> list[Person]:
    """Everybody with enough joints to be followed, once: of two who lie on one another the one with more of a person."""
    whole = [person for person in people if np.count_nonzero(person.score) >= SHARED]
    if len(whole) < 2:
        return whole
    scores = np.stack([person.score for person in whole])
    ranked = [whole[n] for n in np.argsort(-scores.sum(axis=1), kind="stable").tolist()]
    places = np.stack([person.xy for person in ranked]).astype(np.float64)
    near = distances(places, places, np.array([_size(person) for person in ranked])) < ALIKE
    kept: list[int] = []
    for n in range(len(ranked)):
        if not near[kept, n].any():
            kept.append(n)
    return [ranked[n] for n in kept]


def _costs(active: list[Followed], people: list[Person], index: int, rate: float) -> tuple[FloatArray, FloatArray]:
    """Distance of everybody (M) from where every track (N) should be by now, and each track's reach: (N, M) and (N, 1)."""
    if not active or not people:
        return np.empty((len(active), len(people))), np.empty((len(active), 1))
    elapsed = np.array([(index - one.index[-1]) / rate for one in active])
    expected = np.stack([one.xy + one.velocity * t for one, t in zip(active, elapsed, strict=True)])
    places = np.stack([person.xy for person in people]).astype(np.float64)
    cost = distances(expected, places, np.array([one.size for one in active]))
    for k, n in np.argwhere(np.isinf(cost)).tolist():
        cost[k, n] = 1 - _overlap(expected[k], places[n])
    limit = np.minimum(REACH + REACH_PER_SECOND * elapsed, FARTHEST)[:, None]
    return cost, limit


def _pairs(cost: FloatArray, limit: FloatArray) -> dict[int, int]:
    """Track -> person, by the least sum; nobody beyond a track's reach."""
    allowed: BoolArray = np.asarray(cost <= limit)
    rows, columns = linear_sum_assignment(np.where(allowed, cost, 1e3))
    return {int(k): int(n) for k, n in zip(rows, columns, strict=True) if allowed[k, n]}


def _indistinct(
    active: list[Followed],
    cost: FloatArray,
    limit: FloatArray,
    pairs: dict[int, int],
    index: int,
    rate: float,
    config: ExtractConfig,
) -> set[int]:
    """Tracks that end here since somebody could as well be of another.

    A young one ends alone: both are on the same person, who stays with the older (`pairs` is changed so).
    """
    gone: set[int] = set()
    for k, n in list(pairs.items()):
        for other in np.flatnonzero((cost[:, n] <= limit[:, 0]) & (cost[:, n] < cost[k, n] + MARGIN)).tolist():
            if other == k or {other, k} & gone:
                continue
            mine = pairs.get(other)
            if mine is not None and cost[k, mine] + cost[other, n] >= cost[k, n] + cost[other, mine] + MARGIN:
                continue
            older, younger = sorted((k, other), key=lambda j: (active[j].index[0], j))
            gone.add(younger)
            if (index - active[younger].index[0]) / rate > config.min_seconds:
                gone.add(older)
            elif mine is None and older == other:
                pairs[older] = n
    return gone


def _reason(one: Followed, skeleton: Skeleton, rate: float, config: ExtractConfig) -> str:
    """Why a track is left out; empty where it is not."""
    if (one.index[-1] - one.index[0]) / rate < config.min_seconds - 1e-9:
        return "too-short"
    core = [k for k, joint in enumerate(skeleton.joints) if joint in CORE]
    found = [np.isfinite(person.xy[core, 0]).mean() for person in one.people] if core else [1.0]
    return "few-joints" if np.mean(found) < FEW else ""


def _track(one: Followed, skeleton: Skeleton, rate: float) -> Track2D:
    xy = np.stack([person.xy for person in one.people])
    return Track2D(
        frame=np.array(one.index, dtype=np.int64),
        time=np.array(one.index) / rate,
        box=np.stack([_box(person) for person in one.people]).astype(np.float32),
        xy=xy,
        score=np.stack([person.score for person in one.people]),
        world=np.full((*xy.shape[:2], 3), np.nan, dtype=np.float32),
        skeleton=skeleton,
    )


def _box(person: Person) -> FloatArray:
    """The file's, or that of all keypoints, a little larger as heads and shoes are: (4,)."""
    if person.box is not None:
        return person.box
    low, high = person.extent
    pad = 0.05 * (high[1] - low[1])
    return np.concatenate([low - pad, high + pad])


def _size(person: Person) -> float:
    low, high = person.extent
    return max(float(high[0] - low[0]), float(high[1] - low[1]), 1.0)


def _overlap(one: FloatArray, other: FloatArray) -> float:
    """Intersection over union of the boxes around two people's joints: (J, 2) each."""
    return iou(*(np.concatenate([np.fmin.reduce(xy), np.fmax.reduce(xy)]) for xy in (one, other)))
