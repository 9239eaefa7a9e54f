"""Normalisation of skeletons in 3D. Array in, array out.

Camera axes are x right, y down, z away from the camera. Body axes are x to the walker's left, y up, z forward.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.clean import stretches
from gaitreid.pose.skeleton import Skeleton

Normalization = Literal["none", "root", "gait"]


def root(xyz: FloatArray, skeleton: Skeleton) -> FloatArray:
    """The pelvis, or the middle of the hips where the skeleton has none: (..., J, 3) -> (..., 3)."""
    if "pelvis" in skeleton.joints:
        return xyz[..., skeleton.index("pelvis"), :]
    return np.asarray(xyz[..., skeleton.indices("left_hip", "right_hip"), :].mean(axis=-2))


def body_height(xyz: FloatArray, skeleton: Skeleton) -> float:
    """Height of the body from median bone lengths: shank + thigh + trunk + neck and head.

    Args:
        xyz: (T, J, 3), NaN is missing.

    Returns:
        In the unit of `xyz`; NaN where a part was never seen.
    """
    legs = [
        _length(xyz, skeleton, side + a, side + b)
        for side in ("left_", "right_")
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    shoulders = xyz[:, skeleton.indices("left_shoulder", "right_shoulder")].mean(axis=1)
    trunk = np.linalg.norm(shoulders - root(xyz, skeleton), axis=-1)
    head = np.linalg.norm(xyz[:, skeleton.index("head")] - shoulders, axis=-1)
    parts = [_median(trunk), _median(head)]
    return float(np.sum(legs) / 2 + np.sum(parts))


def heading(xyz: FloatArray, skeleton: Skeleton, time: FloatArray, window: float = 1.2) -> FloatArray:
    """Where the body faces, as an angle about the vertical, smoothed over about a stride.

    Tracks are hip-centred, so they hold no path on the ground; the direction comes from the body itself: the lines from the
    right to the left hip and shoulder, turned by a right angle. The pelvis turns to and fro within a stride, which the mean
    over `window` seconds leaves in the result as the gait that it is.

    Args:
        xyz: (T, J, 3), camera axes.

    Returns:
        (T,) radians: the angle of the walker's left from the camera's x towards its -z (to the camera).
    """
    from scipy.ndimage import uniform_filter1d  # see clean.py: only those who lift wait for it

    hips = xyz[:, skeleton.index("left_hip")] - xyz[:, skeleton.index("right_hip")]
    shoulders = xyz[:, skeleton.index("left_shoulder")] - xyz[:, skeleton.index("right_shoulder")]
    across = np.nan_to_num(hips) + np.nan_to_num(shoulders)
    direction = across[:, 0] - 1j * across[:, 2]
    size = np.abs(direction)
    direction = np.divide(direction, size, out=np.zeros_like(direction), where=size > 0)
    for a, b in stretches(time, window / 2):  # who comes back after a gap may come from anywhere
        rate = (b - a - 1) / (time[b - 1] - time[a]) if time[b - 1] > time[a] else 25.0
        width = max(1, min(b - a, round(window * rate)))
        for part in (direction.real, direction.imag):
            part[a:b] = uniform_filter1d(part[a:b], width, mode="nearest")
    return np.asarray(np.angle(direction), dtype=np.float64)


def normalize(xyz: FloatArray, skeleton: Skeleton, kind: Normalization, time: FloatArray) -> FloatArray:
    """Take out what is not gait.

    Args:
        xyz: (T, J, 3) metres, camera axes, NaN is missing.
        kind: none leaves everything; root puts the pelvis of every frame at the origin; gait also turns the body to face
            along z and divides by the body height.

    Returns:
        (T, J, 3): camera axes and metres, or for gait body axes and body heights.
    """
    if kind == "none":
        return xyz
    centred = xyz - root(xyz, skeleton)[:, None]
    if kind == "root":
        return centred
    angle = heading(centred, skeleton, time)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, up, toward = centred[..., 0], -centred[..., 1], -centred[..., 2]
    # Turning by -angle brings the walker's left to x; y up and x left make forward z (right-handed).
    left, forward = x * cos + toward * sin, toward * cos - x * sin
    turned = np.stack([left, up, forward], axis=-1) / body_height(centred, skeleton)
    return turned.astype(xyz.dtype)


def resize(xyz: FloatArray, skeleton: Skeleton, lengths: FloatArray) -> FloatArray:
    """The same movements by a body of given bone lengths: every bone keeps its direction, so nobody is known by their size.

    Args:
        xyz: (T, J, 3).
        lengths: (bones,), in the order of the skeleton's edges, which must form a tree with parents before children.
    """
    result = xyz.copy()
    for (parent, child), length in zip(skeleton.edges, lengths, strict=True):
        bone = xyz[:, child] - xyz[:, parent]
        size = np.linalg.norm(bone, axis=-1, keepdims=True)
        result[:, child] = result[:, parent] + np.divide(bone, size, out=np.zeros_like(bone), where=size != 0) * length
    return result


def steadied(xyz: FloatArray, skeleton: Skeleton) -> FloatArray:
    """The same movements with one length of every bone throughout, the same on both sides: its median.

    A bone that was never seen is as long as the other side's. Bones that close a loop of the skeleton (such as between the
    shoulders) follow from the others.

    Args:
        xyz: (T, J, 3), NaN is missing.
    """
    tree, reached = [], {skeleton.edges[0][0]} if skeleton.edges else set()
    for parent, child in skeleton.edges:
        if child not in reached:
            tree.append((parent, child))
            reached |= {parent, child}
    twin = skeleton.mirror()
    lengths = {bone: _median(np.linalg.norm(xyz[:, bone[1]] - xyz[:, bone[0]], axis=-1)) for bone in tree}
    pairs = np.array([(lengths[a, b], lengths.get((twin[a], twin[b]), lengths[a, b])) for a, b in tree])
    both = np.where(np.isnan(pairs), pairs[:, ::-1], pairs)
    return resize(xyz, replace(skeleton, edges=tuple(tree)), both.mean(axis=1))


def _length(xyz: FloatArray, skeleton: Skeleton, a: str, b: str) -> float:
    return _median(np.linalg.norm(xyz[:, skeleton.index(a)] - xyz[:, skeleton.index(b)], axis=-1))


def _median(values: FloatArray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")
