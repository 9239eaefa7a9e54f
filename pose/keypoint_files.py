"""Keypoint files of other tools: OpenPose, AlphaPose, COCO, MMPose and SLEAP. Text or arrays in, people by frame out.

Joints get this package's names (`pose/skeleton.py`). A joint with score 0 is missing: NaN. Sources: OpenPose, doc/02_output.md;
AlphaPose, docs/output.md and `write_json`; COCO, format-data and format-results; MMPose, `split_instances` and
`parse_pose_metainfo`; SLEAP, `write_tracking_h5.py`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gaitreid.pose.arrays import BoolArray, FloatArray
from gaitreid.pose.errors import FormatError
from gaitreid.pose.skeleton import ALIASES, BODY25, COCO17, COCO18, H36M17, HALPE26, SKELETONS, Skeleton

LARGEST = 1e6  # pixels: no picture is so large
LAST = 10_000_000  # frames: more than 100 hours
OCCLUDED = 0.5  # score of a joint that COCO's annotators labelled and could not see

Frames = dict[int, list["Person"]]


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one frame.

    Attributes:
        xy: (J, 2) pixels; NaN is missing.
        score: (J,) in [0, 1]; 0 where missing.
        box: (4,) x1, y1, x2, y2, where the file has it.
        track: who it is over the frames, where the file says so.
    """

    xy: FloatArray
    score: FloatArray
    box: FloatArray | None = None
    track: int | None = None

    @cached_property
    def extent(self) -> tuple[FloatArray, FloatArray]:
        """Least and largest x and y of the joints that are there: (2,) each."""
        return np.fmin.reduce(self.xy), np.fmax.reduce(self.xy)


@dataclass(frozen=True, eq=False)
class Clip:
    """What a file knows of one video.

    Attributes:
        name: of the video; empty where the file does not say.
        frames: every frame that the file names, also those in which nobody is.
        fps: frames a second, None where the file does not say.
        width, height: pixels, 0 where the file does not say.
    """

    name: str
    skeleton: Skeleton
    frames: Frames = field(default_factory=dict)
    fps: float | None = None
    width: int = 0
    height: int = 0


def openpose(texts: Iterable[tuple[int, bytes]], where: str) -> Clip:
    """OpenPose's files of one video, BODY_25 or COCO-18, one a frame. Faces and hands are left.

    Args:
        texts: of each frame its index and the file's text.

    Raises:
        FormatError: a text is no such file.
    """
    frames: Frames = {}
    for index, text in texts:
        place = f"{where}: frame {index}"
        if index in frames:
            raise FormatError(f"{place} is there twice")
        frames[_index(index, place)] = _openpose_people(_loads(text, place), place)
    return _clip(frames, where, {25: BODY25, 18: COCO18})


def alphapose(text: bytes, where: str) -> Clip:
    """AlphaPose's alphapose-results.json, also in its forms `open` and `cmu`: COCO's 17 joints, Halpe's 26, or more's body.

    Raises:
        FormatError: it is no such file.
    """
    data = _loads(text, where)
    if isinstance(data, dict):
        of_image = {str(image): _openpose_people(people, f"{where}: {image}") for image, people in data.items()}
        frames = {index: of_image[image] for image, index in frame_indices(of_image).items()}
        return _clip(frames, where, {18: COCO18, 17: COCO17})
    rows = [_dict(row, f"{where}: entry {n}") for n, row in enumerate(_list(data, where))]
    number = frame_indices([str(_get(row, "image_id", where)) for row in rows])
    frames = {index: [] for index in sorted(number.values())}
    for n, row in enumerate(rows):
        place = f"{where}: entry {n}"
        triples = _triples(_get(row, "keypoints", place), place)
        triples = triples[: {133: 17, 136: 26}.get(len(triples), len(triples))]
        # Without tracking it writes 0 for everybody.
        person = _person(triples, _xywh(row.get("box"), place), _track(row.get("idx")) or None)
        frames[number[str(row["image_id"])]].append(person)
    return _clip(frames, where, {17: COCO17, 26: HALPE26})


def coco(text: bytes, where: str, annotations: bytes | None = None) -> list[Clip]:
    """COCO's annotations of keypoints, or its results: a clip for each video (`videos`, as in PoseTrack) or folder of pictures.

    Args:
        annotations: the file that says which pictures the results are of; without it they are taken for one video's.

    Raises:
        FormatError: it is no such file.
    """
    data = _loads(text, where)
    if isinstance(data, dict):
        return _coco_clips(data, _list(_get(data, "annotations", where), where), where, results=False)
    rows = _list(data, where)
    if annotations is not None:
        return _coco_clips(_dict(_loads(annotations, where), where), rows, where, results=True)
    ids = dict.fromkeys(str(_get(_dict(row, where), "image_id", where)) for row in rows)
    images = [{"id": image, "file_name": image} for image in ids]
    return _coco_clips({"images": images}, [{**row, "image_id": str(row["image_id"])} for row in rows], where, results=True)


def mmpose(text: bytes, where: str) -> Clip:
    """What MMPose's demos (`{meta_info, instance_info}`; frames from 1) and its inferencer (a list; frames from 0) write.

    Raises:
        FormatError: it is no such file, or names no joints and has neither 17 nor 26.
    """
    data = _loads(text, where)
    with_names = isinstance(data, dict)
    entries = _list(_get(data, "instance_info", where) if with_names else data, where)
    if entries and not with_names and "instances" not in _dict(entries[0], where):  # one picture
        entries = [{"frame_id": 0, "instances": entries}]
    frames: Frames = {}
    for n, entry in enumerate(entries):
        place = f"{where}: entry {n}"
        index = _index(_get(_dict(entry, place), "frame_id", place), place)
        if index in frames:
            raise FormatError(f"{place}: frame {index} is there twice")
        people = _list(_get(entry, "instances", place), place)
        frames[index] = [_mmpose_person(_dict(person, place), place) for person in people]
    if with_names and frames and min(frames) > 0:
        frames = {index - 1: people for index, people in frames.items()}
    return _clip(frames, where, {17: COCO17, 26: HALPE26}, _mmpose_skeleton(data, where) if with_names else None)


def sleap(arrays: Mapping[str, Any], where: str) -> Clip:
    """SLEAP's analysis file, in either order of its axes.

    Args:
        arrays: datasets by name, as `pipeline.store.read_sleap` gives them: `tracks`, `node_names` and, where they are there,
            `point_scores`, `track_names`, `edge_inds`, `video_path`; under `dims` the names of axes.

    Raises:
        FormatError: an array has a shape that does not fit.
    """
    names = [str(name) for name in arrays.get("node_names", ())]
    order = _sleap_order(arrays, len(names), where)
    points = _numeric(arrays["tracks"], where).transpose([order.index(axis) for axis in ("frame", "track", "node", "xy")])
    found: BoolArray = np.asarray(np.isfinite(points).all(axis=-1))
    if np.abs(points[found]).max(initial=0) > LARGEST:
        raise FormatError(f"{where}: tracks: a coordinate is beyond {LARGEST:g} pixels")
    scores = _sleap_scores(arrays, order, found, where)
    given = arrays.get("edge_inds")
    edges = _edges([] if given is None else _numeric(given, f"{where}: edge_inds").tolist(), where)
    skeleton = skeleton_of(names, edges, "sleap", where)
    _index(len(points), where)
    frames: Frames = {}
    for index in range(len(points)):
        seen = np.flatnonzero(found[index].any(axis=-1)).tolist()
        frames[index] = [
            _person(np.concatenate([points[index, k], scores[index, k, :, None]], axis=-1), None, k + 1) for k in seen
        ]
    name = PurePosixPath(str(arrays.get("video_path", "")).replace("\\", "/")).stem
    return replace(_clip(frames, where, {}, skeleton), name=name)


def skeleton_of(names: list[str], edges: list[tuple[int, int]], name: str, where: str) -> Skeleton:
    """A skeleton from the names in a file: a built-in one where they are its joints in its order, else one of its own.

    Raises:
        FormatError: a name is there twice, or an edge has a joint that is not there.
    """
    joints = joint_names(names)
    known = _BY_JOINTS.get(tuple(names)) or _BY_JOINTS.get(joints)
    if known:
        return known
    if len(set(joints)) < len(joints) or not joints:
        raise FormatError(f"{where}: names of joints are {'not all different' if names else 'missing'}: {', '.join(names)}")
    if any(not 0 <= i < len(joints) for edge in edges for i in edge):
        raise FormatError(f"{where}: an edge has a joint that is not there")
    return Skeleton(name, joints, tuple(edges))


def joint_names(names: Sequence[str]) -> tuple[str, ...]:
    """Joints' names as they are written here: `LBigToe`, `big toe L` and `left_big_toe` are the same, `MidHip` is the pelvis.

    A joint keeps its own name where another one has ours: MPI-INF-3DHP has a `head` below its `head_top`.
    """
    spelt = [_spelt(name) for name in names]
    return tuple(name if ALIASES.get(name) in spelt else ALIASES.get(name, name) for name in spelt)


def _spelt(name: str) -> str:
    """The side first, then the words, all in small letters."""
    words = [_SIDES.get(word.lower(), word.lower()) for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
    words.sort(key=lambda word: word not in ("left", "right"))  # the side first, the others in their order
    return "_".join(words) or name


_SIDES = {"l": "left", "r": "right"}
# MMPose calls Human3.6M's ankles feet and its nose the neck's base.
_MMPOSE_H36M = (
    "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist"
)
_BY_JOINTS = {s.joints: s for s in SKELETONS.values()} | {tuple(_MMPOSE_H36M.split()): H36M17}


def _loads(text: bytes, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: not JSON: {error}") from error


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _get(data: dict[str, Any], name: str, where: str) -> Any:
    if name not in data:
        raise FormatError(f"{where}: has no '{name}'")
    return data[name]


def _dict(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object with names, found {_brief(value)}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"{where}: expected a list, found {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"


def _numeric(value: Any, where: str) -> FloatArray:
    """Numbers and nothing else: texts, truth values and ragged lists are refused."""
    try:
        found = np.array(value)
    except (ValueError, OverflowError) as error:
        raise FormatError(f"{where}: not an array of numbers: {error}") from error
    if found.size and found.dtype.kind not in "iuf":
        raise FormatError(f"{where}: expected numbers, found {_brief(value)}")
    return found.astype(np.float64)


def _places(value: Any, where: str) -> FloatArray:
    """Numbers that can be pixels."""
    found = _numeric(_list(value, where), where)
    if not (np.abs(found) <= LARGEST).all():
        raise FormatError(f"{where}: a number is beyond {LARGEST:g}")
    return found


def _triples(value: Any, where: str) -> FloatArray:
    """x, y, score of joint after joint: (J, 3)."""
    found = _places(value, where)
    if found.ndim != 1 or found.size % 3:
        raise FormatError(f"{where}: {found.size} numbers of keypoints, expected x, y and score of each joint")
    return found.reshape(-1, 3)


def _person(triples: FloatArray, box: FloatArray | None, track: int | None) -> Person:
    missing: BoolArray = ~(triples[:, 2] > 0) | np.isnan(triples).any(axis=1)
    xy = np.where(missing[:, None], np.nan, triples[:, :2])
    score = np.where(missing, 0, triples[:, 2].clip(0, 1))
    return Person(xy.astype(np.float32), score.astype(np.float32), box, track)


def _xywh(value: Any, where: str) -> FloatArray | None:
    """A box of x, y, width, height as its corners; None where there is none or it is empty."""
    if value is None or value == []:
        return None
    box = _places(value, where)
    if box.shape != (4,):
        raise FormatError(f"{where}: a box has shape {box.shape}, expected x, y, width and height")
    return np.concatenate([box[:2], box[:2] + box[2:]]) if (box[2:] > 0).all() else None


def _corners(value: Any, where: str) -> FloatArray | None:
    if value is None or value == []:
        return None
    box = _places(value, where).reshape(-1)
    if box.shape != (4,):
        raise FormatError(f"{where}: a box has {box.size} numbers, expected x1, y1, x2, y2")
    return box if (box[2:] > box[:2]).all() else None


def _track(value: Any) -> int | None:
    """A track's number; None where it is none, such as OpenPose's -1."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**31 or value != int(value):
        return None
    return int(value)


def _index(value: Any, where: str) -> int:
    if not _is_index(value):
        raise FormatError(f"{where}: a frame's number is {_brief(value)}, expected 0 to {LAST}")
    return int(value)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LAST


def frame_indices(images: Iterable[str]) -> dict[str, int]:
    """The number that each picture's name ends with; the places in natural order where not all have one of their own."""
    names = list(dict.fromkeys(images))
    numbers = [re.search(r"(\d{1,12})$", PurePosixPath(name.replace("\\", "/")).stem) for name in names]
    found = [int(n[1]) for n in numbers if n]
    if len(set(found)) == len(names) and max(found, default=0) <= LAST:
        return dict(zip(names, found, strict=True))
    return {name: place for place, name in enumerate(sorted(names, key=natural))}


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key to sort by in which 10 comes after 9."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d{1,18})", text) if part]


def _openpose_people(data: Any, where: str) -> list[Person]:
    """OpenPose's frame, or AlphaPose's forms of it."""
    frame = _dict(data, where)
    cmu = "bodies" in frame
    people = []
    for n, entry in enumerate(_list(_get(frame, "bodies" if cmu else "people", where), where)):
        place = f"{where}: person {n}"
        person = _dict(entry, place)
        keypoints = person.get("joints" if cmu else "pose_keypoints_2d", person.get("pose_keypoints", []))
        triples = _triples(keypoints, place)
        if len(triples):  # else only a face or hands
            people.append(_person(triples, None, _track(person.get("person_id"))))
    return people


def _mmpose_person(person: dict[str, Any], where: str) -> Person:
    xy = _places(_get(person, "keypoints", where), where)
    score = _places(_get(person, "keypoint_scores", where), where)
    if xy.ndim != 2 or xy.shape[1] not in (2, 3) or score.shape != xy.shape[:1]:
        raise FormatError(f"{where}: keypoints of shape {xy.shape} and scores of shape {score.shape} do not fit")
    if xy.shape[1] == 3:
        raise FormatError(f"{where}: keypoints are in 3D: this reads those in 2D")
    triples = np.concatenate([xy, score[:, None]], axis=1)
    return _person(triples, _corners(person.get("bbox"), where), _track(person.get("track_id")))


def _mmpose_skeleton(data: dict[str, Any], where: str) -> Skeleton | None:
    """The skeleton that `meta_info` names, if it does."""
    meta = _dict(data.get("meta_info", {}), f"{where}: meta_info")
    names = meta.get("keypoint_id2name")
    if not names:
        return None
    of_place = {str(k): str(name) for k, name in _dict(names, f"{where}: keypoint_id2name").items()}
    if any(str(k) not in of_place for k in range(len(of_place))):
        raise FormatError(f"{where}: keypoint_id2name does not number the joints from 0")
    links = _edges(meta.get("skeleton_links", []), where)
    return skeleton_of([of_place[str(k)] for k in range(len(of_place))], links, str(meta.get("dataset_name", "mmpose")), where)


def _edges(value: Any, where: str, first: int = 0) -> list[tuple[int, int]]:
    """Pairs of joints, numbered from `first`."""
    if isinstance(value, dict):  # MMEngine writes arrays so
        value = value.get("value", [])
    pairs = _numeric(_list(value, where), f"{where}: bones")
    if pairs.size == 0:
        return []
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not (np.abs(pairs) <= LAST).all():
        raise FormatError(f"{where}: bones have shape {pairs.shape}, expected pairs of joints")
    return [(int(a) - first, int(b) - first) for a, b in pairs.tolist()]


def _coco_clips(data: dict[str, Any], rows: list[Any], where: str, *, results: bool) -> list[Clip]:
    """A clip for each video or folder that the pictures are of."""
    groups = _coco_groups(data, where)
    frames: dict[str, Frames] = {}
    place_of: dict[str, tuple[str, int]] = {}
    for key, images in groups.items():
        index = _coco_indices(images, where)
        frames[key] = {n: [] for n in index.values()}
        place_of |= {image: (key, n) for image, n in index.items()}
    known = _coco_skeletons(data, where)
    skeletons: dict[str, Skeleton] = {}
    for n, entry in enumerate(rows):
        place = f"{where}: annotation {n}"
        row = _dict(entry, place)
        if not row.get("keypoints") or row.get("iscrowd"):
            continue
        image = str(_get(row, "image_id", place))
        if image not in place_of:
            raise FormatError(f"{place}: there is no picture '{image[:40]}'")
        key, frame = place_of[image]
        frames[key][frame].append(_coco_person(row, place, flags=not results))
        category = known.get(str(row.get("category_id")))
        if category and skeletons.setdefault(key, category) != category:
            raise FormatError(f"{place}: '{key}' has people of several skeletons")
    videos = {str(_get(_dict(video, where), "id", where)): video for video in _list(data.get("videos", []), where)}
    return [
        _coco_clip(key, frames[key], images[0], videos.get(key, {}), skeletons.get(key), where) for key, images in groups.items()
    ]


def _coco_groups(data: dict[str, Any], where: str) -> dict[str, list[dict[str, Any]]]:
    """Pictures by the id of their video, or by their folder."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in _list(_get(data, "images", where), where):
        image = _dict(entry, f"{where}: images")
        folder = PurePosixPath(str(_get(image, "file_name", where)).replace("\\", "/")).parent
        groups.setdefault(str(image.get("video_id", folder)), []).append(image)
    return groups


def _coco_clip(
    key: str, frames: Frames, image: dict[str, Any], video: dict[str, Any], skeleton: Skeleton | None, where: str
) -> Clip:
    """Args: key: of the video or folder; image: one of its pictures."""
    name = str(video.get("name", video.get("file_name", "" if key == "." else key)))
    sides = [image.get(side) for side in ("width", "height")]
    width, height = (side if isinstance(side, int) and 0 < side <= LARGEST else 0 for side in sides)
    clip = _clip(frames, f"{where}: {key}", {17: COCO17}, skeleton)
    return replace(clip, name=PurePosixPath(name).name, fps=_rate(video.get("fps")), width=width, height=height)


def _coco_indices(images: list[dict[str, Any]], where: str) -> dict[str, int]:
    """Frames of one video's pictures, by their ids: as `frame_id` says, else by the names of the files.

    PoseTrack's `frame_id` numbers all pictures of all videos, from 10000010000: that is no frame's number.
    """
    ids = [str(_get(image, "id", where)) for image in images]
    if len(set(ids)) < len(ids):
        raise FormatError(f"{where}: two pictures have the same id")
    given = [image["frame_id"] for image in images if _is_index(image.get("frame_id"))]
    if len(set(given)) == len(images):
        return dict(zip(ids, given, strict=True))
    numbers = frame_indices([str(image["file_name"]) for image in images])
    if len(numbers) < len(images):
        raise FormatError(f"{where}: two pictures have the same file_name")
    return {str(image["id"]): numbers[str(image["file_name"])] for image in images}


def _coco_skeletons(data: dict[str, Any], where: str) -> dict[str, Skeleton]:
    """Skeletons of the categories that name joints."""
    result = {}
    for entry in _list(data.get("categories", []), where):
        category = _dict(entry, f"{where}: categories")
        names = [str(name) for name in _list(category.get("keypoints", []), f"{where}: categories")]
        if names:
            edges = _edges(category.get("skeleton", []), where, first=1)
            name = str(category.get("name", "coco"))
            result[str(category.get("id"))] = skeleton_of(names, edges, name, where)
    return result


def _coco_person(row: dict[str, Any], where: str, *, flags: bool) -> Person:
    """An annotation, whose third numbers are 0 (not labelled), 1 (occluded), 2 (seen), or a result, where they are scores."""
    triples = _triples(row["keypoints"], where)
    if "keypoint_scores" in row:
        score = _places(row["keypoint_scores"], where)
        if score.shape != triples.shape[:1]:
            raise FormatError(f"{where}: {score.size} scores of {len(triples)} joints")
        triples[:, 2] = np.where(triples[:, 2] > 0, score, 0)
    elif flags and np.isin(triples[:, 2], (0, 1, 2)).all():
        triples[:, 2] = np.choose(triples[:, 2].astype(int), (0, OCCLUDED, 1))
    return _person(triples, _xywh(row.get("bbox"), where), _track(row.get("track_id", row.get("instance_id"))))


def _rate(value: Any) -> float | None:
    """Frames a second, where it can be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 10_000:
        return None
    return float(value)


def _clip(frames: Frames, where: str, by_count: Mapping[int, Skeleton], skeleton: Skeleton | None = None) -> Clip:
    """A clip whose people all have the joints of one skeleton, in pixels.

    Args:
        by_count: skeletons by their number of joints, where none is given.
    """
    people = [person for of_frame in frames.values() for person in of_frame]
    counts = {len(person.score) for person in people}
    if len(counts) > 1:
        raise FormatError(f"{where}: people have {' and '.join(map(str, sorted(counts)))} joints, expected the same of all")
    count = counts.pop() if counts else len(skeleton.joints) if skeleton else next(iter(by_count))
    found = skeleton or by_count.get(count)
    if not found or len(found.joints) != count:
        expected = str(len(found.joints)) if found else " or ".join(map(str, by_count))
        raise FormatError(f"{where}: {count} joints, expected {expected}")
    most = max((float(np.nanmax(person.xy, initial=0.0)) for person in people), default=2.0)
    if 0 < most < 2:
        raise FormatError(f"{where}: coordinates are shares of the picture, expected pixels")
    return Clip("", found, dict(sorted(frames.items())))


def _sleap_order(arrays: Mapping[str, Any], nodes: int, where: str) -> list[str]:
    """Names of the axes of `tracks`."""
    if "tracks" not in arrays:
        raise FormatError(f"{where}: has no dataset 'tracks'")
    shape = np.shape(arrays["tracks"])
    given = list(arrays.get("dims", {}).get("tracks", ()))
    for order in (given, ["track", "xy", "node", "frame"], ["frame", "node", "xy", "track"]):
        if len(order) == len(shape) == 4 and sorted(order) == ["frame", "node", "track", "xy"]:
            sizes = dict(zip(order, shape, strict=True))
            named = len(arrays.get("track_names", ())) or sizes["track"]
            if (sizes["xy"], sizes["node"], sizes["track"]) == (2, nodes, named):
                return order
    raise FormatError(f"{where}: tracks has shape {shape}, expected (tracks, 2, {nodes} nodes, frames) or its transpose")


def _sleap_scores(arrays: Mapping[str, Any], order: list[str], found: BoolArray, where: str) -> FloatArray:
    """(frames, tracks, nodes), 1 where a point has none: those were set by hand."""
    if "point_scores" not in arrays:
        return found.astype(np.float64)
    given = list(arrays.get("dims", {}).get("point_scores", ())) or [axis for axis in order if axis != "xy"]
    scores = _numeric(arrays["point_scores"], where)
    if sorted(given) != ["frame", "node", "track"] or scores.ndim != 3:
        raise FormatError(f"{where}: point_scores has shape {scores.shape}, expected that of tracks without its 2")
    scores = scores.transpose([given.index(axis) for axis in ("frame", "track", "node")])
    if scores.shape != found.shape:
        raise FormatError(f"{where}: point_scores and tracks do not fit: {scores.shape} and {found.shape}")
    return np.asarray(np.where(np.isnan(scores), 1.0, scores))
