"""LSTM layers and an attending decoder for several axes of space at once, with their gradients written out.

States lie feature by feature, (axes, features, batch): the weights, (axes, 4 K, inputs + K), stand on the left of every product,
which is the shape that matrix libraries do fastest, and the four gates are blocks of rows. What is put in may be of lower
precision than the weights: products and h are then of its dtype, all else is of theirs. The gradients are by hand since what
autograd would keep and pass around between the steps costs about as much as the products themselves. So would the sums and
sigmoids, so they are few: the bias is a column of the weight that meets a row of ones, and tanh(x) is 1 - 2 sigmoid(-2 x), whose
-2 is multiplied into the weights (`_prepared`) and whose 1 - 2 into the product that always follows.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# On CPUs with AVX-512 oneDNN's float32 product is up to twice as fast as MKL's, which holds AMD's back; without it MKL's is as
# good or better. Chosen by what the processor is, not by timing it, so that the same machine always gives the same numbers.
_onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # x, w, ...: x w^T
ONEDNN = _onednn is not None and torch.backends.cpu.get_cpu_capability() == "AVX512"
# Steps whose gradients of a weight are one product; MKL adds a product to a sum as fast as it writes it, and takes one at a time.
TOGETHER = 8

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
        return _lstm(x, _prepared(x.dtype, bias, weight), h, c, None)
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
        weights: of the first layer (axes, 4 K, n + 2 K), whose first n columns nothing meets, of the second (axes, 4 K, 2 K), and
            W (axes, K, 2 K).
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
        weights = _attending(values.dtype, w1, w2, combine, b1, b2)
        return _attend(gates, weights, state, keys, values, mask, squash, None)[:3]
    result: tuple[Tensor, Tensor, Tensor] = _Attend.apply(gates, *weights, *biases, *state, keys, values, mask, squash)
    return result


def product(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """(axes, M, N) @ (axes, N, B) + (axes, M, 1), multiplied in the dtype of x."""
    written_out = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    out: Tensor = _Product.apply(weight, x) if written_out else _product(weight.to(x.dtype), x)
    return out if bias is None else out + bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(weight, x)
        return _product(weight, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        weight, x = ctx.saved_tensors
        outer = _Outer(weight, 1)
        outer.add(d, x)
        return outer.total(), _product(d.transpose(1, 2), weight).transpose(1, 2) if ctx.needs_input_grad[1] else None


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """(axes, M, N) @ (axes, N, B)."""
    if not _axis_by_axis(x) or torch.compiler.is_compiling():  # also while it is exported
        return torch.bmm(weight, x)
    out = x.new_empty(len(weight), weight.shape[1], x.shape[2])
    for axis in range(len(weight)):
        if _by_onednn(x):
            out[axis] = _onednn_product(weight[axis], x[axis].T)
        else:
            torch.mm(weight[axis], x[axis], out=out[axis])
    return out


def _axis_by_axis(x: Tensor) -> bool:
    """Whether a product for each axis is faster than a batched one: on CPUs, but in bfloat16."""
    return x.is_cpu and _at_least_single(x.dtype) == x.dtype


def _by_onednn(x: Tensor) -> bool:
    return ONEDNN and x.is_cpu and x.dtype == torch.float32


def _onednn_product(a: Tensor, b: Tensor, total: Tensor | None = None) -> Tensor:
    """a b^T + total: (M, N), (B, N), (M, B)."""
    # With gaps between its rows oneDNN's second operand falls to code that is a thousand times as slow.
    dense = b if b.is_contiguous() or b.T.is_contiguous() else b.contiguous()
    assert _onednn is not None
    out: Tensor = _onednn(a, dense, None, "none", [], "") if total is None else _onednn.binary(a, total, dense, None, "add")
    return out


def _turned(weight: Tensor) -> Tensor:
    """(axes, M, N) -> (axes, N, M), copied for oneDNN, which else copies it in every product."""
    turned = weight.transpose(1, 2)
    return turned.contiguous() if ONEDNN and weight.is_cpu else turned


class _Outer:
    """The sum of a b^T over steps, at least in float32, in few products.

    Args:
        weight: (axes, M, N), whose gradient this is.
        steps: how many there will be.
    """

    def __init__(self, weight: Tensor, steps: int) -> None:
        by_mkl = _axis_by_axis(weight) and not ONEDNN
        self._weight, self._together = weight, 1 if by_mkl else min(steps, TOGETHER)
        self._waiting: list[tuple[Tensor, Tensor]] = []  # a and b of some steps
        self._sums: list[Tensor] = []  # one of each axis, or one of all

    def add(self, a: Tensor, b: Tensor, columns: slice = slice(None)) -> None:
        """a: (axes, M, B); b: (axes, N, B), or as many rows as there are columns of the weight that it met.

        Neither may be written later.
        """
        if self._together == 1 or columns != slice(None):
            self._flush()
            self._add(a, b, columns)
            return
        self._waiting.append((a, b))
        if len(self._waiting) == self._together:
            self._flush()

    def total(self, columns: slice = slice(None), unmet: int = 0) -> Tensor:
        """(axes, M, unmet + as many as there are columns); the first are zeros, of columns of the weight that nothing met."""
        self._flush()
        axes, rows, width = self._weight.shape
        width, dtype = len(range(width)[columns]), _at_least_single(self._weight.dtype)
        out = self._weight.new_empty(axes, rows, unmet + width, dtype=dtype)
        out[..., :unmet] = 0
        places = out[..., unmet:]
        for place, total in zip(places.unbind() if len(self._sums) > 1 else [places], self._sums, strict=True):
            place.copy_(total[..., columns])
        return out

    def _flush(self) -> None:
        if self._waiting:
            a, b = (torch.stack(steps, dim=2).flatten(2) for steps in zip(*self._waiting, strict=True))
            self._waiting = []
            self._add(a, b, slice(None))

    def _add(self, a: Tensor, b: Tensor, columns: slice) -> None:
        pairs = [*zip(a, b, strict=True)] if _axis_by_axis(a) else [(a, b)]
        before: list[Tensor | None] = [*self._sums] or [None] * len(pairs)
        self._sums = [self._added(total, *pair, columns) for total, pair in zip(before, pairs, strict=True)]

    def _added(self, total: Tensor | None, a: Tensor, b: Tensor, columns: slice) -> Tensor:
        whole, low = columns == slice(None), _at_least_single(a.dtype) != a.dtype
        if whole and _by_onednn(a):
            return _onednn_product(a, b, total)
        if whole and low and total is None:
            return a @ b.mT
        beta = 0 if total is None else 1
        if total is None:
            total = _sum_of(self._weight if a.dim() == 3 else self._weight[0], whole)
        total = total.to(_at_least_single(total.dtype))
        part = total[..., columns]
        if low:  # sums over many steps want the higher precision
            part.add_(a @ b.mT)
        elif _by_onednn(a):
            part.add_(_onednn_product(a, b))
        else:
            (part.addmm_ if a.dim() == 2 else part.baddbmm_)(a, b.mT, beta=beta)
        return total


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
    gates = _product(weight[:, :, columns], below)
    if kernels := _fused(gates):
        h, after, gates, rest = kernels.forward(gates, add, c, below.dtype)
        return h, after, _Kept(below, columns, gates, c, rest)
    gates = gates.to(_at_least_single(gates.dtype))
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
    kept: _Kept, turned: Tensor, dh: Tensor, further: Tensor | None, dc: Tensor | None, dweight: _Outer, d: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of one step, of what is `_prepared` as it is.

    Args:
        turned: the weight, turned (axes, rows, 4 K): the gradients that it gives are of the rows it has.
        dh, further: of the step's h, the sum of both; None is zeros.
        dc: of its c.
        dweight: of the weight: added to.
        d: of the gates (axes, 4 K, B): written.

    Returns:
        Of the inputs (axes, ..., B), and of c before.
    """
    if kernels := _fused(kept.gates):
        dbefore = kernels.backward(kept.gates, kept.rest, kept.before, dh, further, dc, d)
    else:
        dbefore = _gates_back(kept, dh if further is None else dh + further, dc, d)
    low = d.to(turned.dtype)
    dweight.add(low, kept.inputs, kept.columns)
    return _product(turned, low), dbefore


def _gates_back(kept: _Kept, dh: Tensor, dc: Tensor | None, d: Tensor) -> Tensor:
    """As `_step_back`, to the gates, which are written, and c before."""
    i, f, o, g = torch.split(kept.gates, kept.rest.shape[1], dim=1)
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
    return dc * f


def _for_gradients(kept: _Kept) -> Tensor:
    """Where `_step_back` writes those of the gates of a step that nobody else asks for."""
    return torch.empty_like(kept.gates, dtype=kept.inputs.dtype if _fused(kept.gates) else None)


def _fused(gates: Tensor) -> Any:
    """The kernels that do a step's gates at once; None where they are for torch."""
    return _kernels(gates.device) if gates.is_cuda and gates.dtype != torch.float64 else None


def _fused_attention(keys: Tensor) -> Any:
    """The same for looking back; a long window is too much for a program."""
    kernels = _fused(keys)
    return kernels if kernels and kernels.attends(*keys.shape[1:]) else None


@cache
def _kernels(device: torch.device) -> Any:
    try:
        from gaitreid.reid.encoders import fused

        fused.check(device)
    except Exception as error:  # Triton raises anything at all, such as where there is no C compiler
        warnings.warn(f"{device}: LSTM steps run as many small kernels, which takes longer ({error})", stacklevel=2)
        return None
    return fused


def _prepared(dtype: torch.dtype, *parts: Tensor) -> Tensor:
    """Weight and bias side by side, the rows of the gate g times -2."""
    widths = [part.shape[2] for part in parts]
    out = parts[0].new_empty(*parts[0].shape[:2], sum(widths), dtype=dtype)
    for place, part in zip(torch.split(out, widths, dim=2), parts, strict=True):
        place.copy_(part)
    return _scaled(out)


def _attending(
    dtype: torch.dtype, w1: Tensor, w2: Tensor, combine: Tensor, b1: Tensor, b2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights as `_attend` takes them."""
    used = w1[:, :, w1.shape[2] - w2.shape[2] :]
    return _prepared(dtype, used, b1), _prepared(dtype, w2, b2), combine.to(dtype)


def _scaled(gates: Tensor) -> Tensor:
    """The last quarter of the rows, those of the gate g, times -2 in place: so are gates prepared, and so their gradients."""
    gates[..., gates.shape[-2] // 4 * 3 :, :].mul_(-2)
    return gates


def _ones(like: Tensor) -> Tensor:
    """The row that the bias meets."""
    return like.new_ones(*like.shape[:-2], 1, like.shape[-1])


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _sum_of(tensor: Tensor, whole: bool) -> Tensor:
    """Where gradients are summed, at least in float32; rows begin at cache lines, or adding products takes half as long again."""
    *rows, width = tensor.shape
    dtype = _at_least_single(tensor.dtype)
    make = torch.empty if whole else torch.zeros  # whether what is written first meets every column
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
        ctx.kept, ctx.weight, ctx.wide = [], _prepared(x.dtype, bias, weight), x.shape[2]
        return _lstm(x, ctx.weight, h, c, ctx.kept)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dh: Tensor, dc: Tensor) -> tuple[Tensor | None, ...]:
        read, first = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
        wide, dx = ctx.wide if read else 0, []
        steps = len(ctx.kept)
        turned, outer = _turned(ctx.weight[:, :, 1 if read else 1 + ctx.wide :]), _Outer(ctx.weight, steps)
        for t in reversed(range(steps)):
            last = t == 0 and not first  # of a state of zeros nobody asks
            of_x = turned[:, :wide] if last else turned
            dz, dc = _step_back(ctx.kept[t], of_x, dout[t], dh, dc, outer, _for_gradients(ctx.kept[t]))
            dx.append(dz[:, :wide])
            dh = dz[:, wide:]
        dbias, dweight = _scaled(outer.total(slice(1))), _scaled(outer.total(slice(1, None)))
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
    (axes, k, batch), length, out = h1.shape, values.shape[1], []
    attention = c1.new_empty(axes * batch, length, length)
    joined = values.new_empty(axes * batch, length, 2 * k)
    last, ones, kernels = None, _ones(h1), _fused_attention(keys)
    keys, values = (keys.contiguous(), values.contiguous()) if kernels else (keys, values)
    if gates is not None:
        gates = _scaled(gates.clone())
    for t in range(length):
        # The first attentional state is zeros: its columns of the weight are passed over.
        inputs, columns = ([h1, ones], slice(k, None)) if last is None else ([last, h1, ones], slice(None))
        h1, c1, first = _step(inputs, columns, w1, c1, None if gates is None else gates[t])
        h2, c2, second = _step([h1, h2, ones], slice(None), w2, c2)
        (kernels.attend if kernels else _look_back)(h2, keys, values, mask, t, attention, joined)
        last = _product(combine, joined[:, t].view(axes, batch, 2 * k).transpose(1, 2))
        if squash:
            last.tanh_()
        out.append(last)
        if keep is not None:
            keep.append((first, second))
    return torch.stack(out, dim=2), attention, joined[:, :, k:], joined


def _look_back(h: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, t: int, attention: Tensor, joined: Tensor) -> None:
    """As `fused.attend`, by torch's own kernels."""
    k = h.shape[1]
    query = h.transpose(1, 2).reshape(-1, 1, k)
    # Keys times query, not query times keys, which reads long windows slower; and turned rows, since MKL is slow with columns.
    a = torch.softmax(torch.bmm(keys, query.mT).mT.to(attention.dtype), dim=2)
    used = a if mask is None else a * mask[t]
    joined[:, t, :k], joined[:, t, k:] = query[:, 0], torch.bmm(used.to(values.dtype), values)[:, 0]
    attention[:, t] = a[:, 0]


def _look_back_back(
    t: int,
    djoined: Tensor,
    dcontexts: Tensor,
    dattention: Tensor,
    attention: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    dh: Tensor | None,
    dused: Tensor,
    dscores: Tensor,
) -> Tensor:
    """As `fused.attend_back`, by torch's own kernels."""
    axes, batch, k = djoined.shape[0], djoined.shape[1], djoined.shape[2] // 2
    dcontext = torch.add(djoined[:, :, k:].reshape(axes * batch, k), dcontexts[:, t], out=dused[:, t])
    dweights = torch.bmm(values, dcontext[:, None].mT)[:, :, 0].to(attention.dtype)
    if mask is not None:
        dweights = dweights * mask[t]
    dweights = dweights + dattention[:, t]
    a = attention[:, t]
    dscores[:, t] = a * (dweights - (a * dweights).sum(dim=1, keepdim=True))
    dquery = torch.bmm(dscores[:, t, None], keys).view(axes, batch, k) + djoined[:, :, :k]
    of_h = dquery.transpose(1, 2)
    return of_h.contiguous() if dh is None else dh + of_h


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor | None, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        w1, w2, combine, b1, b2, h1, c1, h2, c2, keys, values, mask, squash = arguments
        weights, state = _attending(values.dtype, w1, w2, combine, b1, b2), (h1, c1, h2, c2)
        ctx.kept, ctx.shared, ctx.with_gates = [], (*weights, keys, values, mask, squash), gates is not None
        ctx.unmet = w1.shape[2] - w2.shape[2]
        out, attention, contexts, ctx.joined = _attend(gates, weights, state, keys, values, mask, squash, ctx.kept)
        ctx.save_for_backward(out, attention)
        return out, attention, contexts.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dattention: Tensor, dcontexts: Tensor) -> tuple[Tensor | None, ...]:
        w1, w2, combine, keys, values, mask, squash = ctx.shared
        (out, attention), joined = ctx.saved_tensors, ctx.joined
        axes, k, length, batch = out.shape
        turned1, turned2 = (_turned(w[:, :, : 2 * k]) for w in (w1, w2))
        dw1, dw2, dcombine = (_Outer(w, length) for w in (w1, w2, combine))
        kept_gates = ctx.kept[0][0].gates
        dgates = kept_gates.new_empty(length, *kept_gates.shape) if ctx.with_gates else None
        dscores = torch.empty_like(attention, dtype=keys.dtype)
        dused = values.new_empty(axes * batch, length, k)
        dlast = dh1 = dh2 = dc1 = dc2 = None
        kernels, look_back = _fused_attention(keys), _look_back_back
        if kernels:
            keys, values, dcontexts, dattention = (x.contiguous() for x in (keys, values, dcontexts, dattention))
            look_back = kernels.attend_back
        for t in reversed(range(length)):
            first, second = ctx.kept[t]
            d = dout[:, :, t] if dlast is None else dout[:, :, t] + dlast
            if squash:
                d = _tanh_backward(d, out[:, :, t])
            of_step = joined[:, t].view(axes, batch, 2 * k)
            dcombine.add(d, of_step.transpose(1, 2))
            djoined = _product(d.transpose(1, 2), combine)
            of_h2 = look_back(t, djoined, dcontexts, dattention, attention, keys, values, mask, dh2, dused, dscores)
            dz, dc2 = _step_back(second, turned2, of_h2, None, dc2, dw2, _for_gradients(second))
            dh2 = dz[:, k:]
            of_first = _for_gradients(first) if dgates is None else dgates[t]
            dz, dc1 = _step_back(first, turned1 if t else turned1[:, k:], dz[:, :k], dh1, dc1, dw1, of_first)
            dlast, dh1 = (dz[:, :k], dz[:, k:]) if t else (None, dz)
        used = attention if mask is None else attention * mask
        dkeys = torch.bmm(dscores.transpose(1, 2), joined[:, :, :k])
        dvalues = torch.bmm(used.to(values.dtype).transpose(1, 2), dused)
        of_w1, of_w2 = _scaled(dw1.total(slice(-1), ctx.unmet)), _scaled(dw2.total(slice(-1)))
        of_bias = [_scaled(dw.total(slice(-1, None))) for dw in (dw1, dw2)]
        added = None if dgates is None else _scaled(dgates)
        return added, of_w1, of_w2, dcombine.total(), *of_bias, dh1, dc1, dh2, dc2, dkeys, dvalues, None, None
