import pytest
import torch
from torch import nn

from gaitreid.reid.encoders import recurrent
from gaitreid.reid.encoders.recurrent import lstm, product
from tests.reid.encoders.test_cage import batch, cage


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


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_product_and_its_gradients(dtype, onednn, monkeypatch):
    monkeypatch.setattr(recurrent, "ONEDNN", onednn)
    torch.manual_seed(0)
    exact = torch.promote_types(dtype, torch.float32)
    weight, x, bias = torch.randn(3, 5, 4, dtype=exact), torch.randn(3, 4, 6, dtype=dtype), torch.randn(3, 5, 1, dtype=exact)
    found = [weight.clone().requires_grad_(), x.clone().requires_grad_(), bias.clone().requires_grad_()]
    expected = [t.detach().double().requires_grad_() for t in found]
    product(*found).sin().sum().backward()
    torch.baddbmm(expected[2], expected[0], expected[1]).sin().sum().backward()
    close = {"atol": 0.1, "rtol": 0.1} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-4}
    for a, b in zip(found, expected, strict=True):
        assert a.grad.dtype == a.dtype
        torch.testing.assert_close(a.grad.double(), b.grad, **close)


@pytest.mark.parametrize("steps", [1, 2, 8, 19])  # one product, one that is not full, full ones, several
@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_a_weight_are_the_sum_over_steps_of_what_met_it(dtype, onednn, steps, monkeypatch):
    monkeypatch.setattr(recurrent, "ONEDNN", onednn)
    torch.manual_seed(0)
    weight = torch.randn(3, 8, 6).to(dtype)
    outer, expected = recurrent._Outer(weight, steps), torch.zeros(3, 8, 6)
    for t in range(steps):
        columns = slice(2, None) if t == steps - 1 else slice(None)  # the last step's state is zeros
        a, b = torch.randn(3, 8, 5).to(dtype), torch.randn(3, 6, 5).to(dtype)[:, columns]
        outer.add(a, b, columns)
        expected[:, :, columns] += a.float() @ b.float().mT
        a.zero_()  # what was handed over may be written again at once
    close = {"atol": 0.3, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(outer.total(), expected, **close)
    torch.testing.assert_close(outer.total(slice(1, None)), expected[:, :, 1:], **close)
    found = outer.total(slice(5), 2)
    torch.testing.assert_close(found[:, :, 2:], expected[:, :, :5], **close)
    assert not found[:, :, :2].any()


class Strict:
    """oneDNN's product on any processor; refuses a second operand with gaps, for which oneDNN takes a thousand times as long."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, weight, bias, attr, scalars, algorithm):
        assert (bias, attr, scalars, algorithm) == (None, "none", [], "")
        return self.binary(x, torch.zeros(()), weight, None, "add")

    def binary(self, x, other, weight, bias, attr):
        assert (bias, attr) == (None, "add")
        assert weight.is_contiguous() or weight.T.is_contiguous()
        self.calls += 1
        return x @ weight.T + other


def test_no_operand_of_onednns_products_has_gaps(monkeypatch):
    model, windows = cage(), torch.randn(6, 5, 4, 3)
    gradients = []
    for onednn, function in ((False, None), (True, strict := Strict())):
        monkeypatch.setattr(recurrent, "ONEDNN", onednn)
        monkeypatch.setattr(recurrent, "_onednn", function)
        model.zero_grad()
        model.loss(batch(windows))[0].backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert strict.calls > 100
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        model.features(windows)
