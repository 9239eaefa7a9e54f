"""Lifting by example (Chen and Ramanan, CVPR 2017): the depth of the 3D pose whose picture is most like the keypoints.

A library holds 3D poses, which are looked at from all around. Frame by frame the nearest pictures of the library are
found; which of them a frame takes is chosen for the whole track at once, so that frames that follow one another take
poses that are near one another. The keypoints stay where they were seen, and only their depth comes from the library.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from gaitreid.pose.arrays import BoolArray, FloatArray, IntArray
from gaitreid.pose.clean import bridged, found
from gaitreid.pose.errors import FormatError, ItemError
from gaitreid.pose.lift import LIBRARY
from gaitreid.pose.lifters.motions import FPS, WALK18, Motion, about_x, about_y, at_rate, from_walker
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import CASIA14, Skeleton, remap

AROUND, ELEVATIONS = 36, (-5.0, 5.0, 15.0, 25.0)  # views of each pose; degrees that the camera looks down
EVERY = 4  # frames between two poses of a walk, at FPS frames a second
CANDIDATES = 10  # nearest pictures among which the track as a whole chooses
STEADINESS = 1.0  # weight of the distance between poses that follow one another, beside that of keypoints and picture
LEAST = 8  # joints of CASIA14 that must be seen somewhere in a track
WALKERS, SECONDS = 60, 2.4  # made-up people of the library that is there without any file, and how long each walks


class Matching:
    """Fulfils `gaitreid.pose.lift.Lifter`.

    Args:
        library: folder that `gaitreid train --model matching` made from 3D files, or the poses themselves, (P, 14, 3)
            metres in world axes, joints of CASIA14; made-up walkers where it is empty.

    Raises:
        FormatError: the folder holds no library.
    """

    rigid = False

    def __init__(self, library: str | FloatArray = "") -> None:
        poses = library if isinstance(library, np.ndarray) else _load(Path(library)) if library else made_up()
        self._poses = pictured(poses)

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """See `Lifter.lift`. Joints that were missing are filled in between frames that have them, with score 0.

        Raises:
            ItemError: `too-few-keypoints`, the person is hardly seen.
        """
        xy, score = remap(track.xy, track.score, track.skeleton, CASIA14, partial=True)
        ever = np.asarray(found(xy).any(axis=0))
        xy = bridged(xy)
        if np.count_nonzero(ever) < LEAST or not ever[HIPS].all():
            raise ItemError("too-few-keypoints", f"{np.count_nonzero(ever)} of {len(ever)} joints are seen, hips must be")
        library, size = normalised(self._poses[..., :2], ever)
        picture, _ = normalised(xy, ever)
        distance, nearest = _search(library[:, ever], picture[:, ever], CANDIDATES)
        chosen = path(distance**2, nearest, self._poses / size[:, None, None])
        pose = self._poses[chosen]
        seen = picture * size[chosen, None, None]
        xyz = np.concatenate([np.where(ever[:, None], seen, pose[..., :2]), pose[..., 2:]], axis=-1)
        return remap(xyz.astype(np.float32), score, CASIA14, target)


HIPS = CASIA14.indices("left_hip", "right_hip")


def poses(motions: Sequence[Motion]) -> FloatArray:
    """Poses of walks for a library: (P, 14, 3) metres in world axes, about six a second."""
    xyz = np.concatenate([at_rate(motion, FPS)[::EVERY] for motion in motions])
    return remap(xyz, np.ones(xyz.shape[:2]), WALK18, CASIA14)[0]


def pictured(poses: FloatArray) -> FloatArray:
    """Poses as cameras around them see them, from the middle of the hips.

    Args:
        poses: (P, 14, 3) metres in world axes.

    Returns:
        (P * views, 14, 3) metres in camera axes; x and y are the picture (weak perspective).
    """
    centred = (poses - poses[:, HIPS].mean(axis=1, keepdims=True)) * np.array([-1, -1, 1], np.float32)
    result = []
    for elevation in np.deg2rad(ELEVATIONS):
        for angle in np.arange(AROUND) * 2 * np.pi / AROUND:
            result.append(centred @ (about_x(elevation) @ about_y(angle)).T.astype(np.float32))
    return np.concatenate(result)


def normalised(xy: FloatArray, joints: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Pictures from the middle of the hips, in shares of their height over some joints.

    Args:
        xy: (N, 14, 2).
        joints: (14,).

    Returns:
        (N, 14, 2) and the heights (N,).
    """
    centred = xy - xy[:, HIPS].mean(axis=1, keepdims=True)
    size = np.maximum(np.ptp(centred[:, joints, 1], axis=1), 1e-6)
    return centred / size[:, None, None], size


def path(unary: FloatArray, candidates: IntArray, library: FloatArray) -> IntArray:
    """The candidate of every frame that makes the whole track cheapest (Viterbi).

    Args:
        unary: (T, K) cost of each candidate.
        candidates: (T, K) numbers of poses in the library.
        library: (L, J, 3); going from one pose to another costs STEADINESS times their squared distance.

    Returns:
        (T,) numbers of poses.
    """
    cost, came = unary[0].astype(np.float64), np.zeros(candidates.shape, np.int64)
    for t in range(1, len(unary)):
        before, now = library[candidates[t - 1]], library[candidates[t]]
        steps = np.square(now[:, None] - before[None]).sum(axis=(2, 3))
        total = cost[None] + STEADINESS * steps
        came[t] = total.argmin(axis=1)
        cost = total.min(axis=1) + unary[t]
    chosen = np.empty(len(unary), np.int64)
    last = int(cost.argmin())
    for t in range(len(unary) - 1, -1, -1):
        chosen[t] = candidates[t, last]
        last = came[t, last]
    return chosen


def _search(library: FloatArray, pictures: FloatArray, k: int) -> tuple[FloatArray, IntArray]:
    """Distances to and numbers of the k nearest pictures: (T, k) each."""
    import faiss

    index = faiss.IndexFlatL2(library[0].size)
    index.add(np.ascontiguousarray(library.reshape(len(library), -1), dtype=np.float32))
    squared, nearest = index.search(np.ascontiguousarray(pictures.reshape(len(pictures), -1), dtype=np.float32), k)
    return np.sqrt(np.maximum(squared, 0)), nearest


@cache
def made_up(seed: int = 0) -> FloatArray:
    """The library without any file: poses of made-up walkers, (P, 14, 3) metres in world axes."""
    return poses([from_walker(seed, n, SECONDS) for n in range(WALKERS)])


def _load(folder: Path) -> FloatArray:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        poses: FloatArray = load_file(folder / LIBRARY)["poses"]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise FormatError(f"{folder}: no library of poses ({error}): make one with `gaitreid train --model matching`") from error
    if poses.ndim != 3 or poses.shape[1:] != (len(CASIA14.joints), 3) or not len(poses) or not np.isfinite(poses).all():
        raise FormatError(f"{folder}: poses of shape {poses.shape}, expected whole ones of (P, {len(CASIA14.joints)}, 3)")
    return poses
