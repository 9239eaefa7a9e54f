import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitreid.pipeline import store
from gaitreid.pose.arrays import scalars, specs
from gaitreid.pose.errors import FormatError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.records import Embeddings


def track(frames: int = 3) -> Track2D:
    rng = np.random.default_rng(0)
    xy = rng.normal(size=(frames, 17, 2)).astype(np.float32)
    if frames:
        xy[0, 3] = np.nan
    return Track2D(
        frame=np.arange(frames) * 2,
        time=np.arange(frames) / 25,
        box=np.zeros((frames, 4), np.float32),
        xy=xy,
        score=np.ones((frames, 17), np.float32),
        world=np.full((frames, 17, 3), np.nan, np.float32),
        skeleton=H36M17,
    )


def embeddings(names: list[str]) -> Embeddings:
    count = len(names)
    text = np.array(names, dtype=np.str_)
    return Embeddings(
        video=text,
        track=np.arange(count),
        subject=text,
        condition=text,
        number=text,
        view=text,
        recording=text,
        window=np.zeros((count, 4), np.float32),
        window_track=np.arange(count),
        window_frame=np.zeros((count, 2), np.int64),
        vector=np.zeros((count, 4), np.float32),
        encoder="cage",
        weights="00",
        form="mean",
    )


def same(a: object, b: object) -> bool:
    assert type(a) is type(b)
    arrays = all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=s.dtype[0] == "f") for n, s in specs(type(a)))  # type: ignore[arg-type]
    return arrays and all(getattr(a, f.name) == getattr(b, f.name) for f in scalars(type(a)))  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [0, 1, 40])
def test_round_trip(tmp_path: Path, frames: int) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track(frames)}, {"fps": 25.0})
    assert same(store.read(path, "pose2d", Track2D, "/tracks/000001"), track(frames))
    assert store.attributes(path, "pose2d")["fps"] == 25.0


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00/"), max_size=9), max_size=5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("t") / "e.h5"
    store.write(path, "embeddings", {"/embeddings": embeddings(names)}, {})
    assert same(store.read(path, "embeddings", Embeddings, "/embeddings"), embeddings(names))


def test_same_content_same_bytes(tmp_path: Path) -> None:
    paths = [store.write(tmp_path / f"{n}.h5", "pose2d", {"/tracks/000001": track()}, {"x": 1}) for n in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_every_dataset_tells_dims_and_unit(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track()}, {})
    found = store.describe(path)
    assert found["datasets"]["/tracks/000001/xy"] == {"shape": [3, 17, 2], "dtype": "float32", "dims": "T,J,2", "unit": "px"}
    assert found["attributes"]["schema"] == "pose2d"


def test_nobody_found_is_an_empty_group(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {}, {"reason": "no-person"})
    assert store.read_all(path, "pose2d", Track2D) == {}
    assert store.attributes(path, "pose2d")["reason"] == "no-person"


def test_relabel_changes_attributes_only(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track()}, {"subject": "001", "fps": 25.0})
    store.relabel(path, "pose2d", {"subject": "002"})
    assert store.attributes(path, "pose2d")["subject"] == "002"
    assert store.attributes(path, "pose2d")["fps"] == 25.0
    assert same(store.read(path, "pose2d", Track2D, "/tracks/000001"), track())


def test_masks_are_packed(tmp_path: Path) -> None:
    masks = Silhouettes(frame=np.arange(50), mask=np.zeros((50, 64, 44), np.uint8))
    path = store.write(tmp_path / "s.h5", "silhouettes", {"/tracks/000001": masks}, {})
    assert path.stat().st_size < masks.mask.nbytes / 5


def test_where_silhouettes_lie_is_unknown_in_files_of_the_first_version(tmp_path: Path) -> None:
    one = np.ones((2, 2))
    masks = Silhouettes(frame=np.arange(2), mask=np.zeros((2, 64, 44), np.uint8), scale=one, shift=one)
    path = store.write(tmp_path / "s.h5", "silhouettes", {"/tracks/000001": masks}, {})
    assert same(store.read(path, "silhouettes", Silhouettes, "/tracks/000001"), masks)
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = "1.0"
        for name in ("scale", "shift"):
            del file[f"tracks/000001/{name}"]
    old = store.read(path, "silhouettes", Silhouettes, "/tracks/000001")
    assert old.frame.tolist() == [0, 1]
    assert old.scale.shape == old.shift.shape == (2, 2)
    assert np.isnan([old.scale, old.shift]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "pose4d"}, "unknown schema 'pose4d'"),
        ({"schema": "pose3d"}, "schema is 'pose3d', expected 'pose2d'"),
        ({"schema_version": "2.0"}, "newer than 1.0"),
        ({"schema_version": "x"}, "expected such as '1.0'"),
    ],
)
def test_what_is_not_ours_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {}, {})
    with h5py.File(path, "a") as file:
        file.attrs.update(change)
    with pytest.raises(FormatError, match=message) as error:
        store.read_all(path, "pose2d", Track2D)
    assert "a.h5" in str(error.value)


def test_later_minor_version_and_extras_are_read(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track()}, {})
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = "1.9"
        file["tracks/000001"].create_dataset("novelty", data=[1])
        file["tracks/000001"].attrs["mood"] = "good"
    assert same(store.read(path, "pose2d", Track2D, "/tracks/000001"), track())


def test_damage_is_named(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track()}, {})
    with h5py.File(path, "a") as file:
        del file["tracks/000001/xy"]
    with pytest.raises(FormatError, match="has no dataset 'xy'"):
        store.read_all(path, "pose2d", Track2D)
    with h5py.File(path, "a") as file:
        file["tracks/000001/xy"] = np.zeros((3, 16, 2), np.float32)
    with pytest.raises(FormatError, match=r"axis 1 \(J\) is 17, expected 16"):
        store.read_all(path, "pose2d", Track2D)
    with h5py.File(path, "a") as file:
        del file["tracks/000001"].attrs["skeleton"]
    with pytest.raises(FormatError):
        store.read_all(path, "pose2d", Track2D)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, share: float) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track(100)}, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FormatError, match="cannot be read as HDF5"):
        store.read_all(path, "pose2d", Track2D)


def test_a_record_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    masks = Silhouettes(frame=np.arange(1), mask=np.zeros((1, 64, 44), np.uint8))
    with pytest.raises(FormatError, match="schema pose2d has no Silhouettes"):
        store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": masks}, {})
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = store.write(tmp_path / "a.h5", "pose2d", {"/tracks/000001": track()}, {})
    before = path.read_bytes()
    broken = dataclasses.replace(track())
    object.__setattr__(broken, "skeleton", object())  # not writable
    with pytest.raises(TypeError):
        store.write(path, "pose2d", {"/tracks/000001": broken}, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


KILLED = """
import os, signal, sys
from pathlib import Path
from gaitreid.pipeline import files
path = Path(sys.argv[1])
with files.replacing(path) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("whole")
    result = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2  # the remains are hidden and are no result
    assert all(p.name.startswith(".") for p in tmp_path.iterdir() if p != path)
