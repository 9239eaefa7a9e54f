"""What is seen while work goes on: lines and a progress bar for people, JSON lines for programs; and the log of the run."""

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from gaitreid.pipeline.logs import RunLog

PLAIN_EVERY = 30.0  # seconds between progress lines where there is no terminal
JSON_EVERY = 1.0  # between those for programs
SINGULAR = {"people": "person", "searches": "search"}
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line feeds


def printed(text: str) -> str:
    """A text as a terminal is to get it: what would command it (colours, titles, moves), as names of files may, is escaped."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def few(names: Sequence[str], most: int) -> str:
    """The first of some names, for a message."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def counted(count: int, what: str) -> str:
    """A number of things, which are named as several: `2 videos`, `1 video`."""
    return f"{count} {SINGULAR.get(what, what.removesuffix('s')) if count == 1 else what}"


class Progress(Protocol):
    """Told how far the work is."""

    def __call__(self, done: float, note: str = "", *, skipped: float = 0, failed: float = 0) -> None:
        """Tell.

        Args:
            done: items that are finished, whatever became of them.
            note: a few words about the state.
            skipped: those of them that needed no work: they say nothing about how fast it goes.
            failed: those of them that failed.
        """


class Pace:
    """How fast work goes, by the items that were worked on in this run: what an earlier run did is not counted as speed."""

    def __init__(self, total: float) -> None:
        self.total = total
        self._began = time.monotonic()
        self.rate, self.left = 0.0, float("nan")  # items a second; seconds

    def update(self, done: float, skipped: float) -> None:
        """Take note of how far the work is."""
        now = time.monotonic()
        worked = done - skipped
        if worked <= 0:
            self._began = now
            return
        self.rate = worked / max(now - self._began, 1e-9)
        self.left = (self.total - done) / self.rate

    def words(self) -> str:
        """Rate and time left."""
        if not self.rate:
            return "no rate yet"
        rate = f"{self.rate:.3g} a second" if self.rate >= 1 else f"{1 / self.rate:.3g} s each"
        return f"{rate}, {_duration(self.left)} left"


@dataclass
class Console:
    """Lines to stdout, errors to stderr.

    Attributes:
        level: -1 quiet (errors only), 0 normal, 1 verbose.
        log: where finished items are noted.
        as_json: JSON lines to stdout in place of words: `event` is `line`, `progress` or `item`. Errors are words in any case.
    """

    level: int = 0
    log: RunLog | None = None
    as_json: bool = False
    _live: list[object] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line of result or of progress."""
        if self.level >= 0:
            self._print(text)

    def detail(self, text: str) -> None:
        """A line that only -v shows."""
        if self.level > 0:
            self._print(text)

    def problem(self, text: str) -> None:
        """A line about an item that failed: to stdout with the others, or, where only errors are shown, as one."""
        if self.level >= 0:
            self._print(text)
        else:
            self.error(text)

    def error(self, text: str) -> None:
        """A line about something that went wrong."""
        print(printed(text), file=sys.stderr, flush=True)

    def item(
        self, stage: str, item: str, state: str, reason: str = "", seconds: float = 0.0, size: int = 0, frames: int = 0
    ) -> None:
        """An item of a stage is finished: note it.

        Args:
            state: done, failed or skipped; `reason` is a code that says why.
            size: in bytes, of what it was made from.
        """
        if self.log is not None:
            line = self.log.add(stage, item, state, reason, seconds, size, frames)
            if self.as_json and self.level >= 0:
                self._print_json("item", line)

    @contextmanager
    def progress(self, title: str, total: float, unit: str = "") -> Iterator[Progress]:
        """A bar with rate and time left on a terminal, a line now and then elsewhere."""
        if self.level < 0 or total <= 0:
            yield lambda done, note="", *, skipped=0, failed=0: None
        elif self.as_json:
            yield self._events(title, total, unit)
        elif sys.stdout.isatty():
            with self._bar(title, total) as update:
                yield update
        else:
            yield self._plain(title, total, unit)

    @contextmanager
    def _bar(self, title: str, total: float) -> Iterator[Progress]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[note]}"),
        )
        pace = Pace(total)
        with RichProgress(*columns, console=RichConsole(), transient=True) as bar:
            task = bar.add_task(title, total=total, note="", pace="")
            self._live.append(bar)

            def update(done: float, note: str = "", *, skipped: float = 0, failed: float = 0) -> None:
                pace.update(done, skipped)
                bar.update(task, completed=done, pace=pace.words() + _counts(skipped, failed), note=note)

            try:
                yield update
            finally:
                self._live.remove(bar)

    def _plain(self, title: str, total: float, unit: str) -> Progress:
        pace, last = Pace(total), time.monotonic()

        def update(done: float, note: str = "", *, skipped: float = 0, failed: float = 0) -> None:
            nonlocal last
            pace.update(done, skipped)
            now = time.monotonic()
            if now - last >= PLAIN_EVERY and 0 < done < total:
                last = now
                counts = _counts(skipped, failed)
                self.say(f"{title}: {done:g} of {total:g} {unit}{counts}, {pace.words()} {note}".rstrip())

        return update

    def _events(self, title: str, total: float, unit: str) -> Progress:
        pace, last = Pace(total), 0.0

        def update(done: float, note: str = "", *, skipped: float = 0, failed: float = 0) -> None:
            nonlocal last
            pace.update(done, skipped)
            now = time.monotonic()
            if now - last >= JSON_EVERY or done >= total:
                last = now
                facts = {"stage": title, "unit": unit, "total": total, "done": done, "skipped": skipped, "failed": failed}
                known = {"rate": round(pace.rate, 6), "left_seconds": round(pace.left, 1)} if pace.rate else {}
                self._print_json("progress", {**facts, **known, "note": note})

        return update

    def _print(self, text: str) -> None:
        if self.as_json:
            return self._print_json("line", {"text": text})
        text = printed(text)
        # A bar on the screen must be told of lines, or it overwrites them.
        if self._live:
            self._live[-1].console.print(text, markup=False, highlight=False, soft_wrap=True)  # type: ignore[attr-defined]
        else:
            print(text, flush=True)

    def _print_json(self, event: str, facts: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"time": now, "event": event, **facts}), flush=True)


def _counts(skipped: float, failed: float) -> str:
    parts = [f"{count:g} {word}" for count, word in ((skipped, "were there"), (failed, "failed")) if count]
    return f" ({', '.join(parts)})" if parts else ""


def _duration(seconds: float) -> str:
    """Such as 45 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
