"""Walks in 3D, as virtual cameras see them and as estimators err: what lifters learn from and are measured with.

World axes are y up; camera axes x right, y down, z away. A lifter is not told where the middle of the picture was, so the
truth is given as if the camera looked straight at the pelvis.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.signal import lfilter

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.geometry import resize
from gaitreid.pose.skeleton import Skeleton, remap
from gaitreid.pose.walker import BODY, walk, walker

FPS = 25.0  # frames a second that lifters see
SIDES = ("left", "right")
BUILT = ("pelvis", "thorax")  # the middles of the hips and of the shoulders
LIMBS = {"shoulder": ("elbow", "wrist"), "hip": ("knee", "ankle", "foot")}
JOINTS = (
    *BUILT,
    "head",
    "nose",
    *(f"{side}_{joint}" for start, rest in LIMBS.items() for joint in (start, *rest) for side in SIDES),
)


def _walk18() -> Skeleton:
    bones = [("pelvis", "thorax"), ("thorax", "head"), ("thorax", "nose")]
    for side in SIDES:
        for middle, (start, rest) in zip(("thorax", "pelvis"), LIMBS.items(), strict=True):
            bones += pairwise([middle, *(f"{side}_{joint}" for joint in (start, *rest))])
    return Skeleton("walk18", JOINTS, tuple((JOINTS.index(a), JOINTS.index(b)) for a, b in bones))


WALK18 = _walk18()
TWINS = WALK18.mirror()


@dataclass(frozen=True, eq=False)
class Motion:
    """One walk: (T, 18, 3) metres in world axes, joints of WALK18, at a rate in frames a second."""

    xyz: FloatArray
    fps: float
    subject: str


@dataclass(frozen=True)
class Camera:
    """One view of a walk; angles in radians, lengths in metres.

    Attributes:
        heading: that the walk is turned by about the vertical.
        distance: from the middle of the path, along the ground.
        height: above the ground.
        aside, tilt, roll: how far past the middle of the path it looks, and how it is held.
    """

    heading: float = 0.0
    distance: float = 4.0
    height: float = 1.0
    aside: float = 0.0
    tilt: float = 0.0
    roll: float = 0.0


def from_points(points: FloatArray, source: Skeleton) -> FloatArray:
    """Joints of another skeleton in world axes: (T, J, 3) to (T, 18, 3), NaN where it does not have them.

    Motion capture has no nose: it lies a decimetre before the middle of the head, where the shoulders face.
    """
    xyz, _ = remap(points, np.ones(points.shape[:2]), source, WALK18, partial=True)
    if "skull" in source.joints:
        across = xyz[:, WALK18.index("left_shoulder")] - xyz[:, WALK18.index("right_shoulder")]
        forward = np.cross(across, [0.0, 1.0, 0.0])
        forward /= np.maximum(np.linalg.norm(forward, axis=-1, keepdims=True), 1e-9)
        xyz[:, WALK18.index("nose")] = points[:, source.index("skull")] + 0.1 * forward
    return rebuilt(xyz)


def from_walker(seed: int, subject: int, seconds: float, condition: str = "nm") -> Motion:
    """A walk of a made-up walker (`gaitreid.pose.walker`). Rendered data, not a real person."""
    time = np.arange(round(seconds * FPS)) / FPS
    body, way = walk(walker(seed, subject), time, np.random.default_rng((seed, subject, 2)), condition)
    at = {name: body[:, k] + way[:, None] * [0.0, 0.0, 1.0] for k, name in enumerate(BODY)}
    xyz = np.stack([at[name.replace("foot", "toe")] for name in JOINTS], axis=1)
    return Motion(rebuilt(xyz), FPS, f"walker {seed}-{subject}")


def rebuilt(points: FloatArray) -> FloatArray:
    """Pelvis and thorax put in the middles of hips and shoulders: (..., 18, C)."""
    result = np.array(points, dtype=np.float32)
    for name, start in (("pelvis", "hip"), ("thorax", "shoulder")):
        pair = WALK18.indices(f"left_{start}", f"right_{start}")
        result[..., WALK18.index(name), :] = points[..., pair, :].mean(axis=-2)
    return result


def see(xyz: FloatArray, camera: Camera) -> tuple[FloatArray, FloatArray]:
    """A walk as a camera sees it.

    Args:
        xyz: (T, J, 3) metres in world axes, the pelvis first.

    Returns:
        (T, J, 2) in the plane at distance 1 from the camera, x right and y down; and (T, J, 3) metres from the pelvis, in
        axes whose z is the line from the camera to it.
    """
    middle = (xyz[:, 0].min(axis=0) + xyz[:, 0].max(axis=0)) / 2
    centred = (xyz - middle * [1, 0, 1]) @ about_y(camera.heading).T
    # The camera stands at (0, height, -distance) and looks along the world's z: the world's x is to its left.
    seen = (centred - [0, camera.height, -camera.distance]) * [-1, -1, 1]
    downward = np.arctan2(camera.height - middle[1], camera.distance)
    held = about_z(camera.roll) @ about_x(downward + camera.tilt) @ about_y(camera.aside)
    seen = seen @ held.T
    ray = seen[:, 0]
    yaw, pitch = np.arctan2(ray[:, 0], ray[:, 2]), np.arctan2(ray[:, 1], np.hypot(ray[:, 0], ray[:, 2]))
    straight = about_x(pitch) @ about_y(-yaw)
    turned = np.einsum("tab,tjb->tja", straight, seen - ray[:, None])
    return (seen[..., :2] / np.maximum(seen[..., 2:], 0.1)).astype(np.float32), turned.astype(np.float32)


def err(
    xy: FloatArray, rng: np.random.Generator, sigma: FloatArray | float, memory: float, missing: float
) -> tuple[FloatArray, FloatArray]:
    """Keypoints as an estimator gives them: errors that last (AR(1)), and joints that are not found.

    Args:
        xy: (T, J, 2).
        sigma: standard deviation of each coordinate, in shares of the height of the person's box; may differ by joint
            (J,) or by frame and joint (T, J).
        memory: correlation of an error with that of the frame before.
        missing: share of joints that are not found.

    Returns:
        (T, J, 2), NaN where missing, and scores (T, J).
    """
    height = np.ptp(xy[..., 1], axis=1)[:, None, None]
    fresh = rng.normal(size=xy.shape)
    fresh[1:] *= np.sqrt(1 - memory**2)
    errors = lfilter([1.0], [1.0, -memory], fresh, axis=0)
    result = (xy + errors * height * np.asarray(sigma)[..., None]).astype(np.float32)
    lost = rng.random(xy.shape[:2]) < missing
    result[lost] = np.nan
    return result, (~lost).astype(np.float32)


def at_rate(motion: Motion, fps: float, start: float = 0.0, frames: int | None = None) -> FloatArray:
    """A walk at another rate: (T, 18, 3), from `start` seconds on, linear between frames."""
    last = (len(motion.xyz) - 1) / motion.fps
    count = int((last - start) * fps + 1e-6) + 1 if frames is None else frames
    place = np.clip((start + np.arange(count) / fps) * motion.fps, 0, len(motion.xyz) - 1)
    low = np.minimum(place.astype(np.int64), len(motion.xyz) - 2)
    share = (place - low)[:, None, None].astype(np.float32)
    return np.asarray((1 - share) * motion.xyz[low] + share * motion.xyz[low + 1], dtype=np.float32)


def stretched(xyz: FloatArray, rng: np.random.Generator, spread: float) -> FloatArray:
    """The same walk by somebody of other limbs, the same on both sides: (T, 18, 3)."""
    edges = np.array(WALK18.edges)
    own = np.linalg.norm(xyz[:, edges[:, 1]] - xyz[:, edges[:, 0]], axis=-1).mean(axis=0)
    factor = np.exp(spread * np.clip(rng.normal(size=len(JOINTS)), -2.5, 2.5))
    factor = factor[np.minimum(np.arange(len(JOINTS)), TWINS)]
    return rebuilt(resize(xyz, WALK18, own * factor[edges[:, 1]]))


def mirrored(xyz: FloatArray) -> FloatArray:
    """The walk in a mirror: (T, 18, C) with x across."""
    result = xyz[:, TWINS].copy()
    result[..., 0] *= -1
    return result


def about_x(angle: FloatArray | float) -> FloatArray:
    """Rotation about x: from y to z, (..., 3, 3)."""
    c, s, o, z = _parts(angle)
    return _matrix([o, z, z], [z, c, -s], [z, s, c])


def about_y(angle: FloatArray | float) -> FloatArray:
    """Rotation about y: from z to x, (..., 3, 3)."""
    c, s, o, z = _parts(angle)
    return _matrix([c, z, s], [z, o, z], [-s, z, c])


def about_z(angle: FloatArray | float) -> FloatArray:
    """Rotation about z: from x to y, (..., 3, 3)."""
    c, s, o, z = _parts(angle)
    return _matrix([c, -s, z], [s, c, z], [z, z, o])


def _parts(angle: FloatArray | float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    a = np.asarray(angle, dtype=np.float64)
    return np.cos(a), np.sin(a), np.ones_like(a), np.zeros_like(a)


def _matrix(*rows: list[FloatArray]) -> FloatArray:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
