"""A video to tracks: people found, followed and posed.

A track is led by its own keypoints: each frame, the person is sought where the last keypoints and their motion say, and the
detector is asked only every few frames for people who are not followed yet. When two people come to stand before one another,
both tracks end and new ones begin when they part, and where somebody turns back a new track begins: a track is one walk.

Estimators that pose in batches are asked once for all people and all frames between two looks of the detector, each person
where their motion says they will be. Where they are not, they are posed again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.clean import runs
from gaitreid.pose.detect import check, choose, detector
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.estimate import CORE, MIN_SCORE, BatchEstimator, Crop, Estimate, Estimators, PoseEstimator
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH, Silhouettes, Track2D, VideoInfo
from gaitreid.pose.shelf import Shelf
from gaitreid.pose.silhouettes import Silhouette, cut_out
from gaitreid.pose.skeleton import Skeleton
from gaitreid.pose.video import Bounds, Frame, Image, ahead, frames, is_still

STEADY = 0.18  # seconds over which a person's velocity is averaged
GROWTH = 1.6  # the most by which the size of a person changes from one frame to the next
SAME = 0.75  # intersection over union of two crops in which a person is posed alike
AHEAD, TOGETHER = 8, 16  # the most frames that are read ahead, and that are posed at once
LONGEST = 300.0  # seconds of a track: who stays for longer is taken down in parts, so that memory does not grow with the video
INTERLACED = "if it is interlaced, deinterlace it first (ffmpeg -i OLD -vf yadif NEW)"
OF_FRAMES = ("index", "time", "boxes", "estimates", "masks")  # lists of a person that have an entry a frame
TURN_SECONDS, TURN_WAY = 0.4, 0.12  # a turn is this way forth and back, in body heights, each within this time


@dataclass(frozen=True)
class ExtractConfig:
    """How people are found and followed. Times are in seconds, so that they hold at any frame rate.

    Attributes:
        pose: estimator by name; see docs/pose.md.
        detector: auto, hog, motion, whole, rtmdet[:CONFIG[,CHECKPOINT]] or torchvision[:CHECKPOINT].
        detect_every: time between two looks for new people.
        min_seconds: shorter tracks are kept out.
        min_score: mean score of shoulders, hips, knees and ankles that a person must have to be followed; none: as the
            estimator's scores are (0.5 for MediaPipe).
        max_missing: a track ends when its person was not found for longer.
        overlap: intersection over union of two people's boxes above which they cannot be told apart.
        max_fps: above it every n-th frame is used.
        silhouettes: whether masks are kept.
        trust_config: whether a Python file of one's own may be run as a configuration of mmpose or mmdet.
    """

    pose: str = "mediapipe"
    detector: str = "auto"
    detect_every: float = 0.2
    min_seconds: float = 0.8
    min_score: float | None = None
    max_missing: float = 0.3
    overlap: float = 0.5
    max_fps: float = 30.0
    silhouettes: bool = False
    trust_config: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.detector != "auto":
            check(self.detector)
        if not (0 <= (self.min_score or 0) <= 1 and 0 < self.overlap <= 1):
            raise UsageError("extract.min_score and extract.overlap must be within 0 and 1")
        if min(self.detect_every, self.min_seconds, self.max_missing) < 0 or self.max_fps <= 0:
            raise UsageError("extract: times must be 0 or more and max_fps above 0")


@dataclass(frozen=True)
class Rejected:
    """A track that was kept out: `too-short` or `low-confidence`; first and last are original frame indices."""

    reason: str
    first: int
    last: int
    frames: int


@dataclass(frozen=True)
class Extraction:
    """What came out of one video.

    Attributes:
        detector: the one that was used; `why` says why `auto` chose it.
        frames_read: frames looked at; `frames_used` of them are in a track.
        tracks: by first frame; of long videos they lie on disk, and each is read when it is asked for.
        silhouettes: in the order of the tracks; empty if not asked for.
    """

    info: VideoInfo
    detector: str
    why: str
    frames_read: int
    frames_used: int
    tracks: Sequence[Track2D]
    silhouettes: Sequence[Silhouettes]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, eq=False)
class Sight:
    """A frame, and boxes (N, 4) of people in it where the detector was asked."""

    frame: Frame
    boxes: FloatArray | None


@dataclass(eq=False)
class Person:
    """Somebody who is followed.

    Attributes:
        followed: whether they were found in the frame before.
        foreseen: by frame, where they were looked for ahead of time, (4,), and what was found there.
    """

    estimator: PoseEstimator
    box: FloatArray
    followed: bool = False
    velocity: FloatArray = field(default_factory=lambda: np.zeros(2))  # of the box's middle, pixels a second
    index: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    masks: list[Silhouette | None] = field(default_factory=list)
    foreseen: dict[int, tuple[FloatArray, Estimate | None]] = field(default_factory=dict)

    def expected(self, time: float) -> FloatArray:
        """Where they should be by then, (4,)."""
        return self.box + np.tile(self.velocity * (time - self.time[-1] if self.time else 0.0), 2)

    def part(self, first: int, end: int) -> "Person":
        """What was seen from one frame of theirs to before another."""
        rows = slice(first, end)
        return replace(self, **{name: getattr(self, name)[rows] for name in OF_FRAMES})

    def taken(self) -> "Person":
        """All but the last frame, which stays, as they are still followed."""
        past = self.part(0, -1)
        for name in OF_FRAMES:
            setattr(self, name, getattr(self, name)[-1:])
        return past


def extract(
    path: Path,
    config: ExtractConfig,
    estimators: Estimators,
    *,
    bounds: Bounds = Bounds(),  # noqa: B008
    seen: Callable[[float], None] = lambda seconds: None,
) -> Extraction:
    """Find, follow and pose the people of a video; memory does not grow with its length.

    Args:
        estimators: may be used for one video after the other; with masks where `config.silhouettes` asks for them.
        bounds: the largest video that is taken.
        seen: told now and then how many seconds of it are done.

    Raises:
        ItemError: `unreadable`, `not-a-video`, `not-a-file`, `too-large`, or `no-person`: nobody was found at all. People of whom
            no track was kept give an extraction without tracks, whose `rejected` says why.
    """
    info, stream = frames(path, config.max_fps, bounds)
    name, why = choose(path, bounds) if config.detector == "auto" else (config.detector, "as asked")
    found = _Found(config)
    tracker = Tracker(config, name, estimators, found.add)
    read = 0
    for sights in _between_looks(ahead(map(tracker.see, stream), AHEAD)):
        tracker.follow(sights)
        read += len(sights)
        seen(sights[-1].frame.time)
    tracker.finish()
    if not found.people:
        still = f", all one picture: {INTERLACED}" if read > 1 and is_still(path, bounds) else ""
        raise ItemError("no-person", f"nobody found in {read} frames [{name}: {why}]{still}")
    tracks, silhouettes, rejected = found.sorted()
    return Extraction(info, name, why, read, found.frames, tracks, silhouettes, rejected)


def _between_looks(sights: Iterable[Sight]) -> Iterator[list[Sight]]:
    """Frames in groups that end where the detector was asked."""
    group: list[Sight] = []
    for sight in sights:
        group.append(sight)
        if sight.boxes is not None or len(group) == TOGETHER:
            yield group
            group = []
    if group:
        yield group


class Tracker:
    """Follows people from frame to frame; `step` takes a frame, and who was followed is given to `ended`, at last by `finish`.

    `step` is `see` and `follow`, which may be called from two threads: what is seen does not depend on who is followed.
    """

    def __init__(
        self,
        config: ExtractConfig,
        name: str,
        estimators: Estimators,
        ended: Callable[[Person], None] = lambda person: None,
    ) -> None:
        """Follow nobody yet; `name` is the detector's."""
        self._config = config
        self._detector = detector(name, estimators.device, config.trust_config)
        self._estimators = estimators
        self._active: list[Person] = []
        self._ended = ended
        self._next_look = 0.0

    @property
    def people(self) -> list[Person]:
        """Those who are followed now."""
        return list(self._active)

    def step(self, frame: Frame) -> None:
        """Take the next frame."""
        self.follow([self.see(frame)])

    def see(self, frame: Frame) -> Sight:
        """Show the next frame to the detector, and ask it if it is time."""
        self._detector.see(frame.image)
        if frame.time < self._next_look:
            return Sight(frame, None)
        self._next_look = frame.time + self._config.detect_every
        return Sight(frame, self._detector.propose(frame.image))

    def follow(self, sights: Sequence[Sight]) -> None:
        """Follow people through the next frames, and begin with new ones where the detector was asked."""
        self._foresee([sight.frame for sight in sights])
        for sight in sights:
            self._step(sight)

    def finish(self) -> None:
        """Follow nobody any more."""
        for person in list(self._active):
            self._end(person)

    def _step(self, sight: Sight) -> None:
        frame = sight.frame
        for person in list(self._active):
            if not self._find(person, frame) and frame.time - person.time[-1] > self._config.max_missing:
                self._end(person)
            elif person.time[-1] - person.time[0] > LONGEST:
                self._ended(person.taken())
        self._part(frame.time)
        if sight.boxes is not None:
            self._begin(sight.boxes, frame)

    def _foresee(self, coming: Sequence[Frame]) -> None:
        """Pose those who are followed in frames to come, if the estimator can."""
        if self._estimators.shared is None:
            return
        pairs = [(person, frame) for person in self._active if person.followed for frame in coming]
        found = self._at_once([(frame.image, person.expected(frame.time)) for person, frame in pairs])
        for (person, frame), seen in zip(pairs, found, strict=True):
            person.foreseen[frame.index] = seen

    def _at_once(self, places: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, Estimate | None]]:
        """Each box, and who was found in it, in one batch."""
        shared = self._estimators.shared
        if shared is None or not places:
            return []
        crops = [shared.crop.of(image, box) for image, box in places]
        found = shared.batch([crop for crop, _ in crops])
        return [(box, at.back(estimate)) for (_, box), (_, at), estimate in zip(places, crops, found, strict=True)]

    def _find(self, person: Person, frame: Frame) -> bool:
        """Look for a person where they should be by now."""
        elapsed = frame.time - person.time[-1] if person.time else 0.0
        expected = person.expected(frame.time)
        estimate = self._posed(person, frame, expected)
        person.followed = False
        if estimate is None or core_score(estimate, person.estimator.skeleton) < least_score(self._config, person.estimator):
            return False
        box = keypoint_box(estimate, frame.image)
        if iou(box, expected) < (0.3 if person.time else 0.1):  # somebody else
            return False
        if person.time and not 1 / GROWTH < _size(box) / _size(person.box) < GROWTH:  # nobody: limbs all over the place
            return False
        if elapsed:
            kept = np.exp(-elapsed / STEADY)
            person.velocity = kept * person.velocity + (1 - kept) * (_middle(box) - _middle(person.box)) / elapsed
        person.box = box
        person.followed = True
        person.index.append(frame.index)
        person.time.append(frame.time)
        person.boxes.append(box)
        person.masks.append(_silhouette(estimate))
        person.estimates.append(replace(estimate, mask=None))
        return True

    def _posed(self, person: Person, frame: Frame, expected: FloatArray) -> Estimate | None:
        """The person in an expected box (4,): as foreseen where the crop is much the same, else posed now."""
        foreseen = person.foreseen.pop(frame.index, None)
        if foreseen is not None and (person.followed or not person.time):
            crop = crop_for(person.estimator)
            if iou(crop.around(foreseen[0]), crop.around(expected)) > SAME:
                return foreseen[1]
        image = frame.image if person.followed else self._without_others(frame.image, expected, person)
        return pose(image, expected, person.estimator)

    def _without_others(self, image: Image, box: FloatArray, person: Person | None = None) -> Image:
        """The others painted over, but for what is in this box: else who looks for somebody new finds them."""
        others = [other.box for other in self._active if other is not person]
        if not others:
            return image
        result = image.copy()
        for other in others:
            x1, y1, x2, y2 = other.round().astype(int)
            result[max(y1, 0) : y2, max(x1, 0) : x2] = 128
        x1, y1, x2, y2 = box.round().clip(0).astype(int)
        result[y1:y2, x1:x2] = image[y1:y2, x1:x2]
        return result

    def _begin(self, boxes: FloatArray, frame: Frame) -> None:
        """Follow whoever is in proposed boxes (N, 4), unless they are followed already."""
        new = [box for box in boxes if not self._is_followed(box)]
        found = self._at_once([(self._without_others(frame.image, box), box) for box in new if self._estimators.shared])
        for box, seen in zip_longest(new, found):
            if self._is_followed(box):  # by now
                continue
            person = Person(self._estimators.take(), box, foreseen={frame.index: seen} if seen else {})
            if self._find(person, frame) and all(iou(person.box, p.box) < 0.4 for p in self._active):
                self._active.append(person)
            else:
                self._estimators.give_back(person.estimator)

    def _is_followed(self, box: FloatArray) -> bool:
        return any(_covered(person.box, box) > 0.4 for person in self._active)

    def _part(self, now: float) -> None:
        """End the tracks of people who cannot be told apart any more."""
        for i, a in enumerate(list(self._active)):
            for b in list(self._active)[i + 1 :]:
                if iou(a.box, b.box) > self._config.overlap and a in self._active and b in self._active:
                    self._end(b)  # the later one; if it is young, both are on the same person
                    if now - b.time[0] > self._config.min_seconds:
                        self._end(a)

    def _end(self, person: Person) -> None:
        self._active.remove(person)
        self._ended(person)
        self._estimators.give_back(person.estimator)


def pose(image: Image, box: FloatArray, estimator: PoseEstimator) -> Estimate | None:
    """Pose the person in a box: (4,) pixels. Keypoints come back in pixels of the image."""
    part, place = crop_for(estimator).of(image, box)
    found = estimator.batch([part])[0] if isinstance(estimator, BatchEstimator) else estimator(part)
    return place.back(found)


def crop_for(estimator: PoseEstimator) -> Crop:
    """What an estimator wants to be shown."""
    return estimator.crop if isinstance(estimator, BatchEstimator) else Crop()


def least_score(config: ExtractConfig, estimator: PoseEstimator) -> float:
    """The mean score that a person must have to be followed."""
    if config.min_score is not None:
        return config.min_score
    return estimator.min_score if isinstance(estimator, BatchEstimator) else MIN_SCORE


def core_score(estimate: Estimate, skeleton: Skeleton) -> float:
    """Mean score of shoulders, hips, knees and ankles."""
    return float(estimate.score[skeleton.indices(*CORE)].mean())


def keypoint_box(estimate: Estimate, image: Image) -> FloatArray:
    """The box of all keypoints, a little larger as heads and shoes are, cut to the picture: (4,)."""
    low, high = estimate.xy.min(axis=0), estimate.xy.max(axis=0)
    pad = 0.05 * (high[1] - low[1])
    size = np.array(image.shape[1::-1], np.float64)
    return np.concatenate([np.clip(low - pad, 0, size), np.clip(high + pad, 0, size)]).astype(np.float64)


def iou(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two boxes (4,)."""
    both = _intersection(a, b)
    return both / max(_area(a) + _area(b) - both, 1e-9)


def _covered(a: FloatArray, b: FloatArray) -> float:
    """Intersection over the smaller of two boxes."""
    return _intersection(a, b) / max(min(_area(a), _area(b)), 1e-9)


def _intersection(a: FloatArray, b: FloatArray) -> float:
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(size.clip(0).prod())


def _area(box: FloatArray) -> float:
    return float((box[2:] - box[:2]).clip(0).prod())


def _size(box: FloatArray) -> float:
    return float(max(*(box[2:] - box[:2]), 1.0))


def _middle(box: FloatArray) -> FloatArray:
    return (box[:2] + box[2:]) / 2


def turns(time: FloatArray, x: FloatArray) -> list[int]:
    """Where somebody turns back: a walk has one direction, and a sudden turn may be another person's.

    Args:
        time: (T,) seconds.
        x: (T,) of the body across the picture, in body heights.

    Returns:
        First indices of the walks after the first.
    """
    before = np.interp(time - TURN_SECONDS, time, x)
    after = np.interp(time + TURN_SECONDS, time, x)
    back, ahead = x - before, after - x
    turning = (back * ahead < 0) & (np.minimum(np.abs(back), np.abs(ahead)) > TURN_WAY)
    return [first + int((back * ahead)[first:end].argmin()) for first, end in runs(turning)]


def _pieces(person: Person) -> list[Person]:
    """The walks of somebody who was followed."""
    boxes = np.stack(person.boxes)
    x = (boxes[:, 0] + boxes[:, 2]) / 2 / np.median(boxes[:, 3] - boxes[:, 1])
    edges = [0, *turns(np.array(person.time), x), len(person.index)]
    return [person.part(a, b) for a, b in pairwise(edges)]


class _Found:
    """The tracks of a video as they end, sifted. Where there are many they lie on disk.

    Attributes:
        people: how many were followed, and `frames` how many frames are in a track.
    """

    def __init__(self, config: ExtractConfig) -> None:
        self.people = 0
        self._config = config
        self._order: list[tuple[int, int, int]] = []  # of a track its first frame, that of its person, and its place
        self._tracks: Shelf[Track2D] = Shelf()
        self._silhouettes: Shelf[Silhouettes] = Shelf()
        self._rejected: list[tuple[int, int, Rejected]] = []
        self._used = bytearray()

    @property
    def frames(self) -> int:
        """How many are in a track."""
        return sum(self._used)

    def add(self, person: Person) -> None:
        """Somebody who is followed no more."""
        self.people += 1
        for piece in _pieces(person):
            first, last = piece.index[0], piece.index[-1]
            if reason := _reason(piece, self._config):
                self._rejected.append((first, person.index[0], Rejected(reason, first, last, len(piece.index))))
                continue
            self._order.append((first, person.index[0], len(self._order)))
            self._tracks.put(track_of(piece))
            if self._config.silhouettes:
                self._silhouettes.put(silhouettes_of(piece))
            self._used.extend(bytes(max(0, last + 1 - len(self._used))))
            for index in piece.index:
                self._used[index] = 1

    def sorted(self) -> tuple[Sequence[Track2D], Sequence[Silhouettes], tuple[Rejected, ...]]:
        """Tracks, silhouettes and what was kept out, by first frame."""
        places = [place for *_, place in sorted(self._order)]
        rejected = tuple(row[-1] for row in sorted(self._rejected, key=lambda row: row[:2]))
        return self._tracks.by(places), self._silhouettes.by(places if self._config.silhouettes else []), rejected


def _reason(person: Person, config: ExtractConfig) -> str:
    """Why a track is kept out; empty where it is not."""
    if person.time[-1] - person.time[0] < config.min_seconds:
        return "too-short"
    return "" if is_clear(person, config) else "low-confidence"


def is_clear(person: Person, config: ExtractConfig) -> bool:
    """Whether somebody was seen well enough for a track."""
    scores = [core_score(e, person.estimator.skeleton) for e in person.estimates]
    least = least_score(config, person.estimator)
    return bool(np.median(scores) >= min((1 + least) / 2, 1.5 * least))


def track_of(person: Person) -> Track2D:
    """Somebody who is or was followed, as a track."""
    return Track2D(
        frame=np.array(person.index),
        time=np.array(person.time),
        box=np.stack(person.boxes).astype(np.float32),
        xy=np.stack([e.xy for e in person.estimates]),
        score=np.stack([e.score for e in person.estimates]),
        world=np.stack([e.world for e in person.estimates]),
        skeleton=person.estimator.skeleton,
    )


def _silhouette(estimate: Estimate) -> Silhouette | None:
    found = None if estimate.mask is None else cut_out(estimate.mask)
    return found.seen_from(estimate.place) if found and estimate.place else found


def silhouettes_of(person: Person) -> Silhouettes:
    """Those of the frames that have one."""
    pairs = [(i, found) for i, found in zip(person.index, person.masks, strict=True) if found is not None]
    return Silhouettes(
        frame=np.array([i for i, _ in pairs], dtype=np.int64),
        mask=np.array([found.mask for _, found in pairs], dtype=np.uint8).reshape(-1, SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH),
        scale=np.array([found.scale for _, found in pairs]).reshape(-1, 2),
        shift=np.array([found.shift for _, found in pairs]).reshape(-1, 2),
    )
