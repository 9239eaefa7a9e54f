"""The kernels run here by Triton's interpreter, and are compiled for GPUs that need not be there."""

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
CPU = torch.device("cpu")
F32, BF16 = torch.float32, torch.bfloat16


@pytest.fixture
def kernels(monkeypatch):
    """The module anew, with its kernels for the interpreter."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    spec: Any = importlib.util.find_spec("gaitreid.reid.encoders.fused")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fused(kernels, monkeypatch):
    return lambda: monkeypatch.setattr(recurrent, "_fused", lambda gates: kernels if gates.dtype != torch.float64 else None)


def test_they_are_checked_against_torch(kernels, monkeypatch):
    kernels.check(CPU)
    right = kernels.backward
    monkeypatch.setattr(kernels, "backward", lambda *args: right(*args) * 1.01)
    with pytest.raises(RuntimeError, match="other results"):
        kernels.check(CPU)


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


@pytest.mark.parametrize("precision", [F32, BF16])
@pytest.mark.parametrize(
    "options", [{}, {"attention": "mbas"}, {"attention": "none"}, {"aux": "teacher"}, {"aux": "free"}], ids=str
)
def test_a_training_step_is_the_same(fused, options, precision):
    torch.manual_seed(0)
    config = CageConfig(hidden=8, **options)
    if precision == BF16:  # there the contrastive loss makes much of the last digit, with the kernels or without
        config = replace(config, contrastive="none")
    encoder = Cage(takes(), config)
    encoder.precision = precision
    windows, results = torch.randn(6, 5, 4, 3), []
    for apart in (True, False):
        loss, _ = encoder.loss(batch(windows))
        with torch.no_grad():
            results.append([encoder.features(windows), loss.detach(), *torch.autograd.grad(loss, [*encoder.parameters()])])
        if apart:
            fused()
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= {F32: 2e-4, BF16: 0.05}[precision] * theirs.abs().max()


@pytest.mark.parametrize("low", ["bf16", "fp32"])
def test_they_compile_for_a_gpu(low):
    from gaitreid.reid.encoders import fused

    for kernel, of_low in ((fused._forward, {"gates", "h"}), (fused._backward, {"dh", "d"})):
        constants = {"adds", "goes_on", "more", "block"} & set(kernel.arg_names)
        kinds = {"size": "i32", "total": "i32"} | dict.fromkeys(constants, "constexpr") | dict.fromkeys(of_low, f"*{low}")
        signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
        source = triton.compiler.ASTSource(
            kernel, signature, {name: True if name != "block" else fused.BLOCK for name in constants}
        )
        target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
        made = triton.compile(source, target=target, options={"enable_fp_fusion": True})
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
