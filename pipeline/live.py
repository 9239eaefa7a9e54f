"""Names while the video plays: everybody who is seen now, by the last seconds of their walk."""

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from gaitreid.pipeline.clips import Clip, Recogniser, Seen
from gaitreid.pipeline.extract import check
from gaitreid.pipeline.identify import Identity, Naming
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pose.detect import choose
from gaitreid.pose.errors import ItemError
from gaitreid.pose.estimate import Crop, Estimators
from gaitreid.pose.extract import Person, Tracker, is_clear, silhouettes_of, track_of
from gaitreid.pose.video import Frame, frames, hush

SPAN = 4.0  # seconds of a walk that a name is drawn from: about four cycles
EVERY = 1.0  # seconds between two looks at who is who
LATE = 0.5  # behind by more, frames are left out until the picture is caught up with


@dataclass(frozen=True, eq=False)
class Moment:
    """Who is seen now.

    Attributes:
        time: of the video, in seconds.
        behind: seconds from the moment that a frame was there to the names for it.
        dropped: frames left out so far, of `read`.
    """

    time: float
    identities: list[Identity]
    behind: float
    dropped: int
    read: int


def live(source: str, recogniser: Recogniser, naming: Naming, estimators: Estimators) -> Iterator[Moment]:
    """Follow a camera (its number), or a file as if it were one, and say about every second, and at the end, who is seen.

    Raises:
        ItemError: `unreadable`: there is no such camera or file, or nothing can be decoded; of a file also as of `extract`.
    """
    config, limits = recogniser.config.extract, recogniser.config.limits
    camera = source.isdecimal()
    stream = _camera(int(source)) if camera else _file(Path(source), config.max_fps, limits)
    detector = config.detector
    if detector == "auto":  # a camera that is watched live stands still
        detector = "motion" if camera else choose(Path(source), limits.bounds)[0]
    first = estimators.take()
    nobody = np.zeros((Crop().height, Crop().width, 3), dtype=np.uint8)
    first(nobody)  # the first picture takes a second: not while the video plays
    estimators.give_back(first)
    tracker = Tracker(config, detector, estimators)
    numbers: WeakKeyDictionary[Person, int] = WeakKeyDictionary()
    next_number = count(1)
    began, look, dropped, read, last = clock.monotonic(), EVERY, 0, 0, None

    def moment(frame: Frame) -> Moment:
        people = []
        for person in tracker.people:
            number = numbers[person] if person in numbers else numbers.setdefault(person, next(next_number))
            seen = _seen(person, number, recogniser, frame.image.shape[1])
            if seen:
                people.append(seen)
        identities = naming(Clip(Path(source), "", people))
        return Moment(frame.time, identities, max(clock.monotonic() - began - frame.time, 0.0), dropped, read)

    for frame in stream:
        read += 1
        early = began + frame.time - clock.monotonic()
        if early > 0:
            clock.sleep(early)
        elif early < -LATE:
            dropped += 1
            continue
        tracker.step(frame)
        last = frame
        if frame.time >= look:
            look, last = frame.time + EVERY, None
            yield moment(frame)
    if not read:
        raise ItemError("unreadable", "no picture came")
    if last is not None:  # what was seen since the last look
        yield moment(last)
    tracker.finish()


def lines(moment: Moment) -> Iterator[str]:
    """A line a person."""
    late = f"{moment.behind:.1f} s behind" + (f", {moment.dropped} of {moment.read} frames left out" if moment.dropped else "")
    for i in moment.identities:
        near = f"nearest {i.candidates[0].name} {i.candidates[0].distance:.3f}"
        yield f"{moment.time:7.1f} s  track {i.person.number:<3} {i.answer}  score {i.score:.2f}  ({near}; {late})"
    if not moment.identities:
        yield f"{moment.time:7.1f} s  nobody to name ({late})"


def _seen(person: Person, number: int, recogniser: Recogniser, width: int) -> Seen | None:
    """The last SPAN seconds of somebody; None where they were not seen for long enough, or not well."""
    config = recogniser.config.extract
    recent = person.part(int(np.searchsorted(person.time, person.time[-1] - SPAN)), len(person.time))
    if person.time[-1] - person.time[0] < config.min_seconds or not is_clear(recent, config):
        return None
    try:
        track = track_of(recent)
        return Seen(number, track, *recogniser.vector(track, silhouettes_of(recent), width))
    except ItemError:
        return None


def _file(path: Path, max_fps: float, limits: LimitsConfig) -> Iterator[Frame]:
    check(path, limits)
    return frames(path, max_fps, limits.bounds)[1]


def _camera(number: int) -> Iterator[Frame]:
    """Frames as they come."""
    hush()
    capture = cv2.VideoCapture(min(number, 2**31 - 1))  # a larger number is none to OpenCV
    if not capture.isOpened():
        raise ItemError("unreadable", f"there is no camera {number}")
    return _read(capture)


def _read(capture: cv2.VideoCapture) -> Iterator[Frame]:
    began = clock.monotonic()
    try:
        for index in count():
            ok, image = capture.read()
            if not ok:
                return
            yield Frame(index, clock.monotonic() - began, np.asarray(image, dtype=np.uint8))
    finally:
        capture.release()
