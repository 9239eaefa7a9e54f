"""Who is in these videos: every track against a gallery, with a threshold for strangers.

identities.csv   one line a track and rank; identities.json  the same, with the calibration and how the answers came about
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline.clips import Clip, Recogniser, Seen
from gaitreid.pipeline.console import counted
from gaitreid.pipeline.files import write_csv, write_json
from gaitreid.pipeline.gallery import UNKNOWN, Book, check_encoder
from gaitreid.pose.arrays import take
from gaitreid.reid.openset import assign, at_once, name_distances

CSV_COLUMNS = ("video", "track", "start_s", "end_s", "answer", "rank", "name", "distance", "margin", "score")


@dataclass(frozen=True)
class Candidate:
    """A name for a track.

    Attributes:
        rank: among all names, from 1.
        score: share of strangers who would be farther away, in [0, 1].
    """

    rank: int
    name: str
    distance: float
    score: float


@dataclass(frozen=True, eq=False)
class Identity:
    """What is said of one track.

    Attributes:
        answer: a name, or `unknown`.
        candidates: the nearest names by distance, and the answer if it is not among them.
        margin: how much farther away the second is; None where there is one name only.
        why: why the answer is not the nearest name; empty where it is.
    """

    video: Path
    person: Seen
    answer: str
    candidates: tuple[Candidate, ...]
    margin: float | None
    why: str = ""

    @property
    def span(self) -> tuple[float, float]:
        """Seconds from the first frame of the video."""
        return float(self.person.track.time[0]), float(self.person.track.time[-1])

    @property
    def brief(self) -> "Identity":
        """The same with the first and the last frame alone: those of thousands of videos are kept."""
        track = take(self.person.track, "T", [0, -1])
        return replace(self, person=replace(self.person, track=track, vector=self.person.vector[:0]))

    @property
    def score(self) -> float:
        """Of the answer; of the nearest name where it is unknown."""
        return next((c.score for c in self.candidates if c.name == self.answer), self.candidates[0].score)


class Naming:
    """Names tracks from a gallery.

    Attributes:
        rate: false accepts, as a share of the searches of strangers.
        top: names kept for each track.
    """

    def __init__(self, book: Book, path: Path, recogniser: Recogniser, rate: float, top: int) -> None:
        check_encoder(book.gallery, recogniser, path)
        self.book, self.rate, self.top = book, rate, top
        self.limit = book.calibration.threshold(rate)

    def __call__(self, clip: Clip) -> list[Identity]:
        """Who is who in one video; people who are seen at the same time have different names."""
        people = clip.people
        if not people:
            return []
        of = self.book.gallery
        names, distance = name_distances(
            np.stack([p.vector for p in people]),
            of.vector,
            of.name,
            self.book.metric,
            cohort=self.book.cohort.vector,
            parts=of.parts,
            context=of.context,
        )
        first, last = (np.array([p.track.time[k] for p in people]) for k in (0, -1))
        column = assign(distance, self.limit, at_once(first, last))
        order = np.argsort(distance, axis=1, kind="stable")
        scores = self.book.calibration.score(distance)
        result = []
        for k, person in enumerate(people):
            every = [
                Candidate(rank, str(names[c]), float(distance[k, c]), float(scores[k, c]))
                for rank, c in enumerate(order[k], 1)
                if np.isfinite(distance[k, c])
            ]
            margin = every[1].distance - every[0].distance if len(every) > 1 else None
            answer = str(names[column[k]]) if column[k] >= 0 else UNKNOWN
            why = ""
            if answer == UNKNOWN and every[0].distance > self.limit:
                why = f"nobody is within {self.limit:.4g}"
            elif answer != every[0].name:
                why = f"{every[0].name} is somebody else who is seen at the same time"
            candidates = tuple(c for c in every if c.rank <= self.top or c.name == answer)
            result.append(Identity(clip.path, person, answer, candidates, margin, why))
        return result


def table(identities: Sequence[Identity]) -> Iterator[str]:
    """Lines for people."""
    wide = max((len(i.video.name) for i in identities), default=0)
    who = max((len(i.answer) for i in identities), default=0)
    for i in identities:
        start, end = i.span
        near = ", ".join(f"{c.name} {c.distance:.3f}" for c in i.candidates[:3])
        reason = f"; {i.why}" if i.why else ""
        yield (
            f"{i.video.name:{wide}}  track {i.person.number:<3} {start:6.1f} to {end:6.1f} s  "
            f"{i.answer:{who}}  score {i.score:.2f}  ({near}{reason})"
        )


def write(folder: Path, identities: Sequence[Identity], naming: Naming, gallery: Path) -> None:
    """identities.csv and identities.json; a video goes by its name, and by its whole path where another has the same."""
    videos = _called(identities)
    write_csv(folder / "identities.csv", CSV_COLUMNS, _rows(identities, videos))
    write_json(folder / "identities.json", _report(identities, videos, naming, gallery))


def _rows(identities: Sequence[Identity], videos: dict[Path, str]) -> Iterator[tuple[object, ...]]:
    """Rows of identities.csv, `CSV_COLUMNS`."""
    for i in identities:
        start, end = i.span
        for c in i.candidates:
            margin = f"{i.margin:.6g}" if c.rank == 1 and i.margin is not None else ""
            place_in = (videos[i.video], i.person.number, f"{start:.3f}", f"{end:.3f}")
            yield (*place_in, i.answer, c.rank, c.name, f"{c.distance:.6g}", margin, f"{c.score:.4f}")


def _called(identities: Sequence[Identity]) -> dict[Path, str]:
    videos = {i.video for i in identities}
    counts = Counter(video.name for video in videos)
    return {video: video.name if counts[video.name] == 1 else str(video) for video in videos}


def _report(identities: Sequence[Identity], videos: dict[Path, str], naming: Naming, gallery: Path) -> dict[str, Any]:
    found = naming.book.calibration
    return {
        "gallery": str(gallery),
        "encoder": naming.book.gallery.encoder,
        "weights": naming.book.gallery.weights,
        "metric": naming.book.metric,
        "false_accept_rate": {"asked": naming.rate, "ci95": list(found.interval(naming.rate)), "threshold": naming.limit},
        "calibration": {
            "names": found.names,
            "people": found.people,
            "searches": found.searches,
            "cohort": found.cohort,
            "text": naming.book.describe(naming.rate),
        },
        "tracks": [
            {
                "video": videos[i.video],
                "track": i.person.number,
                "start_s": i.span[0],
                "end_s": i.span[1],
                "answer": i.answer,
                "score": i.score,
                "margin": i.margin,
                "why": i.why,
                "candidates": [vars(c) for c in i.candidates],
            }
            for i in identities
        ],
    }


def closing(identities: Sequence[Identity], naming: Naming, *, videos: int) -> str:
    """How many were named, and how far that can be trusted."""
    named = sum(i.answer != UNKNOWN for i in identities)
    seen = f"{counted(videos, 'videos')}, {counted(len(identities), 'tracks')}"
    return f"identify: {seen}, {named} named; {naming.book.describe(naming.rate)}"
