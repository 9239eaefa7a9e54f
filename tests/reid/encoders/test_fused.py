"""The kernels run here by Triton's interpreter, and are compiled for GPUs that need not be there."""

import contextlib
import importlib.util
import sys
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from walks import batch, takes

from gaitreid.reid.config import CageConfig
from gaitreid.reid.encoders import recurrent
from gaitreid.reid.encoders.cage import Cage
from gaitreid.reid.encoders.recurrent import lstm

triton = pytest.importorskip("triton")
interpreter = importlib.import_module("triton.runtime.interpreter")
as_it_does = interpreter._convert_float
CPU = torch.device("cpu")
F32, BF16 = torch.float32, torch.bfloat16
STRIDES = [f"{of}{tensor}" for of in ("axis", "row", "column") for tensor in (1, 2)]


def nearest(numbers, before, after, rounding):
    """The interpreter cuts digits off; a GPU rounds to the nearest."""
    if after != triton.language.bfloat16:
        return as_it_does(numbers, before, after, rounding)
    return torch.from_numpy(numbers.copy()).bfloat16().view(torch.int16).numpy().view("uint16")


@pytest.fixture
def kernels(monkeypatch):
    """The module anew, with its kernels for the interpreter, which leaves its own functions in Triton's places."""
    language = triton.language
    places = (language, language.core, language.math, language.tensor, language.core.tensor_descriptor_base)
    before = [dict(vars(place)) for place in places]
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in ("sum", "max"):  # of Triton's own the only ones that are kernels themselves
        monkeypatch.setattr(language, name, triton.jit(getattr(language, name).fn))
    monkeypatch.setattr(interpreter, "_convert_float", nearest)
    spec: Any = importlib.util.find_spec("gaitreid.reid.encoders.fused")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for place, names in zip(places, before, strict=True):
        for name, value in dict(vars(place)).items():
            if name not in names:
                delattr(place, name)
            elif value is not names[name]:
                setattr(place, name, names[name])


@pytest.fixture
def fused(kernels, monkeypatch):
    return lambda: monkeypatch.setattr(recurrent, "_fused", lambda gates: kernels if gates.dtype != torch.float64 else None)


def test_they_are_checked_against_torch(kernels, monkeypatch):
    with torch.inference_mode():
        kernels.check(CPU)
    assert kernels.attends(50, 256)
    assert not kernels.attends(500, 256)
    for name in ("backward", "attend_back"):
        with monkeypatch.context() as patch:
            right = getattr(kernels, name)
            patch.setattr(kernels, name, lambda *args, right=right: right(*args) * 1.01)
            with pytest.raises(RuntimeError, match="other results"):
                kernels.check(CPU)
    kernels_forward = kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *args: [(1 + (args[3] == BF16)) * x for x in kernels_forward(*args)])
    with pytest.raises(RuntimeError, match=r"other results than torch in torch\.bfloat16"):
        kernels.check(CPU)


def test_they_are_launched_on_the_gpu_that_the_tensors_lie_on(kernels, monkeypatch):
    """Triton takes the current one, which is cuda:0 under --device cuda:1 and in all processes of torchrun."""
    current, launched = [], []

    @contextlib.contextmanager
    def device_of(tensor):
        current.append(tensor.device)
        yield
        current.pop()

    class Seen:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            launched.append([*current])
            return self.kernel[grid]

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    for name in ("_forward", "_backward", "_attend", "_attend_back"):
        monkeypatch.setattr(kernels, name, Seen(getattr(kernels, name)))
    kernels.check(CPU)
    assert launched == [[CPU]] * 8  # once in each precision


@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("state", [False, True])
def test_a_layer_and_its_gradients_are_the_same(fused, dtype, state):
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 24, 10) * 0.5, torch.randn(3, 24, 1)
    x, h, c = torch.randn(4, 3, 4, 50).to(dtype), torch.randn(3, 6, 50).to(dtype), torch.randn(3, 6, 50)
    results = []
    for apart in (True, False):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias, h, c)[: 5 if state else 3]]
        out = lstm(*leaves[:3], *(leaves[3:] or (None, None)))
        total = torch.stack([(k + 1) * value.float().sin().sum() for k, value in enumerate(out)]).sum()
        results.append([*out, *torch.autograd.grad(total, leaves)])
        if apart:
            fused()
    error = {F32: 1e-5, BF16: 0.1}[dtype]
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, atol=error, rtol=error)


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, F32),
        ({}, BF16),
        ({"attention": "mbas"}, F32),
        ({"attention": "mbas", "aux": "free"}, BF16),
        ({"attention": "none"}, F32),
        ({"aux": "teacher"}, F32),
        ({"aux": "free"}, F32),
    ],
    ids=str,
)
def test_a_training_step_is_the_same(fused, options, precision):
    torch.manual_seed(0)
    config = CageConfig(hidden=8, **options)
    if precision == BF16:  # there the contrastive loss makes much of the last digit, with the kernels or without
        config = replace(config, contrastive="none")
    encoder = Cage(takes(length=3), config)
    encoder.precision = precision
    windows, results = torch.randn(3, 3, 4, 3), []
    for apart in (True, False):
        loss, _ = encoder.loss(batch(windows))
        with torch.no_grad():
            results.append([encoder.features(windows), loss.detach(), *torch.autograd.grad(loss, [*encoder.parameters()])])
        if apart:
            fused()
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= {F32: 2e-4, BF16: 0.05}[precision] * theirs.abs().max()


@pytest.mark.parametrize("low", ["bf16", "fp32"])
@pytest.mark.parametrize("name", ["_forward", "_backward", "_attend", "_attend_back"])
def test_they_compile_for_a_gpu(name, low, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from gaitreid.reid.encoders import fused

    kernel: Any = getattr(fused, name)
    kinds = dict.fromkeys(("size", "total", "t", "batch", "length", *STRIDES), "i32")
    lows = ("gates",) * (name == "_forward") + (
        "h",
        "dh",
        "further",
        "d",
        "keys",
        "values",
        "joined",
        "djoined",
        "dcontexts",
        "dused",
        "dscores",
    )
    constants = {"block": fused.BLOCK, "k": 256, **fused._tile(50, 256)}
    options = {"enable_fp_fusion": True, "num_warps": constants.pop("num_warps")}
    constants |= dict.fromkeys(("adds", "goes_on", "both", "more", "masked"), True)
    kinds |= dict.fromkeys(constants, "constexpr") | dict.fromkeys(lows, f"*{low}")
    signature = {argument: kinds.get(argument, "*fp32") for argument in kernel.arg_names}
    source = triton.compiler.ASTSource(kernel, signature, {k: v for k, v in constants.items() if k in signature})
    made = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"]


def test_where_they_cannot_be_built_torch_does_it(monkeypatch):
    recurrent._kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "gaitreid.reid.encoders.fused", raising=False)
    with pytest.warns(UserWarning, match="cuda: LSTM steps run as many small kernels"):
        assert recurrent._kernels(torch.device("cuda")) is None
    with warnings.catch_warnings(record=True) as said:
        assert recurrent._kernels(torch.device("cuda")) is None
    assert not said
    recurrent._kernels.cache_clear()
