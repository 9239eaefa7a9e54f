"""What surrounds the products of an LSTM step, forwards and backwards, as one kernel each on a GPU.

By torch a step of an LSTM is some eight small kernels besides its product, and its gradient ten; each reads and writes all gates,
and each takes a GPU longer to begin than to run where batches are small. The equations are those of `recurrent`: gates lie in the
order i, f, o, g, (axes, 4 K, B), and what is made of g is sigmoid(-2 x). All is worked out in float32.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

BLOCK = 512  # places a program does


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
    dc,
    d,
    dbefore,
    size,
    total,
    goes_on: tl.constexpr,
    more: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < total
    of_i = place // size * 4 * size + place % size
    of_f, of_o, of_g = of_i + size, of_i + 2 * size, of_i + 3 * size
    i, f = tl.load(gates + of_i, inside), tl.load(gates + of_f, inside)
    o, g = tl.load(gates + of_o, inside), tl.load(gates + of_g, inside)
    left, of_h = tl.load(rest + place, inside), tl.load(dh + place, inside).to(tl.float32)
    of_c = 4 * of_h * o * left * (1 - left)
    if more:
        of_c += tl.load(dc + place, inside)
    tl.store(d + of_i, of_c * (1 - 2 * g) * i * (1 - i), inside)
    if goes_on:
        tl.store(d + of_f, of_c * tl.load(before + place, inside) * f * (1 - f), inside)
    else:
        tl.store(d + of_f, tl.where(inside, 0.0, 0.0), inside)
    tl.store(d + of_o, of_h * (1 - 2 * left) * o * (1 - o), inside)
    tl.store(d + of_g, -2 * of_c * i * g * (1 - g), inside)
    tl.store(dbefore + place, of_c * f, inside)


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
    _forward[(triton.cdiv(after.numel(), BLOCK),)](
        gates, add, before, squashed, after, rest, h, after[0].numel(), after.numel(),
        adds=add is not None, goes_on=before is not None, block=BLOCK, enable_fp_fusion=True,
    )  # fmt: skip
    return h, after, squashed, rest


def backward(gates: Tensor, rest: Tensor, before: Tensor | None, dh: Tensor, dc: Tensor | None, d: Tensor) -> Tensor:
    """Gradients of a step's gates, of what is prepared as it is, and of c before.

    Args:
        gates, rest: as `forward` gave them.
        before: as `forward` took it.
        dh, dc: of the step's h and c (axes, K, B); None is zeros.
        d: of the gates (axes, 4 K, B), of any precision: written.

    Returns:
        Of c before.
    """
    dh, dbefore = dh.contiguous(), torch.empty_like(rest)
    before, dc = (None if x is None else x.contiguous() for x in (before, dc))
    _backward[(triton.cdiv(rest.numel(), BLOCK),)](
        gates, rest, before, dh, dc, d, dbefore, rest[0].numel(), rest.numel(),
        goes_on=before is not None, more=dc is not None, block=BLOCK, enable_fp_fusion=True,
    )  # fmt: skip
    return dbefore


def check(device: torch.device) -> None:
    """Raises: RuntimeError, or what Triton raises: the kernels cannot be built for this GPU, or do not give what torch gives."""
    generator = torch.Generator().manual_seed(0)
    of_gates, before, dh, dc = (torch.randn(2, k, 5, generator=generator).to(device).requires_grad_() for k in (12, 3, 3, 3))
    i, f, o, g = torch.split(of_gates.sigmoid(), 3, dim=1)
    c = i - 2 * i * g + f * before
    h = o * c.tanh()
    expected = torch.autograd.grad((h * dh + c * dc).sum(), [of_gates, before])
    with torch.no_grad():
        found_h, found_c, gates, rest = forward(of_gates.clone(), None, before, torch.float32)
        d = torch.empty_like(gates)
        dbefore = backward(gates, rest, before, dh, dc, d)
    for ours, theirs in zip((found_h, found_c, d, dbefore), (h, c, *expected), strict=True):
        if not torch.allclose(ours, theirs, atol=1e-5):
            raise RuntimeError("they give other results than torch")
