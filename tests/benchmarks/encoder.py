"""CAGE's speed: windows a second in training and encoding, against a plain PyTorch version of the same model and the floor.

    encoder.py [--device D] [--seconds S] [--only f6_j20]

Plain: torch's defaults, nn.LSTM and LSTMCell, one axis after the other, losses as the equations have them. Floor: counted
operations of the model (multiply and add are two) over the best matrix rate that any backend reaches in the same run; the share
is the floor's time over the time taken in training. Plain and fast take turns, and the fastest round of each counts, since other
work on the machine only ever makes a round slower. Both keep the memory they free, as `gaitreid train` does, and the first
rounds, in which they get it, do not count. bf16 is null where the processor has no such units (there it is emulated).
On a GPU the steps of the fast version are recorded as CUDA graphs (`train.graphs`), and beside the table stand the time of a step
in bf16, and the share of the bf16 matrix rate at a batch of 4,096. Last line: one JSON object with the same figures, windows a
second, three axes counted as one window.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gaitreid.pipeline.memory import keep_freed
from gaitreid.pose.skeleton import Skeleton
from gaitreid.reid.adam import Adam
from gaitreid.reid.config import CageConfig
from gaitreid.reid.encode import Batch, Input
from gaitreid.reid.encoders.cage import Cage
from gaitreid.reid.encoders.standard import AXES
from gaitreid.reid.graphs import WARM, Recorded

SHAPES = {"f6_j20": (6, 20), "f20_j14": (20, 14), "f50_j14": (50, 14)}
BATCH, HIDDEN, RATE, CLIP = 128, 256, 5e-4, 5.0
SETTLES = 5  # rounds before any counts: memory that is kept is asked of the kernel in the first ones
LARGE = 4096  # a batch that fills a GPU


class PlainAxis(nn.Module):
    """One axis of CAGE as one would write it in PyTorch: reverse reconstruction, zero decoder input, Luong's attention."""

    def __init__(self, length: int, joints: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.encoder = nn.LSTM(joints, hidden, 2, batch_first=True)
        self.decoder1 = nn.LSTMCell(joints + hidden, hidden)
        self.decoder2 = nn.LSTMCell(hidden, hidden)
        self.score = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden, bias=False)
        self.output = nn.Linear(hidden, joints)
        self.head = nn.Sequential(nn.Linear(hidden * length, 256), nn.ReLU(), nn.Linear(256, 256))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, f, J) to reconstruction (B, f, J), attention (B, f, f) and context (B, f, K)."""
        hidden, (h, c) = self.encoder(x)
        keys = self.score(hidden)
        h1, h2, c1, c2 = h[0], h[1], c[0], c[1]
        aux = torch.zeros_like(x[:, 0])
        last = torch.zeros_like(h1)
        outputs, rows, contexts = [], [], []
        for _ in range(x.shape[1]):
            h1, c1 = self.decoder1(torch.cat([aux, last], dim=1), (h1, c1))
            h2, c2 = self.decoder2(h1, (h2, c2))
            a = torch.softmax((keys @ h2[:, :, None])[:, :, 0], dim=1)
            context = (a[:, None] @ hidden)[:, 0]
            last = self.combine(torch.cat([h2, context], dim=1))
            outputs.append(self.output(last))
            rows.append(a)
            contexts.append(context)
        return torch.stack(outputs, 1), torch.stack(rows, 1), torch.stack(contexts, 1)

    def loss(self, x: Tensor, temperature: float = 0.1, regularisation: float = 1e-4) -> Tensor:
        """Reconstruction, locality, contrastive (the pairs (k, k + 1) of all neighbours) and regularisation."""
        output, attention, context = self(x)
        length = x.shape[1]
        step = torch.arange(length, device=x.device)
        distance = (step[None, :] - (length - 1 - step)[:, None]).float()
        mask = torch.exp(-(distance**2) / (2 * (length / 2) ** 2))
        total: Tensor = 0.5 * (output - x.flip(1)).square().sum((1, 2)).mean()
        total = total + 0.5 * (attention - attention * mask).square().sum((1, 2)).mean()
        z = normalize(self.head(context.flatten(1)), dim=1)
        rows = torch.cat([z[1:], z[:-1]])
        similarity = rows @ rows.T / temperature
        similarity = similarity.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=x.device), float("-inf"))
        partner = torch.arange(len(rows), device=x.device).roll(len(rows) // 2)
        total = total + nn.functional.cross_entropy(similarity, partner)
        return total + regularisation * 0.5 * torch.stack([p.square().sum() for p in self.parameters()]).sum()


class Plain(nn.Module):
    """The three axes, one after the other."""

    def __init__(self, length: int, joints: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.axes = nn.ModuleList([PlainAxis(length, joints, hidden) for _ in range(AXES)])

    def loss(self, windows: Tensor) -> Tensor:
        """Sum over the axes; windows (B, f, J, 3)."""
        return torch.stack([axis.loss(windows[..., k]) for k, axis in enumerate(self.axes)]).sum()  # type: ignore[operator]

    def features(self, windows: Tensor) -> Tensor:
        """(B, f, 3 K)."""
        return torch.cat([axis(windows[..., k])[2] for k, axis in enumerate(self.axes)], dim=2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=6.0, help="of measuring, for each figure")
    parser.add_argument("--only", choices=sorted(SHAPES), action="append")
    options = parser.parse_args()
    keep_freed()
    device = torch.device(options.device)
    rate = matrix_rate(device)
    print(f"{device}, {torch.get_num_threads()} threads; best matrix rate {rate / 1e9:.0f} GFLOP/s in float32\n")
    print(f"{'':10}{'train':>8}{'plain':>8}{'ratio':>7}{'floor':>7}{'bf16':>7}{'ratio':>7}{'encode':>9}{'plain':>8}{'ratio':>7}")
    result: dict[str, dict[str, float | None]] = {}
    for name in options.only or SHAPES:
        length, joints = SHAPES[name]
        row = measure(length, joints, device, options.seconds)
        row["floor_share"] = train_operations(length, joints) * row["fast"] / rate
        result[name] = row
        print(
            f"{name:10}{row['fast']:8.0f}{row['plain']:8.0f}{row['fast'] / row['plain']:7.2f}{row['floor_share']:7.0%}"
            + (f"{row['bf16']:7.0f}{row['bf16'] / row['plain']:7.2f}" if row["bf16"] else f"{'':14}")
            + f"{row['encode_fast']:9.0f}{row['encode_plain']:8.0f}{row['encode_fast'] / row['encode_plain']:7.2f}"
        )
    if device.type == "cuda":
        rate = matrix_rate(device, torch.bfloat16)
        print(f"\nbest matrix rate {rate / 1e9:.0f} GFLOP/s in bf16")
        for name in result:
            length, joints = SHAPES[name]
            taken = {
                size: best(device, options.seconds / 2, fast(length, joints, device, size, torch.bfloat16))[0]
                for size in (BATCH, LARGE)
            }
            share = train_operations(length, joints) * LARGE / taken[LARGE] / rate
            result[name] |= {"bf16_step_ms": taken[BATCH] * 1e3, "bf16_floor_share": share}
            print(f"{name:10}steps in bf16: of {BATCH} {taken[BATCH] * 1e3:.2f} ms, of {LARGE} {share:.0%} of that rate")
    print(json.dumps({name: {k: None if v is None else round(v, 3) for k, v in row.items()} for name, row in result.items()}))


def measure(length: int, joints: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Windows a second of every version."""
    torch.manual_seed(0)
    windows = torch.randn(BATCH, length, joints, AXES, device=device)
    plain = Plain(length, joints).to(device)
    plain_optimiser = torch.optim.Adam(plain.parameters(), lr=RATE)

    def plain_step() -> None:
        plain_optimiser.zero_grad()
        plain.loss(windows).backward()
        nn.utils.clip_grad_value_(plain.parameters(), CLIP)
        plain_optimiser.step()

    def encode_plain() -> None:
        with torch.no_grad():
            plain.features(windows).mean(1)

    ours = _ours(length, joints, device)

    def encode_fast() -> None:
        with torch.no_grad():
            ours.features(windows).mean(1)

    precisions = (torch.float32, torch.bfloat16) if has_bf16(device) else (torch.float32,)
    trained = best(device, seconds, plain_step, *(fast(length, joints, device, BATCH, precision) for precision in precisions))
    encoded = best(device, seconds / 2, encode_plain, encode_fast)
    return {
        "plain": BATCH / trained[0],
        "fast": BATCH / trained[1],
        "bf16": BATCH / trained[2] if len(trained) > 2 else None,
        "encode_plain": BATCH / encoded[0],
        "encode_fast": BATCH / encoded[1],
    }


def fast(length: int, joints: int, device: torch.device, size: int, precision: torch.dtype) -> Callable[[], object]:
    """A training step of ours on one batch."""
    torch.manual_seed(0)
    windows = torch.randn(size, length, joints, AXES, device=device)
    encoder = _ours(length, joints, device)
    encoder.precision = precision
    optimiser = Adam(encoder.parameters(), RATE, regularisation=1e-4, clip=CLIP)
    every = torch.ones(size, dtype=torch.bool, device=device)

    def step(index: Tensor) -> dict[str, Tensor]:
        optimiser.zero_grad()
        loss, parts = encoder.loss(Batch(windows, index, torch.zeros_like(index), windows, every, index))
        loss.backward()
        optimiser.step()
        return parts

    take = Recorded(step, device) if device.type == "cuda" else step
    index = torch.arange(size, device=device)
    for _ in range(WARM + 1 if device.type == "cuda" else 0):
        take(index)
    return partial(take, index)


def _ours(length: int, joints: int, device: torch.device) -> Cage:
    skeleton = Skeleton("benchmark", tuple(map(str, range(joints))), ())
    return Cage(Input(skeleton, length), CageConfig(contrastive="paper")).to(device)


def best(device: torch.device, seconds: float, *steps: Callable[[], object]) -> list[float]:
    """Seconds of the fastest call of each, calls taking turns."""
    result = [float("inf")] * len(steps)
    for _ in range(SETTLES):
        for step in steps:
            step()
    ends = time.perf_counter() + seconds * len(steps)
    rounds = 0
    while time.perf_counter() < ends or rounds < 3:
        for k, step in enumerate(steps):
            _wait(device)
            began = time.perf_counter()
            step()
            _wait(device)
            result[k] = min(result[k], time.perf_counter() - began)
        rounds += 1
    return result


def matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Best floating-point operations a second over shapes, layouts and backends."""
    found = 0.0
    for m, k, n in ((1024, 512, 128), (1024, 512, 2560), (2048, 2048, 2048), *([(8192,) * 3] if device.type == "cuda" else [])):
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
        kinds = [partial(torch.mm, a, b), partial(torch.mm, a, b.T.contiguous().T)]
        if device.type == "cpu":  # oneDNN's product
            kinds.append(partial(torch.ops.mkldnn._linear_pointwise, a, b.T.contiguous(), None, "none", [], ""))
        with torch.no_grad():
            found = max(found, *(2 * m * k * n / second for second in best(device, 0.4, *kinds)))
    return found


def forward_operations(length: int, joints: int, k: int = HIDDEN) -> int:
    """Operations of encoding one window, three axes, without the contrastive head (CAGE.md section 4, zero aux input)."""
    layers = 2 * (joints + k) * 4 * k + 2 * 2 * k * 4 * k + 2 * 2 * k * 4 * k + 2 * 2 * k * 4 * k
    return AXES * length * (layers + 2 * k * k + 4 * k * length + 2 * 2 * k * k + 2 * k * joints)


def train_operations(length: int, joints: int, k: int = HIDDEN) -> int:
    """Operations of a training step for one window: backward takes twice what forward takes."""
    return 3 * (forward_operations(length, joints, k) + AXES * 2 * (256 * k * length + 256 * 256))


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
