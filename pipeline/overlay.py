"""A video with what was found in it: boxes, skeletons, names."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.gallery import UNKNOWN
from gaitreid.pipeline.identify import Identity
from gaitreid.pipeline.picture import draw_bones
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import ItemError
from gaitreid.pose.video import Bounds, Image, frames

NAMED, STRANGER, INK = (90, 160, 60), (110, 110, 110), (255, 255, 255)  # BGR
HOLD = 0.4  # seconds for which a track's last keypoints stay where it was not posed in a frame
SMALLEST = 480  # height of the picture: smaller videos are enlarged, so that names can be read


def overlay(path: Path, identities: Sequence[Identity], bounds: Bounds = Bounds()) -> Path:  # noqa: B008
    """Write the video that the identities are of, with boxes, skeletons and names drawn in.

    Args:
        path: .mp4 or .avi.
        bounds: the largest video that is taken: those that it was named within.

    Raises:
        ItemError: `unreadable`: the video cannot be decoded any more, or `no-codec`: nothing can be written in this format.
    """
    video = identities[0].video
    info, stream = frames(video, bounds=bounds)
    scale = max(1, round(SMALLEST / info.height))
    size = (info.width * scale, info.height * scale)
    codec = cv2.VideoWriter.fourcc(*("mp4v" if path.suffix == ".mp4" else "MJPG"))
    with replacing(path) as temporary:
        written = temporary.with_name(temporary.name + path.suffix)  # OpenCV goes by the ending
        writer = cv2.VideoWriter(str(written), codec, info.fps / info.step, size)
        if not writer.isOpened():
            raise ItemError("no-codec", f"{path}: OpenCV has no encoder for {path.suffix} here; .avi always works")
        for frame in stream:
            picture = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
            for identity in identities:
                _draw(picture, identity, frame.time, scale)
            writer.write(picture)
        writer.release()
        written.replace(temporary)
    return path


def _draw(image: Image, identity: Identity, time: float, scale: int) -> None:
    """One track at a time, where it is seen then."""
    track = identity.person.track
    n = int(np.searchsorted(track.time, time + 1e-6)) - 1
    if n < 0 or time - track.time[n] > HOLD or time > track.time[-1] + 1e-6:
        return
    colour = STRANGER if identity.answer == UNKNOWN else NAMED
    draw_bones(image, track, n, float(scale), np.zeros(2))
    box: FloatArray = track.box[n] * scale
    label(image, box, identity.answer, identity.score if identity.answer != UNKNOWN else None, colour)


def label(image: Image, box: FloatArray, name: str, score: float | None, colour: tuple[int, int, int]) -> None:
    """A box with a name above it, or inside where there is no room above."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    cv2.rectangle(image, (x1, y1), (x2, y2), colour, 2, cv2.LINE_AA)
    words = name if score is None else f"{name} {score:.2f}"
    words = words.encode("ascii", "replace").decode()  # OpenCV knows no other letters
    (width, height), base = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 1)
    x = min(max(x1, 0), max(image.shape[1] - width - 8, 0))
    top = y1 - height - base - 6 if y1 > height + base + 6 else y1
    cv2.rectangle(image, (x, top), (x + width + 8, top + height + base + 6), colour, -1)
    cv2.putText(image, words, (x + 4, top + height + 3), cv2.FONT_HERSHEY_SIMPLEX, 0.6, INK, 1, cv2.LINE_AA)
