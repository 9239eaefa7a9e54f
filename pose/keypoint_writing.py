"""Tracks to keypoint files of other tools: OpenPose, AlphaPose, COCO, MMPose and SLEAP. Tracks in, text or arrays out.

The reverse of `pose/keypoint_files.py`, which names the sources. A missing joint is 0, 0, 0 in texts and NaN in SLEAP's arrays.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gaitreid.pose.arrays import BoolArray, FloatArray
from gaitreid.pose.keypoint_files import Clip
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import Skeleton

NOT_FOUND_HERE = (
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
    "pose_keypoints_3d",
    "face_keypoints_3d",
    "hand_left_keypoints_3d",
    "hand_right_keypoints_3d",
)


def openpose_text(people: Iterable[tuple[int, FloatArray, FloatArray]]) -> str:
    """One frame as OpenPose writes it: track, (J, 2) and (J,) of everybody in it."""
    found = [
        {"person_id": [number], "pose_keypoints_2d": flat(xy, score), **{name: [] for name in NOT_FOUND_HERE}}
        for number, xy, score in people
    ]
    return json.dumps({"version": 1.3, "people": found}, allow_nan=False, separators=(",", ":"))


def alphapose_text(tracks: Mapping[int, Track2D]) -> str:
    """Tracks of one video as AlphaPose writes them for a video, tracked: pictures 0.jpg, 1.jpg ...

    AlphaPose's 0 is nobody: where a track has this number, all are one higher.
    """
    shift = 1 if 0 in tracks else 0
    rows = [
        {
            "image_id": f"{frame}.jpg",
            "category_id": 1,
            "keypoints": flat(track.xy[n], track.score[n]),
            "score": _short(track.score[n].mean()),
            "box": _as_xywh(track.box[n]),
            "idx": number + shift,
        }
        for frame, number, track, n in rows_of(tracks)
    ]
    return json.dumps(rows, allow_nan=False)


def coco_text(clips: Iterable[Clip], tracks: Iterable[Mapping[int, Track2D]]) -> str:
    """Videos as one file of COCO's annotations: videos and frames as PoseTrack has them, scores in `keypoint_scores`.

    Args:
        clips: name, skeleton, rate and size of each video; its frames are left.
        tracks: of each video, in its clip's skeleton.
    """
    videos: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    skeletons: list[Skeleton] = []
    for clip, own in zip(clips, tracks, strict=True):
        videos.append({"id": len(videos) + 1, "name": clip.name, "fps": clip.fps})
        if clip.skeleton not in skeletons:
            skeletons.append(clip.skeleton)
        for frame, number, track, n in rows_of(own):
            if not images or (images[-1]["video_id"], images[-1]["frame_id"]) != (len(videos), frame):
                images.append(_coco_image(len(images) + 1, len(videos), clip, frame))
            annotation = _coco_annotation(track, n)
            ids = {"id": len(annotations) + 1, "image_id": len(images), "track_id": number}
            annotations.append({**ids, "category_id": skeletons.index(clip.skeleton) + 1, **annotation})
    categories = [_coco_category(k, skeleton) for k, skeleton in enumerate(skeletons, 1)]
    whole = {"info": {"description": "gaitreid"}, "videos": videos, "images": images}
    return json.dumps({**whole, "categories": categories, "annotations": annotations}, allow_nan=False)


def mmpose_text(tracks: Mapping[int, Track2D], skeleton: Skeleton, last: int) -> str:
    """Tracks of one video as MMPose's demos write them, every frame to `last`; the track's number as `track_id`."""
    info: list[dict[str, Any]] = [{"frame_id": n + 1, "instances": []} for n in range(last + 1)]
    for frame, number, track, n in rows_of(tracks):
        triples = np.array(flat(track.xy[n], track.score[n])).reshape(-1, 3)
        info[frame]["instances"].append(
            {
                "keypoints": triples[:, :2].tolist(),
                "keypoint_scores": triples[:, 2].tolist(),
                "bbox": [_rounded(track.box[n])],
                "bbox_score": _short(track.score[n].mean()),
                "track_id": number,
            }
        )
    meta = {
        "dataset_name": skeleton.name,
        "num_keypoints": len(skeleton.joints),
        "keypoint_id2name": {str(k): joint for k, joint in enumerate(skeleton.joints)},
        "keypoint_name2id": {joint: k for k, joint in enumerate(skeleton.joints)},
        "skeleton_links": [list(edge) for edge in skeleton.edges],
    }
    return json.dumps({"meta_info": meta, "instance_info": info}, allow_nan=False)


def sleap_arrays(tracks: Mapping[int, Track2D], skeleton: Skeleton, video: str, last: int) -> dict[str, Any]:
    """Tracks of one video as the datasets of SLEAP's analysis file, in its own order of axes.

    Returns:
        `tracks` (K, 2, J, F), `track_occupancy` (F, K), `point_scores` (K, J, F), `instance_scores` and `tracking_scores` (K, F),
        `node_names`, `track_names`, `edge_names`, `edge_inds`, `labels_path`, `video_path`, `video_ind`, `provenance`.
    """
    count, joints, frames = len(tracks), len(skeleton.joints), last + 1
    points = np.full((count, 2, joints, frames), np.nan)
    scores = np.full((count, joints, frames), np.nan)
    occupied = np.zeros((frames, count), dtype=np.uint8)
    for k, track in enumerate(tracks.values()):
        points[k][..., track.frame] = track.xy.transpose(2, 1, 0)
        scores[k][:, track.frame] = np.where(_found(track.xy), track.score, np.nan).T
        occupied[track.frame, k] = 1
    with np.errstate(invalid="ignore"):
        mean = np.nansum(scores, axis=1) / np.isfinite(scores).sum(axis=1)
    return {
        "tracks": points,
        "track_occupancy": occupied,
        "point_scores": scores,
        "instance_scores": mean,
        "tracking_scores": np.where(occupied.T == 1, 0.0, np.nan),
        "node_names": list(skeleton.joints),
        "track_names": [f"track_{number}" for number in tracks],
        "edge_names": [[skeleton.joints[a], skeleton.joints[b]] for a, b in skeleton.edges],
        "edge_inds": np.array(skeleton.edges, dtype=np.int64).reshape(-1, 2),
        "labels_path": "",
        "video_path": video,
        "video_ind": 0,
        "provenance": "{}",
    }


def rows_of(tracks: Mapping[int, Track2D]) -> list[tuple[int, int, Track2D, int]]:
    """Everybody in every frame, in the order of frames and then of tracks: frame, track's number, track, row."""
    rows = [(int(frame), number, track, n) for number, track in tracks.items() for n, frame in enumerate(track.frame)]
    return sorted(rows, key=lambda row: row[:2])


def flat(xy: FloatArray, score: FloatArray) -> list[float]:
    """x, y, score of joint after joint, 0, 0, 0 where missing: (J, 2) and (J,) to 3 J numbers."""
    found = _found(xy)
    places = np.where(found[:, None], xy, 0).astype(np.float64).round(3)
    scores = np.where(found, score, 0).astype(np.float64).round(6)
    numbers: list[float] = np.concatenate([places, scores[:, None]], axis=-1).ravel().tolist()
    return numbers


def _found(xy: FloatArray) -> BoolArray:
    return np.asarray(np.isfinite(xy).all(axis=-1))


def _short(value: Any, digits: int = 6) -> float:
    return round(float(value), digits)


def _rounded(values: FloatArray) -> list[Any]:
    result: list[Any] = values.astype(np.float64).round(3).tolist()
    return result


def _as_xywh(box: FloatArray) -> list[float]:
    return _rounded(np.concatenate([box[:2], box[2:] - box[:2]]))


def _coco_image(number: int, video: int, clip: Clip, frame: int) -> dict[str, Any]:
    ids = {"id": number, "video_id": video, "frame_id": frame}
    return {**ids, "file_name": f"{clip.name}/{frame:06d}.jpg", "width": clip.width, "height": clip.height}


def _coco_annotation(track: Track2D, n: int) -> dict[str, Any]:
    triples = np.array(flat(track.xy[n], track.score[n])).reshape(-1, 3)
    found = _found(track.xy[n])
    scores = triples[:, 2].tolist()
    triples[:, 2] = np.where(found, 2, 0)
    box = _as_xywh(track.box[n])
    return {
        "keypoints": triples.ravel().tolist(),
        "num_keypoints": int(found.sum()),
        "keypoint_scores": scores,
        "bbox": box,
        "area": _short(box[2] * box[3], 2),
        "iscrowd": 0,
        "score": _short(track.score[n].mean()),
    }


def _coco_category(number: int, skeleton: Skeleton) -> dict[str, Any]:
    bones = [[a + 1, b + 1] for a, b in skeleton.edges]
    return {"id": number, "name": "person", "supercategory": "person", "keypoints": list(skeleton.joints), "skeleton": bones}
