"""Files as the tools write them, and anything else that may be in their place."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pose.errors import FormatError
from gaitreid.pose.keypoint_files import (
    LAST,
    Clip,
    alphapose,
    coco,
    joint_names,
    mmpose,
    natural,
    openpose,
    skeleton_of,
    sleap,
)
from gaitreid.pose.keypoint_writing import alphapose_text, coco_text, mmpose_text, openpose_text, rows_of, sleap_arrays
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import BODY25, CMU31, COCO17, COCO18, H36M17, HALPE26, SKELETONS, Skeleton


def keypoints(joints: int, at: float = 100.0, lost: tuple[int, ...] = ()) -> list[float]:
    """x, y, score of joint after joint: joint k at (at + k, at + 2 k), 0.5."""
    return [v for k in range(joints) for v in ((0, 0, 0) if k in lost else (at + k, at + 2 * k, 0.5))]


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def person(clip: Clip, frame: int = 0, n: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return clip.frames[frame][n].xy, clip.frames[frame][n].score


def track(skeleton: Skeleton, frames: tuple[int, ...] = (0, 1, 4), seed: int = 0) -> Track2D:
    """Somebody somewhere, every fifth joint missing now and then."""
    rng = np.random.default_rng(seed)
    shape = (len(frames), len(skeleton.joints))
    xy = rng.uniform(10, 600, (*shape, 2)).astype(np.float32)
    score = rng.uniform(0.1, 1, shape).astype(np.float32)
    missing = rng.random(shape) < 0.2
    xy[missing], score[missing] = np.nan, 0
    box = np.concatenate([np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)], axis=1)
    world = np.full((*shape, 3), np.nan, dtype=np.float32)
    time = np.array(frames) / 25
    return Track2D(frame=np.array(frames), time=time, box=box, xy=xy, score=score, world=world, skeleton=skeleton)


def check_same(clip: Clip, tracks: dict[int, Track2D], boxes: bool = True) -> None:
    assert sum(map(len, clip.frames.values())) == len(rows_of(tracks))
    for frame, number, own, n in rows_of(tracks):
        (found,) = (p for p in clip.frames[frame] if p.track == number)
        np.testing.assert_allclose(found.xy, own.xy[n], atol=2e-3)
        np.testing.assert_allclose(found.score, own.score[n], atol=1e-5)
        if boxes:
            assert found.box is not None
            np.testing.assert_allclose(found.box, own.box[n], atol=2e-3)


@pytest.mark.parametrize("skeleton", [BODY25, COCO18], ids=lambda s: s.name)
def test_openpose_there_and_back(skeleton):
    tracks = {3: track(skeleton), 5: track(skeleton, (1, 2), seed=1)}
    texts = []
    for frame in range(6):
        people = [(k, t.xy[n], t.score[n]) for f, k, t, n in rows_of(tracks) if f == frame]
        texts.append((frame, openpose_text(people).encode()))
    clip = openpose(texts, "clip")
    assert clip.skeleton == skeleton
    assert list(clip.frames) == list(range(6))
    check_same(clip, tracks, boxes=False)


def test_openpose_as_it_writes():
    one = {"person_id": [-1], "pose_keypoints_2d": keypoints(25, lost=(3, 24)), "face_keypoints_2d": keypoints(70)}
    face = {"person_id": [-1], "pose_keypoints_2d": [], "face_keypoints_2d": keypoints(70)}
    clip = openpose([(7, encoded({"version": 1.3, "people": [one, face]})), (8, encoded({"people": []}))], "clip")
    assert (list(clip.frames), len(clip.frames[7]), clip.frames[8]) == ([7, 8], 1, [])
    xy, score = person(clip, 7)
    assert np.isnan(xy[[3, 24]]).all()
    assert (score[3], score[0]) == (0, 0.5)
    assert xy[BODY25.index("left_ankle")].tolist() == [114, 128]
    assert clip.frames[7][0].track is None


@pytest.mark.parametrize("skeleton", [COCO17, HALPE26], ids=lambda s: s.name)
def test_alphapose_there_and_back(skeleton):
    tracks = {1: track(skeleton), 2: track(skeleton, (1, 2), seed=1)}
    clip = alphapose(alphapose_text(tracks).encode(), "clip")
    assert clip.skeleton == skeleton
    check_same(clip, tracks)


def test_a_track_of_number_0_is_somebody_in_alphapose_too():
    tracks = {0: track(COCO17), 4: track(COCO17, (1, 2), seed=1)}
    check_same(alphapose(alphapose_text(tracks).encode(), "clip"), {number + 1: own for number, own in tracks.items()})


def test_alphapose_as_it_writes():
    rows = [
        {
            "image_id": f"{n}.jpg",
            "category_id": 1,
            "keypoints": keypoints(17, 10.0 * n),
            "score": 2.9,
            "box": [1, 2, 3, 4],
            "idx": 0.0,
        }
        for n in (10, 9, 9)
    ]
    rows[1]["keypoints"] = [*keypoints(17)[:2], 5.8, *keypoints(17)[3:]]  # older models' scores go up to 6
    clip = alphapose(encoded(rows), "clip")
    assert {k: len(v) for k, v in clip.frames.items()} == {9: 2, 10: 1}
    assert person(clip, 9)[1][0] == 1
    assert [p.track for p in clip.frames[9]] == [None, None]  # 0 is nobody's number
    np.testing.assert_array_equal(np.stack([p.box for p in clip.frames[9] if p.box is not None]), [[1, 2, 4, 6]] * 2)
    whole = alphapose(encoded([{**rows[0], "keypoints": keypoints(136), "idx": [3]}]), "clip")
    assert (whole.skeleton, whole.frames[10][0].track) == (HALPE26, 3)
    cmu = {"0.jpg": {"version": "AlphaPose v0.3", "bodies": [{"joints": keypoints(18)}]}}
    open_ = {"5.jpg": {"version": "AlphaPose v0.3", "people": [{"pose_keypoints_2d": keypoints(18)}]}}
    for text, frame in ((cmu, 0), (open_, 5)):
        clip = alphapose(encoded(text), "clip")
        assert clip.skeleton == COCO18
        assert person(clip, frame)[0][1].tolist() == [101, 102]


def test_pictures_without_numbers_of_their_own_come_in_natural_order():
    rows = [{"image_id": f"a/{name}.png", "keypoints": keypoints(17, at)} for name, at in (("x10b", 10), ("x9b", 9))]
    clip = alphapose(encoded(rows), "clip")
    assert [person(clip, n)[0][0, 0] for n in (0, 1)] == [9, 10]
    assert sorted(["b", "10", "9", "a10", "a9", "²"], key=natural) == ["9", "10", "a9", "a10", "b", "²"]


def test_coco_there_and_back():
    clips = [Clip("one", COCO17, {}, 30.0, 640, 480), Clip("two", H36M17)]
    tracks = [{1: track(COCO17), 7: track(COCO17, (1, 2), seed=1)}, {2: track(H36M17, (0, 3), seed=2)}]
    found = coco(coco_text(clips, tracks).encode(), "file")
    assert [(c.name, c.skeleton, c.fps, c.width, c.height) for c in found] == [
        ("one", COCO17, 30.0, 640, 480),
        ("two", H36M17, None, 0, 0),
    ]
    for clip, own in zip(found, tracks, strict=True):
        check_same(clip, own)


def annotations() -> dict[str, Any]:
    """Two folders of pictures; joints as COCO names them, the third one occluded and the fourth not labelled."""
    triples = keypoints(17)
    for k in range(17):
        triples[3 * k + 2] = 2
    triples[8], triples[9:12] = 1, [0, 0, 0]
    return {
        "images": [
            {"id": 12, "file_name": "walk/000010.jpg", "width": 64, "height": 48},
            {"id": 11, "file_name": "walk/000009.jpg", "width": 64, "height": 48},
            {"id": 3, "file_name": "other/1.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 12, "category_id": 1, "keypoints": triples, "num_keypoints": 16, "bbox": [1, 2, 30, 40]},
            {"id": 2, "image_id": 11, "category_id": 1, "keypoints": triples, "iscrowd": 1},
            {"id": 3, "image_id": 3, "category_id": 1, "bbox": [1, 2, 30, 40]},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": [[16, 14], [14, 12]]}],
    }


def test_coco_annotations_as_they_are():
    walk, other = coco(encoded(annotations()), "file")
    assert (walk.name, walk.width, walk.height, walk.skeleton) == ("walk", 64, 48, COCO17)
    assert {k: len(v) for k, v in walk.frames.items()} == {9: 0, 10: 1}
    assert person(walk, 10)[1][[1, 2, 3]].tolist() == [1, 0.5, 0]
    assert other.frames == {1: []}


def test_posetracks_frames_go_by_the_names_of_its_pictures():
    data = annotations()
    data["images"] = [
        {"id": number, "frame_id": number, "vid_id": video[:6], "file_name": f"images/val/{video}/{n:06d}.jpg"}
        for video, n, number in (
            ("000342_mpii_test", 7, 10003420007),
            ("000342_mpii_test", 8, 10003420008),
            ("000522_mpii_test", 0, 10005220000),
        )
    ]
    data["annotations"] = [{**data["annotations"][0], "image_id": 10003420008, "track_id": 3}]
    one, two = coco(encoded(data), "file")
    assert (one.name, list(one.frames), one.frames[8][0].track) == ("000342_mpii_test", [7, 8], 3)
    assert (two.name, two.frames) == ("000522_mpii_test", {0: []})


def test_joints_of_coco_are_those_that_the_file_names():
    data = annotations()
    data["categories"][0] |= {"keypoints": ["head", "tail"], "skeleton": [[1, 2]], "name": "horse"}
    data["annotations"][0]["keypoints"] = [5, 5, 2, 9, 9, 2]
    walk, _ = coco(encoded(data), "file")
    assert walk.skeleton == Skeleton("horse", ("head", "tail"), ((0, 1),))


def test_results_of_coco_with_and_without_their_pictures():
    row = {"image_id": 12, "category_id": 1, "keypoints": keypoints(17), "score": 0.9, "track_id": 4}
    walk, _ = coco(encoded([row]), "file", encoded(annotations()))
    assert (walk.name, walk.frames[10][0].track, person(walk, 10)[1][0]) == ("walk", 4, 0.5)
    (alone,) = coco(encoded([row]), "file")
    assert (alone.name, list(alone.frames)) == ("", [12])
    with pytest.raises(FormatError, match="no picture '13'"):
        coco(encoded([{**row, "image_id": 13}]), "file", encoded(annotations()))


@pytest.mark.parametrize("skeleton", [COCO17, HALPE26, SKELETONS["blazepose33"]], ids=lambda s: s.name)
def test_mmpose_there_and_back(skeleton):
    tracks = {1: track(skeleton), 2: track(skeleton, (1, 2), seed=1)}
    clip = mmpose(mmpose_text(tracks, skeleton, 4).encode(), "clip")
    assert (clip.skeleton, list(clip.frames)) == (skeleton, list(range(5)))
    check_same(clip, tracks)


def instances(joints: int) -> list[dict[str, Any]]:
    triples = np.array(keypoints(joints)).reshape(-1, 3)
    return [{"keypoints": triples[:, :2].tolist(), "keypoint_scores": triples[:, 2].tolist(), "bbox": [[1, 2, 30, 40]]}]


def test_mmpose_as_it_writes():
    clip = mmpose(encoded([{"frame_id": 0, "instances": instances(17)}, {"frame_id": 1, "instances": []}]), "clip")
    assert (list(clip.frames), clip.skeleton, clip.frames[0][0].track) == ([0, 1], COCO17, None)
    assert mmpose(encoded(instances(26)), "picture").skeleton == HALPE26
    names = "root right_hip right_knee right_foot left_hip left_knee left_foot spine thorax neck_base head left_shoulder "
    names += "left_elbow left_wrist right_shoulder right_elbow right_wrist"  # as MMPose calls Human3.6M's
    meta = {"dataset_name": "h36m", "keypoint_id2name": dict(enumerate(names.split())), "skeleton_links": [[0, 1]]}
    clip = mmpose(encoded({"meta_info": meta, "instance_info": [{"frame_id": 1, "instances": instances(17)}]}), "clip")
    assert (clip.skeleton, list(clip.frames)) == (H36M17, [0])
    halpe = [
        *COCO17.joints,
        *["head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel"],
    ]
    meta = {"dataset_name": "halpe26", "keypoint_id2name": dict(enumerate(halpe)), "skeleton_links": {"value": [[0, 1]]}}
    clip = mmpose(encoded({"meta_info": meta, "instance_info": [{"frame_id": 1, "instances": instances(26)}]}), "clip")
    assert clip.skeleton == HALPE26


@pytest.mark.parametrize("transposed", [False, True])
def test_sleap_there_and_back(transposed):
    tracks = {1: track(COCO17), 2: track(COCO17, (1, 2), seed=1)}
    arrays = sleap_arrays(tracks, COCO17, "folder/walk.mp4", 5)
    assert arrays["tracks"].shape == (2, 2, 17, 6)
    assert arrays["track_occupancy"].T.tolist() == [[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 0]]
    assert arrays["point_scores"].shape == (2, 17, 6)
    assert arrays["instance_scores"].shape == arrays["tracking_scores"].shape == (2, 6)
    if transposed:
        arrays |= {name: arrays[name].T for name in ("tracks", "point_scores")}
    clip = sleap(arrays, "file")
    assert (clip.name, clip.skeleton, len(clip.frames)) == ("walk", COCO17, 6)
    check_same(clip, tracks, boxes=False)


def test_sleap_says_which_axis_is_which():
    arrays = sleap_arrays({1: track(COCO17)}, COCO17, "", 5)
    arrays["tracks"], arrays["point_scores"] = arrays["tracks"].transpose(3, 0, 2, 1), arrays["point_scores"].transpose(2, 0, 1)
    with pytest.raises(FormatError, match=r"tracks has shape \(6, 1, 17, 2\)"):
        sleap(arrays, "file")
    arrays["dims"] = {"tracks": ["frame", "track", "node", "xy"], "point_scores": ["frame", "track", "node"]}
    check_same(sleap(arrays, "file"), {1: track(COCO17)}, boxes=False)


def test_points_that_were_set_by_hand_are_sure():
    arrays = sleap_arrays({1: track(COCO17)}, COCO17, "", 5)
    arrays["point_scores"] = np.full_like(arrays["point_scores"], np.nan)
    score = person(sleap(arrays, "file"))[1]
    assert set(score.tolist()) == {0, 1}
    del arrays["point_scores"]
    assert set(person(sleap(arrays, "file"))[1].tolist()) == {0, 1}


@pytest.mark.parametrize(("name", "ours"), [
    ("LBigToe", "left_big_toe"), ("left hip", "left_hip"), ("RHip", "right_hip"), ("hipL", "left_hip"), ("MidHip", "pelvis"),
    ("r_knee", "right_knee"), ("Nose", "nose"), ("left_hip", "left_hip"), ("thorax2", "thorax_2"), ("头", "头"),
    ("hip", "pelvis"), ("head_top", "head"), ("TopHead", "head"), ("upper neck", "neck"),
])  # fmt: skip
def test_names_of_joints(name, ours):
    assert joint_names([name]) == (ours,)


def test_a_joint_keeps_its_name_where_another_has_ours():
    assert joint_names(["thorax", "upper_neck", "head_top"]) == ("thorax", "neck", "head")  # MPII
    assert joint_names(["head_top", "Neck", "head", "upper_neck"]) == ("head_top", "neck", "head", "upper_neck")
    assert skeleton_of(list(CMU31.joints), [], "mine", "file") is CMU31
    assert {"neck", "upper_neck"} < set(skeleton_of(list(CMU31.joints[::-1]), [], "mine", "file").joints)


def test_joints_in_another_order_are_a_skeleton_of_their_own():
    found = skeleton_of(list(COCO17.joints[::-1]), [(0, 1)], "mine", "file")
    assert (found.name, found.joints, found.edges) == ("mine", COCO17.joints[::-1], ((0, 1),))
    for skeleton in SKELETONS.values():
        assert skeleton_of(list(skeleton.joints), [], "mine", "file") is skeleton
    with pytest.raises(FormatError, match="not all different"):
        skeleton_of(["left_hip", "hip L"], [], "mine", "file")
    with pytest.raises(FormatError, match="missing"):
        skeleton_of([], [], "mine", "file")
    with pytest.raises(FormatError, match="an edge"):
        skeleton_of(["a", "b"], [(0, 2)], "mine", "file")


GOOD = {
    "openpose": {"version": 1.3, "people": [{"person_id": [1], "pose_keypoints_2d": keypoints(25)}]},
    "alphapose": [{"image_id": "1.jpg", "keypoints": keypoints(17), "score": 1.0, "box": [1, 2, 3, 4], "idx": 1}],
    "coco": {**annotations(), "videos": [{"id": 1, "name": "x", "fps": 5}]},
    "mmpose": json.loads(mmpose_text({1: track(COCO17)}, COCO17, 4)),
}
READERS = {
    "openpose": lambda text: [openpose([(0, text)], "file")],
    "alphapose": lambda text: [alphapose(text, "file")],
    "coco": lambda text: coco(text, "file"),
    "mmpose": lambda text: [mmpose(text, "file")],
}


@pytest.mark.parametrize(("format_", "change", "message"), [
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=keypoints(24)), "24 joints, expected 25 or 18"),
    ("openpose", lambda d: d["people"].append({"pose_keypoints_2d": keypoints(18)}), "18 and 25 joints, expected the same"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[1, 2]), "2 numbers of keypoints"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[0.5] * 75), "shares of the picture"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[1e300] * 75), "beyond"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[10**400] * 75), "expected numbers|not an array|beyond"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=["1"] * 75), "expected numbers"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[float("nan")] * 75), "NaN is no number"),
    ("openpose", lambda d: d["people"][0].update(pose_keypoints_2d=[[1, 2], [3]]), "not an array"),
    ("openpose", lambda d: d.pop("people"), "has no 'people'"),
    ("alphapose", lambda d: d[0].pop("image_id"), "entry 0: has no 'image_id'|has no 'image_id'"),
    ("alphapose", lambda d: d[0].update(box=[1, 2, 3]), "a box has shape"),
    ("alphapose", lambda d: d.append(7), "expected an object"),
    ("coco", lambda d: d["annotations"][0].update(image_id=99), "no picture '99'"),
    ("coco", lambda d: d["images"][1].update(id=12), "same id"),
    ("coco", lambda d: d["images"][1].update(file_name="walk/000010.jpg"), "same file_name"),
    ("coco", lambda d: d["categories"][0].update(skeleton=[[0, 99]]), None),
    ("coco", lambda d: d["categories"][0].update(keypoints=["a", "a"]), "not all different"),
    ("coco", lambda d: d["annotations"][0].update(keypoint_scores=[1, 2]), "2 scores of 17 joints"),
    ("mmpose", lambda d: d["instance_info"][0].update(frame_id=LAST + 1), "frame's number"),
    ("mmpose", lambda d: d["instance_info"][1].update(frame_id=1), "frame 1 is there twice"),
    ("mmpose", lambda d: d["instance_info"][0]["instances"][0].update(keypoint_scores=[1]), "do not fit"),
    ("mmpose", lambda d: d["instance_info"][0]["instances"][0].update(keypoints=[[1, 2, 3]] * 17), "in 3D"),
    ("mmpose", lambda d: d["meta_info"]["keypoint_id2name"].pop("3"), "does not number the joints"),
])  # fmt: skip
def test_what_is_wrong_is_named(format_, change, message):
    data = json.loads(json.dumps(GOOD[format_]))
    assert READERS[format_](encoded(data))
    change(data)
    if message is None:  # the bones of a built-in skeleton are its own
        assert READERS[format_](encoded(data))
        return
    with pytest.raises(FormatError, match=f"file.*({message})"):
        READERS[format_](encoded(data))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"nul", b"1" * 5000], ids=lambda t: str(t[:6]))
def test_what_is_no_json(text):
    for read in READERS.values():
        with pytest.raises(FormatError, match="file"):
            read(text)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), format_=st.sampled_from(sorted(GOOD)))
def test_anything_anywhere_in_a_file_gives_people_or_a_format_error(data, format_):
    document = json.loads(json.dumps(GOOD[format_]))
    root: list[Any] = [document]
    holder, key = root, 0
    while isinstance(holder[key], dict | list) and holder[key] and data.draw(st.integers(0, 5)):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = data.draw(ANY)
    with suppress(FormatError):
        check_sound(READERS[format_](encoded(root[0])))


def check_sound(clips: list[Clip]) -> None:
    for clip in clips:
        assert all(0 <= frame <= LAST for frame in clip.frames)
        for found in (p for people in clip.frames.values() for p in people):
            missing = np.isnan(found.xy).any(axis=1)
            assert found.xy.shape == (len(clip.skeleton.joints), 2)
            assert np.isnan(found.xy[missing]).all()
            assert (found.score[missing] == 0).all()
            assert ((found.score[~missing] > 0) & (found.score[~missing] <= 1)).all()


@settings(max_examples=80, deadline=None)
@given(
    shape=st.lists(st.integers(0, 4), max_size=5),
    scores=st.lists(st.integers(0, 4), max_size=4),
    names=st.lists(st.text(max_size=4), max_size=4),
    fill=st.sampled_from([0.0, 5.0, 1e9, np.nan, np.inf]),
)
def test_any_arrays_of_sleap_give_people_or_a_format_error(shape, scores, names, fill):
    arrays = {"tracks": np.full(shape, fill), "point_scores": np.full(scores, fill), "node_names": names, "track_names": []}
    with suppress(FormatError):
        check_sound([sleap(arrays, "file")])
