"""Any 2D model of mmpose that poses the person in a crop: top-down (RTMPose, HRNet, ViTPose ...), one-stage (RTMO, YOLOX-Pose).

Crops are made as mmpose's test pipelines make them (the box enlarged by a quarter, brought to the model's input size), the
model's own preprocessor, head and decoder do the rest. The picture is not flipped and posed a second time, whatever `test_cfg`
says: that costs as much again and is worth half a point of AP.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gaitreid.pose import openmmlab
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.estimate import CORE, BatchEstimator, Crop, Estimate
from gaitreid.pose.skeleton import ALIASES, SKELETONS, Skeleton
from gaitreid.pose.video import Image

DEFAULT = "rtmpose-m_8xb256-420e_coco-256x192"
TOPDOWN, ONE_STAGE = 1.25, 1.5  # sides of crops over those of boxes: GetBBoxCenterScale's; room to tell people apart
KINDS = {"TopdownPoseEstimator": TOPDOWN, "BottomupPoseEstimator": ONE_STAGE}

# Human3.6M's names, where feet are ankles and the base of the neck is what others call the nose.
H36M = {**ALIASES, "left_foot": "left_ankle", "right_foot": "right_ankle", "neck_base": "nose"}


class MMPose(BatchEstimator):
    """Fulfils `gaitreid.pose.estimate.BatchEstimator`; its keypoints are those of the configuration's data set.

    Scores are the model's own (the height of a heatmap's peak, or SimCC's), cut to [0, 1].
    """

    def __init__(
        self, argument: str = DEFAULT, masks: bool = False, device: str = "cpu", trust_config: bool = False, batch: int = 64
    ) -> None:
        """Build the model and read its weights.

        Args:
            argument: `CONFIG[,CHECKPOINT]`; see `gaitreid.pose.openmmlab.build`.
            batch: crops that the device is given at once.

        Raises:
            UsageError: see `gaitreid.pose.openmmlab.build`; or the model poses no people, or masks are asked for.
        """
        if masks:
            raise UsageError("mmpose gives no silhouettes: use --pose mediapipe for them")
        built = openmmlab.build("mmpose", argument, device, trust=trust_config)
        kind = type(built.model).__name__
        if kind not in KINDS:
            raise UsageError(f"mmpose:{built.name} is a {kind}, which does not pose people in pictures")
        self._model, self._batch = built.model, batch
        self._one_stage = kind != "TopdownPoseEstimator"
        self._half = device.startswith("cuda")
        width, height = _input_size(built.config, built.name)
        self.crop = Crop(width, height, KINDS[kind])
        self.skeleton = skeleton(_meta(built.config) or built.meta, built.name)

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        """See `BatchEstimator`."""
        chunks = (images[i : i + self._batch] for i in range(0, len(images), self._batch))
        return [self._estimate(found) for chunk in chunks for found in self._infer(np.stack(chunk))]

    def _infer(self, images: Image) -> Sequence[Any]:
        """Crops (N, height, width, 3) to mmpose's instances, a record of arrays for each crop."""
        import torch
        from mmpose.structures import PoseDataSample

        facts = {"input_size": (self.crop.width, self.crop.height)}
        samples = [PoseDataSample(metainfo=facts) for _ in images]
        pictures = torch.from_numpy(images).permute(0, 3, 1, 2)
        with openmmlab.quiet(), torch.inference_mode():
            data = self._model.data_preprocessor({"inputs": pictures, "data_samples": samples}, False)
            with torch.autocast("cuda", torch.float16, enabled=self._half):
                features = self._model.extract_feat(data["inputs"])
            # Decoders work on what NumPy and OpenCV take, and a head is a small part of the work.
            features = tuple(f.float() for f in features)
            head: Sequence[Any] = self._model.head.predict(features, samples, test_cfg=self._settings)
        return head

    @property
    def _settings(self) -> dict[str, Any]:
        return {**(self._model.test_cfg or {}), "flip_test": False, "output_heatmaps": False}

    def _estimate(self, found: Any) -> Estimate | None:
        """The instance that is meant: a top-down head gives one, a one-stage head all that it sees."""
        xy, score = np.asarray(found.keypoints), np.asarray(found.keypoint_scores)
        if not len(xy):
            return None
        best = self._nearest(np.asarray(found.bboxes), np.asarray(found.scores)) if self._one_stage else 0
        if not np.isfinite(xy[best]).all():
            return None
        count = len(self.skeleton.joints)
        return Estimate(
            xy[best].astype(np.float32),
            score[best].clip(0, 1).astype(np.float32),
            np.full((count, 3), np.nan, np.float32),
            None,
        )

    def _nearest(self, boxes: FloatArray, scores: FloatArray) -> int:
        """The surest person, less what they are off the crop's middle as a share of its size."""
        size = np.array([self.crop.width, self.crop.height])
        away = np.abs((boxes[:, :2] + boxes[:, 2:]) / 2 - size / 2) / size
        return int((scores - 2 * away.max(axis=1)).argmax())


def skeleton(meta: Mapping[str, Any], name: str) -> Skeleton:
    """The skeleton of a data set as mmpose describes it; one of ours where the joints are the same.

    Args:
        meta: with `keypoint_id2name` and `skeleton_links`.
        name: of the configuration, for messages.

    Raises:
        UsageError: it has no whole body.
    """
    if "keypoint_id2name" not in meta:
        raise UsageError(f"mmpose:{name} does not say what its keypoints are: its data set needs `metainfo`")
    theirs = [str(meta["keypoint_id2name"][i]) for i in range(len(meta["keypoint_id2name"]))]
    names = H36M if "neck_base" in theirs else ALIASES
    joints = tuple(names.get(joint, joint) for joint in theirs)
    lacking = [joint for joint in CORE if joint not in joints]
    if lacking:
        raise UsageError(f"mmpose:{name} poses no whole bodies: among its keypoints is no {lacking[0]}")
    known = next((s for s in SKELETONS.values() if s.joints == joints), None)
    edges = tuple((int(a), int(b)) for a, b in meta.get("skeleton_links", ()))
    return known or Skeleton(str(meta.get("dataset_name", name)), joints, edges)


def _meta(config: Any) -> Mapping[str, Any]:
    """What a configuration says of its data set; empty where it says nothing."""
    with openmmlab.quiet():
        from mmpose.datasets.datasets.utils import parse_pose_metainfo
        from mmpose.registry import DATASETS

        for split in ("train", "test"):
            data = config.get(f"{split}_dataloader", {}).get("dataset", {})
            named = DATASETS.get(data["type"]) if isinstance(data.get("type"), str) else None
            meta = data.get("metainfo") or getattr(named, "METAINFO", None)
            if meta:
                found: Mapping[str, Any] = parse_pose_metainfo(meta)
                return found
    return {}


def _input_size(config: Any, name: str) -> tuple[int, int]:
    """Width and height of the pictures that a model takes."""
    for step in _steps(config):
        if "input_size" in step:
            width, height = step["input_size"]
            return int(width), int(height)
    raise UsageError(f"mmpose:{name} does not say what size of pictures it takes: its test pipeline or codec needs `input_size`")


def _steps(config: Any) -> Iterator[Mapping[str, Any]]:
    """Where a configuration may state the size of its pictures: the test pipeline, the head's decoder."""
    yield from config.get("test_dataloader", {}).get("dataset", {}).get("pipeline", ())
    yield config["model"].get("head", {}).get("decoder") or {}
