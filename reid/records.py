"""What is compared: windows of walking, their embeddings, rankings."""

from gaitreid.pose.arrays import FloatArray, IntArray, Record, TextArray, array, record
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
        encoder, weights, form, whiten, parts: as of `Embeddings`: only vectors made alike can be compared.
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
