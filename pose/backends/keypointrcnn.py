"""Keypoint R-CNN of torchvision (He et al., Mask R-CNN, ICCV 2017): 17 joints of COCO in 2D. It finds the person by itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import UsageError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate
from gaitreid.pose.skeleton import COCO17
from gaitreid.pose.video import Image
from gaitreid.pose.weights import KNOWN, load_into, resolve

PUBLISHED = "keypointrcnn_resnet50_fpn"
SIDE = 384  # pixels of the picture's shorter side as the network sees it; at its default, 800, a frame takes seconds on a CPU
MIN_PERSON = 0.3  # probability below which a box holds nobody
PROPOSALS, PEOPLE = 300, 5  # places that are looked at in one picture, and people that are posed, the likeliest
NEAR = 0.2  # of the picture's side: how far from its middle the person that is meant usually is
# A keypoint's score is the logit at its maximum in a map that was trained by a softmax over places, so it is no probability.
# Detectron, from which the model comes, takes joints above 2 as seen; there the score here is one half.
SEEN = 2.0


class KeypointRcnn(BatchEstimator):
    """Fulfils `gaitreid.pose.estimate.BatchEstimator`. On a GPU it computes in half precision."""

    skeleton = COCO17
    crop = Crop(SIDE, SIDE, 1.6)

    def __init__(self, checkpoint: str = PUBLISHED, masks: bool = False, device: str = "cpu", batch: int = 16) -> None:
        """Build the model and read its weights.

        Args:
            checkpoint: a file of weights for torchvision's `keypointrcnn_resnet50_fpn`, or the name of known weights.
            masks: must be false: the model gives none.
            device: of torch.
            batch: crops that the device is given at once.

        Raises:
            UsageError: masks are asked for; the weights are not on this machine, or are another model's.
            FormatError: the file is no checkpoint, or has the wrong hash.
        """
        if masks:
            raise UsageError("keypointrcnn gives no silhouettes: use --pose mediapipe for them")
        import torch

        self._device, self._batch = torch.device(device), batch
        self._model = _model(checkpoint).to(self._device)

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        """See `BatchEstimator`."""
        chunks = (images[i : i + self._batch] for i in range(0, len(images), self._batch))
        return [_estimate(people, chunk[0]) for chunk in chunks for people in self._infer(np.stack(chunk))]

    def _infer(self, images: Image) -> Iterator[dict[str, FloatArray]]:
        """Crops (N, height, width, 3) to the people in each: arrays by name."""
        import torch

        pixels = torch.from_numpy(images).to(self._device).flip(-1).permute(0, 3, 1, 2) / 255  # BGR to RGB in 0 to 1
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._device.type == "cuda"):
            found = self._model(list(pixels))
        for people in found:
            yield {key: value.float().cpu().numpy() for key, value in people.items()}


def confidence(logit: FloatArray) -> FloatArray:
    """Scores in [0, 1] of keypoints from their logits, any shape."""
    return np.asarray(expit(logit - SEEN), dtype=np.float32)


def meant(boxes: FloatArray, scores: FloatArray, image: Image) -> int:
    """Which of the people is meant: likely, and near the picture's middle.

    Args:
        boxes: (N, 4) pixels.
        scores: (N,) probabilities.
    """
    size = np.array(image.shape[1::-1])
    away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - size / 2, axis=-1) / size.min()
    return int(np.argmax(scores * np.exp(-0.5 * (away / NEAR) ** 2)))


def _estimate(people: dict[str, FloatArray], image: Image) -> Estimate | None:
    if not len(people["scores"]):
        return None
    n = meant(people["boxes"], people["scores"], image)
    xy = people["keypoints"][n, :, :2].astype(np.float32)
    return Estimate(xy, confidence(people["keypoints_scores"][n]), np.full((len(xy), 3), np.nan, np.float32), None)


def load_weights(model: Any, checkpoint: str) -> None:
    """Weights into torchvision's `keypointrcnn_resnet50_fpn`.

    Args:
        checkpoint: a file, or the name of known weights.

    Raises:
        UsageError: the weights are not on this machine, or are another model's.
        FormatError: the file is no checkpoint, or has the wrong hash.
    """
    load_into(model, resolve(checkpoint), PUBLISHED)


def set_epsilon(model: Any, checkpoint: str) -> None:
    """Normalise without an epsilon, as torchvision does, where the weights are those that it publishes: they were trained so."""
    from torch.nn import BatchNorm2d
    from torchvision.ops import FrozenBatchNorm2d

    if Path(checkpoint).name in {PUBLISHED, KNOWN[PUBLISHED].file}:
        for module in model.modules():
            if isinstance(module, BatchNorm2d | FrozenBatchNorm2d):
                module.eps = 0.0


def _model(checkpoint: str) -> Any:
    """The model with weights, on the CPU, in evaluation mode."""
    from torchvision.models.detection import keypointrcnn_resnet50_fpn

    model = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=SIDE,
        max_size=2 * SIDE,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_score_thresh=MIN_PERSON,
        box_detections_per_img=PEOPLE,
    )
    load_weights(model, checkpoint)
    set_epsilon(model, checkpoint)
    return model.eval()
