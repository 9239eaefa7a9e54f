"""What comes out of a video: its facts, tracks in 2D and 3D, silhouettes."""

import math

from gaitreid.pose.arrays import ByteArray, FloatArray, IntArray, Record, array, record
from gaitreid.pose.skeleton import Skeleton

SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH = 64, 44


@record
class VideoInfo(Record):
    """Facts of a video, as seen upright (orientation tag honoured).

    Attributes:
        fps: frames a second as the container states it, or as the first frames come where it states far more; the mean rate where
            it varies.
        frames: number of frames as the container states it, 0 where it does not or its rate is wrong; not to be trusted.
        step: every step-th frame was used (1: all).
    """

    width: int
    height: int
    fps: float
    frames: int
    rotation: int = 0
    step: int = 1


@record
class Track2D(Record):
    """One person over the frames in which they were seen, in the image.

    Missing joints are NaN with score 0.

    Attributes:
        frame: original index of the frame in the video, rising, gaps allowed.
        time: seconds from the first frame of the video.
        box: x1, y1, x2, y2 of the person.
        score: the estimator's confidence in [0, 1].
        world: the estimator's own 3D if it gives one (NaN otherwise): metres, hip-centred, camera axes (x right, y down, z
            away from the camera).
    """

    frame: IntArray = array("T", dtype="i8", unit="frame")
    time: FloatArray = array("T", dtype="f8", unit="s")
    box: FloatArray = array("T", "4", dtype="f4", unit="px")
    xy: FloatArray = array("T", "J", "2", dtype="f4", unit="px")
    score: FloatArray = array("T", "J", dtype="f4")
    world: FloatArray = array("T", "J", "3", dtype="f4", unit="m")
    skeleton: Skeleton


@record
class Silhouettes(Record):
    """Size-normalised silhouettes of one track: height 64, centred, 44 wide, 255 inside (GaitGL's input, GAITTAKE D1).

    Attributes:
        scale, shift: x and y; a point p of the video's picture is at p * scale + shift in the silhouette, pixel centres at whole
            numbers in both. NaN where that is not known (imported ones, files of version 1.0).
    """

    frame: IntArray = array("T", dtype="i8", unit="frame")
    mask: ByteArray = array("T", "64", "44", dtype="u1")
    scale: FloatArray = array("T", "2", dtype="f8", default=math.nan)
    shift: FloatArray = array("T", "2", dtype="f8", unit="px", default=math.nan)


@record
class Track3D(Record):
    """One person over time in 3D, cleaned.

    Attributes:
        frame: original index of the frame in the video.
        time: seconds from the first frame of the video.
        xyz: metres from the pelvis, camera axes (x right, y down, z away from the camera); NaN is missing.
        score: in [0, 1]; 0 where missing or filled in.
        lifter: name of the lifter.
    """

    frame: IntArray = array("T", dtype="i8", unit="frame")
    time: FloatArray = array("T", dtype="f8", unit="s")
    xyz: FloatArray = array("T", "J", "3", dtype="f4", unit="m")
    score: FloatArray = array("T", "J", dtype="f4")
    skeleton: Skeleton
    lifter: str
