"""Score fusion: several embeddings of the same tracks as one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray, IntArray, specs, take
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import Against, directions
from gaitreid.reid.records import Embeddings, Tracks
from gaitreid.reid.search import Metric

SAMPLE = 1000  # tracks whose distances say how far an embedding's spread


def fuse(embeddings: Sequence[Embeddings], metric: Metric) -> Embeddings:
    """Vectors side by side, such that their distance is the fusion of the distances by sum, each scaled to unit deviation.

    With the cosine it is the weighted mean of the cosines, whose weights are one over their deviations over pairs of tracks;
    with the Euclidean distance the square root of the sum of squares, each over its mean, or the sum, each over its mean, where
    one of them has parts. With the robust distance every part of every embedding counts the same: its directions, over their mean
    distance. Tracks that one of them lacks are left out. Where the windows are not the same, as those of walks and
    of models of windows, a track's own vector is its only window.

    Raises:
        UsageError: no track is in all embeddings, or one of the same name is of somebody else.
    """
    every = _common(embeddings)
    first = every[0]
    summed = metric == "cosine" or (metric == "euclidean" and all(of.parts == 1 for of in every))
    parts = 1 if summed else sum(of.parts for of in every)
    windows, vectors = zip(*(_scaled(of, metric, parts) for of in every), strict=True)
    width = max(vector.shape[2] for vector in vectors) if parts > 1 else 0
    return Embeddings(
        **{name: getattr(first, name) for name, _ in specs(Tracks)},
        window=np.concatenate([_flat(of, width) for of in windows], axis=1),
        window_track=first.window_track,
        window_frame=first.window_frame,
        vector=np.concatenate([_flat(of, width) for of in vectors], axis=1),
        encoder="+".join(of.encoder for of in every),
        weights="+".join(of.weights for of in every),
        form=first.form,
        whiten=first.whiten,
        parts=parts,
    )


def _common(embeddings: Sequence[Embeddings]) -> list[Embeddings]:
    """The same with the tracks that all of them have, and windows that all of them have."""
    keys = [list(zip(of.video.tolist(), of.track.tolist(), strict=True)) for of in embeddings]
    shared = [key for key in keys[0] if all(key in others for others in map(set, keys[1:]))]
    places = [{key: row for row, key in enumerate(own)} for own in keys]
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
    ends = [first.window_frame[first.window_track == row] for row in range(len(shared))]
    frames = np.array([(own[:, 0].min(), own[:, 1].max()) for own in ends])
    return [
        take(of, "K", slice(None), window=of.vector, window_track=np.arange(len(shared)), window_frame=frames) for of in every
    ]


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

    Distances over pairs of tracks have unit deviation with the cosine, unit mean otherwise (each part's with robust).
    """
    rows = np.random.default_rng(0).permutation(len(of.vector))[:SAMPLE]
    if metric == "robust":
        window, vector = (directions(v, of.parts).reshape(len(v), of.parts, -1) for v in (of.window, of.vector))
        scales = np.array([_mean_distance(vector[rows, part], "euclidean") for part in range(of.parts)])[:, None]
        return (window / scales).astype(np.float32), (vector / scales).astype(np.float32)
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


def _flat(vectors: FloatArray, width: int) -> FloatArray:
    """Vectors (N, P, D), every part filled up with zeros to a width where there is one, part after part."""
    filled = np.pad(vectors, ((0, 0), (0, 0), (0, max(width - vectors.shape[2], 0))))
    return filled.reshape(len(vectors), -1)
