"""Whole walks as data: bits and keypoints on the device, and steps of P people x K walks (Hermans et al., 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.config import WalksConfig
from gaitreid.reid.records import Walks

AT_ONCE = LONGEST = 720  # frames that are encoded at a time; of a walk no more than the first so many are (as in OpenGait)
HIPS = COCO17.indices("left_hip", "right_hip")


@dataclass(frozen=True, eq=False)
class Clips:
    """Stretches of equally many frames of some walks.

    Attributes:
        silhouettes: (B, T, 64, 44), 0 or 1.
        keypoints: (B, T, 17, 3), x and y in pixels of the picture, and score; NaN and 0 where missing.
        box: (B, T, 4), x1, y1, x2, y2 of the person in that picture; NaN where missing.
        time: (B, T), seconds; NaN where missing.
    """

    silhouettes: Tensor
    keypoints: Tensor
    box: Tensor
    time: Tensor

    def __len__(self) -> int:
        """B."""
        return len(self.keypoints)

    def part(self, rows: slice) -> "Clips":
        """Some of them."""
        return Clips(self.silhouettes[rows], self.keypoints[rows], self.box[rows], self.time[rows])


class Packed:
    """All walks on the device as they are packed: clips are gathered and unpacked there, by rows of frames.

    Nothing is decoded before it is needed, so a million frames take 0.6 GB, and no worker process has to keep up.
    """

    def __init__(self, walks: Walks, device: torch.device) -> None:
        self.start, self.length = walks.start, walks.length
        self.seen = np.minimum(walks.length, LONGEST)
        self.silhouette = torch.as_tensor(walks.silhouette, device=device)
        self.keypoints = torch.as_tensor(walks.keypoints, device=device)
        self.box = torch.as_tensor(walks.box, device=device)
        self.time = torch.as_tensor(walks.time, device=device)
        self.places = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)  # numpy.packbits puts the first bit highest

    def clips(self, rows: IntArray) -> Clips:
        """Frames by their rows: (B, T) -> clips."""
        index = torch.as_tensor(rows, device=self.silhouette.device)
        return Clips(self._unpacked(index), self.keypoints[index], self.box[index], self.time[index])

    def walk(self, row: int) -> Clips:
        """One walk, as it is encoded: B is 1."""
        return self.clips(self.start[row] + np.arange(self.seen[row])[None])

    def _unpacked(self, index: Tensor) -> Tensor:
        bits = (self.silhouette[index][..., None] >> self.places) & 1
        return bits.view(*index.shape, SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH).float()


class WalkEncoder(Protocol):
    """A torch module, made from the subjects it is to tell apart, that turns clips into one vector each.

    What costs much is in `trunk` and looks at each clip by itself: of several processes each does its part of it, and all do
    the rest on the whole batch. A model without parameters is only prepared.

    Attributes:
        needs: what a walk must have: `silhouettes`, `keypoints` or both.
        parts: stretches of equal length that a vector has, each compared by itself.
        supervised: whether it needs labels.
    """

    needs: tuple[str, ...]
    parts: int
    supervised: bool

    def prepare(self, walks: Iterator[tuple[Clips, int]]) -> None:
        """Take what it needs, once, before training, from all training walks: each whole (B is 1), and its subject's number."""

    def trunk(self, clips: Clips) -> Tensor:
        """Features of each clip, (B, ...)."""

    def loss(self, features: Tensor, clips: Clips, subject: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss of a batch, its trunk's features in float32, and the parts of it, detached; `loss` is the sum."""

    def vectors(self, clips: Clips) -> Tensor:
        """(B, D), part after part."""


@dataclass(frozen=True, eq=False)
class Sampler:
    """The clips of every step, by the seed and the step's number alone.

    Attributes:
        start, length: rows of the walks that are trained on, (W,).
        subject: whose they are, (W,), as numbers from 0.
    """

    start: IntArray
    length: IntArray
    subject: IntArray
    config: WalksConfig
    seed: int

    def __post_init__(self) -> None:
        """Check that there is anybody to tell from anybody else."""
        if len(np.unique(self.subject)) < 2:
            raise UsageError("this model learns from labels: it needs walks of two or more known subjects")

    def step(self, step: int) -> tuple[IntArray, IntArray]:
        """Rows of frames (P K, T), person by person, and whose clip each is (P K,).

        P different people, fewer where there are not so many; of each K walks, different ones unless there are too few.
        """
        rng = np.random.default_rng((self.seed, step))
        people = np.unique(self.subject)
        chosen = rng.choice(people, min(self.config.people, len(people)), replace=False)
        walks = np.concatenate([self._of(person, rng) for person in chosen])
        return self._rows(walks, rng), self.subject[walks]

    def _of(self, person: int, rng: np.random.Generator) -> IntArray:
        own, count = np.flatnonzero(self.subject == person), self.config.walks
        return np.asarray(rng.choice(own, count, replace=len(own) < count))

    def _rows(self, walks: IntArray, rng: np.random.Generator) -> IntArray:
        length = self.length[walks]
        first = rng.integers(0, np.maximum(length - self.config.frames, 0) + 1)
        place = (first[:, None] + np.arange(self.config.frames)) % length[:, None]  # short walks are repeated
        return np.asarray(self.start[walks][:, None] + place)


def body_keypoints(clips: Clips, scaled: bool = True) -> Tensor:
    """Keypoints from the middle of the hips, in heights of the person's box: (B, T, 17, 3).

    Missing joints are 0 with score 0. Where no hip is seen the middle of the box is taken, and where there is no box, nothing.

    Args:
        scaled: else they are left in pixels of the picture.
    """
    xy, score = clips.keypoints[..., :2], clips.keypoints[..., 2]
    if scaled:
        middle = (clips.box[..., :2] + clips.box[..., 2:]) / 2
        hips = xy[..., HIPS, :].nanmean(dim=-2)
        xy = xy - torch.where(hips.isnan(), middle, hips)[..., None, :]
        xy = xy / (clips.box[..., 3] - clips.box[..., 1]).clamp_min(1)[..., None, None]
    there = (score > 0) & ~xy.isnan().any(dim=-1)
    return torch.where(there[..., None], torch.cat([xy, score[..., None]], dim=-1), 0.0)


def usable(walks: Walks, needs: tuple[str, ...]) -> BoolArray:
    """Which walks have what a model needs: (K,)."""
    there = {"silhouettes": walks.outlined > 0, "keypoints": walks.posed > 0}
    return np.asarray(np.logical_and.reduce([there[name] for name in needs]))


def whole(packed: Packed, rows: IntArray) -> Iterator[tuple[IntArray, Clips]]:
    """Whole walks, those of one length together and AT_ONCE frames at a time, so that none is padded: their rows, and clips."""
    for length in np.unique(packed.seen[rows]):
        same = rows[packed.seen[rows] == length]
        for some in np.array_split(same, -(-len(same) * length // AT_ONCE)):
            if len(some):
                yield some, packed.clips(packed.start[some][:, None] + np.arange(length))


@torch.no_grad()
def encode(encoder: Any, packed: Packed, rows: IntArray, device: torch.device) -> FloatArray:
    """One vector a walk, from all of its frames, or the first LONGEST.

    Args:
        encoder: fulfils `WalkEncoder`.
        rows: of the walks (W,).

    Returns:
        (W, D) float32.
    """
    encoder.to(device).eval()
    place = {int(row): k for k, row in enumerate(rows)}
    result: FloatArray | None = None
    for some, clips in whole(packed, rows):
        vectors = encoder.vectors(clips).float().cpu().numpy()
        if result is None:
            result = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
        result[[place[int(row)] for row in some]] = vectors
    assert result is not None
    return result
