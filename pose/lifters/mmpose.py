"""Lifters of mmpose's zoo: VideoPose3D (Pavllo et al., CVPR 2019), MotionBERT (Zhu et al., ICCV 2023), SimpleBaseline3D.

Whole tracks are lifted with what comes after each frame as well as before it: windows centred on every frame, the first and last
frames repeated at the ends, many windows at once. All these models learnt Human3.6M: its joints, its 50 frames a second, its
cameras and the size of its actors. So a track is carried over to those joints by name, to that rate, and (as mmpose's own
`norm_pose_2d` does) to where its people are in its pictures; what comes out is in metres of a body of that size, whoever walks.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.signal import savgol_filter

from gaitreid.pose import openmmlab
from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.backends.mmpose import skeleton
from gaitreid.pose.errors import ItemError, UsageError
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton, remap

RATE = 50.0  # frames a second of Human3.6M
SIDE = 1000  # pixels of its pictures
STEADY = 1.0  # seconds over which a person's place and size in the picture are smoothed
FRAMES = 2048  # that the device is given at once, in windows


class MMPose:
    """Fulfils `gaitreid.pose.lift.Lifter`."""

    rigid = True

    def __init__(self, argument: str, device: str = "cpu", trust_config: bool = False) -> None:
        """Build the model and read its weights.

        Args:
            argument: `CONFIG[,CHECKPOINT]`; see `gaitreid.pose.openmmlab.build`.
            device: of torch, or auto.

        Raises:
            UsageError: see `gaitreid.pose.openmmlab.build`; or the model lifts nothing.
        """
        if device == "auto":
            import torch

            device = "cuda" if torch.cuda.is_available() else "cpu"
        built = _built(argument, device, trust_config)
        if type(built.model).__name__ != "PoseLifter":
            raise UsageError(
                f"mmpose:{built.name} is a {type(built.model).__name__}, which lifts no tracks: name a body_3d model"
            )
        data = built.config["test_dataloader"]["dataset"]
        self._model, self._name, self._device = built.model, built.name, device
        self._meta, self._pipeline = _prepared(data, built.name)
        self._skeleton = skeleton(self._meta, built.name)
        self._each = not data.get("multiple_target")  # one pose a window, or one for each of its frames
        self._length = int(data["seq_len"] if self._each else data["multiple_target"])
        self._causal = bool(data.get("causal", False))

    def lift(self, track: Track2D, target: Skeleton) -> tuple[FloatArray, FloatArray]:
        """See `Lifter.lift`.

        Raises:
            ItemError: `no-joint`, a joint that the model needs was never seen.
        """
        xy, score = remap(track.xy, track.score, track.skeleton, self._skeleton, partial=True)
        for n, joint in enumerate(self._skeleton.joints):
            if not np.isfinite(xy[:, n]).all(axis=-1).any():
                raise ItemError("no-joint", f"{joint} was never seen, and mmpose:{self._name} needs it: choose another --lifter")
        grid = np.arange(np.ceil((track.time[-1] - track.time[0]) * RATE - 1e-6) + 1) / RATE + track.time[0]
        stats = self._meta["stats_info"]
        xyz = self._lift(placed(resampled(xy, track.time, grid), stats["bbox_center"], float(stats["bbox_scale"])))
        return remap(resampled(xyz, grid, track.time).astype(np.float32), score, self._skeleton, target)

    def _lift(self, xy: FloatArray) -> FloatArray:
        """Keypoints (T, J, 2) as the model knows them to (T, J, 3)."""
        if self._each:
            centred = windows(len(xy), self._length, self._length - 1 if self._causal else self._length // 2)
            return np.concatenate(list(self._infer(xy, centred)))
        index = overlapping(len(xy), self._length)
        return blended(np.concatenate(list(self._infer(xy, index))), index, len(xy))

    def _infer(self, xy: FloatArray, index: IntArray) -> Iterator[FloatArray]:
        """Windows (N, L) of frames in batches: poses (n, J, 3), or (n, L, J, 3) where the model gives one a frame."""
        import torch
        from mmpose.structures import PoseDataSample

        inputs, facts = self._normalised(xy, index.shape[1])
        size = max(1, FRAMES // index.shape[1])
        for first in range(0, len(index), size):
            chosen = inputs[torch.from_numpy(index[first : first + size])]
            if self._each:
                chosen = chosen.transpose(1, 2)  # (n, L, 2 J) -> (n, 2 J, L)
            samples = [PoseDataSample(metainfo=facts) for _ in chosen]
            with openmmlab.quiet(), torch.inference_mode():
                found = self._model.predict(chosen.to(self._device), samples)
            yield np.stack([np.asarray(sample.pred_instances.keypoints)[0] for sample in found])

    def _normalised(self, xy: FloatArray, length: int) -> tuple[Any, dict[str, Any]]:
        """A whole track (T, J, 2) as the configuration's own codec has it, frames first, and what a window's decoding needs.

        Codecs treat each frame by itself, so that windows can be cut afterwards. What they ask for of the truth is put to zero.
        """
        frames, joints = xy.shape[:2]
        poses = 1 if self._each else frames
        facts = {
            "keypoints": xy.astype(np.float32),
            "keypoints_visible": np.ones((frames, joints), np.float32),
            "lifting_target": np.zeros((poses, joints, 3), np.float32),
            "lifting_target_visible": np.ones((poses, joints, 1), np.float32),
            "factor": np.zeros(frames, np.float32),
            "camera_param": {"w": SIDE, "h": SIDE},
        }
        packed = self._pipeline({**facts, **self._meta})
        decoding = packed["data_samples"].metainfo
        if "factor" in decoding:
            decoding["factor"] = decoding["factor"][:length]  # the same for all frames
        return packed["inputs"].T if self._each else packed["inputs"], decoding


def placed(xy: FloatArray, middle: FloatArray, size: float) -> FloatArray:
    """A person brought to where a data set's people are, and to their size: the middle of the box and its larger side.

    Both are smoothed over a second: a box that follows arms and legs would put their swing into all other joints.

    Args:
        xy: (T, J, 2) pixels, none missing, at the models' rate.
        middle: (2,).
    """
    boxes = box(xy)
    width = min(round(STEADY * RATE), len(xy)) // 2 * 2 - 1  # odd
    if width > 1:
        boxes = savgol_filter(boxes, width, 1, axis=0)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1).clip(1.0)
    return np.asarray((xy - centre[:, None]) / side[:, None, None] * size + middle)


def box(xy: FloatArray) -> FloatArray:
    """Boxes (T, 4) of all joints (T, J, 2), larger by a twentieth of the height all around, as a detector's are."""
    low, high = xy.min(axis=1), xy.max(axis=1)
    pad = 0.05 * (high - low)[:, 1:]
    return np.concatenate([low - pad, high + pad], axis=1)


def resampled(points: FloatArray, time: FloatArray, at: FloatArray) -> FloatArray:
    """Points (T, J, C) at other times, straight between those that were seen; before the first and after the last they stay.

    Args:
        points: NaN is missing; every joint is seen at least once.
        time: (T,) seconds, rising.
        at: (N,) seconds.
    """
    result = np.empty((len(at), *points.shape[1:]))
    for joint in range(points.shape[1]):
        seen = np.isfinite(points[:, joint]).all(axis=-1)
        for c in range(points.shape[2]):
            result[:, joint, c] = np.interp(at, time[seen], points[seen, joint, c])
    return result


def windows(count: int, length: int, before: int) -> IntArray:
    """Frames (count, length) of the windows around each frame, `before` of them before it; the ends are repeated."""
    return (np.arange(count)[:, None] + np.arange(length) - before).clip(0, count - 1)


def overlapping(count: int, length: int) -> IntArray:
    """Frames (N, L) of windows that overlap by half and end with the last frame; one shorter window where there is no more."""
    length = min(length, count)
    starts = sorted({*range(0, count - length + 1, max(1, length // 2)), count - length})
    return np.array(starts)[:, None] + np.arange(length)


def blended(poses: FloatArray, index: IntArray, count: int) -> FloatArray:
    """Poses (N, L, J, C) of overlapping windows to those of frames (count, J, C); the middle of a window counts most."""
    length = index.shape[1]
    share = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1.0
    total, weight = np.zeros((count, *poses.shape[2:])), np.zeros(count)
    for frames, window in zip(index, poses, strict=True):
        total[frames] += share[:, None, None] * window
        weight[frames] += share
    return total / weight[:, None, None]


@lru_cache(maxsize=1)
def _built(argument: str, device: str, trust: bool) -> openmmlab.Built:
    """The last model stays: a lifter may be made anew for every track."""
    return openmmlab.build("mmpose", argument, device, trust=trust)


def _prepared(data: Any, name: str) -> tuple[dict[str, Any], Any]:
    """What a configuration's data set says of its joints, and the pipeline that brings keypoints to the model."""
    with openmmlab.quiet():
        from mmengine.dataset import Compose
        from mmengine.registry import DefaultScope
        from mmpose.datasets.datasets.utils import parse_pose_metainfo
        from mmpose.registry import DATASETS

        with DefaultScope.overwrite_default_scope("mmpose"):
            meta = parse_pose_metainfo(DATASETS.get(data["type"]).METAINFO)
            if "stats_info" not in meta:
                raise UsageError(f"mmpose:{name} does not say where its data set's people are: {data['type']} has no stats_info")
            return meta, Compose(data["pipeline"])
