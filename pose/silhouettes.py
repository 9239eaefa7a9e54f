"""Masks to the size-normalised silhouettes that silhouette models take."""

import cv2
import numpy as np

from gaitreid.pose.arrays import ByteArray, FloatArray
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH


def silhouette(mask: FloatArray, threshold: float = 0.5, min_pixels: int = 100) -> ByteArray | None:
    """Cut out, scale and centre one silhouette (OpenGait's pretreatment; GAITTAKE D1).

    Rows are cut to the body, the height is scaled to 64 keeping the ratio, the column where the accumulated mass passes half
    becomes the centre, and 44 columns around it are kept.

    Args:
        mask: (H, W) in [0, 1].

    Returns:
        (64, 44), 255 inside; None where there are fewer than `min_pixels` inside.
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
    return np.ascontiguousarray(padded[:, centre : centre + SILHOUETTE_WIDTH], dtype=np.uint8)
