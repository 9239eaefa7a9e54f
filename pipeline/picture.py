"""A picture of a ranking: each probe, and beside it the gallery tracks nearest to it, with the keypoints that were found."""

from pathlib import Path

import cv2
import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.work import Work
from gaitreid.pose.arrays import FloatArray, IntArray
from gaitreid.pose.records import Track2D
from gaitreid.pose.video import Image, cut, frames
from gaitreid.reid.records import Embeddings, Ranking

TILE_WIDTH, TILE_HEIGHT = 150, 230  # pixels
CAPTION, GAP, BORDER = 24, 8, 4
INK, PAPER = (40, 40, 40), (255, 255, 255)
RIGHT, WRONG = (90, 160, 60), (70, 70, 215)  # BGR
SIDES = {"left": (235, 150, 40), "right": (40, 140, 255)}
MIDDLE = (250, 250, 250)


def ranking_picture(path: Path, work: Work, embeddings: Embeddings, ranking: Ranking, *, probes: int = 5, ranks: int = 4) -> Path:
    """Draw one probe a subject, and its first ranks; a border says whether it is the same subject.

    Args:
        path: .png or .jpg.
        ranking: of tracks (unit track).
        probes: the most that are drawn; the first of each subject.
    """
    rows = []
    _, first = np.unique(embeddings.subject[ranking.probe], return_index=True)
    for n in first[:probes]:
        subject = embeddings.subject[ranking.probe[n]]
        row = [_tile(work, embeddings, int(ranking.probe[n]), "probe", INK)]
        for place, item in enumerate(ranking.order[n, :ranks].tolist(), 1):
            if item >= 0:
                same = subject != "" and embeddings.subject[item] == subject
                row.append(_tile(work, embeddings, item, f"{place}.", RIGHT if same else WRONG))
        blank = np.full_like(row[0], 255)
        row += [blank] * (ranks + 1 - len(row))
        row.insert(1, np.full((row[0].shape[0], 2 * GAP, 3), 255, np.uint8))
        rows.append(np.hstack(row))
    picture = cv2.copyMakeBorder(np.vstack(rows), GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=PAPER)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    return path


def _tile(work: Work, embeddings: Embeddings, row: int, title: str, colour: tuple[int, int, int]) -> Image:
    """The middle frame of a track, cut out, under a caption."""
    video = str(embeddings.video[row])
    words = " ".join(str(getattr(embeddings, name)[row]) for name in ("subject", "condition", "view")).strip() or video
    image = _cutout(work, video, int(embeddings.track[row]))
    framed = cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_CONSTANT, value=colour)
    tile = cv2.copyMakeBorder(framed, CAPTION, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=PAPER)
    cv2.putText(tile, f"{title} {words}", (GAP, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return np.asarray(tile, dtype=np.uint8)


def _cutout(work: Work, video: str, track: int) -> Image:
    """A person with their keypoints; grey where the video is not there any more."""
    path = work.pose2d(video)
    found = store.read(path, "pose2d", Track2D, f"/tracks/{track:06d}")
    source = Path(str(store.attributes(path, "pose2d")["video_path"]))
    n = len(found.frame) // 2
    box = found.box[n]
    height = 1.2 * max(box[3] - box[1], (box[2] - box[0]) * TILE_HEIGHT / TILE_WIDTH)
    scale = TILE_HEIGHT / height
    whole = np.full((1, 1, 3), 200, np.uint8)
    if source.exists():
        whole = next(f.image for f in frames(source, max_fps=float("inf"))[1] if f.index == found.frame[n])
    image, shift = cut(whole, (box[:2] + box[2:]) / 2, scale, TILE_WIDTH, TILE_HEIGHT)
    draw_bones(image, found, n, scale, shift)
    return image


def draw_bones(image: Image, track: Track2D, n: int, scale: float, shift: FloatArray) -> None:
    """Bones of a track's n-th frame, left ones blue and right ones orange; a point p lies at p * scale + shift."""
    places: IntArray = np.rint(track.xy[n] * scale + shift).astype(int)
    names = track.skeleton.joints
    for a, b in track.skeleton.edges:
        sides = [side for side in SIDES if names[a].startswith(side) and names[b].startswith(side)]
        colour = SIDES[sides[0]] if sides else MIDDLE
        cv2.line(image, tuple(places[a].tolist()), tuple(places[b].tolist()), colour, 2, cv2.LINE_AA)
