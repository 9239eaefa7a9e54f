"""People by networks: RTMDet and other detectors of mmdet's zoo, and those of torchvision. They are asked one frame at a time."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gaitreid.pose import openmmlab
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.detect import MIN_HEIGHT
from gaitreid.pose.errors import UsageError
from gaitreid.pose.video import Image
from gaitreid.pose.weights import load_into, resolve

RTMDET = "rtmdet_tiny_8xb32-300e_coco"
FASTER_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"
MIN_SCORE = 0.3  # of a proposal; the pose estimator then looks whether it is a person
SIDE = 640  # pixels of the longer side of the pictures that RTMDet was trained on


class RtmDet:
    """A detector of mmdet's; fulfils `gaitreid.pose.detect.Detector`."""

    def __init__(self, argument: str = "", device: str = "cpu", trust_config: bool = False) -> None:
        """Build the model and read its weights.

        Args:
            argument: `CONFIG[,CHECKPOINT]`; see `gaitreid.pose.openmmlab.build`.

        Raises:
            UsageError: see `gaitreid.pose.openmmlab.build`; or the model knows no people.
        """
        built = openmmlab.build("mmdet", argument or RTMDET, device, trust=trust_config)
        self._model = built.model
        self._person = _person(built)
        self._half = device.startswith("cuda")

    def see(self, image: Image) -> None:
        """See `gaitreid.pose.detect.Detector`."""

    def propose(self, image: Image) -> FloatArray:
        """See `gaitreid.pose.detect.Detector`."""
        import torch
        from mmdet.structures import DetDataSample

        scale = SIDE / max(image.shape[:2])
        resized = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        height, width = resized.shape[:2]
        padded = np.full((SIDE, SIDE, 3), 114, dtype=np.uint8)  # the grey that it was trained with
        padded[:height, :width] = resized
        facts = {"img_shape": (SIDE, SIDE), "ori_shape": (SIDE, SIDE), "scale_factor": (1.0, 1.0)}
        data = {"inputs": [torch.from_numpy(padded).permute(2, 0, 1)], "data_samples": [DetDataSample(metainfo=facts)]}
        with openmmlab.quiet(), torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._half):
            found = self._model.test_step(data)[0].pred_instances
        boxes = found.bboxes[(found.labels == self._person) & (found.scores > MIN_SCORE)]
        return tall(np.asarray(boxes.float().cpu()) / scale, image)


class TorchVision:
    """A detector of torchvision's; fulfils `gaitreid.pose.detect.Detector`."""

    def __init__(self, argument: str = "", device: str = "cpu", trust_config: bool = False) -> None:
        """Build the model and read its weights.

        Args:
            argument: the name of known weights, which is the model's, or a file of weights whose name begins with the model's.
            trust_config: of no use here, where nothing but weights is read.

        Raises:
            UsageError: the weights are not on this machine, or no model of torchvision's has this name, or they do not fit.
            FormatError: the file is no checkpoint.
        """
        import torch

        self._device = torch.device(device)
        self._model = _torchvision(resolve(argument or FASTER_RCNN)).to(self._device)

    def see(self, image: Image) -> None:
        """See `gaitreid.pose.detect.Detector`."""

    def propose(self, image: Image) -> FloatArray:
        """See `gaitreid.pose.detect.Detector`."""
        import torch

        pixels = torch.from_numpy(image).to(self._device).flip(-1).permute(2, 0, 1) / 255  # BGR to RGB in 0 to 1
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=self._device.type == "cuda"):
            (found,) = self._model([pixels])
        boxes = found["boxes"][(found["labels"] == 1) & (found["scores"] > MIN_SCORE)]  # COCO's first class is person
        return tall(np.asarray(boxes.float().cpu()), image)


def tall(boxes: FloatArray, image: Image) -> FloatArray:
    """The boxes (N, 4) that are high enough for somebody whose gait can be seen, (M, 4)."""
    kept = boxes[boxes[:, 3] - boxes[:, 1] >= MIN_HEIGHT * image.shape[0]]
    return np.asarray(kept, dtype=np.float64).reshape(-1, 4)


def _person(built: openmmlab.Built) -> int:
    """The label of people; COCO's, where neither the checkpoint nor the configuration says what the labels are."""
    stated = built.config.get("test_dataloader", {}).get("dataset", {}).get("metainfo") or built.meta
    classes = [str(name).lower() for name in (stated.get("classes") or stated.get("CLASSES") or ["person"])]
    if "person" not in classes:
        raise UsageError(
            f"rtmdet:{built.name} knows no people, but {', '.join(classes[:5])}: choose one that was trained on COCO"
        )
    return classes.index("person")


def _torchvision(path: Path) -> Any:
    """The model that a file's name begins with, with its weights, on the CPU, in evaluation mode."""
    from torchvision.models import detection, get_model, list_models

    known = sorted((name for name in list_models(module=detection) if path.name.startswith(name)), key=len)
    if not known:
        raise UsageError(f"{path}: its name does not begin with that of a detector of torchvision, such as {FASTER_RCNN}")
    model = get_model(known[-1], weights=None, weights_backbone=None)
    load_into(model, path, known[-1])
    return model.eval()
