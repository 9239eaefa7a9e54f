"""Keypoints of other tools, through files, into the work folder and out again."""

import json
from importlib import import_module
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gaitreid import cli
from gaitreid.pipeline import store
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.keypoint_files import sleap
from gaitreid.pose.lifters.motions import WALK18, Camera, at_rate, from_walker, see
from gaitreid.pose.records import Silhouettes, Track2D, Track3D
from gaitreid.pose.skeleton import BLAZEPOSE33, BODY25, COCO17, HALPE26, Skeleton, remap


def gaitreid(*arguments: object, code: int = 0) -> Result:
    """Run in this process; errors are raised."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "work"


def walker(skeleton: Skeleton, frames: range, x: float, step: float, seed: int) -> Track2D:
    """Somebody who walks through the picture, a joint lost now and then."""
    rng = np.random.default_rng(seed)
    count, joints = len(frames), len(skeleton.joints)
    body = rng.uniform([-25, 0], [25, 120], (joints, 2))
    xy = body + np.array([x, 60]) + np.arange(count)[:, None, None] * [step, 0] + rng.normal(0, 1, (count, joints, 2))
    score = rng.uniform(0.3, 1, (count, joints)).astype(np.float32)
    missing = rng.random((count, joints)) < 0.1
    xy[missing], score[missing] = np.nan, 0
    box = np.concatenate([np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)], axis=1)
    world = np.full((count, joints, 3), np.nan, np.float32)
    frame = np.array(frames)
    return Track2D(
        frame=frame, time=frame / 30, box=box.astype("f4"), xy=xy.astype("f4"), score=score, world=world, skeleton=skeleton
    )


def extracted(work: Path, stem: str, tracks: list[Track2D], **labels: str) -> dict[str, Track2D]:
    """A file as `gaitreid extract` leaves it."""
    facts: dict[str, store.Attribute] = {
        "config": "{}",
        "made_from": "0" * 64,
        "video": f"{stem}.mp4",
        "video_path": "",
        "tracks": len(tracks),
    }
    facts |= {"fps": 30.0, "width": 640, "height": 480, "frames": 90, "reason": "", "rejected": "[]", "frames_used": 80}
    groups = {f"{n:06d}": track for n, track in enumerate(tracks, 1)}
    empty = dict.fromkeys(("subject", "condition", "number", "view"), "")
    store.write(
        work / f"pose2d/{stem}.h5", "pose2d", {f"/tracks/{k}": t for k, t in groups.items()}, {**facts, **empty, **labels}
    )
    return groups


def check_same(found: dict[str, Track2D], expected: dict[str, Track2D], skeleton: Skeleton) -> None:
    assert found.keys() == expected.keys()
    for name, track in expected.items():
        xy, score = remap(track.xy, track.score, track.skeleton, skeleton, partial=True)
        score = np.where(np.isnan(xy).any(axis=-1), 0, score)
        assert found[name].skeleton == skeleton
        np.testing.assert_array_equal(found[name].frame, track.frame)
        np.testing.assert_allclose(found[name].time, track.time)
        np.testing.assert_allclose(found[name].xy, xy, atol=2e-3)
        np.testing.assert_allclose(found[name].score, score, atol=1e-5)
        assert np.isnan(found[name].world).all()


WAYS = [
    ("openpose", [], BODY25),
    ("openpose", ["--skeleton", "coco18"], None),
    ("alphapose", [], COCO17),
    ("alphapose", ["--skeleton", "halpe26"], HALPE26),
    ("coco", [], COCO17),
    ("coco", ["--skeleton", "own"], BLAZEPOSE33),
    ("mmpose", ["--skeleton", "h36m17"], None),
    ("mmpose", ["--skeleton", "own"], BLAZEPOSE33),
    ("sleap", [], BLAZEPOSE33),
    ("sleap", ["--skeleton", "coco17"], COCO17),
]


@pytest.mark.parametrize(("format_", "options", "skeleton"), WAYS, ids=lambda v: v if isinstance(v, str) else "")
def test_out_and_in_again(work: Path, format_: str, options: list[str], skeleton: Skeleton | None) -> None:
    one = extracted(
        work,
        "001-nm-01-090",
        [walker(BLAZEPOSE33, range(80), 50, 4, 0), walker(BLAZEPOSE33, range(10, 70, 2), 500, -4, 1)],
    )
    two = extracted(work, "other", [walker(BLAZEPOSE33, range(5, 60), 500, -5, 2)])
    result = gaitreid("export", format_, "out", *options)
    assert "3 tracks of 2 videos" in result.output
    rate = [] if format_ == "coco" else ["--fps", "30"]
    result = gaitreid("import", format_, "out", "--work", "back", *rate)
    assert f"2 videos, 3 tracks ({format_})" in result.output
    assert "numbered by the file" in result.output
    path = Path("back/pose2d/001-nm-01-090.h5")
    wanted = skeleton or store.read(path, "pose2d", Track2D, "/tracks/000001").skeleton
    check_same(store.read_all(path, "pose2d", Track2D), one, wanted)
    check_same(store.read_all(Path("back/pose2d/other.h5"), "pose2d", Track2D), two, wanted)
    facts = store.attributes(path, "pose2d")
    assert (facts["imported"], facts["fps"], facts["tracks"], facts["reason"]) == (format_, 30.0, 2, "")
    assert (facts["subject"], facts["condition"], facts["number"], facts["view"]) == ("001", "nm", "01", "090")
    before = path.read_bytes()
    gaitreid("import", format_, "out", "--work", "back", *rate)
    assert path.read_bytes() == before  # so that what was made from it stays up to date


@pytest.mark.parametrize("format_", ["openpose", "alphapose", "coco", "mmpose", "sleap"])
def test_a_video_in_which_nobody_was_found_is_passed_over(work: Path, format_: str) -> None:
    extracted(work, "a-nobody", [])
    extracted(work, "b-somebody", [walker(BLAZEPOSE33, range(80), 50, 4, 0)])
    assert "1 track of" in gaitreid("export", format_, "out").output


@pytest.mark.parametrize("format_", ["openpose", "alphapose", "coco", "mmpose", "sleap"])
def test_where_nobody_was_found_nothing_is_written(work: Path, format_: str) -> None:
    extracted(work, "a-nobody", [])
    with pytest.raises(EmptyError, match=r"no tracks in the 1 file of work/pose2d"):
        gaitreid("export", format_, "out")
    assert not Path("out").exists()


def test_imported_keypoints_go_on_without_a_video(work: Path) -> None:
    extracted(work, "a", [walker(COCO17, range(80), 50, 4, 0)])
    gaitreid("export", "coco", "out")
    gaitreid("import", "coco", "out", "--work", "back")
    result = CliRunner().invoke(cli.app, ["lift", "--lifter", "world", "--work", "back"])
    assert isinstance(result.exception, EmptyError)
    assert "no-3d" in result.output + result.stderr  # these have no 3D of their own: a lifter from 2D is needed
    assert "back/pose3d/a.h5" in map(str, Path("back").rglob("*.h5"))


def openpose_folder(folder: Path, frames: int, joints: int = 25, people: int = 1, start: int = 0) -> None:
    folder.mkdir(parents=True)
    body = np.random.default_rng(0).uniform([-25, 0], [25, 120], (joints, 2))
    for n in range(frames):
        found = []
        for k in range(people):
            xy = body + np.array([100 + 4 * n, 50 + 250 * k])
            triples = np.concatenate([xy, np.full((joints, 1), 0.7)], axis=1)
            found.append({"person_id": [-1], "pose_keypoints_2d": triples.ravel().tolist()})
        file = folder / f"{folder.name}_{n + start:012d}_keypoints.json"
        file.write_text(json.dumps({"version": 1.3, "people": found[:: -1 if n % 2 else 1]}))


def test_imported_keypoints_are_ranked(work: Path) -> None:
    """Made-up walkers as OpenPose's files: lifted by the network that ships, and found again by the encoder that ships."""
    walk16 = Skeleton("walk16", WALK18.joints[2:], ())
    for subject in range(3):
        for number, heading in enumerate((1.4, 1.7), 1):
            xyz = at_rate(from_walker(21, subject, 2.4), 30.0)
            xy = 300 * see(xyz, Camera(heading=heading, distance=5.0))[0][:, 2:] + 300
            frames = np.arange(len(xy))
            box = np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)
            world, score = np.full((len(xy), 16, 3), np.nan, np.float32), np.ones(xy.shape[:2], np.float32)
            track = Track2D(frame=frames, time=frames / 30, box=box, xy=xy, score=score, world=world, skeleton=walk16)
            extracted(work, f"{subject:03d}-nm-{number:02d}-090", [track])
    gaitreid("export", "openpose", "out")
    gaitreid("import", "openpose", "out", "--work", "back", "--fps", "30")
    gaitreid("match", "--work", "back", "--jobs", "1", "--probe", "number=01", "--gallery", "number=02")
    metrics = json.loads(Path("back/matches/number=01-number=02/metrics.json").read_text())
    assert (metrics["probes"], metrics["gallery_items"], metrics["model"]) == (3, 3, "shipped")
    assert metrics["rank1"] == 1
    assert store.read(Path("back/pose3d/000-nm-01-090.h5"), "pose3d", Track3D, "/tracks/000001").lifter == "tcn"


def test_several_people_of_openpose_are_tracked(work: Path, tmp_path: Path) -> None:
    openpose_folder(tmp_path / "in/Ann_coat", 40, people=2, start=5)
    result = gaitreid("import", "openpose", "in", "--pattern", r"(?P<subject>\w+)_(?P<condition>\w+)")
    assert "2 tracks, 40 of 40 frames [body25, tracked here]" in result.output
    assert "25 taken, --fps says otherwise" in result.output
    tracks = store.read_all(work / "pose2d/Ann_coat.h5", "pose2d", Track2D)
    assert [t.frame.tolist() for t in tracks.values()] == [list(range(5, 45))] * 2
    for track in tracks.values():
        assert np.ptp(track.xy[:, 0, 1]) < 1  # nobody changes over to the other
    facts = store.attributes(work / "pose2d/Ann_coat.h5", "pose2d")
    assert (facts["subject"], facts["condition"], facts["frames"], facts["fps"]) == ("Ann", "coat", 45, 25.0)


def test_labels_from_a_table(work: Path, tmp_path: Path) -> None:
    openpose_folder(tmp_path / "in/x", 40)
    (tmp_path / "labels.csv").write_text("video,subject,condition\nx,Bob,nm\n")
    gaitreid("import", "openpose", "in", "--labels", "labels.csv", "--fps", 25)
    assert store.attributes(work / "pose2d/x.h5", "pose2d")["subject"] == "Bob"
    openpose_folder(tmp_path / "in/y", 40)
    said = gaitreid("import", "openpose", "in", "--labels", "labels.csv", "--fps", 25).output
    assert "labels.csv does not name 1 of 2 videos: y" in said
    with pytest.raises(UsageError, match=r"names none of the 1 video \(y\)"):
        gaitreid("import", "openpose", "in/y", "--labels", "labels.csv", "--fps", 25)


def test_what_fails_is_named_and_the_others_go_on(work: Path, tmp_path: Path) -> None:
    openpose_folder(tmp_path / "in/good", 40)
    openpose_folder(tmp_path / "in/short", 5)
    openpose_folder(tmp_path / "in/nobody", 3, people=0)
    openpose_folder(tmp_path / "in/bad", 3)
    (tmp_path / "in/bad/bad_000000000001_keypoints.json").write_text('{"people": [{"pose_keypoints_2d": [1, 2]}]}')
    result = gaitreid("import", "openpose", "in", code=1)
    assert "bad: unreadable: " in result.stderr
    assert "frame 1: person 0: 2 numbers of keypoints" in result.stderr
    assert "nobody: no-person: nobody in 3 frames" in result.stderr
    assert "short  0 tracks, 0 of 5 frames, 1 left out as too-short" in result.output
    assert [p.stem for p in sorted((work / "pose2d").glob("*.h5"))] == ["good", "short"]
    facts = store.attributes(work / "pose2d/short.h5", "pose2d")
    assert json.loads(str(facts["rejected"])) == [{"reason": "too-short", "first": 0, "last": 4, "frames": 5}]
    assert str(facts["reason"]).startswith("no-track: ")


def test_a_file_of_another_origin_is_not_overwritten(work: Path, tmp_path: Path) -> None:
    openpose_folder(tmp_path / "one/x", 40)
    openpose_folder(tmp_path / "two/x", 40)
    gaitreid("import", "openpose", "one")
    with pytest.raises(EmptyError, match="no track came out"):
        gaitreid("import", "openpose", "two")
    assert store.attributes(work / "pose2d/x.h5", "pose2d")["video_path"] == str(tmp_path / "one/x")
    (work / "pose2d/x.h5").write_bytes(b"damaged")
    gaitreid("import", "openpose", "two")
    gaitreid("import", "openpose", "one", "two", "--work", "both")  # two of one name in one import
    assert [p.stem for p in sorted(Path("both/pose2d").glob("*.h5"))] == ["one-x", "two-x"]


def test_folders_tell_videos_of_one_name_apart(work: Path, tmp_path: Path) -> None:
    for subject in ("00001", "00002"):  # as OU-MVLP's poses are
        openpose_folder(tmp_path / f"OU/{subject}/000_00", 40, joints=18)
        for file in (tmp_path / f"OU/{subject}/000_00").iterdir():
            file.rename(file.with_name(f"{int(file.name.split('_')[2]):04d}_keypoints.json"))
    gaitreid("import", "openpose", "OU", "--pattern", r"^(?P<subject>\d{5})-(?P<view>\d{3})_(?P<number>\d\d)$")
    facts = [store.attributes(path, "pose2d") for path in sorted((work / "pose2d").glob("*.h5"))]
    assert [(f["subject"], f["view"], f["number"]) for f in facts] == [("00001", "000", "00"), ("00002", "000", "00")]
    for camera in ("left", "right"):
        for file in (tmp_path / "OU/00001/000_00").iterdir():
            (tmp_path / camera).mkdir(exist_ok=True)
            (tmp_path / camera / f"walk_{file.name}").write_bytes(file.read_bytes())
    gaitreid("import", "openpose", "left", "right", "right")
    assert {p.stem for p in (work / "pose2d").iterdir()} >= {"left-walk", "right-walk"}


def test_alphapose_file_a_frame(work: Path, tmp_path: Path) -> None:
    openpose_folder(tmp_path / "walk/sep-json", 40, joints=18)
    for file in (tmp_path / "walk/sep-json").iterdir():
        file.rename(file.with_name(f"{int(file.name.split('_')[1])}.json"))
    assert "[coco18, tracked here]" in gaitreid("import", "alphapose", "walk").output
    assert (work / "pose2d/walk.h5").exists()
    frames = {file: json.loads(file.read_text()) for file in (tmp_path / "walk/sep-json").iterdir()}
    # Its forms `cmu` and `open` write both, and the files are called after the pictures.
    (tmp_path / "walk/alphapose-results.json").write_text(json.dumps({f"img_{f.stem}.jpg": data for f, data in frames.items()}))
    for file in frames:
        file.rename(file.with_name(f"img_{file.name}"))
    gaitreid("import", "alphapose", "walk", "--work", "both")
    gaitreid("import", "alphapose", "walk/sep-json", "--work", "apart")
    for other in ("both", "apart"):
        (path,) = (tmp_path / other / "pose2d").glob("*.h5")
        assert path.name == "walk.h5"
        assert store.read(path, "pose2d", Track2D, "/tracks/000001").frame.tolist() == list(range(40))


def test_names_in_a_file_stay_in_the_folder(work: Path) -> None:
    extracted(work, "a", [walker(COCO17, range(40), 50, 4, 0)])
    gaitreid("export", "coco", "out")
    data = json.loads(Path("out/annotations.json").read_text())
    names = {"../../up": "up", "..": "video", "ü" * 200: "ü" * 75, "a b\\c:*": "a_b_c__", "": "out"}
    for name in names:
        data["videos"][0]["name"] = name
        Path("out/annotations.json").write_text(json.dumps(data))
        gaitreid("import", "coco", "out", "--work", "back")
    assert {p.stem for p in Path("back/pose2d").iterdir()} == set(names.values())


def test_results_of_coco_beside_their_annotations(work: Path, tmp_path: Path) -> None:
    extracted(work, "a", [walker(COCO17, range(80), 50, 4, 0)])
    gaitreid("export", "coco", "out")
    data = json.loads(Path("out/annotations.json").read_text())
    Path("out/results.json").write_text(json.dumps(data["annotations"]))
    Path("out/annotations.json").write_text(json.dumps({**data, "annotations": []}))
    gaitreid("import", "coco", "out", "--work", "back")
    check_same(
        store.read_all(Path("back/pose2d/a.h5"), "pose2d", Track2D),
        store.read_all(work / "pose2d/a.h5", "pose2d", Track2D),
        COCO17,
    )
    Path("out/more.json").write_text(json.dumps({**data, "annotations": []}))
    with pytest.raises(UsageError, match="2 files of annotations"):
        gaitreid("import", "coco", "out", "--work", "other")


def test_coco_s_own_tools_take_the_annotations(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco, cocoeval = (import_module(f"pycocotools.{name}") for name in ("coco", "cocoeval"))
    extracted(work, "a", [walker(BLAZEPOSE33, range(20), 50, 4, 0), walker(BLAZEPOSE33, range(10, 30), 400, 4, 1)])
    gaitreid("export", "coco", "out")
    truth = coco.COCO("out/annotations.json")
    assert truth.loadCats([1])[0]["keypoints"] == list(COCO17.joints)
    names = ("image_id", "category_id", "keypoints")
    found = [{**{name: a[name] for name in names}, "score": a["score"]} for a in truth.anns.values()]
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(found), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)  # average precision of the annotations against themselves
    assert len(truth.anns) == 40


def test_files_of_sleap_are_as_sleap_writes_them(work: Path) -> None:
    extracted(work, "a", [walker(COCO17, range(40), 50, 4, 0), walker(COCO17, range(20, 60), 400, 4, 1)])
    gaitreid("export", "sleap", "out")
    with h5py.File("out/a.analysis.h5") as file:
        assert {name: file[name].shape for name in file} == {
            "tracks": (2, 2, 17, 60),
            "track_occupancy": (60, 2),
            "point_scores": (2, 17, 60),
            "instance_scores": (2, 60),
            "tracking_scores": (2, 60),
            "node_names": (17,),
            "track_names": (2,),
            "edge_names": (len(COCO17.edges), 2),
            "edge_inds": (len(COCO17.edges), 2),
            "labels_path": (),
            "video_path": (),
            "video_ind": (),
            "provenance": (),
        }
        assert file["node_names"][:2].tolist() == [b"nose", b"left_eye"]
        assert file["track_occupancy"][:, 0].sum() == 40


@pytest.mark.parametrize("content", [b"", b"no HDF5", "empty", "huge"], ids=str)
def test_no_file_of_sleap(work: Path, tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "a.analysis.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with h5py.File(path, "w") as file:
            if content == "huge":
                file.create_dataset("tracks", shape=(1, 2, 17, 2**40), dtype="f8", chunks=(1, 2, 17, 1024))
    with pytest.raises(FormatError, match=r"a\.analysis\.h5"):
        sleap(store.read_sleap(path), str(path))


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (["import", "openpose", "nowhere"], UsageError, "no such file or folder"),
    (["import", "openpose", "."], EmptyError, "expected files VIDEO_NUMBER_keypoints.json"),
    (["import", "sleap", "."], EmptyError, "analysis files"),
    (["import", "silhouettes", "."], EmptyError, r"no ID/TYPE-NUM/VIEW/\*.png"),
    (["import", "biwi", ".", "--fps", "5"], UsageError, "--fps is for keypoints"),
    (["import", "biwi", ".", "--pattern", "(?P<subject>.)"], UsageError, "brings its own labels"),
    (["export", "openpose", "out"], EmptyError, "gaitreid extract"),
    (["export", "openpose", "out", "--skeleton", "coco17"], UsageError, "openpose has body25 or coco18"),
    (["export", "silhouettes", "out"], EmptyError, "--silhouettes"),
])  # fmt: skip
def test_errors(work: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gaitreid(*arguments)


def test_an_export_does_not_touch_what_is_there(work: Path) -> None:
    extracted(work, "a", [walker(COCO17, range(30), 50, 4, 0)])
    Path("out/a").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already"):
        gaitreid("export", "openpose", "out")
    with pytest.raises(UsageError, match="unknown skeleton 'horse'"):
        gaitreid("export", "mmpose", "out", "--skeleton", "horse")


def blob(frame: int) -> np.ndarray:
    """Somebody's outline in a picture of 320x240."""
    picture = np.zeros((240, 320), np.uint8)
    cv2.ellipse(picture, (100 + frame, 120), (20, 80), 0, 0, 360, 255, -1)
    return picture


def test_silhouettes_in_and_out_again(work: Path, tmp_path: Path) -> None:
    for walk in ("nm-01/090", "cl-02/018"):
        folder = tmp_path / "CASIA-B/007" / walk
        folder.mkdir(parents=True)
        for n in range(1, 6):
            cv2.imwrite(str(folder / f"007-{walk.replace('/', '-')}-{n:03d}.png"), blob(n) if n != 3 else np.zeros((9, 9)))
    assert "2 walks of 1 person" in gaitreid("import", "silhouettes", "CASIA-B", "--jobs", 1).output
    path = work / "silhouettes/007-nm-01-090.h5"
    facts = store.attributes(path, "silhouettes")
    assert (facts["subject"], facts["condition"], facts["number"], facts["view"]) == ("007", "nm", "01", "090")
    found = store.read(path, "silhouettes", Silhouettes, "/tracks/000001")
    assert found.frame.tolist() == [1, 2, 4, 5]  # nobody in the third
    assert found.mask.shape == (4, 64, 44)
    assert (found.mask[:, :2] > 0).any(axis=(1, 2)).all()
    gaitreid("export", "silhouettes", "out")
    assert min(p.name for p in Path("out/007/nm-01/090").iterdir()) == "007-nm-01-090-000001.png"
    gaitreid("import", "silhouettes", "out", "--work", "back", "--jobs", 1)
    back = store.read(Path("back/silhouettes/007-nm-01-090.h5"), "silhouettes", Silhouettes, "/tracks/000001")
    np.testing.assert_array_equal(back.mask, found.mask)
    np.testing.assert_array_equal(back.frame, found.frame)
    with pytest.raises(UsageError, match="is there already"):
        gaitreid("export", "silhouettes", "out")


def test_numbers_without_a_condition_are_numbers(work: Path, tmp_path: Path) -> None:
    """OU-MVLP as OpenGait has it: `match --protocol ou-mvlp` searches number 01 for those of number 00."""
    for walk in ("00", "nm"):
        (tmp_path / f"in/10001/{walk}/015").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"in/10001/{walk}/015/0001.png"), blob(1))
    gaitreid("import", "silhouettes", "in")
    found = [store.attributes(work / f"silhouettes/10001-{walk}-015.h5", "silhouettes") for walk in ("00", "nm")]
    assert [(of["condition"], of["number"], of["view"]) for of in found] == [("", "00", "015"), ("nm", "", "015")]


def test_labels_of_silhouettes(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in/007/nm-01/090"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "001.png"), blob(1))
    (tmp_path / "labels.csv").write_text("video,subject\n007-nm-01-090,Bob\n")
    gaitreid("import", "silhouettes", "in", "--labels", "labels.csv")
    assert store.attributes(work / "silhouettes/007-nm-01-090.h5", "silhouettes")["subject"] == "Bob"
    (tmp_path / "labels.csv").write_text("video,subject\n7-nm-01-090,Bob\n")
    with pytest.raises(UsageError, match="names none of the 1 video"):
        gaitreid("import", "silhouettes", "in", "--labels", "labels.csv")


def test_only_the_one_who_bears_the_label_goes_out_under_it(work: Path) -> None:
    def outline(first: int, last: int) -> Silhouettes:
        return Silhouettes(frame=np.arange(first, last), mask=np.full((last - first, 64, 44), 255, np.uint8))

    labels = {"subject": "Ann", "condition": "nm", "number": "01", "view": "090"}
    facts = {"config": "{}", "made_from": "", **labels}
    both = {"/tracks/000001": outline(0, 30), "/tracks/000002": outline(10, 20), "/tracks/000003": outline(0, 0)}
    store.write(work / "silhouettes/walk.h5", "silhouettes", both, facts)
    gaitreid("export", "silhouettes", "out")
    found = sorted(str(path.parent.relative_to("out")) for path in Path("out").rglob("*-000010.png"))
    assert found == ["Ann/nm-01/090-track1", "walk/nm-01/090-track2"]


def test_silhouettes_of_ou_mvlp_have_numbers_alone(work: Path, tmp_path: Path) -> None:
    (tmp_path / "OU/00002/01/090").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "OU/00002/01/090/0001.png"), blob(1))
    gaitreid("import", "silhouettes", "OU", "--jobs", 1)
    facts = store.attributes(work / "silhouettes/00002-01-090.h5", "silhouettes")
    assert (facts["subject"], facts["condition"], facts["number"], facts["view"]) == ("00002", "", "01", "090")
    gaitreid("export", "silhouettes", "out")
    assert [path.parent for path in Path("out").rglob("*.png")] == [Path("out/00002/01/090")]


def test_silhouettes_that_fail_are_named(work: Path, tmp_path: Path) -> None:
    for person in ("1", "2", "3", "4"):
        (tmp_path / f"S/{person}/nm-01/000").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "S/1/nm-01/000/1.png"), blob(0))
    (tmp_path / "S/2/nm-01/000/1.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "S/3/nm-01/000/1.png"), np.zeros((64, 44), np.uint8))
    cv2.imwrite(str(tmp_path / "S/4/nm-01/000/1.png"), np.ones((64, 44), np.uint8))  # inside is above half of white
    result = gaitreid("import", "silhouettes", "S", "--jobs", 1, code=1)
    assert "2-nm-01-000: unreadable" in result.stderr
    assert "3-nm-01-000: empty: no silhouette in 1 pictures" in result.stderr
    assert "4-nm-01-000: empty: no silhouette in 1 pictures" in result.stderr
    assert "1 walk of 1 person" in result.output
    facts = store.attributes(work / "silhouettes/1-nm-01-000.h5", "silhouettes")
    assert (facts["subject"], facts["condition"], facts["number"], facts["view"]) == ("1", "nm", "01", "000")


@pytest.mark.parametrize(("names", "frames"), [
    (("a10", "a9"), [9, 10]),
    (("a1", "b1"), [0, 1]),
    (("a", "b7"), [0, 1]),
    (("20210101123402", "20210101123401"), [0, 1]),  # a time and not a number of a frame
    (("a1x", "a2x empty", "a10x"), [0, 2]),
])  # fmt: skip
def test_frames_of_silhouettes(work: Path, tmp_path: Path, names: tuple[str, ...], frames: list[int]) -> None:
    folder = tmp_path / "S/1/nm-01/000"
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), blob(0) * ("empty" not in name))
    gaitreid("import", "silhouettes", "S", "--jobs", 1)
    found = store.read(work / "silhouettes/1-nm-01-000.h5", "silhouettes", Silhouettes, "/tracks/000001")
    assert found.frame.tolist() == frames


def test_pickles_of_opengait_are_not_read(work: Path, tmp_path: Path) -> None:
    (tmp_path / "CASIA-B-pkl/001/nm-01/000").mkdir(parents=True)
    (tmp_path / "CASIA-B-pkl/001/nm-01/000/000.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(EmptyError, match="these are pickles, which are not read"):
        gaitreid("import", "silhouettes", "CASIA-B-pkl")
