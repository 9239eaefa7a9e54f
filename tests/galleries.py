"""Made-up embeddings with labels, for the tests of matching and of its report."""

from functools import partial

import numpy as np

from gaitreid.pose.arrays import FloatArray, IntArray, specs
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.records import Embeddings, Sequences, Tracks

euclidean = partial(MatchConfig, metric="euclidean")

Walk = tuple[str, str, str, str]  # subject, condition, number, view


def embeddings(walks: list[Walk], vectors: FloatArray, windows: int = 1) -> Embeddings:
    """One track a walk; every track has `windows` windows of 20 frames that overlap by half, around its vector."""
    subject, condition, number, view = (np.array(column, dtype=np.str_) for column in zip(*walks, strict=True))
    count = len(walks)
    start = np.tile(np.arange(windows) * 10, count)
    offset = np.tile(np.arange(windows) - (windows - 1) / 2, count)[:, None]
    return Embeddings(
        video=np.array([f"{'-'.join(walk)}_{k}" for k, walk in enumerate(walks)]),
        track=np.ones(count, dtype=np.int64),
        subject=subject,
        condition=condition,
        number=number,
        view=view,
        recording=np.array(["/".join(w[:3]) if w[0] else f"video{k}" for k, w in enumerate(walks)]),
        window=(np.repeat(vectors, windows, axis=0) + 0.01 * offset).astype(np.float32),
        window_track=np.repeat(np.arange(count), windows),
        window_frame=np.stack([start, start + 19], 1),
        vector=vectors.astype(np.float32),
        encoder="made-up",
        weights="",
        form="mean",
    )


def casia(
    subjects: int = 12, views: tuple[str, ...] = ("000", "054", "090"), noise: float = 1.0, seed: int = 0, windows: int = 1
) -> Embeddings:
    """Subjects in nm (2 walks), bg and cl (1 each) from several views; clothes and views move the vectors."""
    rng = np.random.default_rng(seed)
    who, by_view = rng.normal(size=(subjects, 16)), 0.7 * rng.normal(size=(len(views), 16))
    clothes = {"nm": 0.0, "bg": 0.4, "cl": 0.9}
    walks: list[Walk] = []
    vectors: list[FloatArray] = []
    for s in range(subjects):
        for condition, number in (("nm", "01"), ("nm", "02"), ("bg", "01"), ("cl", "01")):
            for v, view in enumerate(views):
                walks.append((f"{s + 1:03}", condition, number, view))
                vectors.append(who[s] + by_view[v] + (noise + clothes[condition]) * rng.normal(size=16))
    return embeddings(walks, np.array(vectors), windows)


def windows_of_noise(of: Embeddings, frames: int) -> Sequences:
    """A window of noise of each of the same tracks."""
    count = len(of.video)
    return Sequences(
        **{name: getattr(of, name) for name, _ in specs(Tracks)},
        xyz=np.random.default_rng(0).normal(size=(count * frames, 17, 3)).astype(np.float32),
        frame=np.tile(np.arange(frames), count),
        start=np.arange(count) * frames,
        window_track=np.arange(count),
        length=frames,
        fps=25.0,
        normalize="gait",
        skeleton=H36M17,
    )


def rows(of: Embeddings, **labels: str) -> IntArray:
    """Rows of the tracks with these labels."""
    chosen = np.ones(len(of.video), dtype=np.bool_)
    for name, value in labels.items():
        chosen &= getattr(of, name) == value
    return np.flatnonzero(chosen)
