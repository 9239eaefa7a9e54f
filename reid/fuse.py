"""Score fusion: several embeddings of the same tracks as one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray, specs, take
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import SATURATING, Against, directions, divided
from gaitreid.reid.records import Embeddings, Tracks
from gaitreid.reid.search import Metric

SAMPLE = 1000  # tracks whose distances say how far an embedding's spread


def fuse(embeddings: Sequence[Embeddings], metric: Metric) -> Embeddings:
    """Vectors side by side, such that their distance is the fusion of the distances by sum, each scaled to unit deviation.

    With the cosine it is the weighted mean of the cosines, whose weights are one over their deviations over pairs of tracks;
    with the Euclidean distance the square root of the sum of squares, each over its mean, or the sum, each over its mean, where
    one of them has parts. With `robust` and `alike` every part of every embedding counts the same: its directions, over their
    mean distance, and its context as it is. Tracks that one of them lacks are left out. Where the windows are not the same, as
    those of walks and of models of windows, a track's own vector is its only window.

    Raises:
        UsageError: no track is in all embeddings, or one of the same name is of somebody else.
    """
    every = _common(embeddings)
    if metric not in SATURATING:
        every = [_without_context(of) for of in every]
    first = every[0]
    summed = metric == "cosine" or (metric == "euclidean" and all(of.parts == 1 for of in every))
    parts = 1 if summed else sum(of.parts for of in every)
    windows, vectors = zip(*(_scaled(of, metric, parts) for of in every), strict=True)
    context = max(of.context for of in every)
    width = max(vector.shape[2] - of.context for vector, of in zip(vectors, every, strict=True)) if parts > 1 else 0
    window, vector = (
        np.concatenate([_flat(v, width, of.context, context) for v, of in zip(each, every, strict=True)], axis=1)
        for each in (windows, vectors)
    )
    return Embeddings(
        **{name: getattr(first, name) for name, _ in specs(Tracks)},
        window=window,
        window_track=first.window_track,
        window_frame=first.window_frame,
        vector=vector,
        encoder="+".join(of.encoder for of in every),
        weights="+".join(of.weights for of in every),
        form=first.form,
        whiten=first.whiten,
        parts=parts,
        context=context,
    )


def _common(embeddings: Sequence[Embeddings]) -> list[Embeddings]:
    """The same with the tracks that all of them have, and windows that all of them have."""
    keys = [list(zip(of.video.tolist(), of.track.tolist(), strict=True)) for of in embeddings]
    places = [{key: row for row, key in enumerate(own)} for own in keys]
    shared = [key for key in keys[0] if all(key in others for others in places[1:])]
    every = [_rows(of, np.array([place[key] for key in shared], np.int64)) for of, place in zip(embeddings, places, strict=True)]
    first = every[0]
    for other in every[1:]:
        same = all(np.array_equal(getattr(first, name), getattr(other, name)) for name, _ in specs(Tracks))
        if not shared or not same:
            raise UsageError(
                f"embeddings by '{first.encoder}' and '{other.encoder}' are not of the same tracks: encode both again"
            )
    if all(np.array_equal(first.window_track, other.window_track) for other in every[1:]):
        return every
    frames = np.tile([np.iinfo(np.int64).max, -1], (len(shared), 1))
    np.minimum.at(frames[:, 0], first.window_track, first.window_frame[:, 0])
    np.maximum.at(frames[:, 1], first.window_track, first.window_frame[:, 1])
    return [
        take(of, "K", slice(None), window=of.vector, window_track=np.arange(len(shared)), window_frame=frames) for of in every
    ]


def _without_context(of: Embeddings) -> Embeddings:
    """The same without the numbers that say how walks were seen."""
    if not of.context:
        return of
    kept = {name: divided(getattr(of, name), of.parts, of.context)[0] for name in ("window", "vector")}
    return replace(of, **{name: shape.reshape(len(shape), -1) for name, shape in kept.items()}, context=0)


def _rows(of: Embeddings, rows: IntArray) -> Embeddings:
    """Some tracks, and their windows."""
    if np.array_equal(rows, np.arange(len(of.video))):
        return of
    place = np.full(len(of.video), -1)
    place[rows] = np.arange(len(rows))
    order = np.argsort(place[of.window_track], kind="stable")
    kept = order[place[of.window_track][order] >= 0]
    window = {"window": of.window[kept], "window_track": place[of.window_track[kept]], "window_frame": of.window_frame[kept]}
    return take(of, "K", rows, **window)


def _scaled(of: Embeddings, metric: Metric, parts: int) -> tuple[FloatArray, FloatArray]:
    """Vectors of windows and of tracks, (N, parts of this embedding or 1, D), such that the distance of the fused ones adds up.

    Distances over pairs of tracks have unit deviation with the cosine, unit mean otherwise (each part's with robust and alike).
    """
    rows = np.random.default_rng(0).permutation(len(of.vector))[:SAMPLE]
    if metric in SATURATING:
        (window, of_window), (vector, of_vector) = (divided(v, of.parts, of.context) for v in (of.window, of.vector))
        window, vector = (directions(v, of.parts).reshape(v.shape) for v in (window, vector))
        scales = np.array([_mean_distance(vector[rows, part], "euclidean") for part in range(of.parts)])[:, None]
        window, vector = (np.concatenate(both, axis=2) for both in ((window / scales, of_window), (vector / scales, of_vector)))
        return window.astype(np.float32), vector.astype(np.float32)
    if metric == "cosine":
        window, vector = (directions(v, of.parts) / np.sqrt(of.parts) for v in (of.window, of.vector))
        spread = (
            float(Against(vector[rows], metric)(vector[rows])[~np.eye(len(rows), dtype=bool)].std()) if len(rows) > 1 else 1.0
        )
        scale = max(spread, 1e-6) ** -0.5  # a product of two vectors has its square
    else:
        window, vector = of.window.astype(np.float64), of.vector.astype(np.float64)
        scale = 1 / _mean_distance(vector[rows], metric, of.parts)
        scale *= parts / of.parts if parts > 1 else 1  # the distance is the mean over all parts
    split = of.parts if parts > 1 else 1
    window, vector = ((v * scale).astype(np.float32).reshape(len(v), split, -1) for v in (window, vector))
    return window, vector


def _mean_distance(vectors: NDArray[np.float64], metric: Metric, parts: int = 1) -> float:
    """Over pairs; above 0."""
    apart = Against(vectors, metric, parts)(vectors)
    return max(float(apart.sum()) / max(len(vectors) * (len(vectors) - 1), 1), 1e-6)


def _flat(vectors: FloatArray, width: int, own: int, context: int) -> FloatArray:
    """Vectors (N, P, D), part after part, each filled up with zeros to a width where there is one, and so its context."""
    size = vectors.shape[2] - own
    head, seen = vectors[:, :, :size], vectors[:, :, size:]
    filled = [np.pad(head, ((0, 0), (0, 0), (0, max(width - size, 0)))), np.pad(seen, ((0, 0), (0, 0), (0, context - own)))]
    return np.concatenate(filled, axis=2).reshape(len(vectors), -1)
