"""The same work on a Dask cluster: `dask scheduler` on one machine, `dask worker ADDRESS` on each that helps.

Every worker of the cluster must see the videos and the work folder under the same paths, and have the same version of gaitreid.
An item runs in a process of its own below Dask's worker, so that it can be cut off there as here.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import cache
from typing import Any

from gaitreid import __version__
from gaitreid.pipeline.jobs import Crew, Lost, cores
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pose.errors import UsageError

PATIENCE = 5.0  # seconds until a cluster must have answered


@contextmanager
def connected(address: str) -> Iterator[tuple[Executor, int]]:
    """An executor that hands work to a cluster, and how many items it can work on at once.

    Raises:
        UsageError: Dask is not installed, nobody answers, there is no worker, or one has another version of gaitreid.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise UsageError("--scheduler needs the package 'distributed': pip install distributed") from error
    try:
        connect: Any = distributed.Client
        client = connect(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--scheduler {address}: no Dask scheduler answers there within {PATIENCE:g} s: start one (`dask scheduler`) and "
            "give the address that it prints, such as tcp://HOST:8786"
        ) from error
    with client:
        yield client.get_executor(pure=False), _threads(client, address)


def do(function: Callable[[Any], Any], item: object, limits: LimitsConfig) -> object:
    """Runs in a worker of Dask: one item in a process below it; a result, or `Lost`."""
    from distributed import get_worker

    threads: int = get_worker().state.nthreads
    result: object | Lost = _crew(threads).do(function, item, limits)
    return result


@cache
def _crew(threads: int) -> Crew:
    """Of this worker, which stays from item to item."""
    return Crew(threads, max(1, cores() // threads))


def _threads(client: Any, address: str) -> int:
    """Of all workers together, which are first asked whether they can do the work."""
    threads: dict[str, int] = client.nthreads()
    if not threads:
        raise UsageError(f"--scheduler {address}: no worker is connected: start some, `dask worker {address}`")
    for worker, version in client.run(_version, on_error="return").items():
        if version != __version__:
            found = "cannot import gaitreid" if isinstance(version, BaseException) else f"has gaitreid {version}"
            raise UsageError(f"--scheduler {address}: worker {worker} {found}: install gaitreid {__version__} there")
    return sum(threads.values())


def _version() -> str:
    return __version__
