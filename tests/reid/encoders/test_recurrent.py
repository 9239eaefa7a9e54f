import torch
from torch import nn

from gaitreid.reid.encoders.recurrent import lstm


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
