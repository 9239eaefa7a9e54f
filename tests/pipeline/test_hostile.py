"""Files made to harm: each is refused in words, nothing in them runs, and nothing is written where it does not belong.

`tests/benchmarks/fuzz.py` found most of them; a small part of it runs here, always the same.
"""

import json
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from benchmarks import fuzz

from gaitreid.pipeline import bounds, checkpoints, clips, gallery, importer, npy, official, shipped, silhouettes, store, yaml_file
from gaitreid.pipeline.config import Config, load
from gaitreid.pipeline.jobs import Summary
from gaitreid.pipeline.labels import Labeller
from gaitreid.pipeline.limits import LimitsConfig
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, FormatError, ItemError, UsageError
from gaitreid.pose.records import Track2D, Track3D
from gaitreid.pose.video import frames
from gaitreid.reid.records import Embeddings, Sequences

FEW = ["pose3d", "gallery", "alphapose", "ks20", "video", "config"]


@pytest.mark.parametrize("name", FEW)
def test_damaged_and_drawn_files_of_a_reader(name: str) -> None:
    tally = fuzz.fuzz(12, names=[name])[name]
    assert tally.findings == []
    assert tally.cases == 12


def test_the_fuzzer_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(case: Path) -> None:
        content = (case / "l.csv").read_bytes()
        if content != fuzz.LABEL_ROWS.encode():
            [raises, leaks, escapes, leaves][zlib.crc32(content) % 4](case)

    def raises(case: Path) -> None:
        raise KeyError("not ours")

    def leaks(case: Path) -> None:
        np.ones(fuzz.MEMORY + 2**24, np.uint8).sum()

    def escapes(case: Path) -> None:
        (case.parent / "elsewhere").touch()

    def leaves(case: Path) -> None:
        (case / "work").mkdir()
        (case / "work/.a.h5.1.tmp").touch()

    monkeypatch.setattr(fuzz, "MEMORY", 2**25)
    monkeypatch.setitem(fuzz.READERS, "made-up", fuzz.Reader(lambda: [{"l.csv": fuzz.LABEL_ROWS.encode()}], read))
    tally = fuzz.fuzz(24, names=["made-up"])["made-up"]
    assert {kind for kind, _ in tally.findings} == {"traceback", "memory", "escape", "partial"}


def hdf5(tmp_path: Path, schema: str) -> Path:
    path = tmp_path / f"{schema}.h5"
    path.write_bytes(fuzz._hdf5(schema))
    return path


def linked(file: Any) -> None:
    del file["tracks/000001/xyz"]
    file["tracks/000001/xyz"] = h5py.ExternalLink("other.h5", "/tracks/000001/xyz")


def soft(file: Any) -> None:
    file["tracks/000009"] = h5py.SoftLink("/tracks/000001")


def virtual(file: Any) -> None:
    del file["tracks/000001/xyz"]
    layout = h5py.VirtualLayout((40, 17, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "/tracks/000001/xyz", (40, 17, 3))
    file["tracks/000001"].create_virtual_dataset("xyz", layout)


def external(file: Any) -> None:
    del file["tracks/000001/xyz"]
    file["tracks/000001"].create_dataset("xyz", (40, 17, 3), "f4", external=[("secret", 0, 8160)])


def claimed(file: Any) -> None:
    del file["tracks/000001/xyz"]
    file["tracks/000001"].create_dataset("xyz", (10**9, 17, 3), "f4")


def bomb(file: Any) -> None:
    del file["tracks/000001/xyz"]
    shape = (10**7, 17, 3)  # 2 GB of zeros, not written: a chunk that is not there reads as zeros
    file["tracks/000001"].create_dataset("xyz", shape, "f4", chunks=(1000, 17, 3), compression="gzip")


def many_times(file: Any) -> None:
    del file["tracks/000001/xyz"]
    file["tracks/000001"].create_dataset("xyz", (40_000, 17, 3), "f4", chunks=(1000, 17, 3), compression="gzip")
    for number in range(2, 30):
        file[f"tracks/{number:06d}"] = file["tracks/000001"]


def packed(file: Any) -> None:
    values = file["tracks/000001/xyz"][()]
    del file["tracks/000001/xyz"]
    file["tracks/000001"].create_dataset("xyz", data=values, chunks=(10, 17, 3), compression="lzf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (linked, "is a link to elsewhere"),
        (soft, "is a link to elsewhere"),
        (virtual, "its values lie in other files|a text is damaged"),  # what leads there lies where texts do
        (external, "its values lie in other files"),
        (claimed, r"takes 1\.945e\+05 MiB where 64 are left"),
        (bomb, "made to fill the memory"),
        (many_times, "made to fill the memory|is 40"),
        (packed, "packed by the filters"),
    ],
)
def test_hdf5_that_leads_elsewhere_or_fills_the_memory(tmp_path: Path, change: Any, message: str) -> None:
    path = hdf5(tmp_path, "pose3d")
    (tmp_path / "other.h5").write_bytes(path.read_bytes())
    (tmp_path / "secret").write_bytes(bytes(8160))
    with h5py.File(path, "r+") as file:
        change(file)
    fuzz._peak(reset=True)
    before = fuzz._peak()
    with pytest.raises(FormatError, match=message) as caught:
        store.read_all(path, "pose3d", Track3D)
    assert str(path) in str(caught.value)
    assert fuzz._peak() - before < 100 * 2**20


def test_one_long_text_many_times_is_not_unfolded(tmp_path: Path) -> None:
    path = hdf5(tmp_path, "embeddings")
    with h5py.File(path, "r+") as file:
        del file["embeddings/subject"]
        texts = [*["x"] * 20_000, "y" * 10_000]  # as an array of numpy's: 800 MB
        file["embeddings"].create_dataset("subject", data=texts, dtype=h5py.string_dtype())
    with pytest.raises(FormatError, match="made to fill the memory"):
        store.read(path, "embeddings", Embeddings, "/embeddings")


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("frame", 3, 1, "frame must rise"),
        ("frame", 39, 10**15, "frame must rise and lie in 0 to"),
        ("time", 39, 1e12, "time must be finite"),
        ("time", 5, np.nan, "time must be finite"),
        ("xyz", 5, np.inf, "xyz must lie within"),
        ("score", 5, np.nan, "score must be finite"),
    ],
)
def test_values_that_no_track_has(tmp_path: Path, name: str, place: int, value: float, message: str) -> None:
    path = hdf5(tmp_path, "pose3d")
    with h5py.File(path, "r+") as file:
        file[f"tracks/000001/{name}"][place] = value
    with pytest.raises(FormatError, match=f"/tracks/000001: {message}"):
        store.read_all(path, "pose3d", Track3D)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("start", 30, "start must be rows that a whole window follows"),
        ("start", -1, "start must be rows"),
        ("window_track", 7, "window_track must be rows of tracks"),
        ("video", "../../elsewhere", "names of files without folders"),
    ],
)
def test_rows_that_are_not_there(tmp_path: Path, name: str, value: object, message: str) -> None:
    path = hdf5(tmp_path, "sequences")
    with h5py.File(path, "r+") as file:
        file[f"sequences/{name}"][0] = value
    with pytest.raises(FormatError, match=message):
        store.read(path, "sequences", Sequences, "/sequences")


def test_a_gallery_of_an_unknown_metric(tmp_path: Path) -> None:
    path = hdf5(tmp_path, "gallery")
    with h5py.File(path, "r+") as file:
        file.attrs["metric"] = "os.system"
    with pytest.raises(FormatError, match=r"gallery\.h5: metric is 'os.system', expected"):
        gallery.read(path)


def test_a_skeleton_of_other_joints_than_the_coordinates(tmp_path: Path) -> None:
    path = hdf5(tmp_path, "pose2d")
    with h5py.File(path, "r+") as file:
        facts = json.loads(file["tracks/000001"].attrs["skeleton"])
        file["tracks/000001"].attrs["skeleton"] = json.dumps({**facts, "joints": [*facts["joints"][:-1], "nose"]})
    with pytest.raises(FormatError, match="skeleton must name 33 different joints"):
        store.read_all(path, "pose2d", Track2D)


def write_archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_arrays_that_claim_or_unfold_to_more_than_there_is(tmp_path: Path) -> None:
    claim = fuzz._with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", b"12345678")
    (tmp_path / "a.npy").write_bytes(claim)
    with pytest.raises(FormatError, match=r"a\.npy: claims to be an array of shape \(1000000000000,\)"):
        npy.load(tmp_path / "a.npy")
    with pytest.raises(FormatError, match="joints: claims to be"):
        npy.load_archive(write_archive(tmp_path / "a.npz", joints=claim), ["joints"])
    zeros = fuzz._with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**27},), }}", bytes(2**27))
    with pytest.raises(FormatError, match="made to fill the memory"):
        npy.load_archive(write_archive(tmp_path / "b.npz", joints=zeros), ["joints"])
    objects = BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="holds object"):
        npy.load_archive(write_archive(tmp_path / "c.npz", joints=objects.getvalue()), ["joints"])


def test_what_an_archive_says_is_no_path(tmp_path: Path) -> None:
    joints = fuzz.walk(30, 25) + np.array([0, 0, 1], np.float32)
    arrays = {"starts": [0, 30], "subject": [1], "trial": [1], "sensor": [1], "gait": ["../../../escape\x1b[2J"]}
    np.savez(tmp_path / "k.npz", joints=joints, **arrays)  # type: ignore[arg-type]
    importer.bring_in(Work(tmp_path / "a/b/work"), "kinect", [tmp_path / "k.npz"], fuzz.QUIET)
    assert [p.name for p in tmp_path.rglob("*.h5")] == ["01-.._.._.._escape_2J-01-sensor1.h5"]


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


def test_pickled_ids_run_nothing_and_make_nothing_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head = fuzz._with_header("{'descr': '|O', 'fortran_order': False, 'shape': (), }", b"")
    huge = b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftq\0\x85R."
    far = b"\x80\x02}r\xff\xff\xff\x7f."
    shared = pickle.dumps({str(k): [0] for k in range(3)})
    for body, message in (
        (pickle.dumps(Runs()), r"it would run (posix|os)\.system"),
        (pickle.dumps(np.array({"1": [Runs()]}, dtype=object), protocol=4), "it would run"),
        (huge, "not a table of persons"),
        (far, "it has a LONG_BINPUT"),
        (shared, "more windows than the 2 that are there"),
    ):
        for name, content in {**fuzz._official(), "in/ids_DATA_20.npy": head + body}.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        with pytest.raises(FormatError, match=message):
            official.bring_in(Work(tmp_path / "work"), [tmp_path / "in"], fuzz.QUIET)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_pictures_whose_parts_claim_gigabytes(tmp_path: Path) -> None:
    picture = fuzz._png()
    longer = picture[:33] + struct.pack(">I", 0xE41A01E8) + picture[37:]
    wider = fuzz._with_crc(picture[:16] + struct.pack(">II", 30_000, 30_000) + picture[24:])
    for name, content, message in (
        ("long", longer, "not whole"),
        ("wide", wider, "30000 x 30000"),
        ("jpeg", b"\xff\xd8", "not a PNG"),
    ):
        (tmp_path / f"{name}.png").write_bytes(content)
        with pytest.raises(ItemError, match=message):
            silhouettes._mask(tmp_path / f"{name}.png")


def test_labels_are_no_paths_when_silhouettes_go_out(tmp_path: Path) -> None:
    store.write(tmp_path / "work/silhouettes/a.h5", *hostile_silhouettes("../../escape", "/tmp"))
    silhouettes.hand_out(Work(tmp_path / "work"), tmp_path / "x/y/out", fuzz.QUIET)
    assert not list(tmp_path.glob("escape*"))
    assert [p.relative_to(tmp_path / "x/y/out").parts[0] for p in tmp_path.rglob("*.png")] == ["_.._escape"] * 12


def hostile_silhouettes(subject: str, view: str) -> tuple[str, Any, Any]:
    groups, attributes = fuzz._records("silhouettes")
    return "silhouettes", groups, {**attributes, "subject": subject, "view": view}


def test_who_is_to_be_named_stands_in_files_of_a_bounded_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(bytes(2000))
    config = replace(Config(), limits=LimitsConfig(gigabytes=1e-6))
    recogniser, summary = clips.Recogniser(shipped.folder(), shipped.NAME, config), Summary()
    videos = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert list(clips.clips(Work(tmp_path / "work"), videos, recogniser, fuzz.QUIET, summary)) == []
    assert [failure.reason for failure in summary.failed] == ["not-a-file", "too-large"]


def test_copies_of_a_video_are_one_and_a_name_too_long_is_none(tmp_path: Path) -> None:
    for folder, name in (("a", "walk"), ("b", "walk"), ("c", "n" * 240)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.mp4").write_bytes(b"no video")
    recogniser, summary = clips.Recogniser(shipped.folder(), shipped.NAME, Config()), Summary()
    found = list(clips.clips(Work(tmp_path / "work"), [tmp_path], recogniser, fuzz.QUIET, summary))
    assert [clip.path.parent.name for clip in found] == ["a", "c"]
    assert [failure.reason for failure in summary.failed] == ["unreadable", "bad-name"]


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    person = tmp_path / "Training/001"
    person.mkdir(parents=True)
    os.mkfifo(person / "1_skel.txt")
    (person / "2_skel.txt").mkdir()
    with pytest.raises(EmptyError, match="none of 1 recording"):
        importer.bring_in(Work(tmp_path / "work"), "biwi", [tmp_path], fuzz.QUIET)
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(UsageError, match=r"c\.yaml: not a regular file"):
        load(tmp_path / "c.yaml")
    with pytest.raises(UsageError, match=r"c\.yaml: not a regular file"):
        Labeller(None, tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (fuzz.LAUGHS, "aliases"),
        ("seed: 0x" + "f" * 9000, "expected a number below"),
        ("split: {fps: .nan}", "expected a number below"),
        ("seed: 2001-99-99", "not YAML"),
        ("[" * 1500, "nested too deeply"),
        ("_base_: /etc/x.yaml", "expected a path from the file's own folder"),
        (r'_base_: "a\0b.yaml"', "expected a path from the file's own folder"),
        ("extract: {trust_config: true}", "only --trust-config"),
        ("_base_: base.yaml", "only --trust-config"),
        ("seed: " + "x" * 10_000, r"seed is 'x{79}\.\.\., expected"),
    ],
)
def test_configurations_that_unfold_or_ask_for_trust(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    (tmp_path / "base.yaml").write_text("lift: {trust_config: yes}")
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path / "c.yaml")
    assert len(str(caught.value)) < 1000


def test_bases_of_bases_end(tmp_path: Path) -> None:
    for k in range(20):
        (tmp_path / f"{k}.yaml").write_text(f"_base_: {k + 1}.yaml")
    with pytest.raises(UsageError, match="_base_ of a _base_ more than"):
        load(tmp_path / "0.yaml")


def test_checkpoints_that_unfold_or_are_others(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "checkpoint.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**27))
    with pytest.raises(FormatError, match=r"checkpoint\.pt: cannot be read \(FormatError\)"):
        checkpoints._load(path)
    torch.save({"anything": 1}, path)
    with pytest.raises(FormatError, match="delete it to train from the beginning"):
        checkpoints._load(path)
    path.write_bytes(pickle.dumps(Runs()))
    with pytest.raises(FormatError, match="BadZipFile"):
        checkpoints._load(path)


def test_playlists_open_no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.avi").write_bytes(fuzz._videos()[0]["v.avi"])
    (tmp_path / "list.avi").write_text("ffconcat version 1.0\nfile other.avi\n")
    assert cv2.VideoCapture(str(tmp_path / "list.avi"), cv2.CAP_FFMPEG).read()[0]  # FFmpeg would
    with pytest.raises(ItemError, match="cannot be opened"):
        frames(tmp_path / "list.avi")
    monkeypatch.chdir(tmp_path)
    Path("concat:other.avi").write_text("this is no video")
    with pytest.raises(ItemError, match="cannot be opened"):
        frames(Path("concat:other.avi"))


def test_names_become_parts_of_paths_in_one_way() -> None:
    assert bounds.file_name("../../a b/\0c.h5") == "_.._a_b__c.h5"
    assert bounds.file_name("...") == ""
    assert len(bounds.file_name("é" * 500).encode()) <= bounds.LONGEST
    assert bounds.file_name("\udce9") == "_"
    assert yaml_file.parse("a: 1", "here") == {"a": 1}
