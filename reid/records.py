"""What is compared: windows of walking, their embeddings, rankings."""

import math

from gaitreid.pose.arrays import ByteArray, FloatArray, IntArray, Record, TextArray, array, record
from gaitreid.pose.skeleton import Skeleton


@record
class Tracks(Record):
    """Who and where: one row a track. Unknown labels are empty strings.

    Attributes:
        video: stem of the video.
        track: number of the track in its video.
        recording: one walk, over all its views: subject/condition/number, else the video.
    """

    video: TextArray = array("K", dtype="text")
    track: IntArray = array("K", dtype="i8")
    subject: TextArray = array("K", dtype="text")
    condition: TextArray = array("K", dtype="text")
    number: TextArray = array("K", dtype="text")
    view: TextArray = array("K", dtype="text")
    recording: TextArray = array("K", dtype="text")


@record
class Sequences(Tracks):
    """Windows of normalised walking, stored as frames and the places where windows start.

    A window n is rows start[n] ... start[n] + length - 1 of `xyz`, all of track window_track[n].

    Attributes:
        xyz: body coordinates; unit metre, or body heights where `normalize` is gait. After `gait`: x to the walker's left, y
            up, z forward; otherwise camera axes (x right, y down, z away).
        frame: original frame index of each row (the nearest, where frames were resampled to `fps`).
        fps: frames a second; 0 where every track keeps its own rate.
        normalize: none, root or gait.
    """

    xyz: FloatArray = array("F", "J", "3", dtype="f4", unit="m or body heights")
    frame: IntArray = array("F", dtype="i8", unit="frame")
    start: IntArray = array("N", dtype="i8", unit="row")
    window_track: IntArray = array("N", dtype="i8", unit="row")
    length: int
    fps: float
    normalize: str
    skeleton: Skeleton


@record
class Walks(Tracks):
    """Whole walks, frame by frame: silhouettes, and the keypoints of the same frames.

    Track k is rows start[k] ... start[k] + length[k] - 1.

    Attributes:
        frame: original frame index of each row.
        silhouette: 64 x 44 pixels, row by row from the top, a bit each (numpy.packbits); all zero where there is none.
        keypoints: x, y and score of COCO's 17 joints; missing ones are NaN with score 0.
        box: x1, y1, x2, y2 of the person in the picture that the keypoints are of; NaN where there is none.
        time: seconds from the first frame of the video; NaN where there are no keypoints of the video's pictures.
        outlined, posed: how many of a track's frames have a silhouette, and how many have keypoints.
        source: where the keypoints are from: rgb (the video's picture) or silhouette.
    """

    frame: IntArray = array("F", dtype="i8", unit="frame")
    silhouette: ByteArray = array("F", "352", dtype="u1")
    keypoints: FloatArray = array("F", "17", "3", dtype="f4", unit="px")
    box: FloatArray = array("F", "4", dtype="f4", unit="px")
    time: FloatArray = array("F", dtype="f8", unit="s", default=math.nan)
    start: IntArray = array("K", dtype="i8", unit="row")
    length: IntArray = array("K", dtype="i8", unit="row")
    outlined: IntArray = array("K", dtype="i8", unit="frame")
    posed: IntArray = array("K", dtype="i8", unit="frame")
    source: str


@record
class Embeddings(Tracks):
    """One vector a window and one a track.

    Attributes:
        window: vectors of windows.
        window_track: row of the track that each window belongs to.
        window_frame: original indices of the first and the last frame of each window.
        vector: vectors of tracks: the mean over their windows.
        encoder: name of the model, and `weights` the SHA-256 of its weights.
        form: mean (over the frames of a window) or sc (frames concatenated).
        whiten: how far the vectors are whitened, 0 to 1.
        parts: stretches of equal length that a vector has, each compared by itself.
        context: how many numbers at the end of each part say how the walk was seen, not whose it is: `match --metric robust`
            compares like with like by them, other distances leave them out.
    """

    window: FloatArray = array("N", "D", dtype="f4")
    window_track: IntArray = array("N", dtype="i8", unit="row")
    window_frame: IntArray = array("N", "2", dtype="i8", unit="frame")
    vector: FloatArray = array("K", "D", dtype="f4")
    encoder: str
    weights: str
    form: str
    whiten: float = 0.0
    parts: int = 1
    context: int = 0


@record
class Ranking(Record):
    """The gallery sorted for every probe, nearest first.

    Attributes:
        order: the gallery items by their rows of the embeddings, as in `gallery`; -1 where fewer were left after exclusion.
        distance: its distance; NaN where order is -1.
        probe, gallery: rows of the embeddings' tracks (or windows, by `unit`) that the probes and the gallery items are.
        excluded: gallery items that each probe was not compared with.
    """

    order: IntArray = array("P", "R", dtype="i4", unit="row")
    distance: FloatArray = array("P", "R", dtype="f4")
    probe: IntArray = array("P", dtype="i8", unit="row")
    gallery: IntArray = array("G", dtype="i8", unit="row")
    excluded: IntArray = array("P", dtype="i8")
    unit: str
    metric: str


@record
class Cohort(Record):
    """Vectors of people whom an encoder was trained on, one each; none where it was trained without labels."""

    vector: FloatArray = array("C", "D", dtype="f4")


@record
class Gallery(Record):
    """People by the tracks they were enrolled with.

    Attributes:
        name: whose track it is.
        video, track: where it was seen; `source` is the SHA-256 of the video.
        windows: of how many windows a vector is the mean.
        vector: of the track.
        encoder, weights, form, whiten, parts, context: as of `Embeddings`: only vectors made alike can be compared.
        pose, lifter: the settings `extract.pose` and `lift.lifter`, of files without their folders; empty where not known.
    """

    name: TextArray = array("K", dtype="text")
    video: TextArray = array("K", dtype="text")
    track: IntArray = array("K", dtype="i8")
    source: TextArray = array("K", dtype="text")
    windows: IntArray = array("K", dtype="i8")
    vector: FloatArray = array("K", "D", dtype="f4")
    encoder: str
    weights: str
    form: str
    whiten: float
    parts: int = 1
    context: int = 0
    pose: str = ""
    lifter: str = ""
