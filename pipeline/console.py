"""What a person sees while work goes on: lines, and a progress bar where there is a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

PLAIN_EVERY = 30.0  # seconds between progress lines where there is no terminal


class Progress(Protocol):
    """Told how far the work is."""

    def __call__(self, done: float, note: str = "") -> None:
        """Args: done: items done so far; note: a few words about the state."""


@dataclass
class Console:
    """Lines to stdout, errors to stderr.

    Attributes:
        level: -1 quiet (errors only), 0 normal, 1 verbose.
    """

    level: int = 0
    _live: list[object] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line of result or of progress."""
        if self.level >= 0:
            self._print(text)

    def detail(self, text: str) -> None:
        """A line that only -v shows."""
        if self.level > 0:
            self._print(text)

    def error(self, text: str) -> None:
        """A line about something that went wrong."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str, total: float, unit: str = "") -> Iterator[Progress]:
        """A bar with rate and time left on a terminal, a plain line now and then elsewhere."""
        if self.level < 0 or total <= 0:
            yield lambda done, note="": None
        elif sys.stdout.isatty():
            with self._bar(title, total) as update:
                yield update
        else:
            yield self._plain(title, total, unit)

    @contextmanager
    def _bar(self, title: str, total: float) -> Iterator[Progress]:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=RichConsole(), transient=True) as bar:
            task = bar.add_task(title, total=total, note="")
            self._live.append(bar)
            try:
                yield lambda done, note="": bar.update(task, completed=done, note=note)
            finally:
                self._live.remove(bar)

    def _plain(self, title: str, total: float, unit: str) -> Progress:
        start = last = time.monotonic()

        def update(done: float, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PLAIN_EVERY and 0 < done < total:
                last = now
                left = (now - start) / done * (total - done)
                self.say(f"{title}: {done:g} of {total:g} {unit}, {left:.0f} s left {note}".rstrip())

        return update

    def _print(self, text: str) -> None:
        # A bar on the screen must be told of lines, or it overwrites them.
        if self._live:
            self._live[-1].console.print(text, markup=False, highlight=False, soft_wrap=True)  # type: ignore[attr-defined]
        else:
            print(text, flush=True)
