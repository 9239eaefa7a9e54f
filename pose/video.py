"""Videos to upright frames, one at a time."""

import contextlib
import os
import stat
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import ItemError
from gaitreid.pose.records import VideoInfo

Item = TypeVar("Item")
Image = NDArray[np.uint8]
PICTURES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"])
FALLBACK_FPS = 25.0  # where the container states no rate, or an absurd one
UNTIMED = 480  # frames a second: what is stated above it is absurd where no frame has a time
TIMED = 12  # frames at the start whose times are compared with the rate
OVERSTATED = 1.75  # times as fast as the frames come: twice is beyond it, even where times are whole milliseconds
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # the environment is where OpenCV looks for FFmpeg's options
LOUDNESS, QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"  # which it looks for once, before the first video
CONTAINERS = (
    "3g2,3gp,asf,av1,avi,dv,flv,h264,hevc,ivf,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,webm,"
    "yuv4mpegpipe"
)
FASTEST = 1000  # frames a second: a stream whose clock stands still ends, too
SQUARE, WIDEST = 1.02, 2.2  # width of a pixel over its height: nearer to 1 is the rounding of a scaler, farther off is absurd
LEAST_BYTES = 8  # of a frame in the tightest coding: a container that claims more frames than fit in it is wrong


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        index: as decoded, from 0.
        time: seconds from the first frame.
        image: (height, width, 3), BGR, upright, of square pixels (those of HDV and DVDs are not).
    """

    index: int
    time: float
    image: Image


@dataclass(frozen=True)
class Bounds:
    """The largest video that is read.

    Attributes:
        pixels: of a picture; 8K has 33 million.
        seconds: of the whole.
    """

    pixels: int = 40_000_000
    seconds: float = 86_400.0


def frames(path: Path, max_fps: float = 30.0, bounds: Bounds = Bounds()) -> tuple[VideoInfo, Iterator[Frame]]:
    """Facts of a video, and its frames in order; memory does not grow with its length.

    Args:
        max_fps: above it every n-th frame is used, n the nearest whole number (60 -> 30, 50 -> 25, 240 -> 30).

    Raises:
        ItemError: `not-a-file` (a pipe, a device, a folder), `unreadable` (no frame can be decoded), `not-a-video` (a picture),
            `too-large` (see `bounds`; also while frames are taken, where the container did not say how long it is).
    """
    length = size_of(path)
    if path.suffix.lower() in PICTURES or _is_picture(path):
        raise ItemError("not-a-video", "this is a picture")
    capture = _open(path)
    _check(capture, length, bounds)
    ok, decoded = capture.read()
    if not ok:
        capture.release()
        raise ItemError("unreadable", "no frame can be decoded: the file is empty, damaged or of an unknown format")
    first = np.asarray(decoded, dtype=np.uint8)
    stated = capture.get(cv2.CAP_PROP_FPS)
    fps = _rate(path, stated, max_fps)
    step = max(1, round(fps / max_fps))
    # FFmpeg mostly makes the number of frames from the length and the rate: where one is wrong, so is the other.
    count = 0 if fps < stated else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
    width, height = size = _shown(capture, first, rotation)
    info = VideoInfo(
        width=width,
        height=height,
        fps=float(fps),
        frames=max(0, count),
        rotation=rotation,
        step=step,
    )
    return info, _rest(capture, first, size, fps, step, bounds)


def is_still(path: Path, bounds: Bounds = Bounds()) -> bool:
    """Whether all frames of a video are one picture, as those are which OpenCV cannot convert: interlaced ones, from 4.13 on.

    Raises:
        ItemError: as `frames` does.
    """
    _, stream = frames(path, bounds=bounds)
    first = next(stream).image
    return all(np.array_equal(frame.image, first) for frame in stream)


def ahead(items: Iterator[Item], size: int) -> Generator[Item, None, None]:
    """The same items, made in a thread while those before them are worked on; at most `size` wait.

    What goes wrong while they are made is raised here.
    """
    waiting: Queue[Item | BaseException | None] = Queue(size)
    left = Event()

    def put(item: Item | BaseException | None) -> None:
        while not left.is_set():
            with contextlib.suppress(Full):
                return waiting.put(item, timeout=0.1)

    def make() -> None:
        try:
            for item in items:
                put(item)
                if left.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = Thread(target=make, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        thread.join()


def cut(image: Image, centre: FloatArray, scale: float, width: int, height: int) -> tuple[Image, FloatArray]:
    """Part of a picture, scaled; beyond the picture its edge carries on.

    Args:
        centre: (2,) pixels of the picture, the middle of the part.

    Returns:
        (height, width, 3), and the shift (2,): a point p of the picture lies at p * scale + shift.
    """
    size = np.array([width, height])
    shift = size / 2 - centre * scale
    first = np.ceil(shift).clip(0)  # pixels of the part that show the picture
    last = np.minimum(np.floor((np.array(image.shape[1::-1]) - 1) * scale + shift), size - 1)
    if (first > last).any() or ((first == 0).all() and (last == size - 1).all()):
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        part = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(part, dtype=np.uint8), shift
    # OpenCV carries edges on three times faster in two steps: a little beyond the picture, then stripes of the part.
    low, high = np.maximum(first - 1, 0), np.minimum(last + 1, size - 1)
    left, top = np.maximum((low - shift) // scale, 0).astype(int)
    right, bottom = np.ceil((high - shift) / scale).astype(int) + 1
    pad = int(1 / scale) + 2
    seen = cv2.copyMakeBorder(image[top:bottom, left:right], pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    x, y = shift + (np.array([left, top]) - pad) * scale - low
    columns, rows = (high - low + 1).astype(int).tolist()
    part = cv2.warpAffine(seen, np.array([[scale, 0, x], [0, scale, y]]), (columns, rows), flags=cv2.INTER_LINEAR)
    (west, north), (east, south) = low.astype(int).tolist(), (size - 1 - high).astype(int).tolist()
    return np.asarray(cv2.copyMakeBorder(part, north, south, west, east, cv2.BORDER_REPLICATE), dtype=np.uint8), shift


def _shown(capture: cv2.VideoCapture, image: Image, rotation: int) -> tuple[int, int]:
    """Width and height of an upright picture with square pixels, as players show it."""
    height, width = image.shape[:2]
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    aspect = across / down if across > 0 and down > 0 else 1.0
    if not SQUARE <= max(aspect, 1 / aspect) <= WIDEST:
        return width, height
    return (width, round(height * aspect)) if rotation % 180 else (round(width * aspect), height)


def _rest(
    capture: cv2.VideoCapture, image: Image, size: tuple[int, int], fps: float, step: int, bounds: Bounds
) -> Iterator[Frame]:
    """The first frame, already decoded, and those after it, of this width and height."""
    index, start, last = 0, capture.get(cv2.CAP_PROP_POS_MSEC), -1.0
    ok = True
    try:
        while ok:
            if index % step == 0:
                time = (capture.get(cv2.CAP_PROP_POS_MSEC) - start) / 1000
                if not time > last:  # some containers state no times, none that is a number, or the same one twice
                    time = last + step / fps
                last = time
                if max(time, index / FASTEST) > bounds.seconds:
                    raise ItemError("too-large", f"longer than {bounds.seconds / 3600:g} h (limits.hours): cut it")
                if image.ndim == 2:
                    image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
                if image.shape[1::-1] != size:
                    image = np.asarray(cv2.resize(image, size), dtype=np.uint8)
                yield Frame(index, max(time, 0.0), image)
            index += 1
            # Frames that are left out are only grabbed: decoding to BGR is most of their cost.
            ok = capture.grab()
            if ok and index % step == 0:
                ok, decoded = capture.retrieve()
                image = np.asarray(decoded, dtype=np.uint8)
    finally:
        capture.release()


def _rate(path: Path, stated: float, max_fps: float) -> float:
    """Frames a second: as stated, but not where frames would be left out for the ticks of a clock.

    What browsers record (WebM) and WMV say 1000 then, as their times are in milliseconds.
    """
    if not 0.5 <= stated <= 2000:
        return FALLBACK_FPS
    if round(stated / max_fps) <= 1:  # every frame is used
        return stated
    # These few frames are decoded twice: not all formats can be wound back to the first one, and kept they take memory.
    capture = _open(path)
    times = [capture.get(cv2.CAP_PROP_POS_MSEC) for _ in range(TIMED) if capture.grab()]
    capture.release()
    apart = [later - time for time, later in pairwise(times) if 0 < later - time <= 2000]  # the others are no times
    if not apart:
        return stated if stated <= UNTIMED else FALLBACK_FPS
    measured = 1000 / float(np.median(apart))
    return measured if stated > OVERSTATED * measured else stated


def hush() -> None:
    """OpenCV's complaints about damaged files and missing cameras, and FFmpeg's, go to stderr; ours say what matters."""
    level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # up to 4.12, and after
    level(0)
    os.environ.setdefault(LOUDNESS, QUIET)


def _open(path: Path) -> cv2.VideoCapture:
    hush()
    with _containers_alone():
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)  # `concat:a.avi` is a name of a file, too
    if not capture.isOpened():
        raise ItemError("unreadable", "cannot be opened: the file is empty, damaged or of an unknown format")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


@contextlib.contextmanager
def _containers_alone() -> Iterator[None]:
    """FFmpeg goes by content: playlists under a video's name would make it open other files, or addresses."""
    before = os.environ.get(OPTIONS)
    os.environ[OPTIONS] = f"protocol_whitelist;file|format_whitelist;{CONTAINERS}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OPTIONS]
        else:
            os.environ[OPTIONS] = before


def size_of(path: Path) -> int:
    """Bytes of a regular file: a pipe or a device would be waited for.

    Raises:
        ItemError: `unreadable`, or `not-a-file`.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise ItemError("unreadable", f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise ItemError("not-a-file", "a pipe, a device or a folder, not a video file")
    return facts.st_size


def _check(capture: cv2.VideoCapture, size: int, bounds: Bounds) -> None:
    """What the container claims, before memory is taken for it."""
    width, height = (int(capture.get(prop)) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    count, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    seconds = count / fps if fps > 0 else 0.0
    try:
        if width * height > bounds.pixels:
            most = f"{bounds.pixels / 1e6:g} megapixels are allowed (limits.megapixels)"
            raise ItemError("too-large", f"{width}x{height} pixels, {most}: scale it down")
        if seconds > bounds.seconds and count * LEAST_BYTES <= size:
            raise ItemError(
                "too-large", f"{seconds / 3600:.1f} h long, {bounds.seconds / 3600:g} are allowed (limits.hours): cut it"
            )
    except ItemError:
        capture.release()
        raise


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP"
