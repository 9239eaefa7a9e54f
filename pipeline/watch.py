"""Naming people in videos: those that are given, those that come into a folder, and what a camera sees."""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from gaitreid.pipeline.clips import Recogniser, clips
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.extract import VIDEO_SUFFIXES, below, estimators
from gaitreid.pipeline.identify import Identity, Naming, closing, table, write
from gaitreid.pipeline.jobs import Failure, Summary
from gaitreid.pipeline.live import lines, live
from gaitreid.pipeline.overlay import overlay
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, ItemError, UsageError
from gaitreid.pose.video import Bounds

POLL = 1.0  # seconds between two looks into a folder; a file that did not change from one to the next is whole


def identify(
    work: Work,
    videos: Sequence[Path],
    recogniser: Recogniser,
    naming: Naming,
    console: Console,
    *,
    folder: Path,
    gallery: Path,
    jobs: int = 1,
    overlays: bool = False,
    watch: Path | None = None,
    stop_after: float | None = None,
) -> Summary:
    """Name everybody, write identities.csv and identities.json, and the videos with names drawn in where they are asked for.

    Args:
        watch: a folder whose new videos are named as they come, until it is interrupted.
        stop_after: seconds without a new video after which watching ends.

    Raises:
        EmptyError: there is nobody to name.
    """
    found: dict[Path, list[Identity]] = {}
    summary = Summary()
    for batch in _batches(videos, watch, stop_after, console, (work.root, folder)):
        again = {path.resolve() for path in batch}  # files that came in parts, or were put in the place of others
        summary.failed[:] = [failure for failure in summary.failed if Path(failure.item) not in again]
        summary.done[:] = [item for item in summary.done if Path(item) not in again]
        for path in again:
            found.pop(path, None)
        for clip in clips(work, batch, recogniser, console, summary, jobs=jobs):
            identities = naming(clip)
            found[clip.path] = [identity.brief for identity in identities]
            for line in table(identities):
                console.say(line)
            if overlays and identities:
                target = folder / f"{clip.path.stem}-{clip.source[:6]}.mp4"
                _draw(target, identities, recogniser.config.limits.bounds, summary, console)
        write(folder, list(chain(*found.values())), naming, gallery)
    every = list(chain(*found.values()))
    console.say(closing(every, naming, videos=len(found)))
    if not every:
        raise EmptyError("identify: there is nobody to name" + (": the lines above say why" if found or summary.failed else ""))
    console.say(f"identify: {folder / 'identities.csv'}")
    return summary


def follow(source: str, recogniser: Recogniser, naming: Naming, console: Console) -> None:
    """Name those whom a camera sees, or a file that plays as if it were one, until it ends or is interrupted."""
    lent = estimators(recogniser.config.extract, recogniser.beside is not None, recogniser.config.device)
    last = None
    try:
        for moment in live(source, recogniser, naming, lent):
            last = moment
            for line in lines(moment):
                console.say(line)
    except ItemError as error:
        raise UsageError(f"--live {source}: {error.reason}: {error}") from error
    except KeyboardInterrupt:
        console.say("")
    if last is not None:
        console.say(
            f"live: {last.time:.1f} s seen, {last.behind:.1f} s behind at the end, {last.dropped} of {last.read} frames left out"
        )


def _batches(
    videos: Sequence[Path], watch: Path | None, stop_after: float | None, console: Console, ours: Sequence[Path] = ()
) -> Iterator[list[Path]]:
    """The videos that are given, and after them what comes into a folder; what is there already counts as having come.

    Args:
        ours: folders whose videos we write ourselves: they do not count.
    """
    if watch is not None and not watch.is_dir():
        raise UsageError(f"--watch {watch}: no such folder")
    if videos:
        yield list(videos)
    if watch is None:
        return
    console.say(f"identify: watching {watch}; Ctrl-C ends it")
    done: set[tuple[Path, int, float]] = set()
    before: set[tuple[Path, int, float]] = set()
    quiet = time.monotonic()
    try:
        while stop_after is None or time.monotonic() - quiet < stop_after:
            now = set(_files(watch, ours))
            if whole := sorted((now & before) - done):
                yield [path for path, _, _ in whole]
                done |= set(whole)
                quiet = time.monotonic()
            elif now - done:
                quiet = time.monotonic()
            before = now
            time.sleep(POLL)
    except KeyboardInterrupt:
        console.say("")


def _files(folder: Path, ours: Sequence[Path]) -> Iterator[tuple[Path, int, float]]:
    left_out = [own for own in (below(folder, path) for path in ours) if own]
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if any(path.is_relative_to(own) for own in left_out):
                continue
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith("."):
                with suppress(OSError):  # it may be gone by now
                    facts = path.stat()
                    if stat.S_ISREG(facts.st_mode):
                        yield path, facts.st_size, facts.st_mtime


def _draw(path: Path, identities: Sequence[Identity], bounds: Bounds, summary: Summary, console: Console) -> None:
    try:
        console.say(f"identify: {overlay(path, identities, bounds)}")
    except ItemError as error:
        console.error(f"{path}: {error.reason}: {error}")
        summary.failed.append(Failure(str(path), error.reason, str(error)))
