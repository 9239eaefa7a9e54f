"""Data sets in their raw form, written by these tests, through to names."""

import json
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from commands import run
from typer.testing import CliRunner

from gaitreid import cli
from gaitreid.pipeline import store
from gaitreid.pose.errors import EmptyError, FormatError, GaitReidError, UsageError
from gaitreid.pose.formats import KGBD_ORDER
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import KINECT20, KINECT25, Skeleton
from gaitreid.reid.records import Sequences

SMALL = ["--set", "cage.hidden=8", "--set", "train.batch=16", "--epochs", "2"]
RAW = ["--length", "6", "--normalize", "root", "--set", "split.fps=null", "--set", "split.trim=0"]


def gaitreid(*arguments: object) -> str:
    """Run in this process; errors are raised."""
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def walk(subject: int, seed: int, frames: int = 40, skeleton: Skeleton = KINECT20) -> np.ndarray:
    """Somebody of their own size and swing, in Kinect's axes (y up), 2 to 3 m away."""
    rng = np.random.default_rng(subject)
    body = rng.normal(0, 0.3, (len(skeleton.joints), 3))
    swing = rng.uniform(0.1, 0.3, (len(skeleton.joints), 3))
    rng = np.random.default_rng(1000 + seed)
    phase = np.arange(frames)[:, None, None] * 0.4 + rng.uniform(0, 6)
    moved: np.ndarray = (
        body
        + swing * np.sin(phase + np.arange(len(skeleton.joints))[:, None])
        + [0, 0, 2.5]
        + rng.normal(0, 0.02, (frames, 1, 3))
    )
    return moved


def write_frames(folder: Path, xyz: np.ndarray, failed: tuple[int, ...] = (), name: str = "{:06d}skel.txt") -> None:
    folder.mkdir(parents=True)
    for k, frame in enumerate(xyz):
        rows = [
            f"1,{x:.4f},{y:.4f},{z:.4f},1,1,{0 if k in failed and j == 5 else 2},0,0,0,0,0,0,1"
            for j, (x, y, z) in enumerate(frame)
        ]
        (folder / name.format(k)).write_text("\n".join(rows))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "work"


def test_biwi_from_raw_files_to_names(work: Path, tmp_path: Path) -> None:
    for person in range(4):
        write_frames(tmp_path / f"BIWI/Training/{person:03}", walk(person, person), failed=(11,))
        if person < 3:  # not everybody came back
            write_frames(tmp_path / f"BIWI/Testing/Walking/{person:03}", walk(person, 50 + person))
    out = gaitreid("import", "biwi", tmp_path / "BIWI")
    assert "7 recordings of 4 people" in out
    assert "import: nothing is in Testing/Still\n" in out
    assert "4 of 280 frames left out" in out
    track = store.read(work / "pose3d/001-training.h5", "pose3d", Track3D, "/tracks/000001")
    assert 11 not in track.frame.tolist()
    np.testing.assert_allclose(track.xyz[0], walk(1, 1)[0] * [-1, -1, 1], atol=1e-3)
    gaitreid("split", *RAW)
    out = gaitreid("recognise", "--protocol", "biwi", "--manner", "ap", "--set", "recognise.epochs=40", *RAW_SET, *SMALL_SET)
    assert "train: 'cage-biwi' on" in out
    metrics = json.loads((work / "recognition/cage/metrics.json").read_text())
    (fold,) = metrics["folds"].values()
    assert (fold["items"], fold["subjects"]) == (3, 3)  # everybody once; who has no second recording is left out
    windows = store.read(work / "sequences.h5", "sequences", Sequences, "/sequences")
    tested = np.isin(windows.window_track, np.flatnonzero(windows.condition == "walking"))
    assert fold["windows"]["items"] == int(tested.sum())  # not one is lost
    assert metrics["rank1"] > 0.6
    confusion = (work / "recognition/cage/confusion.csv").read_text().splitlines()
    assert confusion[0] == "fold,truth,answer,count"
    report = (work / "recognition/cage/report.html").read_text()
    assert "Confusion" in report
    assert "Attention, mean over windows" in report
    trained = yaml.safe_load((work / "models/cage-biwi/config.yaml").read_text())
    assert trained["train"]["select"] == "condition=training,subject=000|001|002"
    assert re.findall(r"Mean attention \((\w+)\) of the x", report) == ["LAS"]
    basic = ["--name", "basic", "--set", "cage.attention=bas", "--set", "recognise.epochs=2"]
    gaitreid("recognise", "--protocol", "biwi", *basic, *RAW_SET, *SMALL_SET)
    beside = (work / "recognition/basic/report.html").read_text()
    assert re.findall(r"Mean attention \((\w+)\) of the x", beside) == ["BAS", "LAS"]  # the models differ in nothing else
    assert "Other rows" in beside
    out = gaitreid("recognise", "--protocol", "biwi", "--as-published", "--set", "recognise.epochs=2", *RAW_SET, *SMALL_SET)
    assert "the epoch is chosen on the test set" in out


def test_frames_are_in_the_order_of_their_numbers_and_an_empty_file_is_one_without_anybody(work: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "BIWI/Training/000", walk(0, 0, 12), name="frame_{}_skel.txt")
    (tmp_path / "BIWI/Training/000/frame_3_skel.txt").write_bytes(b"")
    assert "1 of 12 frames left out" in gaitreid("import", "biwi", tmp_path / "BIWI")
    track = store.read(work / "pose3d/000-training.h5", "pose3d", Track3D, "/tracks/000001")
    assert track.frame.tolist() == [0, 1, 2, *range(4, 12)]
    np.testing.assert_allclose(track.xyz, walk(0, 0, 12)[track.frame] * [-1, -1, 1], atol=1e-3)  # 9, 10, 11: not by text


def test_no_recording_takes_the_file_of_another(work: Path, tmp_path: Path) -> None:
    for root, frames in (("A", 12), ("B", 15)):
        write_frames(tmp_path / root / "Training/000", walk(0, 0, frames))
    result = run("import", "biwi", tmp_path / "A", tmp_path / "B", expect=1)
    assert "000-training: name-taken: another recording of this import is called the same" in result.output
    path = work / "pose3d/000-training.h5"
    assert len(store.read(path, "pose3d", Track3D, "/tracks/000001").frame) == 12
    gaitreid("import", "biwi", tmp_path / "B", tmp_path / "B")  # the same data set once more
    assert len(store.read(path, "pose3d", Track3D, "/tracks/000001").frame) == 15
    before = path.read_bytes()
    with pytest.raises(EmptyError, match="none of 1 recording"):
        gaitreid("import", "ias", tmp_path / "A")
    assert path.read_bytes() == before
    path.write_bytes(b"damaged")
    gaitreid("import", "ias", tmp_path / "A")


def test_other_units_than_metres_are_told_of(work: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "mm/Training/000", 1000 * walk(0, 0, 12))
    result = run("import", "biwi", tmp_path / "mm", expect=3)
    assert "every frame is farther than 20 m: are these metres?" in result.output


RAW_SET = ["--set", "split.length=6", "--set", "split.normalize=root", "--set", "split.fps=null", "--set", "split.trim=0"]
SMALL_SET = ["--set", "cage.hidden=8", "--set", "train.batch=16", "--set", "train.epochs=2"]


def test_ias_has_two_tests(work: Path, tmp_path: Path) -> None:
    for person in range(3):
        for part, seed in (("Training", 0), ("TestingA", 20), ("TestingB", 40)):
            name = "p" if (part, person) == ("TestingB", 2) else "P"  # as somebody who is not in the training set
            write_frames(tmp_path / f"IAS/{part}/{name}{person}", walk(person, seed + person))
    gaitreid("import", "ias", tmp_path / "IAS")
    gaitreid("recognise", "--protocol", "ias", "--recogniser", "knn", "--name", "joints", *RAW_SET)
    metrics = json.loads((work / "recognition/joints/metrics.json").read_text())
    assert [fold["items"] for fold in metrics["folds"].values()] == [3, 2]
    assert metrics["notes"] == ["people of the test set (ias-b) who are not in the training set are left out (1): p2"]
    assert list(metrics["folds"]) == ["ias-a", "ias-b"]
    assert metrics["rank1"] > 0.6


def test_kgbd_leaves_one_recording_of_everybody_out(work: Path, tmp_path: Path) -> None:
    for person in range(1, 4):
        folder = tmp_path / f"KGBD/kinect gait raw dataset/Person{person:03}"
        folder.mkdir(parents=True)
        for take in range(1, 4):
            xyz = walk(person, 10 * person + take)[:, [KINECT20.joints.index(j) for j in KGBD_ORDER]]
            lines = [f"{j};{x:.4f};{y:.4f};{z:.4f}" for frame in xyz for j, (x, y, z) in zip(KGBD_ORDER, frame, strict=True)]
            (folder / f"{take}.txt").write_text("\n".join(lines))
    assert "9 recordings of 3 people" in gaitreid("import", "kgbd", tmp_path / "KGBD")
    given = ["--protocol", "kgbd", "--recogniser", "svm", "--name", "bones", *RAW_SET]
    gaitreid("recognise", *given)
    path = work / "recognition/bones/metrics.json"
    first = json.loads(path.read_text())["folds"]["all"]
    assert first["items"] == 3
    assert len(first["train"].split("|")) == 6
    gaitreid("recognise", *given)
    assert json.loads(path.read_text())["folds"]["all"] == first  # the same seed draws the same
    gaitreid("recognise", *given, "--seed", 3)
    assert json.loads(path.read_text())["folds"]["all"]["test"] != first["test"]


def test_the_epoch_is_chosen_on_recordings_held_out_of_the_training_set(work: Path, kinect: Path) -> None:
    gaitreid("import", "kinect", kinect)
    given = ["--train", "number=01|02", "--test", "number=03", "--set", "recognise.epochs=5", *RAW_SET, *SMALL_SET]
    epochs = {}
    for select in ("last", "val", "oracle-test"):
        out = gaitreid("recognise", "--select", select, *given)
        assert ("chosen on the test set" in out) == (select == "oracle-test")
        epochs[select] = json.loads((work / "recognition/cage/metrics.json").read_text())["folds"]["all"]["epoch"]
    assert epochs["last"] is None
    assert 1 <= epochs["val"] <= 5
    gaitreid("recognise", "--select", "val", "--train", "nm,number=01|02", "--test", "cl", *RAW_SET, *SMALL_SET)
    with pytest.raises(UsageError, match="1 known people, and it takes two"):
        gaitreid("recognise", "--train", "subject=01,nm", "--test", "cl", *RAW_SET, *SMALL_SET)
    with pytest.raises(EmptyError, match="nobody has two recordings"):
        gaitreid("recognise", "--select", "val", "--train", "number=01", "--test", "number=03", *RAW_SET, *SMALL_SET)
    with pytest.raises(UsageError, match="--protocol kgbd says what is learnt from and tested on"):
        gaitreid("recognise", "--protocol", "kgbd", "--test", "cl", *RAW_SET, *SMALL_SET)
    with pytest.raises(UsageError, match="share windows"):
        gaitreid("recognise", "--train", "number=01|02", "--test", "number=02", *RAW_SET, *SMALL_SET)


def test_recordings_are_held_out_of_the_training_set_alone(work: Path, kinect: Path) -> None:
    facts = dict(np.load(kinect))
    facts["gait"][:] = "nm"  # so that the last recording of everybody is one that is tested
    np.savez(kinect, **facts)
    gaitreid("import", "kinect", kinect)
    given = ["--recogniser", "rn", "--select", "val", "--set", "recognise.epochs=2", *RAW_SET, *SMALL_SET]
    gaitreid("recognise", "--train", "number=01|02", "--test", "number=03", *given)
    assert json.loads((work / "recognition/cage/metrics.json").read_text())["folds"]["all"]["epoch"] in (1, 2)


def test_an_encoder_that_has_seen_the_test_is_told_of(work: Path, kinect: Path) -> None:
    gaitreid("import", "kinect", kinect)
    given = ["--name", "joints-lda", "--recogniser", "knn", *RAW_SET]

    def notes(*options: str) -> list[str]:
        gaitreid("recognise", *given, *options)
        found: list[str] = json.loads((work / "recognition/joints-lda/metrics.json").read_text())["notes"]
        return found

    assert notes("--train", "nm", "--test", "cl") == []
    seen = "the encoder was trained on labelled windows of {} tracks that are tested: figures are too good"
    assert notes("--train", "cl", "--test", "nm") == [seen.format("8 of the 8")]
    assert notes("--train", "number=02|03", "--test", "number=01") == [seen.format("4 of the 4")]
    assert notes("--protocol", "kgbd") == ["one recording of each person, drawn by the seed, is tested on"]
    official = ("--set", "recognise.select=oracle-test", "--train", "nm", "--test", "cl")
    assert notes(*official) == []  # nearest neighbours know no epochs
    assert notes(*official, "--as-published") == ["as published: figures are of windows"]
    facts = dict(np.load(kinect))
    facts["joints"] += np.float32(0.01)
    np.savez(kinect, **facts)
    gaitreid("import", "kinect", kinect, "--work", "other")
    other = ["--encoder", work / "models/joints-lda", "--recogniser", "knn", "--work", "other", *RAW_SET]
    assert "people who are called like 4 of the 4 that are tested: if they are the same," in gaitreid(
        "recognise", *other, "--train", "cl", "--test", "nm"
    )


def test_a_model_that_cannot_be_made_spoils_none(work: Path, kinect: Path) -> None:
    gaitreid("import", "kinect", kinect)
    gaitreid("train", "--model", "joints-lda", *RAW_SET)
    before = {path: path.read_bytes() for path in (work / "models/joints-lda").iterdir()}
    with pytest.raises(UsageError, match="two or more known subjects"):
        gaitreid("train", "--model", "joints-lda", "--subjects", "01", *RAW_SET)
    assert {path: path.read_bytes() for path in (work / "models/joints-lda").iterdir()} == before


def test_views_that_are_no_angles(work: Path, kinect: Path) -> None:
    facts = dict(np.load(kinect))
    facts["sensor"] = np.tile([1, 2, 3], 4)
    np.savez(kinect, **facts)
    gaitreid("import", "kinect", kinect)
    out = gaitreid("recognise", "--protocol", "cve", "--name", "joints", "--recogniser", "knn", *RAW_SET)
    assert "they count as adjacent in the order of their names" in out


def test_ks20_by_number_and_by_view(work: Path, tmp_path: Path) -> None:
    for folder in ("frontal", "left_lateral", "right_diagonal"):
        (tmp_path / "KS20" / folder).mkdir(parents=True)
        for person in (1, 7):
            for take in (1, 2, 3):
                for k, frame in enumerate(walk(person, person + take, 24, KINECT25)):
                    rows = "\n".join(f"{j},{x:.4f},{y:.4f},{z:.4f}" for j, (x, y, z) in enumerate(frame))
                    (tmp_path / "KS20" / folder / f"gc{take}_body{person}_{95 + k}_x.txt").write_text(rows)
    assert "18 recordings of 2 people" in gaitreid("import", "ks20", tmp_path / "KS20")
    track = store.read(work / "pose3d/07-frontal-03.h5", "pose3d", Track3D, "/tracks/000001")
    np.testing.assert_allclose(track.xyz[20], walk(7, 10, 24, KINECT25)[20] * [-1, -1, 1], atol=1e-3)  # 95, ..., 100: not by text
    given = ["--recogniser", "knn", "--name", "joints", *RAW_SET]
    gaitreid("recognise", "--protocol", "ks20-cvs", *given)
    metrics = json.loads((work / "recognition/joints/metrics.json").read_text())
    assert list(metrics["folds"]) == ["000", "090", "130"]
    assert metrics["folds"]["090"]["train"] == "view=000|130"
    gaitreid("recognise", "--protocol", "ks20-rs", *given)
    (fold,) = json.loads((work / "recognition/joints/metrics.json").read_text())["folds"].values()
    assert fold["items"] == 6  # one of three of each person and view
    gaitreid("recognise", "--protocol", "cve", *given)
    metrics = json.loads((work / "recognition/joints/metrics.json").read_text())
    assert [fold["train"] for fold in metrics["folds"].values()] == ["view=090", "view=000|130", "view=090"]


@pytest.fixture
def kinect(tmp_path: Path) -> Path:
    joints, starts, columns = [], [0], []
    for subject in (1, 2, 3, 4):
        for trial, condition in ((1, "nm"), (2, "nm"), (3, "cl")):
            y_up = walk(subject, 7 * subject + trial, 30, KINECT25)
            joints.append(np.stack([y_up[..., 0], -y_up[..., 2], y_up[..., 1]], axis=-1))
            starts.append(starts[-1] + 30)
            columns.append((subject, trial, 1, condition))
    subject_, trial_, sensor_, gait = zip(*columns, strict=True)
    joints[0][3, 2] = 99.0
    path = tmp_path / "walks.npz"
    np.savez(
        path,
        joints=np.concatenate(joints).astype(np.float32),
        starts=starts,
        subject=subject_,
        trial=trial_,
        sensor=sensor_,
        gait=gait,
    )
    return path


def test_kinect_archive_matching_by_condition_and_transfer(work: Path, kinect: Path, tmp_path: Path) -> None:
    assert "1 of 360 frames left out" in gaitreid("import", "kinect", kinect)
    out = gaitreid("match", "--protocol", "cme", *RAW_SET, *SMALL_SET)
    assert "cme: Rank-1, probe-gallery, 2 people: nm-nm" in out
    honest = json.loads((work / "matches/cme-nm-nm/metrics.json").read_text())
    assert (honest["protocol"], honest["unit"], honest["exclude"]) == ("cme", "window", "same-recording")
    trained = yaml.safe_load((work / "models/cage-cme/config.yaml").read_text())["subjects"]
    tested = {row.split(",")[2] for row in (work / "matches/cme-nm-nm/ranking.csv").read_text().splitlines()[1:]}
    assert len(trained) == 2
    assert not tested & set(trained)
    out = gaitreid("match", "--protocol", "cme", "--as-published", *RAW_SET, *SMALL_SET)
    leaky = json.loads((work / "matches/cme-nm-nm/metrics.json").read_text())
    assert leaky["exclude"] == "same-window"
    assert leaky["rank1"] >= honest["rank1"]
    assert "as published" in out
    before = (work / "matches/cme-nm-nm/metrics.json").read_bytes()
    pair = ["--probe", "nm", "--gallery", "cl", "--frames"]  # none of the paper's
    assert "people: nm-cl " in gaitreid("match", "--protocol", "cme", *pair, *RAW_SET, *SMALL_SET)
    assert (work / "matches/cme-nm-nm/metrics.json").read_bytes() == before
    with pytest.raises(UsageError, match="no track has condition 'x'"):
        gaitreid("match", "--protocol", "cme", "--probe", "nm", "--gallery", "x", *RAW_SET, *SMALL_SET)
    with pytest.raises(UsageError, match="cl-nm, bg-nm; there are cl, nm, --probe bg: --probe and --gallery together"):
        gaitreid("match", "--protocol", "cme", "--probe", "bg", *RAW_SET, *SMALL_SET)
    # The encoder of these 25 joints takes windows of a data set that has 20 of them: tips of hands and thumbs are built.
    write_frames(tmp_path / "IAS/Training/P0", walk(0, 0))
    gaitreid("import", "ias", tmp_path / "IAS", "--work", "other")
    gaitreid("encode", "--encoder", work / "models/cage-cme", "--work", "other", *RAW_SET)
    gaitreid("train", "--work", "other", *RAW_SET, *SMALL_SET)
    gaitreid("encode", "--encoder", "other/models/cage", "--name", "theirs", *RAW_SET)  # and the other way round it can
    assert (work / "embeddings/theirs.h5").exists()
    out = gaitreid("recognise", "--encoder", "other/models/cage", "--train", "number=01", "--test", "number=02", *RAW_SET)
    assert "Rank-1" in out


def test_official_layout_out_and_in_again(work: Path, kinect: Path, tmp_path: Path) -> None:
    gaitreid("import", "kinect", kinect)
    gaitreid("export", "npy", "Datasets", "--name", "TOY", "--train", "number=01", "--test", "nm", *RAW_SET)
    folder = tmp_path / "Datasets/TOY/6/TOY_train_npy_data"
    source, target = (np.load(folder / f"{kind}_y_TOY_6.npy") for kind in ("source", "target"))
    assert source.dtype == np.float64
    np.testing.assert_array_equal(source.reshape(-1, 6, 25)[:, ::-1], target.reshape(-1, 6, 25))
    ids = np.load(folder / "ids_TOY_6.npy", allow_pickle=True).item()  # as the official code reads it
    assert sorted(ids) == ["01", "02", "03", "04"]
    mine = store.read(work / "sequences.h5", "sequences", Sequences, "/sequences")
    assert "windows of 6 frames, 4 people" in gaitreid("import", "npy", "Datasets", "--work", "back")
    back = store.read(tmp_path / "back/sequences.h5", "sequences", Sequences, "/sequences")
    assert sorted(set(back.condition.tolist())) == ["test", "train"]

    def windows(of: Sequences, **labels: str) -> np.ndarray:
        chosen = np.all([getattr(of, k)[of.window_track] == v for k, v in labels.items()], axis=0)
        found: np.ndarray = of.xyz[of.start[chosen][:, None] + np.arange(6)]
        return found

    np.testing.assert_allclose(windows(back, subject="03", condition="train"), windows(mine, subject="03", number="01"))
    # Windows that go on from one another are one stretch again, with targets for every task but at its end.
    steps = np.diff(back.start)[np.diff(back.window_track) == 0]
    assert (steps == 3).mean() > 0.9
    gaitreid("train", "--work", "back", "--model", "cage-plus", *SMALL_SET)
    assert (tmp_path / "back/models/cage-plus/encoder.safetensors").exists()


def test_windows_without_a_subject_are_no_persons_in_the_official_layout(work: Path, kinect: Path, tmp_path: Path) -> None:
    gaitreid("import", "kinect", kinect)
    gaitreid("split", *RAW_SET)
    mine = store.read(work / "sequences.h5", "sequences", Sequences, "/sequences")
    nobody = replace(mine, subject=np.where(mine.subject == "03", "", mine.subject))
    facts = store.attributes(work / "sequences.h5", "sequences")
    store.write(work / "sequences.h5", "sequences", {"/sequences": nobody}, {**facts})
    out = gaitreid("export", "npy", "Datasets", *RAW_SET)
    unnamed = np.count_nonzero(nobody.subject[nobody.window_track] == "")
    assert f"{len(mine.start)} train windows of 3 people, {unnamed} of unknown people and not among the ids" in out
    folder = tmp_path / "Datasets/DATA/6/DATA_train_npy_data"
    ids = np.load(folder / "ids_DATA_6.npy", allow_pickle=True).item()
    assert {key: len(numbers) for key, numbers in ids.items()} == {
        key: np.count_nonzero(mine.subject[mine.window_track] == key) for key in ("01", "02", "04")
    }
    assert len(np.load(folder / "source_x_DATA_6.npy")) == 6 * len(mine.start)


def test_the_two_test_sets_of_ias_in_the_official_layout_are_two_conditions(work: Path, tmp_path: Path) -> None:
    for folder, file, name in (("train", "", "IAS"), ("test", "t_", "IAS-A"), ("test", "t_", "IAS-B")):
        place = tmp_path / f"Datasets/IAS/6/IAS_{folder}_npy_data"
        place.mkdir(parents=True, exist_ok=True)
        for axis in "xyz":
            np.save(place / f"{file}source_{axis}_{name}_6.npy", np.random.default_rng(0).normal(size=(12, 20)))
        np.save(place / f"ids_{name}_6.npy", np.array({0: [0], 1: [1]}, dtype=object), allow_pickle=True)
    gaitreid("import", "npy", "Datasets")
    found = store.read(work / "sequences.h5", "sequences", Sequences, "/sequences")
    assert list(zip(found.condition.tolist(), found.subject.tolist(), strict=True)) == [
        (condition, subject) for condition in ("IAS-A", "IAS-B", "train") for subject in "01"
    ]


def test_the_pool_beside_conditions_is_not_imported_twice(work: Path, tmp_path: Path) -> None:
    for condition in ("nm", "cl", "."):
        place = tmp_path / "Datasets/CASIA_B_match/6/CASIA_B_test_npy_data" / condition
        place.mkdir(parents=True, exist_ok=True)
        for axis in "xyz":
            np.save(place / f"t_source_{axis}_CASIA_B_6.npy", np.random.default_rng(0).normal(size=(6, 14)))
        np.save(place / "ids_CASIA_B_6.npy", np.array({"001": [0]}, dtype=object), allow_pickle=True)
    assert "t_source_x_CASIA_B_6.npy is left out: the folders of conditions" in gaitreid("import", "npy", "Datasets")
    found = store.read(work / "sequences.h5", "sequences", Sequences, "/sequences")
    assert found.condition.tolist() == ["cl", "nm"]


def test_joints_that_the_official_layout_does_not_know(work: Path, tmp_path: Path) -> None:
    for axis in "xyz":
        np.save(tmp_path / f"source_{axis}_A_6.npy", np.zeros((6, 17)))
    np.save(tmp_path / "ids_A_6.npy", np.array({"001": [0]}, dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"source_x_A_6\.npy: 17 joints, expected 14 or 20 or 25"):
        gaitreid("import", "npy", tmp_path)


def test_windows_are_not_imported_beside_tracks_that_would_take_their_place(work: Path, kinect: Path) -> None:
    gaitreid("import", "kinect", kinect)
    gaitreid("export", "npy", "Datasets", *RAW_SET)
    before = (work / "sequences.h5").read_bytes()
    with pytest.raises(UsageError, match="has tracks, and windows are made of these: use another --work"):
        gaitreid("import", "npy", "Datasets")
    assert (work / "sequences.h5").read_bytes() == before


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("it ran",))


def test_a_table_of_persons_that_would_run_something_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for axis in "xyz":
        np.save(tmp_path / f"source_{axis}_TOY_6.npy", np.zeros((12, 20)))
    for ids in (np.array({"a": Evil()}, dtype=object), np.array([1, 2])):
        np.save(tmp_path / "ids_TOY_6.npy", ids, allow_pickle=True)
        with pytest.raises(FormatError, match="ids_TOY_6"):
            gaitreid("import", "npy", tmp_path)
        assert "it ran" not in capsys.readouterr().out
    (tmp_path / "ids_TOY_6.npy").write_bytes(pickle.dumps({"a": [0]}))
    with pytest.raises(FormatError, match="ids_TOY_6"):
        gaitreid("import", "npy", tmp_path)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (["import", "biwii", "."], UsageError, "there are biwi"),
    (["import", "biwi", "nowhere"], UsageError, "no such file or folder"),
    (["import", "npy", "nowhere"], UsageError, "no such file or folder"),
    (["import", "ks20", "."], EmptyError, "expected left_lateral"),
    (["import", "npy", "."], EmptyError, "source_x_NAME_f.npy"),
    (["recognise"], GaitReidError, "gaitreid extract"),
])  # fmt: skip
def test_errors(work: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gaitreid(*arguments)


def test_one_bad_recording_does_not_stop_the_others(work: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "IAS/Training/P0", walk(0, 0))
    (tmp_path / "IAS/Training/P1").mkdir()
    (tmp_path / "IAS/Training/P1/000skel.txt").write_text("no numbers, at, all, in, this, one, line")
    result = CliRunner().invoke(cli.app, ["import", "ias", "IAS"])
    assert result.exit_code == 1
    assert [p.name for p in sorted((work / "pose3d").glob("*.h5"))] == ["P0-training.h5"]
    with h5py.File(work / "pose3d/P0-training.h5") as file:
        assert file.attrs["imported"] == "ias"


@pytest.mark.skipif(
    "onnxruntime" not in sys.modules and not __import__("importlib.util").util.find_spec("onnxruntime"), reason="onnx"
)
def test_onnx_gives_the_same_features(work: Path, kinect: Path) -> None:
    import onnxruntime

    gaitreid("import", "kinect", kinect)
    gaitreid("train", *RAW_SET, *SMALL_SET, "--set", "cage.encode_aux=free")
    assert "onnxruntime differs by" in gaitreid("export", "onnx")
    session = onnxruntime.InferenceSession(str(work / "models/cage/encoder.onnx"))
    (features,) = session.run(None, {"windows": np.zeros((5, 6, 25, 3), np.float32)})
    assert features.shape == (5, 6, 24)
