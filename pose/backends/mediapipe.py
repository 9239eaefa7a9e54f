"""MediaPipe Pose (BlazePose GHUM, full model): 33 joints in 2D and 3D, and a mask. Its wheel carries the weights."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

import cv2
import numpy as np

from gaitreid.pose.estimate import Estimate
from gaitreid.pose.skeleton import BLAZEPOSE33
from gaitreid.pose.video import Image


class MediaPipe:
    """Fulfils `gaitreid.pose.estimate.PoseEstimator`.

    It finds the person in the first picture and follows them from then on, which costs two thirds of finding them in each.
    """

    skeleton = BLAZEPOSE33

    def __init__(self, masks: bool = False) -> None:
        self._masks = masks
        self._following = self._stale = False
        with _silent():
            # MediaPipe brings up absl and TensorFlow Lite, which talk on stderr before any logging is set up.
            from mediapipe.python.solutions.pose import Pose

            logging.getLogger("absl").setLevel(logging.ERROR)
            self._pose = Pose(
                model_complexity=1,
                smooth_landmarks=False,
                enable_segmentation=masks,
                smooth_segmentation=False,
                min_detection_confidence=0.3,
            )

    def __call__(self, image: Image) -> Estimate | None:
        """See `PoseEstimator`."""
        height, width = image.shape[:2]
        with _silent():  # a graph's threads talk when it starts, which they do by the end of its first picture
            if self._stale:
                self._pose.reset()
                self._stale = False
            found = self._pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        self._following = found.pose_landmarks is not None
        if found.pose_landmarks is None:
            return None
        points = np.array([(p.x * width, p.y * height, p.visibility) for p in found.pose_landmarks.landmark], np.float32)
        world = np.array([(p.x, p.y, p.z) for p in found.pose_world_landmarks.landmark], np.float32)
        mask = None if not self._masks or found.segmentation_mask is None else np.asarray(found.segmentation_mask)
        return Estimate(points[:, :2], points[:, 2], world, mask)

    def reset(self) -> None:
        """See `PoseEstimator`."""
        self._stale = self._following  # who follows nobody looks for somebody anyway; starting the graph anew costs ten frames


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what C++ libraries write to stderr from the user."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
