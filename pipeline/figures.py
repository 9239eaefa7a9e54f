"""The report of one recognition: CMC, confusion, loss curves and attention, as the papers show them, in one HTML page."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from gaitreid.pipeline.report import CONFUSIONS, RANKS, Curve, grid_lines, height, page
from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.reid.identification import Identification
from gaitreid.reid.records import Sequences

WINDOWS = 256  # that attention is averaged over
COLOUR = (143, 95, 29)  # blue, green, red of the pictures; how strong a cell is goes into its opacity
PIXELS = 360  # a picture is enlarged to about this many


@dataclass(frozen=True, eq=False)
class Fact:
    """What one fold's section shows.

    Attributes:
        losses: curves over the epochs, by name.
        attention: mean attention of each axis, (3, f, f), by the kind of attention; empty where the model has none.
    """

    name: str
    figures: Mapping[str, Any]
    found: Identification
    losses: Mapping[str, list[float]] = field(default_factory=dict)
    attention: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def curve(self) -> list[tuple[int, float, float, float]]:
        """(rank, x, y, share) of the CMC's first ranks."""
        shares = self.found.curve[:RANKS].tolist()
        x = np.linspace(Curve.LEFT, Curve.RIGHT, len(shares)).tolist()
        return [(k + 1, x[k], height(share), share) for k, share in enumerate(shares)]

    @property
    def loss_curves(self) -> list[tuple[str, str, float, float]]:
        """(name, points, first, last), each loss in units of its largest value."""
        result = []
        for name, values in self.losses.items():
            if len(values) < 2 or (name == "loss" and len(self.losses) > 2):
                continue  # a point is no curve, and the sum says nothing that its parts do not
            x = np.linspace(Curve.LEFT, Curve.RIGHT, len(values))
            top = max(max(values), 1e-12)
            points = " ".join(f"{a:.1f},{height(max(v, 0) / top):.1f}" for a, v in zip(x, values, strict=True))
            result.append((name, points, values[0], values[-1]))
        return result

    @property
    def confusion_picture(self) -> str:
        """Truth downwards, answer to the right, every row a share of its items."""
        counts = self.found.confusion
        return picture(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))

    @property
    def attention_pictures(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Kind of attention, and of each axis its name and picture: decoder steps downwards, encoder steps to the right."""
        return [
            (kind, [(axis, picture(a / max(float(a.max()), 1e-12))) for axis, a in zip("xyz", matrices, strict=True)])
            for kind, matrices in self.attention.items()
        ]

    @property
    def confusions(self) -> list[tuple[str, str, int, int]]:
        """Who was taken for whom, how often, of how many: the most frequent."""
        counts: IntArray = self.found.confusion
        wrong = counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
        pairs = [np.unravel_index(k, wrong.shape) for k in order]
        names = self.found.subjects
        return [(str(names[a]), str(names[b]), int(wrong[a, b]), int(counts[a].sum())) for a, b in pairs if wrong[a, b]]


def render(metrics: Mapping[str, Any], folds: Iterable[Fact], *, notes: Iterable[str], provenance: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        metrics: what goes into metrics.json.
    """
    return page("recognition.html.j2").render(
        m=metrics,
        folds=list(folds),
        notes=list(notes),
        provenance=provenance,
        left=Curve.LEFT,
        right=Curve.RIGHT,
        grid=grid_lines(),
    )


def attention_of(encoder: Any, sequences: Sequences) -> dict[str, FloatArray]:
    """Mean attention of an encoder over some windows, (3, f, f), by its kind; empty where it has none."""
    import torch

    from gaitreid.reid.encode import gather
    from gaitreid.reid.encoders.cage import Cage

    encoder = encoder.cpu()
    if not isinstance(encoder, Cage) or encoder.config.attention == "none":
        return {}
    starts = torch.as_tensor(sequences.start[:: max(1, len(sequences.start) // WINDOWS)])
    with torch.no_grad():
        windows = gather(torch.as_tensor(sequences.xyz), starts, sequences.length)
        attention = encoder.as_encoded(windows)[1]
    return {encoder.config.attention.upper(): attention.mean(dim=1).numpy()}


def picture(shares: FloatArray) -> str:
    """A matrix of values in [0, 1] as a PNG for an `img`: opacity is the value, so it does on light and dark paper."""
    scale = max(1, PIXELS // max(shares.shape))
    cells = np.zeros((*shares.shape, 4), dtype=np.uint8)
    cells[..., :3] = COLOUR
    cells[..., 3] = np.round(255 * np.clip(shares, 0, 1))
    large = cv2.resize(cells, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", large)[1].tobytes()).decode()
