import pytest
import torch
from torch import nn

from gaitreid.reid.encoders import recurrent
from gaitreid.reid.encoders.recurrent import lstm, product


def test_a_layer_is_torchs_own_lstm_and_so_are_its_gradients():
    torch.manual_seed(1)
    weight = (torch.randn(3, 24, 10) * 0.3).requires_grad_()
    bias = torch.randn(3, 24, 1, requires_grad=True)
    x, h, c = (torch.randn(*shape, requires_grad=True) for shape in ((7, 3, 4, 2), (3, 6, 2), (3, 6, 2)))
    out, last_h, last_c = lstm(x, weight, bias, h, c)
    (out.sin().sum() + last_h.cos().sum() + last_c.cos().sum()).backward()
    ours = [t.grad for t in (x, weight, bias, h, c)]
    for t in (x, weight, bias, h, c):
        t.grad = None
    order = torch.cat([torch.arange(12), torch.arange(18, 24), torch.arange(12, 18)])  # i, f, o, g to i, f, g, o
    total = torch.zeros(())
    for axis in range(3):
        theirs = nn.LSTM(4, 6)
        w, b = weight[axis][order], bias[axis, :, 0][order]
        named = {"weight_ih_l0": w[:, :4], "weight_hh_l0": w[:, 4:], "bias_ih_l0": b, "bias_hh_l0": torch.zeros(24)}
        states = h[axis].T[None].contiguous(), c[axis].T[None].contiguous()
        expected, (h_n, c_n) = torch.func.functional_call(theirs, named, (x[:, axis].transpose(1, 2), states))
        torch.testing.assert_close(out[:, axis], expected.transpose(1, 2))
        total = total + expected.sin().sum() + h_n.cos().sum() + c_n.cos().sum()
    total.backward()
    for found, t in zip(ours, (x, weight, bias, h, c), strict=True):
        torch.testing.assert_close(found, t.grad)


def test_no_first_state_is_zeros():
    weight, bias, x = torch.randn(3, 24, 10), torch.randn(3, 24, 1), torch.randn(5, 3, 4, 2)
    zero = torch.zeros(3, 6, 2)
    for a, b in zip(lstm(x, weight, bias, None, None), lstm(x, weight, bias, zero, zero), strict=True):
        torch.testing.assert_close(a, b)


@pytest.fixture(params=["mkl", "onednn", "batched"])  # as on CPUs without and with AVX-512, and on GPUs
def library(request, monkeypatch):
    monkeypatch.setattr(recurrent, "ONEDNN", request.param != "mkl")
    if request.param == "batched":
        monkeypatch.setattr(recurrent, "_axis_by_axis", lambda x: False)
        monkeypatch.setattr(recurrent, "_by_onednn", lambda x: False)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_product_and_its_gradients(dtype):
    torch.manual_seed(0)
    exact = torch.promote_types(dtype, torch.float32)
    weight, x, bias = torch.randn(3, 5, 4, dtype=exact), torch.randn(3, 4, 6, dtype=dtype), torch.randn(3, 5, 1, dtype=exact)
    found = [weight.clone().requires_grad_(), x.clone().requires_grad_(), bias.clone().requires_grad_()]
    expected = [t.detach().double().requires_grad_() for t in found]
    gradients = torch.autograd.grad(product(*found).sin().sum(), found)
    exact_ones = torch.autograd.grad(torch.baddbmm(expected[2], expected[0], expected[1]).sin().sum(), expected)
    error = 0.1 if dtype == torch.bfloat16 else 1e-4
    for value, a, b in zip(found, gradients, exact_ones, strict=True):
        assert a.dtype == value.dtype
        torch.testing.assert_close(a.double(), b, atol=error, rtol=error)


@pytest.mark.parametrize("steps", [1, 2, 8, 19])  # one product, one that is not full, full ones, several
@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_a_weight_are_the_sum_over_steps_of_what_met_it(dtype, steps):
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 6).to(dtype)
    outer, expected = recurrent._Outer(weight, steps), torch.zeros(3, 8, 6)
    for t in range(steps):
        columns = slice(2, None) if t == steps - 1 else slice(None)  # the last step's state is zeros
        a, b = torch.randn(3, 8, 5).to(dtype), torch.randn(3, 6, 5).to(dtype)[:, columns]
        outer.add(a, b, columns)
        expected[:, :, columns] += a.float() @ b.float().mT
        a.zero_()  # what was handed over may be written again at once
    error = 0.1 if dtype == torch.bfloat16 else 1e-5
    for columns, unmet in ((slice(None), 0), (slice(1, None), 0), (slice(5), 2)):
        found = outer.total(columns, unmet)
        assert found.dtype == torch.float32
        assert not found[:, :, :unmet].any()
        torch.testing.assert_close(found[:, :, unmet:], expected[:, :, columns], atol=error, rtol=error)
