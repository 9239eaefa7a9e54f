"""How far joints are from the truth."""

import numpy as np

from gaitreid.pose.arrays import FloatArray


def joint_errors(found: FloatArray, truth: FloatArray) -> FloatArray:
    """Euclidean distance of every joint: (..., J, C) twice -> (..., J), in their unit; NaN where either is missing."""
    return np.asarray(np.linalg.norm(found - truth, axis=-1))


def mpjpe(found: FloatArray, truth: FloatArray, root: int = 0) -> float:
    """Mean per-joint position error after aligning the root joint (protocol 1; Ionescu et al., TPAMI 2014).

    Args:
        found, truth: (T, J, 3) in one unit; joints missing in either are left out.
    """
    aligned = joint_errors(found - found[:, root : root + 1], truth - truth[:, root : root + 1])
    return float(np.nanmean(aligned))


def nmpjpe(found: FloatArray, truth: FloatArray, root: int = 0) -> float:
    """Mean per-joint position error after aligning the root joint and the best scale of every frame (Rhodin et al., CVPR 2018).

    Args:
        found, truth: (T, J, 3) in one unit; joints missing in either are left out.
    """
    a, b = found - found[:, root : root + 1], truth - truth[:, root : root + 1]
    return float(np.nanmean(joint_errors(scaled(a, b), b)))


def scaled(found: FloatArray, truth: FloatArray) -> FloatArray:
    """Poses (T, J, 3) brought to the size of the truth, frame by frame: the scale with the least squares about the origin."""
    both = np.isfinite(found) & np.isfinite(truth)
    products, squares = (np.where(both, x, 0).sum(axis=(1, 2)) for x in (found * truth, found**2))
    factor = np.divide(products, squares, out=np.ones_like(products), where=squares > 0)
    return np.asarray(factor[:, None, None] * found)


def velocity_error(found: FloatArray, truth: FloatArray, rate: float, root: int = 0) -> float:
    """Mean per-joint velocity error (Pavllo et al., CVPR 2019) after aligning the root joint.

    Args:
        found, truth: (T, J, 3) in one unit, whose frames follow one another `rate` times a second.

    Returns:
        In units a second.
    """
    a, b = found - found[:, root : root + 1], truth - truth[:, root : root + 1]
    return float(np.nanmean(joint_errors(np.diff(a, axis=0), np.diff(b, axis=0)))) * rate


def pmpjpe(found: FloatArray, truth: FloatArray) -> float:
    """Mean per-joint position error after the best similarity of every frame (protocol 2; Procrustes).

    Args:
        found, truth: (T, J, 3) in one unit, without missing joints.
    """
    a, b = found - found.mean(axis=1, keepdims=True), truth - truth.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(np.einsum("tji,tjk->tik", a, b))
    sign = np.sign(np.linalg.det(u @ vt))
    vt[:, -1] *= sign[:, None]
    s[:, -1] *= sign
    scale = s.sum(axis=1) / (a**2).sum(axis=(1, 2))
    return float(joint_errors(scale[:, None, None] * (a @ (u @ vt)), b).mean())
