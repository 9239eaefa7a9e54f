"""LSTM layers and an attending decoder for several axes of space at once, with their gradients written out.

States lie feature by feature, (axes, features, batch): the weights, (axes, 4 K, inputs + K), stand on the left of every product,
which is the shape that matrix libraries do fastest, and the four gates are blocks of rows. Weights may be of lower precision
than c: products and h are then of the weights' dtype, gates and attention of c's. The gradients are by hand since what autograd
would keep and pass around between the steps costs about as much as the products themselves. So would the sums and sigmoids, so
they are few: the bias is a column of the weight that meets a row of ones, and tanh(x) is 1 - 2 sigmoid(-2 x), whose -2 is
multiplied into the weights (`_prepared`) and whose 1 - 2 into the product that always follows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# On CPUs with AVX-512 oneDNN's float32 product is up to twice as fast as MKL's, which holds AMD's back; without it MKL's is as
# good or better. Chosen by what the processor is, not by timing it, so that the same machine always gives the same numbers.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # x, w, ...: x w^T
ONEDNN = _onednn is not None and torch.backends.cpu.get_cpu_capability() == "AVX512"

_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


def lstm(x: Tensor, weight: Tensor, bias: Tensor, h: Tensor | None, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """One LSTM layer over a sequence.

    Args:
        x: (f, axes, I, B).
        weight: (axes, 4 K, I + K), gates in the order i, f, o, g.
        bias: (axes, 4 K, 1).
        h, c: first state, (axes, K, B) each; None is zeros.

    Returns:
        Hidden states (f, axes, K, B), the last h and the last c.
    """
    if not torch.is_grad_enabled():
        return _lstm(x, _prepared(bias, weight), h, c, None)
    result: tuple[Tensor, Tensor, Tensor] = _Lstm.apply(x, weight, bias, h, c)
    return result


def attend(
    gates: Tensor | None,
    weights: tuple[Tensor, Tensor, Tensor],
    biases: tuple[Tensor, Tensor],
    state: tuple[Tensor, Tensor, Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    squash: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """A decoder of two LSTM layers that looks back at the encoder after every step.

    The first layer's input is its last attentional state. Step t: query = top hidden state; attention = softmax over the f
    scores query . key; context = sum of attention x value; attentional state = W [query; context].

    Args:
        gates: (f, axes, 4 K, B), added to the gates of the first layer: what an auxiliary input contributes; None is nothing.
        weights: of the first layer (axes, 4 K, 2 K), of the second (the same), and W (axes, K, 2 K).
        biases: of the two layers, (axes, 4 K, 1).
        state: h and c of the first layer, h and c of the second, (axes, K, B) each.
        keys, values: (axes B, f, K).
        mask: (f, f): multiplies the attention (rows steps) before the context is taken; None leaves it.
        squash: whether a tanh follows W.

    Returns:
        Attentional states (axes, K, f, B), attention before the mask (axes B, f, f), and contexts (axes B, f, K).
    """
    if not torch.is_grad_enabled():
        (w1, w2, combine), (b1, b2) = weights, biases
        weights = _prepared(w1, b1), _prepared(w2, b2), combine
        return _attend(gates, weights, state, keys, values, mask, squash, None)[:3]
    result: tuple[Tensor, Tensor, Tensor] = _Attend.apply(gates, *weights, *biases, *state, keys, values, mask, squash)
    return result


def product(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """(axes, M, N) @ (axes, N, B) + (axes, M, 1)."""
    if not x.is_cpu or torch.compiler.is_compiling():  # also while it is exported
        return torch.bmm(weight, x) if bias is None else torch.baddbmm(bias, weight, x)
    if torch.is_grad_enabled():
        return torch.stack([w @ v if bias is None else bias[k] + w @ v for k, (w, v) in enumerate(zip(weight, x, strict=True))])
    out = x.new_empty(len(weight), weight.shape[1], x.shape[2])
    for axis in range(len(weight)):  # on CPUs faster than a batched product
        if ONEDNN and _onednn and x.dtype == torch.float32:
            out[axis] = _onednn(weight[axis], x[axis].T, None, "none", [], "")
        else:
            torch.mm(weight[axis], x[axis], out=out[axis])
    return out if bias is None else out.add_(bias)


def _add_outer(total: Tensor, a: Tensor, b: Tensor, anew: bool) -> None:
    """total += a b^T: (axes, M, N), (axes, M, B), (axes, N, B); anew: what was there does not count."""
    beta = 0 if anew else 1
    if total.dtype != a.dtype:  # sums over many steps want the higher precision
        outer = torch.bmm(a, b.transpose(1, 2))
        total.copy_(outer) if anew else total.add_(outer)
        return
    if not total.is_cpu:
        total.baddbmm_(a, b.transpose(1, 2), beta=beta)
        return
    for axis in range(len(total)):
        if ONEDNN and _onednn and a.dtype == torch.float32:
            outer = _onednn(a[axis], b[axis], None, "none", [], "")
            total[axis].copy_(outer) if anew else total[axis].add_(outer)
        else:
            total[axis].addmm_(a[axis], b[axis].T, beta=beta)


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the gradient of one step needs: inputs and the columns of the weight they met, gates, c before, `rest` of c after."""

    inputs: Tensor
    columns: slice
    gates: Tensor
    before: Tensor | None
    rest: Tensor  # sigmoid(-2 c): half of 1 - tanh(c)


def _step(
    inputs: list[Tensor], columns: slice, weight: Tensor, c: Tensor | None, add: Tensor | None = None
) -> tuple[Tensor, Tensor, _Kept]:
    """One LSTM step: inputs (axes, ..., B), one below the other, to h, c, and what its gradient needs.

    Weight and `add` are `_prepared`; the inputs have the row of ones that its bias meets.
    """
    below = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
    gates = product(weight[:, :, columns], below)
    gates = gates.to(torch.promote_types(gates.dtype, torch.float32))
    if add is not None:
        gates += add
    i, f, o, g = torch.split(gates.sigmoid_(), gates.shape[1] // 4, dim=1)
    after = _times_tanh(i, g)
    if c is not None:
        after.addcmul_(f, c)
    rest = (after * -2).sigmoid_()
    return _times_tanh(o, rest).to(below.dtype), after, _Kept(below, columns, gates, c, rest)


def _times_tanh(y: Tensor, rest: Tensor, out: Tensor | None = None) -> Tensor:
    """y tanh(x), from y and sigmoid(-2 x)."""
    return torch.addcmul(y, y, rest, value=-2, out=out)


def _step_back(
    kept: _Kept, turned: Tensor, dh: Tensor, dc: Tensor | None, dweight: Tensor, anew: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of one step, of what is `_prepared` as it is.

    Args:
        turned: the weight, turned (axes, rows, 4 K): the gradients that it gives are of the rows it has.
        dh, dc: of the step's h and c.
        dweight: of the weight: added to, unless anew.

    Returns:
        Of the inputs (axes, ..., B), of c before, and of the gates (axes, 4 K, B).
    """
    i, f, o, g = torch.split(kept.gates, kept.rest.shape[1], dim=1)
    d = torch.empty_like(kept.gates)
    di, df, do, dg = torch.split(d, kept.rest.shape[1], dim=1)
    through = _sigmoid_backward(dh * o, kept.rest)
    dc = through.mul_(4) if dc is None else torch.add(dc, through, alpha=4)
    _times_tanh(dc, g, out=di)
    if kept.before is None:
        df.zero_()
    else:
        torch.mul(dc, kept.before, out=df)
    _times_tanh(dh, kept.rest, out=do)
    torch.mul(dc, i, out=dg).mul_(-2)
    _sigmoid_backward.grad_input(d, kept.gates, grad_input=d)
    low = d.to(turned.dtype)
    _add_outer(dweight[:, :, kept.columns], low, kept.inputs, anew)
    return product(turned, low), dc * f, d


def _prepared(*parts: Tensor) -> Tensor:
    """Weight and bias side by side, the rows of the gate g times -2."""
    return _scaled(torch.cat(parts, dim=2))


def _scaled(gates: Tensor) -> Tensor:
    """The last quarter of the rows, those of the gate g, times -2 in place: so are gates prepared, and so their gradients."""
    gates[..., gates.shape[-2] // 4 * 3 :, :] *= -2
    return gates


def _ones(like: Tensor) -> Tensor:
    """The row that the bias meets."""
    return like.new_ones(*like.shape[:-2], 1, like.shape[-1])


def _sums(tensor: Tensor, steps: int) -> Tensor:
    """Where gradients are summed, at least in float32; rows begin at cache lines, or adding products takes half as long again."""
    *rows, width = tensor.shape
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    make = torch.zeros if steps == 1 else torch.empty  # all but the first step meet every column
    return make(*rows, -(-width // 16) * 16, dtype=dtype, device=tensor.device)[..., :width]


def _lstm(
    x: Tensor, weight: Tensor, h: Tensor | None, c: Tensor | None, keep: list[_Kept] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `lstm`; the weight is `_prepared`, the bias first."""
    steps, x = [], torch.cat([_ones(x), x], dim=2)
    wide = x.shape[2]
    for x_t in x.unbind():
        inputs, columns = ([x_t], slice(wide)) if h is None else ([x_t, h], slice(None))
        h, c, kept = _step(inputs, columns, weight, c)
        steps.append(h)
        if keep is not None:
            keep.append(kept)
    assert h is not None
    assert c is not None
    return torch.stack(steps), h, c


class _Lstm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, h: Tensor | None, c: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.kept, ctx.weight, ctx.wide = [], _prepared(bias, weight), x.shape[2]
        return _lstm(x, ctx.weight, h, c, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dh: Tensor, dc: Tensor) -> tuple[Tensor | None, ...]:
        read, first = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        wide, dx = ctx.wide if read else 0, []
        steps = len(ctx.kept)
        turned, dweight = ctx.weight[:, :, 1 if read else 1 + ctx.wide :].transpose(1, 2), _sums(ctx.weight, steps)
        for t in reversed(range(steps)):
            last = t == 0 and not first  # of a state of zeros nobody asks
            of_x = turned[:, :wide] if last else turned
            dz, dc, _ = _step_back(ctx.kept[t], of_x, dout[t] + dh, dc, dweight, t == steps - 1)
            dx.append(dz[:, :wide])
            dh = dz[:, wide:]
        _scaled(dweight)
        dbias, dweight = dweight[:, :, :1], dweight[:, :, 1:]
        return torch.stack(dx[::-1]) if read else None, dweight, dbias, dh if first else None, dc if first else None


def _attend(
    gates: Tensor | None,
    weights: tuple[Tensor, ...],
    state: tuple[Tensor, ...],
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    squash: bool,
    keep: list[tuple[_Kept, _Kept]] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `attend`, weights `_prepared`, the bias last; fourth, query and context of every step side by side (axes B, f, 2 K)."""
    (w1, w2, combine), (h1, c1, h2, c2) = weights, state
    (axes, k, batch), length = h1.shape, values.shape[1]
    out = h1.new_empty(axes, k, length, batch)
    attention = c1.new_empty(axes * batch, length, length)
    joined = values.new_empty(axes * batch, length, 2 * k)
    turned_keys, last, ones = keys.transpose(1, 2), None, _ones(h1)
    if gates is not None:
        gates = _scaled(gates.clone())
    for t in range(length):
        # The first attentional state is zeros: its columns of the weight are passed over.
        inputs, columns = ([h1, ones], slice(k, None)) if last is None else ([last, h1, ones], slice(None))
        h1, c1, first = _step(inputs, columns, w1, c1, None if gates is None else gates[t])
        h2, c2, second = _step([h1, h2, ones], slice(None), w2, c2)
        query = h2.transpose(1, 2).reshape(axes * batch, 1, k)
        a = torch.softmax(torch.bmm(query, turned_keys).to(c1.dtype), dim=2)
        used = a if mask is None else a * mask[t]
        joined[:, t, :k], joined[:, t, k:] = query[:, 0], torch.bmm(used.to(values.dtype), values)[:, 0]
        last = product(combine, joined[:, t].view(axes, batch, 2 * k).transpose(1, 2))
        if squash:
            last.tanh_()
        out[:, :, t], attention[:, t] = last, a[:, 0]
        if keep is not None:
            keep.append((first, second))
    return out, attention, joined[:, :, k:], joined


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor | None, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        w1, w2, combine, b1, b2, h1, c1, h2, c2, keys, values, mask, squash = arguments
        weights, state = (_prepared(w1, b1), _prepared(w2, b2), combine), (h1, c1, h2, c2)
        ctx.kept, ctx.shared, ctx.with_gates = [], (*weights, keys, values, mask, squash), gates is not None
        out, attention, contexts, ctx.joined = _attend(gates, weights, state, keys, values, mask, squash, ctx.kept)
        ctx.save_for_backward(out, attention)
        return out, attention, contexts.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dattention: Tensor, dcontexts: Tensor) -> tuple[Tensor | None, ...]:
        w1, w2, combine, keys, values, mask, squash = ctx.shared
        (out, attention), joined = ctx.saved_tensors, ctx.joined
        axes, k, length, batch = out.shape
        turned1, turned2, turned_values = (m.transpose(1, 2) for m in (w1[:, :, : 2 * k], w2[:, :, : 2 * k], values))
        dw1, dw2, dcombine = (_sums(w, length) for w in (w1, w2, combine))
        dgates = []
        dscores = torch.empty_like(attention, dtype=keys.dtype)
        dused = values.new_empty(axes * batch, length, k)
        dlast = dh1 = dh2 = dc1 = dc2 = None
        for t in reversed(range(length)):
            (first, second), anew = ctx.kept[t], t == length - 1
            d = dout[:, :, t] if dlast is None else dout[:, :, t] + dlast
            if squash:
                d = _tanh_backward(d, out[:, :, t])
            of_step = joined[:, t].view(axes, batch, 2 * k)
            _add_outer(dcombine, d, of_step.transpose(1, 2), anew)
            djoined = product(d.transpose(1, 2), combine)
            dcontext = torch.add(djoined[:, :, k:].reshape(axes * batch, k), dcontexts[:, t], out=dused[:, t])
            dweights = torch.bmm(dcontext[:, None], turned_values)[:, 0].to(attention.dtype)
            if mask is not None:
                dweights = dweights * mask[t]
            dweights = dweights + dattention[:, t]
            a = attention[:, t]
            dscore = a * (dweights - (a * dweights).sum(dim=1, keepdim=True))
            dscores[:, t] = dscore
            dquery = torch.bmm(dscores[:, t, None], keys).view(axes, batch, k) + djoined[:, :, :k]
            of_h2 = dquery.transpose(1, 2)
            dz, dc2, _ = _step_back(second, turned2, of_h2.contiguous() if dh2 is None else dh2 + of_h2, dc2, dw2, anew)
            dh2 = dz[:, k:]
            of_h1 = dz[:, :k] if dh1 is None else dz[:, :k] + dh1
            dz, dc1, of_gates = _step_back(first, turned1 if t else turned1[:, k:], of_h1, dc1, dw1, anew)
            dlast, dh1 = (dz[:, :k], dz[:, k:]) if t else (None, dz)
            dgates.append(of_gates)
        used = attention if mask is None else attention * mask
        dkeys = torch.bmm(dscores.transpose(1, 2), joined[:, :, :k])
        dvalues = torch.bmm(used.to(values.dtype).transpose(1, 2), dused)
        weights = *(d[:, :, :-1] for d in (_scaled(dw1), _scaled(dw2))), dcombine, *(d[:, :, -1:] for d in (dw1, dw2))
        added = _scaled(torch.stack(dgates[::-1])) if ctx.with_gates else None
        return added, *weights, dh1, dc1, dh2, dc2, dkeys, dvalues, None, None
