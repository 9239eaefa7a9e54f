"""What trainings yield; and of those that count steps: a snapshot every so many of them, which is a round."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gaitreid.pose.errors import UsageError

# Number of the epoch or round from 1, mean of each loss over it, and a function that gives a snapshot to go on from.
Epoch = tuple[int, dict[str, float], Callable[[], dict[str, Any]]]


class Stepped(Protocol):
    """Settings of such a training."""

    @property
    def iterations(self) -> int:
        """Steps in all."""

    @property
    def every(self) -> int:
        """Steps a round; the last has what is left."""


def rounds(config: Stepped, state: Mapping[str, Any] | None = None) -> int:
    """How many snapshots there are to be, with those up to `state`."""
    before = int(state["epoch"]) if state else 0
    return before + len(range(steps_done(state, config), config.iterations, config.every))


def steps_done(state: Mapping[str, Any] | None, config: Stepped) -> int:
    """The last step of a snapshot, 0 without one.

    Raises:
        UsageError: there are to be fewer.
    """
    if not state:
        return 0
    # Snapshots of earlier versions name the round alone.
    done = int(state.get("step", min(state["epoch"] * config.every, config.iterations)))
    if done > config.iterations:
        raise UsageError(f"iterations: {config.iterations} are asked for, and {done} steps are done: ask for as many or more")
    return done
