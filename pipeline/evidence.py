"""The evidence of a report: probes and their nearest gallery items as moving skeletons, and, only if asked for, as pictures."""

import base64
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.report import Item, item
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray, TextArray
from gaitreid.pose.errors import ItemError
from gaitreid.pose.geometry import root
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton
from gaitreid.pose.video import Bounds, Frame, Image, cut, frames
from gaitreid.reid.compare import item_tracks
from gaitreid.reid.match import Matches
from gaitreid.reid.metrics import first_hits
from gaitreid.reid.records import Embeddings, Sequences

Manner = Literal["blurred", "plain"]
_Place = tuple[str, int, int]  # video, track, original frame
KIND = 6  # pairs of one kind; twice as many where no labels tell hits from misses
FRAMES = 60  # a figure
UNIT = 1000  # steps a metre, or a body height
WIDTH, HEIGHT = 180, 300  # pixels of a still
STILL = 25 * 1024  # characters of a still's address
HEAD = ("nose", "head", "eye", "ear", "mouth")  # what names of joints of the head have in them
TRUSTED = 0.3  # score from which a joint of the head says where the head is


@dataclass(frozen=True)
class Frames:
    """Pictures of people from their videos.

    Attributes:
        manner: with heads and surroundings blurred, or as they are.
        bounds: the largest video that is taken.
    """

    manner: Manner
    bounds: Bounds


@dataclass(frozen=True)
class Stage:
    """What all figures of a page share.

    Attributes:
        edges: (joint, joint, side): -1 left, 1 right, 0 neither.
        head: joints whose mean is drawn as the head; none where the skeleton has no head.
        fps: frames a second; 0 where unknown.
        ahead: whether all figures face along z.
        unit: steps of the coordinates a metre, or a body height.
    """

    joints: int
    edges: list[tuple[int, int, int]]
    head: list[int]
    fps: float
    ahead: bool
    unit: int = UNIT


@dataclass(frozen=True)
class Figure:
    """Somebody walking.

    Attributes:
        role: what they are in their pair.
        rank: 0 for the probe.
        first_frame, last_frame: original indices.
        frames: how many are shown.
        xyz: base64 of (frames, joints, 3) little-endian int16, thousandths of `Sequences.xyz`' unit; x to the right of who
            looks at it, y up, z towards them.
        still: address (data:) of a picture, or empty.
    """

    role: Literal["probe", "nearest", "right"]
    item: Item
    rank: int
    first_frame: int
    last_frame: int
    frames: int
    xyz: str
    still: str = ""


@dataclass(frozen=True)
class Pair:
    """A probe and its nearest gallery item; of a miss also the nearest right one, where the ranking holds it.

    Attributes:
        kind: `pair` where labels do not tell.
        first: rank of the first match, 0 where there is none to be found.
    """

    kind: Literal["hit", "miss", "pair"]
    figures: tuple[Figure, ...]
    first: int
    stage: Stage

    @property
    def frames(self) -> int:
        """Frames that all of its figures have."""
        return min(figure.frames for figure in self.figures)


def evidence(
    work: Work,
    embeddings: Embeddings,
    matches: Matches,
    sequences: Sequences,
    *,
    frames: Frames | None = None,
) -> list[Pair]:
    """Misses and hits worth looking at: at most six of each, misses first.

    Misses are those of the smallest distance, one for each two people; hits run from the smallest distance to the largest, of
    as many people as there are. Where no label tells them apart, at most twelve probes with whoever is nearest. Tracks that are
    not among the sequences are passed over.

    Args:
        sequences: what was encoded.
        frames: adds a picture of each, where its video is still there.
    """
    walks, ranking = _Walks(sequences, embeddings, matches.ranking.unit), matches.ranking
    first = first_hits(matches.hit_probe, matches.hit_rank, len(matches.subject))
    nearest, distance = ranking.order[:, 0], ranking.distance[:, 0]
    track = item_tracks(embeddings, ranking.unit)
    other = embeddings.subject[track[nearest]]
    shown = (nearest >= 0) & walks.shown[ranking.probe] & walks.shown[nearest]
    hits = _spread(np.flatnonzero(shown & (first == 1)), distance, matches.subject, KIND)
    misses = _surest(np.flatnonzero(shown & (first > 1) & (other != "")), distance, matches.subject, other)
    kinds: list[tuple[Literal["hit", "miss", "pair"], list[int]]] = [("miss", misses), ("hit", hits)]
    if not hits and not misses:
        alone = _once(np.flatnonzero(shown), ranking.probe, nearest)
        kinds = [("pair", _spread(alone, distance, embeddings.video[track[ranking.probe]], 2 * KIND))]
    stage = _stage(sequences)
    places: list[_Place] = []  # of the figures, in their order

    def figure(role: Literal["probe", "nearest", "right"], row: int, place: int, apart: float, wanted: str) -> Figure:
        who = item(embeddings, int(track[row]), apart, wanted)
        frame, xyz = walks.walk(row)
        values = np.clip(np.rint(xyz * UNIT), -32767, 32767).astype("<i2")
        places.append((who.video, who.track, int(frame[len(frame) // 2])))
        return Figure(
            role=role,
            item=who,
            rank=place,
            first_frame=int(frame[0]),
            last_frame=int(frame[-1]),
            frames=len(frame),
            xyz=base64.b64encode(values.tobytes()).decode(),
        )

    def pair(kind: Literal["hit", "miss", "pair"], n: int) -> Pair:
        wanted, right = str(matches.subject[n]), int(first[n])
        figures = [figure("probe", int(ranking.probe[n]), 0, 0.0, "")]
        figures.append(figure("nearest", int(nearest[n]), 1, float(distance[n]), wanted))
        if 1 < right <= ranking.order.shape[1] and walks.shown[ranking.order[n, right - 1]]:
            figures.append(
                figure("right", int(ranking.order[n, right - 1]), right, float(ranking.distance[n, right - 1]), wanted)
            )
        return Pair(kind, tuple(figures), right, stage)

    pairs = [pair(kind, n) for kind, rows in kinds for n in rows]
    if frames is None:
        return pairs
    stills, place = _stills(work, frames, places), iter(places)
    return [replace(p, figures=tuple(replace(f, still=stills.get(next(place), "")) for f in p.figures)) for p in pairs]


class _Walks:
    """The frames of items: of tracks or windows of the embeddings, found among the sequences by video, track and frame.

    Attributes:
        shown: whether there is anything to show of each item.
    """

    def __init__(self, sequences: Sequences, embeddings: Embeddings, unit: str) -> None:
        self.of = sequences
        by_window = unit == "window"
        self.starts: dict[tuple[str | int, ...], list[int]] = defaultdict(list)
        names = list(zip(sequences.video.tolist(), sequences.track.tolist(), strict=True))
        missing = np.concatenate([[0], np.cumsum(~np.isfinite(sequences.xyz).all(axis=(1, 2)))])
        whole = missing[sequences.start + sequences.length] == missing[sequences.start]
        for start, track in zip(sequences.start[whole].tolist(), sequences.window_track[whole].tolist(), strict=True):
            last = start + sequences.length - 1
            key = (*names[track], int(sequences.frame[start]), int(sequences.frame[last])) if by_window else names[track]
            self.starts[key].append(start)
        rows = embeddings.window_track if by_window else slice(None)
        columns = [embeddings.video[rows].tolist(), embeddings.track[rows].tolist()]
        if by_window:
            columns += embeddings.window_frame.T.tolist()
        self.keys = list(zip(*columns, strict=True))
        self.shown: BoolArray = np.array([key in self.starts for key in self.keys], dtype=np.bool_)

    def walk(self, row: int) -> tuple[IntArray, FloatArray]:
        """Original frames (F,) and coordinates (F, J, 3) of the first frames in a row of an item, ready to be drawn."""
        starts = np.array(self.starts[self.keys[row]])
        rows = np.unique(starts[:, None] + np.arange(self.of.length))
        rows = rows[rows == rows[0] + np.arange(len(rows))][:FRAMES]  # up to the first gap
        xyz = self.of.xyz[rows]
        if self.of.normalize != "gait":  # camera axes, and perhaps a path
            xyz = (xyz - _middle(xyz, self.of.skeleton)[:, None]) * np.array([1, -1, -1], dtype=xyz.dtype)
        return self.of.frame[rows], xyz


def _stage(sequences: Sequences) -> Stage:
    names = sequences.skeleton.joints
    sides = [_side(name) for name in names]
    return Stage(
        joints=len(names),
        edges=[(a, b, sides[a] if sides[a] == sides[b] else 0) for a, b in sequences.skeleton.edges],
        head=_head(names),
        fps=sequences.fps,
        ahead=sequences.normalize == "gait",
    )


def _middle(xyz: FloatArray, skeleton: Skeleton) -> FloatArray:
    """The pelvis of each frame, or the mean of all joints where the skeleton has neither it nor hips: (F, J, 3) -> (F, 3)."""
    known = "pelvis" in skeleton.joints or {"left_hip", "right_hip"} <= set(skeleton.joints)
    return root(xyz, skeleton) if known else np.asarray(xyz.mean(axis=1))


def _side(joint: str) -> int:
    words = joint.split("_")
    return ("right" in words) - ("left" in words)


def _head(names: Sequence[str]) -> list[int]:
    """Joints of the head."""
    return [k for k, name in enumerate(names) if any(part in name.split("_") for part in HEAD)]


def _surest(rows: IntArray, distance: FloatArray, own: TextArray, other: TextArray) -> list[int]:
    """Rows of the smallest distances, one for each (own, other)."""
    chosen: dict[tuple[str, str], int] = {}
    for n in rows[np.argsort(distance[rows], kind="stable")].tolist():
        chosen.setdefault((str(own[n]), str(other[n])), n)
        if len(chosen) == KIND:
            break
    return list(chosen.values())


def _spread(rows: IntArray, distance: FloatArray, owner: TextArray, count: int) -> list[int]:
    """Rows from the smallest distance to the largest, evenly, of different owners as far as there are."""
    order = rows[np.argsort(distance[rows], kind="stable")]
    owners, free = owner[order], np.ones(len(order), dtype=np.bool_)
    goals = np.linspace(0, len(order) - 1, count)
    for goal in goals[[0, -1, *range(1, count - 1)]]:  # the two ends first
        if free.any():
            new = free & ~np.isin(owners, owners[~free])
            choice = np.flatnonzero(new if new.any() else free)
            free[choice[np.abs(choice - goal).argmin()]] = False
    return [int(n) for n in order[~free]]


def _once(rows: IntArray, probe: IntArray, nearest: IntArray) -> IntArray:
    """Rows whose pair did not come the other way round before."""
    pairs = np.sort(np.stack([probe[rows], nearest[rows]], axis=1), axis=1)
    return rows[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]


def _stills(work: Work, wanted: Frames, places: Sequence[_Place]) -> dict[_Place, str]:
    """Addresses of pictures of people in their videos, each read once; without those that cannot be had any more."""
    by_video: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for video, number, index in places:
        by_video[video][index].add(number)
    stills: dict[_Place, str] = {}
    remembered = Index(work)
    for video, by_frame in by_video.items():
        path = work.pose2d(video)
        if not path.exists():
            continue
        tracks = store.read_all(path, "pose2d", Track2D)
        source = remembered.place(store.attributes(path, "pose2d"))
        for picture in _pictures(source, by_frame.keys(), wanted.bounds):
            for number in by_frame[picture.index]:
                stills[video, number, picture.index] = _still(picture, tracks, number, wanted.manner)
    return stills


def _pictures(source: Path, indices: Collection[int], bounds: Bounds) -> Iterator[Frame]:
    """Some frames of a video, in order, as far as they can be had."""
    if not source.is_file():
        return
    last = max(indices)
    with suppress(ItemError):
        for picture in frames(source, float("inf"), bounds)[1]:
            if picture.index in indices:
                yield picture
            if picture.index >= last:
                return


def _still(picture: Frame, tracks: Mapping[str, Track2D], number: int, manner: Manner) -> str:
    """Address of a picture of somebody; empty where there is no such track."""
    own = tracks.get(f"{number:06d}")
    if own is None or not len(own.frame):
        return ""
    n = int(np.abs(own.frame - picture.index).argmin())
    box = own.box[n].astype(np.float64)
    size = box[2:] - box[:2]
    scale = HEIGHT / (1.1 * max(size[1], size[0] * HEIGHT / WIDTH, 1.0))
    part, shift = cut(picture.image, (box[:2] + box[2:]) / 2, scale, WIDTH, HEIGHT)
    if manner == "blurred":
        hidden = np.ones(part.shape[:2], dtype=np.uint8)
        edge = 0.05 * size[1] * np.array([-1, -1, 1, 1])
        _fill(hidden, box + edge, scale, shift, 0)  # people around may have heads that no track knows of
        _hide_head(hidden, own, n, scale, shift)
        for other in tracks.values():
            for k in np.flatnonzero(other.frame == picture.index).tolist():
                _hide_head(hidden, other, k, scale, shift)
        part = _coarse(part, hidden)
    return _address(part)


def _hide_head(hidden: Image, track: Track2D, n: int, scale: float, shift: FloatArray) -> None:
    """Mark a circle around the head, nearly twice as large as one is; without a head to go by, the upper quarter of the box."""
    box = track.box[n].astype(np.float64)
    head = _head(track.skeleton.joints)
    seen = [k for k in head if track.score[n, k] >= TRUSTED and np.isfinite(track.xy[n, k]).all()]
    places = track.xy[n, seen].astype(np.float64)
    if len(seen) and places[:, 1].mean() < box[[1, 3]].mean():
        centre = places.mean(axis=0)
        radius = max(0.13 * (box[3] - box[1]), 2.2 * float(np.linalg.norm(places - centre, axis=1).max()))
        at = np.rint(centre * scale + shift).astype(int)
        cv2.circle(hidden, (int(at[0]), int(at[1])), int(np.ceil(radius * scale)), 1, -1)
    else:
        tall = box[3] - box[1]
        _fill(hidden, np.array([box[0], box[1], box[2], box[1]]) + tall * np.array([-0.1, -0.1, 0.1, 0.25]), scale, shift, 1)


def _fill(hidden: Image, box: FloatArray, scale: float, shift: FloatArray, value: int) -> None:
    """Set a box, given in pixels of the video, in a mask of the part."""
    x1, y1, x2, y2 = np.rint(box * scale + np.tile(shift, 2)).astype(int).clip(0).tolist()
    hidden[y1:y2, x1:x2] = value


def _coarse(part: Image, hidden: Image) -> Image:
    """A picture whose marked pixels are made from a few large ones: what was there cannot be worked out again."""
    few = cv2.resize(part, (WIDTH // 20, HEIGHT // 20), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(few, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    share = np.maximum(cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), 4), hidden)[
        ..., None
    ]  # softer inwards, never outwards
    return np.asarray(np.rint(share * smooth + (1 - share) * part), dtype=np.uint8)


def _address(part: Image) -> str:
    """As a JPEG of at most STILL characters."""
    for quality in (85, 70, 55, 40, 25, 10):
        coded = cv2.imencode(".jpg", part, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        text = "data:image/jpeg;base64," + base64.b64encode(coded).decode()
        if len(text) <= STILL:
            return text
    return ""
