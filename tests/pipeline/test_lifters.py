from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run as here

from gaitreid.pipeline import store
from gaitreid.pipeline.lifters import chosen
from gaitreid.pipeline.motions import CMU_NAMES, find, read, sources
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.lifters.motions import WALK18, from_walker
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.skeleton import BLAZEPOSE33, H36M17, KINECT20, remap

TINY = ["lifter.width=8", "lifter.epochs=2", "lifter.examples=4", "lifter.batch=4", "lifter.frames=16"]


def capture(path: Path, **changes: Any) -> Path:
    """Two walks of two people as motion capture, in H36M's joints and with feet where they have those of CMU."""
    walks = [from_walker(1, n, 1.0).xyz for n in range(2)]
    joints, _ = remap(np.concatenate(walks), np.ones((50, 18)), WALK18, H36M17)
    values = {
        "joints": joints.astype(np.float32),
        "joint_names": np.array(H36M17.joints),
        "starts": np.array([0, 25, 50]),
        "subject": np.array([7, 8]),
        "fps": np.array(25.0),
        "up_axis": np.array("y"),
    }
    np.savez(path, **{**values, **changes})
    return path


def as_cmu() -> dict[str, Any]:
    """The changes that make it CMU's: 31 joints, of which the test needs those that a lifter learns from."""
    rng = np.random.default_rng(0)
    walks = np.concatenate([from_walker(1, n, 1.0).xyz for n in range(2)])
    places = {
        "lhipjoint": "left_hip",
        "lfemur": "left_knee",
        "ltibia": "left_ankle",
        "ltoes": "left_foot",
        "lclavicle": "left_shoulder",
    }
    places |= {"lhumerus": "left_elbow", "lwrist": "left_wrist"}
    places |= {"r" + bone[1:]: joint.replace("left", "right") for bone, joint in places.items()}
    joints = walks[:, [0] * 31] + rng.normal(0, 0.01, (50, 31, 3))
    for bone, joint in places.items():
        joints[:, CMU_NAMES.index(bone)] = walks[:, WALK18.index(joint)]
    joints[:, CMU_NAMES.index("head")] = walks[:, WALK18.index("head")] - [0, 0.1, 0]
    return {"joints": joints.astype(np.float32), "joint_names": np.array(CMU_NAMES)}


def keypoints(work: Path, stem: str = "one") -> None:
    """A track in 2D without any 3D of its own."""
    frames = np.arange(40)
    rng = np.random.default_rng(0)
    track = Track2D(
        frame=frames,
        time=frames / 25,
        box=np.zeros((40, 4), np.float32),
        xy=(rng.normal(0, 30, (33, 2)) + rng.normal(0, 1, (40, 33, 2)) + 100).astype(np.float32),
        score=np.ones((40, 33), np.float32),
        world=np.full((40, 33, 3), np.nan, np.float32),
        skeleton=BLAZEPOSE33,
    )
    labels = {"subject": "007", "condition": "nm", "number": "1", "view": ""}
    store.write(Work(work).pose2d(stem), "pose2d", {"/tracks/000001": track}, {**labels, "config": "{}", "made_from": "test"})


def test_a_lifter_is_trained_and_used(tmp_path: Path) -> None:
    file, work = capture(tmp_path / "walks.npz", **as_cmu()), tmp_path / "work"
    settings = [word for value in [*TINY, f"lifter.motions=[{file}]"] for word in ("--set", value)]
    out = here("train", "--work", work, "--model", "lifter", *settings).output
    assert "2 walks of 2 people" in out
    assert f"--lifter tcn:{work}/models/lifter" in out
    assert len((work / "models/lifter/log.jsonl").read_text().splitlines()) == 2
    assert "up to date" in here("train", "--work", work, "--model", "lifter", *settings).output
    keypoints(work)
    here("lift", "--work", work, "--lifter", f"tcn:{work}/models/lifter")
    found = store.read(Work(work).pose3d("one"), "pose3d", Track3D, "/tracks/000001")
    assert found.lifter == f"tcn:{work}/models/lifter"
    assert np.isfinite(found.xyz).all()
    first = found.xyz
    # The same folder with other weights in it: what was lifted is no longer up to date.
    here("train", "--work", work, "--model", "lifter", "--seed", "5", *settings)
    here("lift", "--work", work, "--lifter", f"tcn:{work}/models/lifter")
    assert (store.read(Work(work).pose3d("one"), "pose3d", Track3D, "/tracks/000001").xyz != first).any()


def test_a_lifter_is_no_encoder_and_stays(tmp_path: Path) -> None:
    keypoints(tmp_path)
    here("train", "--work", tmp_path, "--model", "lifter", *(word for value in TINY for word in ("--set", value)))
    before = {path: path.read_bytes() for path in (tmp_path / "models/lifter").iterdir()}
    for command in (["encode"], ["match", "--dry-run"], ["export", "onnx"]):
        error = here(*command, "--name", "lifter", "--work", tmp_path, expect=2).exception
        assert "holds a model 'lifter', which is no encoder: choose another --name" in str(error)
    assert {path: path.read_bytes() for path in (tmp_path / "models/lifter").iterdir()} == before


def test_a_training_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gaitreid.pipeline import checkpoints

    settings = [word for value in TINY for word in ("--set", value)]
    here("train", "--work", tmp_path / "whole", "--model", "lifter", *settings)
    saved = checkpoints._save

    def once(path: Path, state: dict[str, Any]) -> None:
        saved(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "_save", once)
    here("train", "--work", tmp_path / "cut", "--model", "lifter", *settings, expect=130)
    monkeypatch.setattr(checkpoints, "_save", saved)
    assert not (tmp_path / "cut/models/lifter/lifter.safetensors").exists()
    here("train", "--work", tmp_path / "cut", "--model", "lifter", *settings)
    weights = [tmp_path / name / "models/lifter/lifter.safetensors" for name in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_library_is_made_of_any_3d_file_and_used(tmp_path: Path) -> None:
    file, work = capture(tmp_path / "walks.npz"), tmp_path / "work"
    out = here("train", "--work", work, "--model", "matching", "--set", f"lifter.motions=[{file}]").output
    assert "14 poses of 2 people" in out
    keypoints(work)
    here("lift", "--work", work, "--lifter", f"matching:{work}/models/matching")
    assert np.isfinite(store.read(Work(work).pose3d("one"), "pose3d", Track3D, "/tracks/000001").xyz).all()
    # what was lifted is a 3D file too
    out = here("train", "--work", tmp_path / "next", "--model", "matching", "--set", f"lifter.motions=[{work}/pose3d]").output
    assert "10 poses of 1 person" in out


def test_keypoints_without_3d_are_lifted_by_the_network_that_ships(tmp_path: Path) -> None:
    keypoints(tmp_path)
    here("lift", "--work", tmp_path)
    assert store.read(Work(tmp_path).pose3d("one"), "pose3d", Track3D, "/tracks/000001").lifter == "tcn"


def test_a_lifter_needs_feet_and_says_so(tmp_path: Path) -> None:
    file = capture(tmp_path / "walks.npz")
    with pytest.raises(UsageError, match="joints missing"):
        raise (
            here("train", "--work", tmp_path, "--model", "lifter", "--set", f"lifter.motions=[{file}]", expect=2).exception
            or ValueError
        )


def test_axes_are_turned_up(tmp_path: Path) -> None:
    up = read([capture(tmp_path / "y.npz")])[0].xyz
    points, _ = remap(up, np.ones(up.shape[:2]), WALK18, H36M17)
    turned = np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)  # z up, the same walk
    both = np.concatenate([turned, turned]).astype(np.float32)
    other = read([capture(tmp_path / "z.npz", joints=both, up_axis=np.array("z"))])[0].xyz
    np.testing.assert_allclose(other, up, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_names": np.array(["a"] * 17)}, "neither those of CMU"),
        ({"starts": np.array([0, 60])}, "not as they should be"),
        ({"starts": np.array([0, 40, 20])}, "not as they should be"),
        ({"joints": np.full((50, 17, 3), np.nan, np.float32)}, "no numbers"),
        ({"joints": np.full((50, 17, 3), 1e30, np.float32)}, "no numbers"),
        ({"joints": np.zeros((50, 3), np.float32)}, "not as they should be"),
        ({"fps": np.array("many")}, "no motion capture"),
        ({"fps": np.array(0.0)}, "not as they should be"),
        ({"up_axis": np.array("x")}, "not as they should be"),
        ({"subject": np.array([{"a": 1}, 2], dtype=object)}, "holds object, expected numbers or texts"),
    ],
)
def test_files_that_are_no_motion_capture_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = capture(tmp_path / "walks.npz", **changes)
    with pytest.raises(FormatError, match=message) as caught:
        read([file])
    assert str(file) in str(caught.value)


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FormatError, match=r"cannot be read as \.npz"):
        read([tmp_path / "a.npz"])
    with pytest.raises(UsageError, match="no such file"):
        find([tmp_path / "b.npz"])
    with pytest.raises(EmptyError, match="no walks"):
        read([])
    assert find([tmp_path]) == [tmp_path / "a.npz"]


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "walk.npz").write_text(folder)
    found = sources([tmp_path / "a" / "walk.npz", tmp_path / "b" / "walk.npz"])
    assert list(found) == ["walk.npz", "b/walk.npz"]
    assert len(set(found.values())) == 2


def test_a_walk_with_a_gap_is_two_of_its_rate(tmp_path: Path) -> None:
    frame = np.concatenate([np.arange(60), np.arange(180, 225), np.arange(300, 305)])
    xyz = np.random.default_rng(0).normal(size=(len(frame), 20, 3)).astype(np.float32)
    score = np.ones(xyz.shape[:2], np.float32)
    track = Track3D(frame=frame, time=frame / 30, xyz=xyz, score=score, skeleton=KINECT20, lifter="import:biwi")
    facts: dict[str, store.Attribute] = {"config": "{}", "made_from": "", "subject": "7"}
    store.write(tmp_path / "a.h5", "pose3d", {"/tracks/000001": track}, facts)
    assert [(len(m.xyz), round(m.fps, 6), m.subject) for m in read([tmp_path / "a.h5"])] == [(60, 30, "7"), (45, 30, "7")]


def test_a_walk_with_frames_left_out_keeps_its_pace(tmp_path: Path) -> None:
    frame = np.delete(np.arange(90), [*range(20, 26), 40, 41, 60])
    xyz = np.random.default_rng(0).normal(size=(20, 3)) + 0.1 * frame[:, None, None]
    track = Track3D(
        frame=frame,
        time=frame / 30,
        xyz=xyz.astype(np.float32),
        score=np.ones(xyz.shape[:2], np.float32),
        skeleton=KINECT20,
        lifter="import:biwi",
    )
    store.write(tmp_path / "a.h5", "pose3d", {"/tracks/000001": track}, {"config": "{}", "made_from": "", "subject": "7"})
    (motion,) = read([tmp_path / "a.h5"])
    assert len(motion.xyz) == 90
    knee = motion.xyz[:, WALK18.index("left_knee"), 0]
    np.testing.assert_allclose(np.diff(knee), 0.1, atol=1e-4)


def test_subjects_may_be_chosen(tmp_path: Path) -> None:
    motions = read([capture(tmp_path / "walks.npz")])
    assert [m.subject for m in chosen(motions, "8")] == ["8"]
    assert [m.subject for m in chosen(motions, "1-7")] == ["7"]
    assert len(chosen(motions, None)) == 2
    with pytest.raises(EmptyError, match="there are 7, 8"):
        chosen(motions, "9")
