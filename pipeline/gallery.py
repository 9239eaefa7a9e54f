"""A gallery that lasts: one HDF5 file of people and their vectors, changed whole or not at all, by one writer at a time."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.clips import Clip, Recogniser, Seen
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import sweep
from gaitreid.pipeline.lock import holding
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import BoolArray, specs, take
from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.reid.openset import Calibration, at_once, calibrate
from gaitreid.reid.records import Cohort, Gallery
from gaitreid.reid.search import Metric

UNKNOWN = "unknown"  # nobody may be called so
RATE = 0.05  # of false accepts, where none is asked for


@dataclass(frozen=True)
class Person:
    """One line of the list."""

    name: str
    videos: int
    tracks: int
    windows: int


@dataclass(frozen=True, eq=False)
class Book:
    """A gallery file.

    Attributes:
        cohort: people whom the encoder was trained on, for the calibration.
        metric: that distances are measured with.
    """

    gallery: Gallery
    cohort: Cohort
    metric: Metric

    @cached_property
    def calibration(self) -> Calibration:
        """How far strangers are from this gallery.

        Raises:
            UsageError: nobody is in it, or only one person, and the encoder has no cohort.
        """
        of = self.gallery
        return calibrate(of.vector, of.name, self.cohort.vector, self.metric, parts=of.parts, context=of.context)

    @property
    def people(self) -> list[Person]:
        """Everybody, by name."""
        of = self.gallery
        names, who = np.unique(of.name, return_inverse=True)
        videos = np.unique(np.stack([who, np.unique(of.source, return_inverse=True)[1]]), axis=1)[0]
        counts = (np.bincount(rows, weights, len(names)) for rows, weights in ((videos, None), (who, None), (who, of.windows)))
        return [Person(str(name), *map(int, row)) for name, *row in zip(names, *counts, strict=True)]

    def describe(self, rate: float) -> str:
        """The calibration in words."""
        found = self.calibration
        low, high = found.interval(rate)
        own = f"{counted(found.searches, 'searches')} of {counted(found.people, 'people')}, each among the others"
        on = [own] if found.people else []
        on += [f"{counted(found.cohort, 'people')} who come with the encoder"] if found.cohort else []
        return (
            f"a stranger is taken for somebody in {100 * rate:.4g}% of the searches (95 %: {low:.1%} to {high:.1%}), "
            f"within a distance of {found.threshold(rate):.4g}; calibrated on {' and '.join(on)}"
        )

    def take(self, rows: BoolArray) -> "Book":
        """Some of the tracks."""
        return replace(self, gallery=take(self.gallery, "K", rows))

    def of(self, name: str, path: Path) -> BoolArray:
        """Which tracks are somebody's.

        Raises:
            UsageError: nobody of this name is there.
        """
        rows = np.asarray(self.gallery.name == name)
        if not rows.any():
            known = ", ".join(np.unique(self.gallery.name).tolist()) or "nobody"
            raise UsageError(f"{path}: nobody is called '{name}'; there are {known}")
        return rows

    def renamed(self, rows: BoolArray, name: str) -> "Book":
        """The same with another name for some tracks."""
        return replace(self, gallery=replace(self.gallery, name=np.where(rows, name, self.gallery.name)))

    def joined(self, other: Gallery) -> "Book":
        """With what another has; a video that is in both is taken from the other."""
        ours = take(self.gallery, "K", ~np.isin(self.gallery.source, other.source))
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(ours, name), getattr(other, name)]) for name, _ in specs(Gallery)
        }
        return replace(self, gallery=replace(ours, **columns))


def read(path: Path) -> Book:
    """The gallery in a file.

    Raises:
        UsageError: there is none.
        FormatError: the file is not a gallery.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no gallery; `gaitreid gallery add NAME VIDEOS... --gallery {path}` makes one")
    metric: Any = store.attributes(path, "gallery").get("metric", "cosine")
    if metric not in get_args(Metric):
        raise FormatError(f"{path}: metric is {metric!r}, expected {' or '.join(get_args(Metric))}")
    found, cohort = store.read(path, "gallery", Gallery, "/gallery"), store.read(path, "gallery", Cohort, "/cohort")
    if len(cohort.vector) and cohort.vector.shape[1] != found.vector.shape[1]:
        raise FormatError(
            f"{path}: vectors of the cohort have {cohort.vector.shape[1]} numbers, expected {found.vector.shape[1]}"
        )
    return Book(found, cohort, metric)


def add(path: Path, name: str, clips: Sequence[Clip], recogniser: Recogniser, console: Console) -> Book:
    """Enrol somebody with the clips in which they walk; a video that is there already takes the place of itself.

    A clip shows one person: of several who walk at the same time the one seen longest is taken, and a line names the others.

    Raises:
        UsageError: the name is none, the gallery is of another encoder, or one of these videos is somebody else's.
    """
    check_name(name)
    rows = [(clip, person) for clip in clips for person in _one_walker(clip, name, console)]
    new = Gallery(
        name=np.array([name] * len(rows)),
        video=np.array([clip.path.name for clip, _ in rows]),
        track=np.array([person.number for _, person in rows]),
        source=np.array([clip.source for clip, _ in rows]),
        windows=np.array([person.windows for _, person in rows]),
        vector=np.stack([person.vector for _, person in rows]),
        encoder=recogniser.name,
        weights=recogniser.weights,
        form=recogniser.form,
        whiten=recogniser.power,
        parts=recogniser.parts,
        context=recogniser.context,
        pose=recogniser.pose,
        lifter=recogniser.lifter,
    )

    def change(old: Book | None) -> Book:
        if old is None:
            return Book(new, Cohort(vector=recogniser.cohort), recogniser.metric)
        check_encoder(old.gallery, recogniser, path)
        _check_owners(old.gallery, ((clip.source, name, str(clip.path)) for clip in clips))
        return old.joined(new)

    return _change(path, change)


def remove(path: Path, name: str) -> Book:
    """Take somebody out; their vectors are in the file no longer."""
    return _change(path, lambda book: _there(book, path).take(~_there(book, path).of(name, path)))


def forget(work: Work, before: Book, after: Book) -> int:
    """Delete the poses that `clips/` keeps of videos by which nobody is known any more; of how many videos."""
    gone, found = set(before.gallery.source.tolist()) - set(after.gallery.source.tolist()), set()
    for path in sorted((work.root / "clips").rglob("*.h5")):
        with suppress(FormatError):
            if (source := store.attributes(path, path.parent.name).get("made_from")) in gone:
                path.unlink()
                found.add(source)
    return len(found)


def rename(path: Path, name: str, new: str) -> Book:
    """Give somebody another name.

    Raises:
        UsageError: nobody has the old name, or somebody the new one (to make one of two people is what `merge` is for).
    """
    check_name(new)

    def change(old: Book | None) -> Book:
        book = _there(old, path)
        rows = book.of(name, path)
        if (book.gallery.name == new).any():
            raise UsageError(f"{path}: '{new}' is there already; `gaitreid gallery merge {new} {name}` makes one of the two")
        return book.renamed(rows, new)

    return _change(path, change)


def merge(path: Path, first: str, others: Sequence[str]) -> Book:
    """Make one of several people, called as the first; gallery files among them bring everybody who is in them.

    Raises:
        UsageError: there is nothing to merge, one of them is not there, or a file is of another encoder, or has a video that is
            somebody else's here.
    """

    def change(old: Book | None) -> Book:
        known = set(old.gallery.name.tolist()) if old else set()
        files = [item for item in (first, *others) if item not in known and os.path.isfile(item)]  # noqa: PTH113 (of names too long, too)
        names = [item for item in (first, *others) if item not in files]
        if len(names) == 1 and not files:
            raise UsageError("merge takes two people or more, or a gallery file")
        book = old
        for file in files:
            new = read(Path(file))
            theirs = new.gallery
            if book:
                _check_same(book.gallery, theirs, path, Path(file))
                called = (f"{file}: {video}" for video in theirs.video.tolist())
                _check_owners(book.gallery, zip(theirs.source.tolist(), theirs.name.tolist(), called, strict=True))
            book = book.joined(theirs) if book else new
        book = _there(book, path)
        for name in names:
            book = book.renamed(book.of(name, path), names[0])
        return book

    return _change(path, change)


def check_name(name: str) -> None:
    """Raises: UsageError: nobody can be called this."""
    if not name.strip() or name == UNKNOWN or not name.isprintable():
        raise UsageError(f"'{name}' cannot be a name in a gallery")


def check_encoder(gallery: Gallery, recogniser: Recogniser, path: Path) -> None:
    """Raises: UsageError: the gallery holds vectors of another encoder, or made by other settings."""
    if gallery.weights != recogniser.weights:
        raise UsageError(
            f"{path} holds vectors of the encoder '{gallery.encoder}' (SHA-256 {gallery.weights[:16]}), "
            f"this is '{recogniser.name}' ({recogniser.weights[:16]}): take that one (--name, --encoder) or a new gallery"
        )
    if (gallery.form, gallery.whiten) != (recogniser.form, recogniser.power):
        raise UsageError(
            f"{path} was made with encode.form={gallery.form} and encode.whiten={gallery.whiten:g}: set the same, "
            "or begin another gallery"
        )
    for setting, theirs, ours in _unlike(gallery, recogniser):
        raise UsageError(f"{path} was made with {setting}={theirs}, this is {ours}: set the same, or begin another gallery")


def _unlike(gallery: Gallery, other: Gallery | Recogniser) -> Iterator[tuple[str, str, str]]:
    """Settings by which people were found and lifted in different ways, as far as both are known; each with both values."""
    for setting, one, two in (("extract.pose", gallery.pose, other.pose), ("lift.lifter", gallery.lifter, other.lifter)):
        if one and two and one != two:
            yield setting, one, two


def _check_same(ours: Gallery, theirs: Gallery, path: Path, other: Path) -> None:
    if (ours.weights, ours.form, ours.whiten) != (theirs.weights, theirs.form, theirs.whiten):
        raise UsageError(
            f"{other} holds vectors of the encoder '{theirs.encoder}' (SHA-256 {theirs.weights[:16]}), "
            f"{path} of '{ours.encoder}' ({ours.weights[:16]}), or made by other settings: they cannot be compared"
        )
    for setting, one, two in _unlike(ours, theirs):
        raise UsageError(f"{other} was made with {setting}={two}, {path} with {one}: they cannot be compared")


def _check_owners(gallery: Gallery, videos: Iterable[tuple[str, str, str]]) -> None:
    """See that no video is of somebody of another name.

    Args:
        videos: of each its source, whose it is, and what to call it.

    Raises:
        UsageError: one is.
    """
    owners = dict(zip(gallery.source.tolist(), gallery.name.tolist(), strict=True))
    for source, name, video in videos:
        if (owner := owners.get(source, name)) != name:
            raise UsageError(f"{video}: is in the gallery as '{owner}': rename that, or remove it first")


def _one_walker(clip: Clip, name: str, console: Console) -> list[Seen]:
    """Tracks of the one person whom a clip shows: the longest, and those that are not beside one that is taken."""
    seen = sorted(clip.people, key=lambda person: -len(person.track.frame))
    first, last = (np.array([person.track.time[k] for person in seen]) for k in (0, -1))
    groups = [set(group.tolist()) for group in at_once(first, last)]
    taken: list[int] = []
    for k, person in enumerate(seen):
        if any(k in group and group & set(taken) for group in groups):
            console.say(f"gallery: {clip.path} track {person.number} walks beside {name}: left out")
        else:
            taken.append(k)
    return [seen[k] for k in taken]


def _there(book: Book | None, path: Path) -> Book:
    if book is None:
        return read(path)  # says that there is none
    return book


def _change(path: Path, change: Callable[[Book | None], Book]) -> Book:
    """Change a gallery under a lock that the system lets go of when its holder dies; readers see the old file or the new."""
    with holding(path.with_name(f".{path.name}.lock"), wait=True):
        book = change(read(path) if path.exists() else None)
        facts: dict[str, store.Attribute] = {"metric": book.metric, "calibration": _calibration(book)}
        sweep(path)
        store.write(path, "gallery", {"/gallery": book.gallery, "/cohort": book.cohort}, facts)
    return book


def _calibration(book: Book) -> str:
    """How the gallery is calibrated, as JSON; empty where that takes more people."""
    try:
        found = book.calibration
    except UsageError:
        return ""
    low, high = found.interval(RATE)
    return json.dumps({**asdict(found), "rate": RATE, "threshold": found.threshold(RATE), "interval": [low, high]})
