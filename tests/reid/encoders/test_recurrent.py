import pytest
import torch
from torch import nn

from gaitreid.reid.encoders import recurrent
from gaitreid.reid.encoders.recurrent import attend, lstm, product


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
    error = 0.1 if dtype == torch.bfloat16 else 1e-5
    for columns, unmet in ((slice(None), 0), (slice(1, None), 0), (slice(5), 2)):
        found = outer.total(columns, unmet)
        assert found.dtype == torch.float32
        assert not found[:, :, :unmet].any()
        torch.testing.assert_close(found[:, :, unmet:], expected[:, :, columns], atol=error, rtol=error)


def plain_attend(gates, weights, biases, state, keys, values, mask, squash):
    """As `attend`, by plain operations: gradients are torch's own."""
    (w1, w2, combine), (b1, b2), (h1, c1, h2, c2) = weights, biases, state
    (axes, k, batch), length = h1.shape, values.shape[1]
    last = h1.new_zeros(axes, k, batch)
    found = []
    for t in range(length):
        joined = w1[:, :, -2 * k :] @ torch.cat([last, h1], dim=1) + b1
        i, f, o, g = (joined if gates is None else joined + gates[t]).chunk(4, dim=1)
        c1 = f.sigmoid() * c1 + i.sigmoid() * g.tanh()
        h1 = o.sigmoid() * c1.tanh()
        i, f, o, g = (w2 @ torch.cat([h1, h2], dim=1) + b2).chunk(4, dim=1)
        c2 = f.sigmoid() * c2 + i.sigmoid() * g.tanh()
        h2 = o.sigmoid() * c2.tanh()
        query = h2.transpose(1, 2).reshape(axes * batch, k)
        attention = (keys @ query[:, :, None])[..., 0].softmax(dim=1)
        used = attention if mask is None else attention * mask[t]
        context = (used[:, None] @ values)[:, 0]
        last = combine @ torch.cat([h2, context.view(axes, batch, k).transpose(1, 2)], dim=1)
        last = last.tanh() if squash else last
        found.append((last, attention, context))
    outs, attentions, contexts = zip(*found, strict=True)
    return torch.stack(outs, dim=2), torch.stack(attentions, dim=1), torch.stack(contexts, dim=1)


@pytest.mark.parametrize(("fed", "masked", "squash"), [(False, False, False), (True, False, True), (True, True, False)])
@pytest.mark.usefixtures("library")
def test_attending_and_its_gradients_are_those_of_plain_operations(fed, masked, squash):
    torch.manual_seed(0)
    axes, k, size, length, unmet = 3, 4, 2, 10, 5
    shapes: list[tuple[int, ...]] = [
        (axes, 4 * k, unmet + 2 * k),
        (axes, 4 * k, 2 * k),
        (axes, k, 2 * k),
        *[(axes, 4 * k, 1)] * 2,
    ]
    shapes += [*[(axes, k, size)] * 4, *[(axes * size, length, k)] * 2, (length, axes, 4 * k, size)]
    given = [(0.7 * torch.randn(shape)).requires_grad_() for shape in shapes]
    mask = torch.rand(length, length) if masked else None

    def gradients(function, values):
        gates = values[11] if fed else None
        out = function(gates, tuple(values[:3]), tuple(values[3:5]), tuple(values[5:9]), *values[9:11], mask, squash)
        total = sum((of * torch.linspace(-1, 1, of.numel()).view_as(of)).sum() for of in out)  # each of the three counts
        return out, torch.autograd.grad(total, values[: 11 + fed])

    exact = [value.detach().double().requires_grad_() for value in given]
    for found, expected in zip(gradients(attend, given), gradients(plain_attend, exact), strict=True):
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.double(), b, atol=1e-4, rtol=1e-4)
