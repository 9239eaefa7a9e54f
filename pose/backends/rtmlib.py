"""RTMPose (Jiang et al., 2023) by rtmlib and onnxruntime: without mmpose, from an ONNX file whose outputs are SimCC's two."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.estimate import BatchEstimator, Crop, Estimate
from gaitreid.pose.skeleton import COCO17, HALPE26, Skeleton
from gaitreid.pose.video import Image
from gaitreid.pose.weights import resolve

PUBLISHED = "rtmlib-rtmpose-m"
INSTALL = "pip install --no-deps rtmlib onnxruntime"  # with what they ask for, a second OpenCV would come over the first
MARGIN = 1.25  # side of a crop over that of the box in it, with which these models were trained
SKELETONS: dict[int, Skeleton] = {len(s.joints): s for s in (COCO17, HALPE26)}


class RtmLib(BatchEstimator):
    """Fulfils `gaitreid.pose.estimate.BatchEstimator`; 17 joints of COCO or 26 of Halpe, whichever the file gives.

    Scores are SimCC's peaks, cut to [0, 1].
    """

    def __init__(self, model: str = PUBLISHED, masks: bool = False, device: str = "cpu") -> None:
        """Load the model.

        Args:
            model: an ONNX file, or the name of known weights.
            masks: must be false: the model gives none.
            device: of torch; a GPU is used where onnxruntime was built for it.

        Raises:
            UsageError: masks are asked for; rtmlib is not installed; the file is not here, or poses no people.
            FormatError: the file is no ONNX model, or has the wrong hash.
        """
        if masks:
            raise UsageError("rtmlib gives no silhouettes: use --pose mediapipe for them")
        path = resolve(model)
        self._tool = _tool(path, device)
        taken = self._tool.session.get_inputs()[0]
        self._one_by_one = isinstance(taken.shape[0], int)
        sizes = [size if isinstance(size, int) else 0 for size in taken.shape]
        if len(sizes) != 4 or sizes[1] != 3 or min(sizes[2:]) == 0:
            raise UsageError(f"{path}: takes {taken.name} {taken.shape}, expected pictures: batch, 3, height, width")
        self.crop = Crop(sizes[3], sizes[2], MARGIN)
        self._tool.model_input_size = (self.crop.width, self.crop.height)
        self.skeleton = self._skeleton(path)

    def batch(self, images: Sequence[Image]) -> list[Estimate | None]:
        """See `BatchEstimator`."""
        parts = [[image] for image in images] if self._one_by_one else [images] if images else []
        return [estimate for part in parts for estimate in self._pose(part)]

    def _pose(self, images: Sequence[Image]) -> list[Estimate]:
        size = np.array([self.crop.width, self.crop.height])
        # rtmlib's own crop is then the whole picture: it enlarges boxes by as much as this one is smaller.
        inner = [*(size / 2 - size / (2 * MARGIN)), *(size / 2 + size / (2 * MARGIN))]
        # The models were trained on RGB, and rtmlib leaves pictures as they are.
        prepared = [self._tool.preprocess(image[:, :, ::-1], inner)[0] for image in images]
        inputs = np.ascontiguousarray(np.stack(prepared).transpose(0, 3, 1, 2), np.float32)
        outputs = self._tool.session.run(None, {self._tool.session.get_inputs()[0].name: inputs})
        xy, score = self._tool.postprocess(outputs, size / 2, size)
        nowhere = np.full((len(self.skeleton.joints), 3), np.nan, np.float32)
        return [
            Estimate(points.astype(np.float32), values.clip(0, 1).astype(np.float32), nowhere, None)
            for points, values in zip(xy, score, strict=True)
        ]

    def _skeleton(self, path: Path) -> Skeleton:
        """What the outputs on an empty picture tell."""
        session = self._tool.session
        empty = np.zeros((1, 3, self.crop.height, self.crop.width), np.float32)
        outputs = session.run(None, {session.get_inputs()[0].name: empty})
        if len(outputs) != 2 or any(output.ndim != 3 for output in outputs):
            raise UsageError(f"{path}: has {len(outputs)} outputs, expected SimCC's two: name a model of RTMPose's")
        joints = outputs[0].shape[1]
        if joints not in SKELETONS:
            known = " or ".join(f"{count} ({s.name})" for count, s in SKELETONS.items())
            raise UsageError(f"{path}: gives {joints} keypoints, expected {known}")
        return SKELETONS[joints]


def _tool(path: Path, device: str) -> Any:
    try:
        import onnxruntime
        from rtmlib import RTMPose
    except ModuleNotFoundError as error:
        raise UsageError(f"--pose rtmlib needs the package {error.name}: {INSTALL}") from error
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        device = "cpu"
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it says what it loads
            return RTMPose(str(path), backend="onnxruntime", device=device)
    except Exception as error:  # onnxruntime's own classes are not public
        raise FormatError(f"{path}: cannot be read as an ONNX model: {error}") from error
