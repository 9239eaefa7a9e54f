"""A step that is to be recorded must not look at numbers; what is recorded must train as if it were not."""

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from walks import people, takes

from gaitreid.reid.adam import Adam
from gaitreid.reid.config import CageConfig, TrainConfig
from gaitreid.reid.encoders.cage import Cage, CagePlus, age
from gaitreid.reid.graphs import WARM, Recorded
from gaitreid.reid.train import Windows, train

CPU = torch.device("cpu")
# Operators whose result or shape the host must know, and tensors made from Python's numbers, which a GPU would have to be sent.
WAITS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique_dim", "_unique2", "equal", "is_nonzero", "lift_fresh"}

FORMS: list[dict[str, Any]] = [
    {"attention": "none"},
    {"attention": "mbas"},
    {"aux": "teacher"},
    {"aux": "free"},
    {"attention": "none", "aux": "free"},
    {"pairs": "within"},
    {"reduction": "sum"},
    {"contrastive": "deduplicated"},
    {"interval": 3},
]


class NeverWaits(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITS or by_mask:
            raise AssertionError(f"{func} waits for the host")
        return func(*args, **(kwargs or {}))


class OnlyOn(TorchDispatchMode):
    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        places = {value.device for value in tree_leaves((args, kwargs, result)) if isinstance(value, torch.Tensor)}
        assert places <= {self.device}, f"{func} of {places}"
        return result


def one_step(encoder, windows, generator=None):
    optimiser = Adam(encoder.parameters(), 1e-3, regularisation=1e-4, clip=5.0)

    def step(index):
        optimiser.zero_grad()
        loss, parts = encoder.loss(windows.batch(index, generator))
        loss.backward()
        optimiser.step()
        return parts

    return step


def windows_of(encoder, device=CPU):
    frames, start, track, subject = people()
    encoder.prepare(torch.as_tensor(frames, device=device))
    return Windows(frames, start, track, subject, encoder.length, encoder.ahead, device)


@pytest.mark.parametrize("model", [age, Cage, CagePlus])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_no_step_waits_for_the_host(model, precision):
    check(model(takes(), CageConfig(hidden=8)), precision)


@pytest.mark.parametrize("pretext", ["plain", "prediction", "prediction-full", "sorting"])
def test_nor_under_other_tasks(pretext):
    check(Cage(takes(), CageConfig(hidden=8, pretext=pretext)))


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_nor_in_other_forms(options):
    check(Cage(takes(), CageConfig(hidden=8, **options)))


@pytest.mark.parametrize(
    ("model", "precision", "options"),
    [
        (age, torch.float32, {}),
        (CagePlus, torch.float32, {}),
        (Cage, torch.bfloat16, {}),
        *((Cage, torch.float32, {"pretext": task}) for task in ("plain", "prediction", "prediction-full")),
        *((Cage, torch.float32, options) for options in FORMS),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_step_makes_nothing_on_the_host(model, precision, options):
    """On a device that holds no numbers nothing is ever taken from another, nor put there."""
    other = torch.device("meta")
    with other:
        encoder = model(takes(), CageConfig(hidden=8, **options))
    for module in encoder.modules():
        if hasattr(module, "precision"):
            module.precision = precision
    step = one_step(encoder, windows_of(encoder, other))
    index = torch.arange(12, device=other)
    step(index)  # makes the optimiser's moments
    with OnlyOn(other):
        step(index)


def check(encoder, precision=torch.float32):
    assert encoder.steady
    for module in encoder.modules():
        if hasattr(module, "precision"):
            module.precision = precision
    step = one_step(encoder, windows_of(encoder), torch.Generator().manual_seed(0))
    index = torch.arange(12)
    with NeverWaits():
        step(index)
        parts = step(index)
    assert torch.isfinite(parts["loss"])


@pytest.mark.parametrize("look", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.new_tensor([1.0])])
def test_what_waits_is_seen(look):
    with NeverWaits(), pytest.raises(AssertionError, match="waits"):
        look(torch.randn(3))


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as the host sees it: what is recorded does not run; a replay does it with what then lies where it lay."""

    class Gpu:
        recording, replayed, generators = False, 0, []

        def __init__(self):
            self.trained, self.places = [], []

        def step(self, index):
            if self.recording:
                self.places.append((index, {"loss": torch.zeros(())}))
                return self.places[-1][1]
            self.trained.append(index.tolist())
            return {"loss": torch.tensor(float(index.sum()))}

    gpu = Gpu()

    class Graph:
        recorded: Any = None

        def register_generator_state(self, generator):
            gpu.generators = [*gpu.generators, generator]

        def replay(self):
            place, result = self.recorded
            gpu.replayed += 1
            gpu.trained.append(place.tolist())
            result["loss"].fill_(float(place.sum()))

    @contextlib.contextmanager
    def graph(recorded, stream):
        gpu.recording = True
        yield
        gpu.recording, recorded.recorded = False, gpu.places[-1]

    class Stream:
        def __init__(self, device):
            assert device == CPU

        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    return gpu


def test_every_batch_is_trained_on_once_and_in_turn(gpu):
    generator = torch.Generator()
    recorded = Recorded(gpu.step, CPU, generator)
    asked = [list(range(k, k + size)) for k, size in enumerate([4, 4, 3, 4, 4, 3, 3, 4, 3, 4, 3])]
    told = [float(recorded(torch.tensor(rows))["loss"]) for rows in asked]
    assert gpu.trained == asked
    assert told == [float(sum(rows)) for rows in asked]
    assert gpu.replayed == len(asked) - 2 * WARM
    assert gpu.generators == [generator, generator]  # one recording a size


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", [{}, {"pretext": "sorting"}], ids=["reverse", "sorting"])
def test_recorded_steps_train_as_others_do(options):
    """Batches of two sizes, and random orders that are drawn in the step."""
    frames, start, track, _ = people()
    weights = []
    for graphs in (False, True):
        torch.manual_seed(0)
        encoder = Cage(takes(), CageConfig(hidden=8, **options))
        config = TrainConfig(epochs=3, batch=25, graphs=graphs)
        losses = [parts["loss"] for _, parts, _ in train(encoder, frames, start, track, config, torch.device("cuda"), 0)]
        weights.append([p.detach().cpu() for p in encoder.parameters()])
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]
    if not options:  # a recorded step draws other numbers
        for a, b in zip(*weights, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
