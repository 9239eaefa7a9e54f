"""Masks to the size-normalised silhouettes that silhouette models take, and where points of the picture are in them."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from gaitreid.pose.arrays import ByteArray, FloatArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.estimate import Place
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH, Silhouettes


@dataclass(frozen=True)
class SilhouetteRcnnConfig:
    """How Keypoint R-CNN learns to find keypoints in silhouettes (GaitTAKE, section 3.2), and which one is used.

    Attributes:
        use: the model that poses silhouettes: its name in models/, or a folder models/NAME of another work folder.
        backbone: resnet50 is torchvision's keypointrcnn_resnet50_fpn.
        weights: a file of weights for that, or the name of known ones, to begin with; null begins with random ones.
        side: pixels of a silhouette's shorter side as the network sees it.
        head: channels of the eight layers that the keypoints come from; torchvision's has 512.
        places: places in a picture that it learns to take for a person or not; at most a quarter hold the person, and from these
            the keypoints are learnt.
        seen: score from which a keypoint that was found in the video's picture is a label.
        examples: silhouettes to learn from, spread evenly over the videos.
        iterations, batch, learning_rate: of the training; the rate rises to this and falls to nothing (one cycle).
        every: iterations between checkpoints.
    """

    use: str = "silhouette-rcnn"
    backbone: Literal["resnet50", "resnet18"] = "resnet50"
    weights: str | None = None
    side: int = 128
    head: int = 512
    places: int = 32
    seen: float = 0.5
    examples: int = 100_000
    iterations: int = 20_000
    batch: int = 16
    learning_rate: float = 2e-4
    every: int = 500

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.head, self.examples, self.iterations, self.every) < 1 or self.side < 32 or self.places < 4 or self.batch < 2:
            raise UsageError(
                "silhouette_rcnn: head, examples, iterations and every must be 1 or more, side 32, places 4 and batch 2 or more"
            )
        if self.learning_rate <= 0 or not 0 < self.seen <= 1:
            raise UsageError("silhouette_rcnn: learning_rate must be above 0, seen in (0, 1]")
        if self.weights and (self.backbone, self.head) != ("resnet50", 512):
            raise UsageError("silhouette_rcnn.weights are those of torchvision's model: backbone resnet50, head 512")


@dataclass(frozen=True, eq=False)
class Silhouette:
    """A silhouette cut out of a mask.

    Attributes:
        mask: (64, 44), 255 inside.
        scale, shift: (2,) x and y; a point p of the mask is at p * scale + shift, pixel centres at whole numbers in both.
    """

    mask: ByteArray
    scale: FloatArray
    shift: FloatArray

    def seen_from(self, place: Place) -> "Silhouette":
        """The same with scale and shift from the picture in which the mask's crop lies."""
        return Silhouette(self.mask, self.scale * place.scale, self.scale * place.shift + self.shift)


def cut_out(mask: FloatArray, threshold: float = 0.5, min_pixels: int = 100) -> Silhouette | None:
    """Cut out, scale and centre one silhouette (OpenGait's pretreatment; GAITTAKE D1).

    Rows are cut to the body, the height is scaled to 64 keeping the ratio, the column where the accumulated mass passes half
    becomes the centre, and 44 columns around it are kept.

    Args:
        mask: (H, W) in [0, 1].

    Returns:
        None where there are fewer than `min_pixels` inside.
    """
    inside = (mask > threshold).astype(np.uint8) * 255
    rows = np.flatnonzero(inside.any(axis=1))
    if np.count_nonzero(inside) < min_pixels or len(rows) < 2:
        return None
    body = inside[rows[0] : rows[-1] + 1]
    width = max(1, round(body.shape[1] * SILHOUETTE_HEIGHT / body.shape[0]))
    scaled = cv2.resize(body, (width, SILHOUETTE_HEIGHT), interpolation=cv2.INTER_CUBIC)
    mass = scaled.sum(axis=0, dtype=np.int64).cumsum()
    centre = int(np.searchsorted(mass, mass[-1] / 2, side="right"))
    half = SILHOUETTE_WIDTH // 2
    padded = np.pad(scaled, ((0, 0), (half, half)))
    cut = np.ascontiguousarray(padded[:, centre : centre + SILHOUETTE_WIDTH], dtype=np.uint8)
    scale = np.array([width / body.shape[1], SILHOUETTE_HEIGHT / body.shape[0]])
    edge = (0.5 - np.array([0, rows[0]])) * scale - 0.5  # pictures are resized from edge to edge, not from centre to centre
    return Silhouette(cut, scale, edge + np.array([half - centre, 0]))


def silhouette(mask: FloatArray, threshold: float = 0.5, min_pixels: int = 100) -> ByteArray | None:
    """The silhouette alone, (64, 44): see `cut_out`."""
    found = cut_out(mask, threshold, min_pixels)
    return found.mask if found else None


def in_silhouettes(xy: FloatArray, of: Silhouettes) -> FloatArray:
    """Points (T, J, 2) of the pictures, in pixels of the silhouettes of the same frames; NaN where it is not known."""
    return np.asarray(xy * of.scale[:, None] + of.shift[:, None], dtype=np.float32)
