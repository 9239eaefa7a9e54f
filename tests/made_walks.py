"""Made-up walks of people who differ in build and stride, as silhouettes and keypoints, for the tests of models of walks."""

import numpy as np

from gaitreid.pose.arrays import BoolArray, FloatArray
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH
from gaitreid.reid.records import Walks


def masks(frames: int, wide: float, swing: float, phase: float) -> BoolArray:
    """A trunk and two legs that swing: (T, 64, 44)."""
    y, x = np.mgrid[:SILHOUETTE_HEIGHT, :SILHOUETTE_WIDTH]
    step = swing * np.sin(phase + 0.5 * np.arange(frames))[:, None, None]
    below = np.clip(y - 34, 0, None) / 30
    trunk = (np.abs(x - 22) < wide) & (y < 36)
    legs = (np.abs(x - 22 - step * below) < 3) | (np.abs(x - 22 + step * below) < 3)
    return np.asarray(trunk | (legs & (y >= 34)))


def keypoints(frames: int, wide: float, swing: float, phase: float) -> FloatArray:
    """COCO's joints of the same body in a picture, 100 px tall from (50, 20): (T, 17, 3)."""
    height = np.array([8, 6, 6, 7, 7, 20, 20, 38, 38, 52, 52, 54, 54, 76, 76, 98, 98])
    side = np.array([0, 1, -1, 2, -2, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1]) * wide
    step = swing * np.sin(phase + 0.5 * np.arange(frames))[:, None] * np.clip(height - 54, 0, None) / 44 * np.sign(side)
    xy = np.stack([np.broadcast_to(50 + side, step.shape) + step, np.broadcast_to(20 + height, step.shape)], axis=-1)
    return np.concatenate([xy, np.full((*step.shape, 1), 0.9)], axis=-1).astype(np.float32)


def walks(people: int = 3, each: int = 4, frames: int = 24, *, conditions: tuple[str, ...] = ("nm", "cl")) -> Walks:
    """People who differ in breadth and stride, each several times; walks differ a little in length."""
    rng = np.random.default_rng(0)
    shapes = [(5 + 2.5 * k, 6 + 3 * k) for k in range(people)]
    bits, joints, length, rows = [], [], [], []
    for person, (wide, swing) in enumerate(shapes):
        for k in range(each):
            count, phase = frames + k, rng.uniform(0, 6)
            body = wide + rng.normal(0, 0.2), swing + rng.normal(0, 0.2), phase
            bits.append(np.packbits(masks(count, *body).reshape(count, -1), axis=1))
            joints.append(keypoints(count, *body))
            length.append(count)
            rows.append((f"{person + 1:03d}", conditions[k % len(conditions)], f"{k + 1:02d}"))
    size = np.array(length)
    subject, condition, number = (np.array(column) for column in zip(*rows, strict=True))
    return Walks(
        video=np.array(["-".join(row) for row in rows]),
        track=np.ones(len(rows), dtype=np.int64),
        subject=subject,
        condition=condition,
        number=number,
        view=np.array(["090"] * len(rows)),
        recording=np.array(["/".join(row) for row in rows]),
        frame=np.concatenate([np.arange(count) for count in length]),
        silhouette=np.concatenate(bits),
        keypoints=np.concatenate(joints),
        box=np.tile(np.array([30.0, 20.0, 70.0, 120.0], np.float32), (size.sum(), 1)),
        start=np.cumsum(size) - size,
        length=size,
        outlined=size,
        posed=size,
        source="rgb",
    )
