"""The same function over many items, in worker processes here or on a cluster; what failed is kept with its reason.

An item is handed to a worker process only when one is free, and a worker that hangs, grows too large or dies is ended and
replaced: only its item is lost, and that is tried once more alone. On a cluster the same is done inside each of its workers.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from threading import Lock, Thread
from typing import Any, TypeVar

from gaitreid.pipeline.limits import LimitsConfig, resident
from gaitreid.pose.errors import GaitReidError, ItemError

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_PROCESS = "GAITREID_IN_PROCESS"  # set: one job runs in this process, for a debugger; it cannot be cut off there
# Native decoders and networks keep memory that they will not need again, and some leak: after so many items, or when a worker
# holds this share of what it may, a new one takes its place.
ITEMS_A_WORKER, GROWN = 500, 0.5
UNLIMITED = LimitsConfig(seconds=float("inf"), memory=1e6)
LOOK, BEAT, GRACE, IDLE, STARTS = 0.5, 1.0, 2.0, 300.0, 3  # seconds, but for the last


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


@dataclass(frozen=True)
class Lost:
    """An item whose worker had to be ended, or died: `timeout`, `out-of-memory` or `crashed`."""

    reason: str
    message: str


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int,
    *,
    known: Callable[[Item], Result | None] = lambda item: None,
    lost: Callable[[Item, Lost], Result] | None = None,
    limits: LimitsConfig | None = None,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Results in the order in which they are ready; without limits, one job runs in this process.

    Args:
        items: read as workers come to need them, so that a long list need not be in memory.
        known: the result of an item that needs no work, found in this process.
        lost: the result of an item that was lost with its worker; without it the item's error is raised.
        limits: of one item; then one job has a worker process, too, which can be ended. Without them an item takes what it takes.
        scheduler: address of a Dask cluster, in place of processes here.

    Raises:
        UsageError: no cluster answers at this address, or it cannot do this work.
        ItemError: an item was lost, and there is no `lost`.
    """
    jobs = min(jobs, len(items)) if isinstance(items, Sized) else jobs
    if not scheduler and jobs <= 1 and (limits is None or IN_PROCESS in os.environ):
        for item in items:
            found = known(item)
            yield function(item) if found is None else found
        return
    with _cluster(scheduler) if scheduler else _here(max(jobs, 1)) as (submit, slots):
        yield from _spread(submit, slots, function, items, known, lost, limits or UNLIMITED)


def beat(done: float | None) -> None:
    """In a worker: a sign of life, with the seconds of video that are done. Elsewhere it does nothing.

    Args:
        done: None before the work on the video begins, such as while its bytes are read: only then does the time count.
    """
    _pulse.beat(done)


Submit = Callable[..., "Future[Any]"]


def _spread(
    submit: Submit,
    slots: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    known: Callable[[Item], Result | None],
    lost: Callable[[Item, Lost], Result] | None,
    limits: LimitsConfig,
) -> Iterator[Result]:
    """At most two items a worker are under way; those that a worker died of come again at the end, one at a time."""
    waiting: dict[Future[Any], Item] = {}
    crashed: list[Item] = []
    try:
        for item in items:
            found = known(item)
            if found is not None:
                yield found
                continue
            waiting[submit(function, item, limits)] = item
            if len(waiting) >= 2 * slots:
                yield from _ended(waiting, crashed, lost)
        while waiting:
            yield from _ended(waiting, crashed, lost)
        for item in crashed:
            waiting[submit(function, item, limits)] = item
            yield from _ended(waiting, None, lost)
    finally:
        for future in waiting:
            future.cancel()


def _ended(
    waiting: dict["Future[Any]", Item], crashed: list[Item] | None, lost: Callable[[Item, Lost], Result] | None
) -> Iterator[Result]:
    """Results of the items that are done next; those that a worker died of go to `crashed` for the first time."""
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        item, result = waiting.pop(future), _result(future)
        if not isinstance(result, Lost):
            yield result
        elif result.reason == "crashed" and crashed is not None:
            crashed.append(item)
        elif lost:
            yield lost(item, result)
        else:
            raise ItemError(result.reason, f"{getattr(item, 'stem', item)}: {result.message}")


def _result(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except Exception as error:
        if type(error).__name__ == "KilledWorker":  # Dask gives up on what has ended several of its workers
            return Lost("crashed", f"ended every worker of the cluster that tried it: {error}")
        raise


@contextmanager
def _here(jobs: int) -> Iterator[tuple[Submit, int]]:
    """Worker processes on this machine; none of them is left when the block ends, however it ends."""
    crew = Crew(jobs, max(1, cores() // jobs))
    with ThreadPoolExecutor(jobs, "worker") as pool:
        try:
            yield lambda *task: pool.submit(crew.do, *task), jobs
        finally:
            crew.close()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Submit, int]]:
    """The workers of a Dask cluster, each of which has its own crew."""
    from gaitreid.pipeline import cluster

    with cluster.connected(address) as (executor, threads):
        yield lambda *task: executor.submit(cluster.do, *task), threads


class Crew:
    """Worker processes of this process, each of which does one item at a time; they come up when they are needed."""

    def __init__(self, size: int, threads: int) -> None:
        """So many at most, each computing with so many threads."""
        self._size, self._threads = size, threads
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._lock = Lock()
        self._closed = False

    def do(self, function: Callable[[Item], Result], item: Item, limits: LimitsConfig) -> Result | Lost:
        """One item in one of them; called from several threads.

        Raises:
            GaitReidError: no worker process can be started.
            Exception: whatever the function raised.
        """
        worker = self._take()
        try:
            result = worker.do(function, item, limits, limits.most_memory(self._size))
        finally:
            self._give_back(worker, limits.most_memory(self._size))
        return result

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()

    def _take(self) -> "_Worker":
        for _ in range(STARTS):
            with self._lock:
                if self._closed:
                    raise GaitReidError("the run has ended")
                worker = self._idle.pop() if self._idle else None
                if worker is None:
                    worker = _Worker(self._threads)
                    self._workers.add(worker)
            if worker.is_ready():
                return worker
            self._drop(worker)
        raise GaitReidError("worker processes do not start: see above what they said, or try --jobs 1 with GAITREID_IN_PROCESS=1")

    def _give_back(self, worker: "_Worker", memory: int) -> None:
        worn = worker.items >= ITEMS_A_WORKER or resident(worker.process.pid or 0) > GROWN * memory
        if worn or not worker.process.is_alive():
            self._drop(worker)
        else:
            with self._lock:
                self._idle.append(worker)

    def _drop(self, worker: "_Worker") -> None:
        worker.end()
        with self._lock:
            self._workers.discard(worker)


class _Worker:
    """A process that does one item after the other, seen from the process that started it.

    It is spawned, not forked: MediaPipe and torch hold threads that do not survive a fork.
    """

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
        self.items = 0
        self._ready = False
        self._ending = Lock()
        with _starting():
            self.process.start()
        theirs.close()

    def is_ready(self) -> bool:
        """Whether it is there and waits; one that was idle for long has gone."""
        try:
            self._ready = self._ready or self._connection.recv() == ("ready", None)
        except (EOFError, OSError):
            return False
        return self._ready and self.process.is_alive()

    def do(self, function: Callable[[Any], Result], item: object, limits: LimitsConfig, memory: int) -> Result | Lost:
        """One item; the process is ended where a limit is passed."""
        self.items += 1
        began = last = time.monotonic()
        done = 0.0
        kind: str | None = None
        value: Any = (function, item)
        try:
            self._connection.send(value)
            while kind not in ("done", "raised"):
                if self._connection.poll(LOOK):
                    kind, value = self._connection.recv()
                    if kind == "beat":
                        last = time.monotonic()
                        began, done = (last, 0.0) if value is None else (began, value)
                elif passed := _passed(time.monotonic(), began, last, done, limits) or self._too_large(memory):
                    self.end()
                    return passed
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return Lost("crashed", self._how_it_died())
        if kind == "raised":
            raise value
        return value  # type: ignore[no-any-return]

    def end(self) -> None:
        """End it: with a moment to clean up where it listens."""
        with self._ending:
            self.process.terminate()
            self.process.join(GRACE)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()

    def _too_large(self, memory: int) -> Lost | None:
        held = resident(self.process.pid or 0)
        if held <= memory:
            return None
        return Lost("out-of-memory", f"its worker held {held / 1e9:.1f} GB, {memory / 1e9:.1f} are allowed (limits.memory)")

    def _how_it_died(self) -> str:
        self.process.join(GRACE)
        code = self.process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"its worker process ended {how}" + (" (out of memory, perhaps)" if code == -signal.SIGKILL else "")


def _passed(now: float, began: float, last: float, done: float, limits: LimitsConfig) -> Lost | None:
    """Which limit of time was passed, if any: `last` is the last sign of life, with `done` seconds of video."""
    if now - last > limits.seconds:
        return Lost("timeout", f"nothing new came of it for {limits.seconds:g} s (limits.seconds)")
    if now - began > limits.seconds + limits.pace * done:
        return Lost("timeout", f"{done:.0f} s of it took {now - began:.0f} s (limits.pace is {limits.pace:g})")
    return None


_start_lock = Lock()


@contextmanager
def _starting() -> Iterator[None]:
    """A process that is started here does not hear Ctrl-C, which its parent answers; and it may be started in any process.

    A worker of Dask is a daemon of its nanny, which Python allows no children: ours end by themselves when it does.
    """
    resource_tracker.ensure_running()  # else that is started within, and unblocks the signal
    own: dict[str, Any] = getattr(multiprocessing.current_process(), "_config", {})
    with _start_lock:
        daemon, mask = own.get("daemon"), signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        own["daemon"] = False
        try:
            yield
        finally:
            own["daemon"] = daemon
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Pulse:
    """Where signs of life go."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self._last = 0.0

    def beat(self, done: float | None) -> None:
        now = time.monotonic()
        if self.connection is not None and now - self._last >= BEAT:
            self._last = now
            self.connection.send(("beat", done))


_pulse = _Pulse()


def _serve(connection: Connection, threads: int) -> None:
    """A worker's life: items come, results go; it ends with its parent."""
    signal.signal(signal.SIGTERM, _leave)
    Thread(target=_end_with_parent, daemon=True).start()
    _share(threads)
    _pulse.connection = connection
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(("ready", None))
        while connection.poll(IDLE):
            function, item = connection.recv()
            connection.send(_outcome(function, item))


def _leave(*_: object) -> None:
    """End, and be ended without a word where that takes too long."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(128 + signal.SIGTERM)


def _outcome(function: Callable[[Any], Any], item: object) -> tuple[str, object]:
    try:
        return "done", function(item)
    except GaitReidError as error:
        return "raised", error
    except Exception as error:
        where = "".join(traceback.format_exception(error))
        if type(error).__module__ != "builtins":  # the parent may not be able to make it
            return "raised", RuntimeError(where)
        error.add_note(where)
        return "raised", error


def _end_with_parent() -> None:
    """A parent that was killed leaves nobody behind."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _share(threads: int) -> None:
    """In a worker: libraries that compute take this many threads, where each would take all cores."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:  # has read that already
        sys.modules["torch"].set_num_threads(threads)
