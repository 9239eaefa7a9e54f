"""What surrounds the products of an LSTM step, forwards and backwards, as one kernel each on a GPU.

By torch a step of an LSTM is some eight small kernels besides its product, and its gradient ten; each reads and writes all gates,
and each takes a GPU longer to begin than to run where batches are small. The equations are those of `recurrent`: gates lie in the
order i, f, o, g, (axes, 4 K, B), and what is made of g is sigmoid(-2 x). All is worked out in float32.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

BLOCK = 512  # places a program does
LARGEST = 32_768  # numbers that a program holds at once: more do not go into the registers of a GPU


@triton.jit  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    gates,
    add,
    before,
    squashed,
    after,
    rest,
    h,
    size,
    total,
    adds: tl.constexpr,
    goes_on: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < total
    of_i = place // size * 4 * size + place % size
    of_f, of_o, of_g = of_i + size, of_i + 2 * size, of_i + 3 * size
    i, f = tl.load(gates + of_i, inside).to(tl.float32), tl.load(gates + of_f, inside).to(tl.float32)
    o, g = tl.load(gates + of_o, inside).to(tl.float32), tl.load(gates + of_g, inside).to(tl.float32)
    if adds:
        i += tl.load(add + of_i, inside)
        f += tl.load(add + of_f, inside)
        o += tl.load(add + of_o, inside)
        g += tl.load(add + of_g, inside)
    i, f, o, g = 1 / (1 + tl.exp(-i)), 1 / (1 + tl.exp(-f)), 1 / (1 + tl.exp(-o)), 1 / (1 + tl.exp(-g))
    c = i - 2 * i * g
    if goes_on:
        c += f * tl.load(before + place, inside)
    left = 1 / (1 + tl.exp(2 * c))
    tl.store(squashed + of_i, i, inside)
    tl.store(squashed + of_f, f, inside)
    tl.store(squashed + of_o, o, inside)
    tl.store(squashed + of_g, g, inside)
    tl.store(after + place, c, inside)
    tl.store(rest + place, left, inside)
    tl.store(h + place, o - 2 * o * left, inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    gates,
    rest,
    before,
    dh,
    further,
    dc,
    d,
    dbefore,
    size,
    total,
    batch,
    axis1,
    row1,
    column1,
    axis2,
    row2,
    column2,
    goes_on: tl.constexpr,
    both: tl.constexpr,
    more: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < total
    of_i = place // size * 4 * size + place % size
    of_f, of_o, of_g = of_i + size, of_i + 2 * size, of_i + 3 * size
    i, f = tl.load(gates + of_i, inside), tl.load(gates + of_f, inside)
    o, g = tl.load(gates + of_o, inside), tl.load(gates + of_g, inside)
    axis, row, column = place // size, place % size // batch, place % batch
    left, of_h = tl.load(rest + place, inside), tl.load(dh + axis * axis1 + row * row1 + column * column1, inside).to(tl.float32)
    if both:
        of_h += tl.load(further + axis * axis2 + row * row2 + column * column2, inside).to(tl.float32)
    of_c = 4 * of_h * o * left * (1 - left)
    if more:
        of_c += tl.load(dc + place, inside)
    tl.store(d + of_i, of_c * (1 - 2 * g) * i * (1 - i), inside)
    if goes_on:
        tl.store(d + of_f, of_c * tl.load(before + place, inside) * f * (1 - f), inside)
    else:
        tl.store(d + of_f, 0.0, inside)
    tl.store(d + of_o, of_h * (1 - 2 * left) * o * (1 - o), inside)
    tl.store(d + of_g, -2 * of_c * i * g * (1 - g), inside)
    tl.store(dbefore + place, of_c * f, inside)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    h,
    keys,
    values,
    mask,
    attention,
    joined,
    t,
    batch,
    length,
    k: tl.constexpr,
    masked: tl.constexpr,
    steps: tl.constexpr,
    width: tl.constexpr,
) -> None:
    n = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, steps), tl.arange(0, width)
    place = row[:, None] * k + column[None, :]
    inside = (row[:, None] < length) & (column[None, :] < k)
    joined += (n * length + t) * 2 * k
    query = tl.load(h + (n // batch * k + column) * batch + n % batch, column < k, other=0.0)
    tl.store(joined + column, query, column < k)
    key = tl.load(keys + n * length * k + place, inside, other=0.0).to(tl.float32)
    scores = tl.sum(key * query.to(tl.float32)[None, :], axis=1)
    scores = tl.where(row < length, scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, axis=0))
    weights /= tl.sum(weights, axis=0)
    tl.store(attention + (n * length + t) * length + row, weights, row < length)
    if masked:
        weights *= tl.load(mask + t * length + row, row < length, other=0.0)
    value = tl.load(values + n * length * k + place, inside, other=0.0).to(tl.float32)
    tl.store(joined + k + column, tl.sum(value * weights[:, None], axis=0), column < k)


@triton.jit  # type: ignore[untyped-decorator]
def _attend_back(  # type: ignore[no-untyped-def]
    djoined,
    dcontexts,
    dattention,
    attention,
    keys,
    values,
    mask,
    dh,
    dused,
    dscores,
    out,
    t,
    batch,
    length,
    axis1,
    row1,
    column1,
    k: tl.constexpr,
    masked: tl.constexpr,
    more: tl.constexpr,
    steps: tl.constexpr,
    width: tl.constexpr,
) -> None:
    n = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, steps), tl.arange(0, width)
    place = row[:, None] * k + column[None, :]
    inside = (row[:, None] < length) & (column[None, :] < k)
    of_step = (n * length + t) * k + column
    dcontext = tl.load(djoined + n * 2 * k + k + column, column < k, other=0.0).to(tl.float32)
    dcontext += tl.load(dcontexts + of_step, column < k, other=0.0).to(tl.float32)
    tl.store(dused + of_step, dcontext, column < k)
    value = tl.load(values + n * length * k + place, inside, other=0.0).to(tl.float32)
    dweights = tl.sum(value * dcontext[None, :], axis=1)
    if masked:
        dweights *= tl.load(mask + t * length + row, row < length, other=0.0)
    of_row = (n * length + t) * length + row
    dweights += tl.load(dattention + of_row, row < length, other=0.0)
    weights = tl.load(attention + of_row, row < length, other=0.0)
    dscore = weights * (dweights - tl.sum(weights * dweights, axis=0))
    tl.store(dscores + of_row, dscore, row < length)
    key = tl.load(keys + n * length * k + place, inside, other=0.0).to(tl.float32)
    dquery = tl.sum(key * dscore[:, None], axis=0)
    dquery += tl.load(djoined + n * 2 * k + column, column < k, other=0.0).to(tl.float32)
    if more:
        dquery += tl.load(dh + n // batch * axis1 + column * row1 + n % batch * column1, column < k, other=0.0).to(tl.float32)
    tl.store(out + (n // batch * k + column) * batch + n % batch, dquery, column < k)


def forward(
    gates: Tensor, add: Tensor | None, before: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What follows the product of a step.

    Args:
        gates: (axes, 4 K, B), prepared (see `recurrent`); written over where they are of float32.
        add: is added to them first.
        before: c before (axes, K, B); None is zeros.
        dtype: of h.

    Returns:
        h, c, the gates' sigmoids, and sigmoid(-2 c).
    """
    axes, rows, batch = gates.shape
    squashed = gates if gates.dtype == torch.float32 else torch.empty_like(gates, dtype=torch.float32)
    after = gates.new_empty(axes, rows // 4, batch, dtype=torch.float32)
    rest, h = torch.empty_like(after), torch.empty_like(after, dtype=dtype)
    add, before = (None if x is None else x.contiguous() for x in (add, before))
    _launch(
        _forward, triton.cdiv(after.numel(), BLOCK),
        gates, add, before, squashed, after, rest, h, after[0].numel(), after.numel(),
        adds=add is not None, goes_on=before is not None, block=BLOCK,
    )  # fmt: skip
    return h, after, squashed, rest


def backward(
    gates: Tensor, rest: Tensor, before: Tensor | None, dh: Tensor, further: Tensor | None, dc: Tensor | None, d: Tensor
) -> Tensor:
    """Gradients of a step's gates, of what is prepared as it is, and of c before.

    Args:
        gates, rest: as `forward` gave them.
        before: as `forward` took it.
        dh, further: of the step's h (axes, K, B), the sum of both; None is zeros.
        dc: of its c.
        d: of the gates (axes, 4 K, B), of any precision: written.

    Returns:
        Of c before.
    """
    dbefore = torch.empty_like(rest)
    before, dc = (None if x is None else x.contiguous() for x in (before, dc))
    _launch(
        _backward, triton.cdiv(rest.numel(), BLOCK),
        gates, rest, before, dh, further, dc, d, dbefore, rest[0].numel(), rest.numel(), rest.shape[2],
        *dh.stride(), *(dh if further is None else further).stride(),
        goes_on=before is not None, both=further is not None, more=dc is not None, block=BLOCK,
    )  # fmt: skip
    return dbefore


def attends(length: int, k: int) -> bool:
    """Whether a program of `attend` can hold what one window looks back at: all its steps at once."""
    return bool(triton.next_power_of_2(length) * triton.next_power_of_2(k) <= LARGEST)


def attend(h: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, t: int, attention: Tensor, joined: Tensor) -> None:
    """What step t looks back at: its row of the attention, and query and context of it, are written.

    Args:
        h: top hidden state (axes, K, B), which is the query.
        keys, values: (axes B, f, K).
        mask: (f, f).
        attention: (axes B, f, f) of float32, before the mask.
        joined: (axes B, f, 2 K).
    """
    (windows, length, k), batch = keys.shape, h.shape[2]
    _launch(
        _attend, windows, h, keys, values, mask, attention, joined, t, batch, length,
        k=k, masked=mask is not None, **_tile(length, k),
    )  # fmt: skip


def attend_back(
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
    """Gradients of `attend`.

    Args:
        djoined: of query and context of step t, by the attentional state (axes, B, 2 K).
        dcontexts, dattention: (axes B, f, K) and (axes B, f, f), asked for besides.
        dh: of the top hidden state (axes, K, B), by the step after; None is zeros.
        dused, dscores: of the step's context, and of its scores: its rows are written (axes B, f, K) and (axes B, f, f).

    Returns:
        Of the top hidden state (axes, K, B).
    """
    (windows, length, k), (axes, batch, _) = keys.shape, djoined.shape
    out = keys.new_empty(axes, k, batch)
    _launch(
        _attend_back, windows,
        djoined, dcontexts, dattention, attention, keys, values, mask, dh, dused, dscores, out, t, batch, length,
        *(out if dh is None else dh).stride(),
        k=k, masked=mask is not None, more=dh is not None, **_tile(length, k),
    )  # fmt: skip
    return out


def _launch(kernel: Any, programs: int, first: Tensor, *rest: Tensor | int | None, **options: Any) -> None:
    # Triton launches on the current GPU, whichever it is that the tensors lie on.
    with torch.cuda.device_of(first):  # type: ignore[no-untyped-call]
        kernel[(programs,)](first, *rest, **options, enable_fp_fusion=True)


def _tile(length: int, k: int) -> dict[str, int]:
    steps, width = triton.next_power_of_2(length), triton.next_power_of_2(k)
    return {"steps": steps, "width": width, "num_warps": min(8, max(1, steps * width // 1024))}


def check(device: torch.device) -> None:
    """Raises: RuntimeError, or what Triton raises: the kernels cannot be built for this GPU, or do not give what torch gives."""
    with torch.inference_mode(False), torch.enable_grad():  # wherever it is first asked
        for dtype, error in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
            for ours, theirs in [*_gates_by_both(device, dtype), *_attention_by_both(device, dtype)]:
                if not torch.allclose(ours.float(), theirs, atol=error, rtol=error):
                    raise RuntimeError(f"they give other results than torch in {dtype}")


def _gates_by_both(device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    of_gates, before, dh, dc = _numbers(device, dtype, (2, 12, 5), *[(2, 3, 5)] * 3)
    i, f, o, g = torch.split(of_gates.sigmoid(), 3, dim=1)
    c = i - 2 * i * g + f * before
    h = o * c.tanh()
    expected = torch.autograd.grad((h * dh + c * dc).sum(), [of_gates, before])
    with torch.no_grad():
        found_h, found_c, gates, rest = forward(of_gates.to(dtype, copy=True), None, before, dtype)
        d = torch.empty_like(gates, dtype=dtype)
        dbefore = backward(gates, rest, before, (dh / 2).to(dtype), (dh / 2).to(dtype).mT.contiguous().mT, dc, d)
    return [*zip((found_h, found_c, d, dbefore), (h, c, *expected), strict=True)]


def _attention_by_both(device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    axes, batch, length, k, t = 2, 3, 5, 4, 1
    of_steps = (axes * batch, length, k), (axes * batch, length, length)
    h, keys, values = _numbers(device, dtype, (axes, k, batch), of_steps[0], of_steps[0])
    mask, djoined, dcontexts, dattention = _numbers(device, dtype, of_steps[1][1:], (axes, batch, 2 * k), *of_steps)
    query = h.transpose(1, 2).reshape(axes * batch, k)
    scores = (keys @ query[:, :, None])[:, :, 0]
    a = scores.softmax(dim=1)
    context = ((a * mask[t])[:, None] @ values)[:, 0]
    total = (torch.cat([query, context], dim=1) * djoined.flatten(0, 1)).sum() + (context * dcontexts[:, t]).sum()
    expected = torch.autograd.grad(total + (a * dattention[:, t]).sum(), [h, context, scores])
    with torch.no_grad():
        low_h, keys, values, djoined, dcontexts = (x.to(dtype) for x in (h, keys, values, djoined, dcontexts))
        attention, joined = torch.zeros_like(dattention), keys.new_zeros(axes * batch, length, 2 * k)
        attend(low_h, keys, values, mask, t, attention, joined)
        dused, dscores = torch.zeros_like(dcontexts), torch.zeros_like(dattention, dtype=dtype)
        dh = attend_back(t, djoined, dcontexts, dattention, attention, keys, values, mask, low_h, dused, dscores)
    found = (attention[:, t], joined[:, t], dh - h, dused[:, t], dscores[:, t])
    return [*zip(found, (a, torch.cat([query, context], dim=1), *expected), strict=True)]


def _numbers(device: torch.device, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    """In float32, such as there are in the dtype."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(device, dtype).float().requires_grad_() for shape in shapes]
