"""Training steps that a GPU repeats by itself: CUDA graphs."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # steps before one is recorded, in which libraries choose their kernels and the optimiser makes its moments


class Recorded:
    """A training step on a GPU, recorded as a CUDA graph for each size of batch and from then on launched whole.

    A step of CAGE is about a thousand small kernels, and a host launches them more slowly than a GPU runs them.

    Args:
        step: trains on the windows of these numbers (B,), and returns what it measured. What it reads and writes stays where it
            is between steps, no shape hangs on what the windows hold, and it never waits for the host; none of this is checked.
        device: the GPU.
        generator: that it draws from, beside torch's own.
    """

    def __init__(
        self, step: Callable[[Tensor], dict[str, Tensor]], device: torch.device, generator: torch.Generator | None = None
    ) -> None:
        self._step, self._device, self._generator = step, device, generator
        self._warm: Counter[int] = Counter()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, dict[str, Tensor]]] = {}
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, index: Tensor) -> dict[str, Tensor]:
        """One step; what it returns holds until the next."""
        size = len(index)
        if size not in self._graphs and self._warm[size] == WARM:
            self._graphs[size] = self._record(index)  # which runs nothing
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            if size in self._graphs:
                graph, place, result = self._graphs[size]
                place.copy_(index)
                graph.replay()
            else:
                self._warm[size] += 1
                result = self._step(index)
        current.wait_stream(self._stream)
        return result

    def _record(self, index: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, dict[str, Tensor]]:
        graph, place = torch.cuda.CUDAGraph(), index.clone()
        if self._generator is not None:
            graph.register_generator_state(self._generator)
        with torch.cuda.graph(graph, stream=self._stream):
            result = self._step(place)
        return graph, place, result
