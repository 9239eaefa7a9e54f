"""Made-up walking windows of people who differ, for the tests of encoders and recognisers."""

import numpy as np
import torch

from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.skeleton import Skeleton
from gaitreid.reid.encode import Batch, Input


def skeleton(joints: int) -> Skeleton:
    """A chain of joints."""
    return Skeleton("chain", tuple(f"joint{k}" for k in range(joints)), tuple((k, k + 1) for k in range(joints - 1)))


def takes(joints: int = 4, length: int = 5, subjects: tuple[str, ...] = ()) -> Input:
    """What an encoder of these windows is made for."""
    return Input(skeleton(joints), length, "gait", subjects)


def batch(windows: torch.Tensor, pairs: list[bool] | None = None, **changes: object) -> Batch:
    """Windows in the order of time; where `pairs` says no, the next window is of another track."""
    count = len(windows)
    track = torch.cat([torch.zeros(1), (~torch.tensor(pairs or [True] * (count - 1))).cumsum(0)]).long()
    every = torch.ones(count, dtype=torch.bool)
    made = Batch(windows, torch.arange(count), track, windows, every, torch.arange(count) % 2, torch.Generator().manual_seed(0))
    return made.replace(**changes)


def people(count: int = 3, walks: int = 4, frames: int = 40, joints: int = 4) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
    """Frames (F, J, 3), starts of windows of 5, the track of each, and the subject of each window; subjects sway differently."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(count, joints, 3))
    tracks = []
    for subject in range(count):
        for _ in range(walks):
            phase = np.arange(frames)[:, None, None] * (0.3 + 0.1 * subject) + rng.uniform(0, 6)
            tracks.append(
                shape[subject] + 0.3 * np.sin(phase + np.arange(joints)[:, None]) + 0.05 * rng.normal(size=(frames, joints, 3))
            )
    start = np.concatenate([k * frames + np.arange(0, frames - 4, 2) for k in range(len(tracks))])
    track = start // frames
    return np.concatenate(tracks).astype(np.float32), start, track, track // walks
