"""Hand-made features of a whole track: what a learned encoder has to beat."""

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.skeleton import Skeleton


def bone_lengths(xyz: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Median length of every bone.

    Args:
        xyz: (T, J, 3), NaN is missing.

    Returns:
        (bones,) in the unit of `xyz`; 0 for a bone that was never seen.
    """
    parent, child = np.array(skeleton.edges).T
    lengths = np.linalg.norm(xyz[:, child] - xyz[:, parent], axis=-1)
    seen = np.isfinite(lengths).any(axis=0)
    return np.where(seen, np.nanmedian(np.where(seen, lengths, 0.0), axis=0), 0.0)


def joint_statistics(xyz: FloatArray) -> FloatArray:
    """Mean and standard deviation of every coordinate of every joint over the track.

    Args:
        xyz: (T, J, 3) without missing values, normalised.

    Returns:
        (J * 3 * 2,): means, then deviations.
    """
    flat = xyz.reshape(len(xyz), -1)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])
