"""Score fusion: several embeddings of the same tracks as one."""

from collections.abc import Sequence

import numpy as np

from gaitreid.pose.arrays import FloatArray, specs
from gaitreid.pose.errors import UsageError
from gaitreid.reid.compare import Against, directions
from gaitreid.reid.records import Embeddings, Tracks
from gaitreid.reid.search import Metric

SAMPLE = 1000  # tracks whose distances say how far an embedding's spread


def fuse(embeddings: Sequence[Embeddings], metric: Metric) -> Embeddings:
    """Vectors side by side, such that their distance is the fusion of the distances by sum, each scaled to unit deviation.

    With the cosine it is the weighted mean of the cosines, whose weights are one over their deviations over pairs of tracks;
    with the Euclidean distance the square root of the sum of squares, each over its mean.

    Raises:
        UsageError: the embeddings are not of the same tracks and windows.
    """
    first = embeddings[0]
    for other in embeddings[1:]:
        same = all(np.array_equal(getattr(first, name), getattr(other, name)) for name, _ in specs(Tracks))
        if not same or not np.array_equal(first.window_track, other.window_track):
            raise UsageError(
                f"embeddings by '{first.encoder}' and '{other.encoder}' are not of the same tracks: encode both again"
            )
        if other.parts > 1 or first.parts > 1:
            raise UsageError("embeddings of parts cannot be fused")
    scaled = [_scaled(of, metric) for of in embeddings]
    return Embeddings(
        **{name: getattr(first, name) for name, _ in specs(Tracks)},
        window=np.concatenate([window for window, _ in scaled], axis=1),
        window_track=first.window_track,
        window_frame=first.window_frame,
        vector=np.concatenate([vector for _, vector in scaled], axis=1),
        encoder="+".join(of.encoder for of in embeddings),
        weights="+".join(of.weights for of in embeddings),
        form=first.form,
        whiten=first.whiten,
    )


def _scaled(of: Embeddings, metric: Metric) -> tuple[FloatArray, FloatArray]:
    """Vectors of windows and of tracks, so scaled that their distances over pairs have unit deviation, or unit mean."""
    rows = np.random.default_rng(0).permutation(len(of.vector))[:SAMPLE]
    if metric == "cosine":
        window, vector = directions(of.window), directions(of.vector)
        spread = (
            float(Against(vector[rows], metric)(vector[rows])[~np.eye(len(rows), dtype=bool)].std()) if len(rows) > 1 else 1.0
        )
        scale = max(spread, 1e-6) ** -0.5  # a product of two vectors has its square
    else:
        window, vector = of.window.astype(np.float64), of.vector.astype(np.float64)
        apart = Against(vector[rows], metric)(vector[rows])
        scale = 1 / max(float(apart.sum()) / max(len(rows) * (len(rows) - 1), 1), 1e-6)
    return (window * scale).astype(np.float32), (vector * scale).astype(np.float32)
