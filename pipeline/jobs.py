"""The same function over many items, here or in worker processes; what failed is kept with its reason."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """An item that did not work out.

    Attributes:
        reason: short code, such as `unreadable`.
    """

    item: str
    reason: str
    message: str


@dataclass
class Summary:
    """What became of the items of one stage."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[Result]:
    """Results in the order in which they are ready; one job runs in this process.

    Workers are spawned, not forked: MediaPipe and torch hold threads that do not survive a fork. Each takes its share of the
    cores.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_share, initargs=(max(1, cores() // jobs),)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _share(threads: int) -> None:
    """In a worker: libraries that compute take this many threads, where each would take all cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:  # has read that already
        sys.modules["torch"].set_num_threads(threads)
