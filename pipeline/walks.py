"""Stage: silhouettes and the keypoints of the same frames to whole walks in `walks.h5`, which models of walks learn from."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest
from gaitreid.pipeline.index import Index
from gaitreid.pipeline.labels import FIELDS, Labels
from gaitreid.pipeline.split import labels_of
from gaitreid.pipeline.work import Work, is_current, provenance
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import EmptyError
from gaitreid.pose.records import SILHOUETTE_HEIGHT, SILHOUETTE_WIDTH, Silhouettes, Track2D
from gaitreid.pose.skeleton import COCO17, remap
from gaitreid.reid.config import PackConfig
from gaitreid.reid.records import Walks

PIXELS = SILHOUETTE_HEIGHT * SILHOUETTE_WIDTH
INSIDE = 127  # grey above this is inside
FRAMES = ("frame", "silhouette", "keypoints", "box", "time")  # of a walk: row by row
EDGE = 0.01  # of the picture's width: a box that is so near ends there


def pack(work: Work, config: PackConfig, console: Console) -> Path:
    """Bring all tracks together, aligned by video, number of the track and frame.

    A track that has silhouettes keeps the frames that have one; one of keypoints alone keeps all its frames.

    Raises:
        EmptyError: no track is long enough.
    """
    files = sources(work, config)
    stems = list(files)
    index = Index(work)
    made_from = made_of(index, files)
    index.save()
    if is_current(work.walks, "walks", config, made_from):
        return work.walks
    rows: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    with console.progress("pack", len(stems), "videos") as progress:
        for count, stem in enumerate(stems, 1):
            for row in _tracks(stem, *files[stem], config):
                if len(row["frame"]) < config.min_frames:
                    left_out["too-short"] += 1
                    console.detail(f"pack: {stem} track {row['track']}: too-short: {len(row['frame'])} frames")
                    continue
                rows.append(row)
            progress(count)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    if not rows:
        raise EmptyError(
            f"no walk of {config.min_frames} frames came out of {counted(len(stems), 'videos')} ({reasons or 'no tracks'}): "
            "run `gaitreid extract VIDEOS... --silhouettes` or `gaitreid import silhouettes FOLDER` first"
        )
    walks = _joined(rows, config.keypoints)
    store.write(work.walks, "walks", {"/walks": walks}, {**provenance(config, made_from), "left_out": json.dumps(left_out)})
    console.say(f"pack: {_summary(walks)}" + (f"; left out: {reasons}" if reasons else ""))
    return work.walks


def walk(mask: Silhouettes | None, pose: Track2D, width: float, config: PackConfig) -> Walks:
    """One track as the only walk, without labels; `width` is that of its picture."""
    arrays = _whole(_frames(mask, pose, "rgb"), width if config.whole else 0.0, config.min_frames)
    row = {"video": "", "track": 1, "recording": "", **Labels().as_dict(), **_counted(arrays)}
    return _joined([row], "rgb")


def sources(work: Work, config: PackConfig) -> dict[str, tuple[Path, Path]]:
    """Silhouettes and keypoints of each video that has either, by stem in order."""
    posed = work.pose2d if config.keypoints == "rgb" else work.silhouette_pose2d
    stems = sorted({*work.stems("silhouettes"), *work.stems(posed("").parent.name)})
    return {stem: (work.silhouettes(stem), posed(stem)) for stem in stems}


def made_of(index: Index, files: Mapping[str, tuple[Path, Path]]) -> str:
    """SHA-256 of what walks are made from: those of `sources` that are there, by name.

    Raises:
        FormatError: one of them cannot be read.
    """
    schemas = ("silhouettes", "pose2d")
    there = ((stem, path, schema) for stem in files for path, schema in zip(files[stem], schemas, strict=True) if path.exists())
    return digest(f"{stem} {index.known(path, schema).sha256}" for stem, path, schema in there)


def outlines(path: Path) -> dict[str, Silhouettes]:
    """Silhouettes of a video's tracks, by number; of those tracks in which any was found."""
    return {name: of for name, of in store.read_all(path, "silhouettes", Silhouettes).items() if len(of.frame)}


def _tracks(stem: str, silhouettes: Path, keypoints: Path, config: PackConfig) -> list[dict[str, Any]]:
    """The tracks of one video, each the columns of its row and the arrays of its frames."""
    masks = outlines(silhouettes) if silhouettes.exists() else {}
    poses = store.read_all(keypoints, "pose2d", Track2D) if keypoints.exists() else {}
    attributes = store.attributes(keypoints, "pose2d") if keypoints.exists() else store.attributes(silhouettes, "silhouettes")
    of_video = Labels(**{name: str(attributes.get(name, "")) for name in FIELDS})
    both: dict[str, Silhouettes | Track2D] = {**masks, **poses}
    labels = labels_of({int(name): track for name, track in both.items()}, of_video)
    width = float(attributes.get("width", 0)) if config.whole else 0.0
    return [
        {
            "video": stem,
            "track": int(name),
            "recording": of_video.recording(stem),
            **labels[int(name)].as_dict(),
            **_counted(_whole(_frames(masks.get(name), poses.get(name), config.keypoints), width, config.min_frames)),
        }
        for name in sorted(both)
    ]


def _frames(mask: Silhouettes | None, pose: Track2D | None, source: str) -> dict[str, Any]:
    """The arrays of one track, row by row."""
    own = mask if mask is not None else pose
    assert own is not None
    frame = own.frame
    count = len(frame)
    bits = np.zeros((count, PIXELS // 8), dtype=np.uint8)
    if mask is not None:
        bits = np.packbits(mask.mask.reshape(count, -1) > INSIDE, axis=1)
    keypoints, box, time = (
        np.full((count, len(COCO17.joints), 3), np.nan, dtype=np.float32),
        np.full((count, 4), np.nan, dtype=np.float32),
        np.full(count, np.nan),
    )
    keypoints[..., 2] = 0
    if pose is not None:
        mine, theirs = np.intersect1d(frame, pose.frame, return_indices=True)[1:]
        keypoints[mine], box[mine] = _coco(pose)[theirs], pose.box[theirs]
        if source == "rgb":  # silhouettes do not say when; and centred as they are, their boxes show no way that somebody goes
            time[mine] = pose.time[theirs]
    return {"frame": frame, "silhouette": bits, "keypoints": keypoints, "box": box, "time": time}


def _whole(arrays: dict[str, Any], width: float, least: int) -> dict[str, Any]:
    """Without the rows in which the box reaches an edge of a picture of this width, where enough others are left."""
    left, right = arrays["box"][:, 0], arrays["box"][:, 2]
    edge = EDGE * width
    whole = ~((left <= edge) | (right >= width - edge))  # an unknown box is none that is cut
    return {name: rows[whole] for name, rows in arrays.items()} if width and whole.sum() >= least else arrays


def _counted(arrays: dict[str, Any]) -> dict[str, Any]:
    """With how many rows have a silhouette, and keypoints."""
    outlined, posed = arrays["silhouette"].any(axis=1), (arrays["keypoints"][..., 2] > 0).any(axis=1)
    return {**arrays, "outlined": int(outlined.sum()), "posed": int(posed.sum())}


def _coco(pose: Track2D) -> FloatArray:
    """x, y, score of COCO's joints in every frame (T, 17, 3); those that the estimator lacks are missing."""
    xy, score = remap(pose.xy, pose.score, pose.skeleton, COCO17, partial=True)
    return np.concatenate([xy, np.where(np.isnan(xy).any(axis=-1), 0, score)[..., None]], axis=-1).astype(np.float32)


def _joined(rows: list[dict[str, Any]], source: str) -> Walks:
    length = np.array([len(row["frame"]) for row in rows])
    frames = {name: np.concatenate([row.pop(name) for row in rows]) for name in FRAMES}
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Walks(**columns, **frames, start=np.cumsum(length) - length, length=length, source=source)


def _summary(walks: Walks) -> str:
    text = f"{counted(len(walks.video), 'walks')}, {len(walks.frame)} frames"
    for words, missing in (("silhouettes", walks.outlined == 0), ("keypoints", walks.posed == 0)):
        if missing.any():
            text += f", without {words}: {missing.sum()}"
    share = walks.posed[walks.outlined > 0].sum() / max(walks.length[walks.outlined > 0].sum(), 1)
    return text + (f"; {share:.0%} of the silhouettes have keypoints" if 0 < share < 1 else "")
