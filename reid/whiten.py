"""Partial whitening of embeddings, learnt from the unlabelled training windows.

In learnt embeddings a few directions hold most of the variance, and it is what all walkers share: posture, the view, the phase of
the step. Whitening takes their weight away (Jegou and Chum, ECCV 2012); done in part it leaves the noise of the smallest small.
"""

from dataclasses import dataclass

import numpy as np

from gaitreid.pose.arrays import FloatArray

FLOOR = 1e-3  # of the largest variance: directions below it are taken for noise


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (D,) and covariance (D, D) of vectors, float32, and the vectors of some people, one each (C, D), or None."""

    mean: FloatArray
    covariance: FloatArray
    cohort: FloatArray | None = None


def check_moments(of: Moments) -> None:
    """Raises: ValueError: they do not fit together, or hold what is no number."""
    size = of.mean.size
    fits = of.mean.shape == (size,) and of.covariance.shape == (size, size)
    if not fits or (of.cohort is not None and of.cohort.shape[1:] != (size,)):
        raise ValueError(f"mean of shape {of.mean.shape} and covariance of shape {of.covariance.shape} do not fit")
    if not all(np.isfinite(values).all() for values in (of.mean, of.covariance, of.cohort) if values is not None):
        raise ValueError("mean or covariance hold what is no number")


def moments(vectors: FloatArray) -> Moments:
    """Of vectors (N, D)."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    return Moments(mean.astype(np.float32), (centred.T @ centred / len(vectors)).astype(np.float32))


def whiten(vectors: FloatArray, of: Moments, power: float) -> FloatArray:
    """(x - mean) (C + FLOOR max(eig C) I)^(-power / 2) with C scaled to a largest eigenvalue of 1: (N, D) -> (N, D), float32.

    Args:
        power: 0 only centres, 1 gives all directions above the floor the same variance.
    """
    values, directions = np.linalg.eigh(of.covariance.astype(np.float64))
    share = values.clip(0) / max(float(values[-1]), 1e-12)
    matrix = (directions * (share + FLOOR) ** (-power / 2)) @ directions.T
    return np.asarray((vectors - of.mean) @ matrix, dtype=np.float32)
