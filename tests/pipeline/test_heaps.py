"""Texts of HDF5 files: claims of more than the file holds are found, and numbers that look like them are not taken for them."""

import re
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from benchmarks import fuzz

from gaitreid.pipeline import heaps, store
from gaitreid.pose.errors import FormatError
from gaitreid.pose.records import Track3D
from gaitreid.reid.records import Embeddings


def references(path: Path) -> list[int]:
    """Where a file's texts are referred to, found byte by byte."""
    content = path.read_bytes()
    places = [at for at in range(len(content)) if content.startswith(heaps.HEAP, at)]
    found = []
    for at in range(len(content) - heaps.REFERENCE.size):
        _, place, number = heaps.REFERENCE.unpack_from(content, at)
        if place in places and 0 < number < 100:
            found.append(at)
    return found


def test_every_claim_of_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    good = fuzz._hdf5("pose3d")
    path.write_bytes(good)
    assert heaps.check_heaps(path) == []
    places = references(path)
    assert len(places) > 10
    fuzz._peak(reset=True)
    before = fuzz._peak()
    for at in places:
        path.write_bytes(good[:at] + struct.pack("<I", 0xF0000000) + good[at + 4 :])
        with pytest.raises(FormatError, match=f"the one of byte {at} would be longer than the file"):
            store.attributes(path, "pose3d")
        with pytest.raises(FormatError, match="a text is damaged"):
            store.describe(path)
    assert fuzz._peak() - before < 100 * 2**20


def test_a_claim_of_a_text_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(good := fuzz._hdf5("pose3d"))
    places = references(path)
    fuzz._peak(reset=True)
    before = fuzz._peak()
    for at in places:
        path.write_bytes(good[:at] + heaps.REFERENCE.pack(0xF0000000, 768, 1) + good[at + heaps.REFERENCE.size :])
        with pytest.raises(FormatError, match="would be longer than the file"):
            store.describe(path)
    assert fuzz._peak() - before < 100 * 2**20


def test_smaller_false_claims_are_seen_by_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    good = fuzz._hdf5("pose3d")
    path.write_bytes(good)
    with h5py.File(path, "r") as file:
        name = file.attrs["schema"].encode()
    at = next(at for at in references(path) if struct.unpack_from("<I", good, at)[0] == len(name))
    for length in (len(name) - 1, len(name) + 1, len(good)):
        path.write_bytes(good[:at] + struct.pack("<I", length) + good[at + 4 :])
        with pytest.raises(FormatError, match="cannot be read as HDF5"):
            store.read_all(path, "pose3d", Track3D)


def test_a_heap_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    good = fuzz._hdf5("pose3d")
    at = good.find(heaps.HEAP) + heaps.HEAD
    path.write_bytes(good[:at] + struct.pack("<H6xQ", 0, 0) + good[at + 16 :])
    with pytest.raises(FormatError, match=f"a heap of texts is damaged at byte {at}"):
        store.attributes(path, "pose3d")


def test_numbers_may_look_like_references(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(fuzz._hdf5("pose3d"))
    place = path.read_bytes().find(heaps.HEAP)
    with h5py.File(path, "r+") as file:
        file["tracks/000001"].create_dataset("more", data=np.array([2**31, place, 0, 1, 2**31, place, 0, 2], dtype="<u4"))
    assert len(heaps.check_heaps(path)) == 2
    assert store.attributes(path, "pose3d")["schema"] == "pose3d"


def test_references_at_the_edge_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    good = fuzz._hdf5("pose3d")
    path.write_bytes(good)
    at = references(path)[3]
    path.write_bytes(good[:at] + struct.pack("<I", 2**31) + good[at + 4 :])
    monkeypatch.setattr(heaps, "ATTRIBUTE", re.compile(rb"(?!)"))  # finds it first
    for size in range(40, 64):
        monkeypatch.setattr(heaps, "BLOCK", size)
        assert heaps.check_heaps(path) == [at]


def test_thousands_of_texts_are_read_and_each_of_them_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(fuzz._hdf5("embeddings"))
    texts = [f"{n:040d}" for n in range(20_000)]  # numbers of entries reach the places of heaps, and have zeros at their ends
    with h5py.File(path, "r+") as file:
        del file["embeddings/subject"]
        file["embeddings"].create_dataset("subject", data=texts, dtype=h5py.string_dtype())
        place = file["embeddings/subject"].id.get_offset()
    assert store.describe(path)["datasets"]["/embeddings/subject"]["shape"] == [20_000]
    good = path.read_bytes()
    for number in (0, 511, 19_999):
        at = place + number * heaps.REFERENCE.size
        path.write_bytes(good[:at] + struct.pack("<I", 0xF0000000) + good[at + 4 :])
        with pytest.raises(FormatError, match=f"the one of byte {at} would be longer"):
            store.column(path, "embeddings", Embeddings, "/embeddings", "subject")


def test_what_says_where_the_parts_of_an_array_are_may_look_like_a_reference(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(fuzz._hdf5("silhouettes"))
    place = path.read_bytes().find(heaps.HEAP)
    lookalike = heaps.REFERENCE.pack(0xFFFFFFFF, place, 0)  # neighbours that are not there, and the size of a part
    path.write_bytes(path.read_bytes() + lookalike)
    assert heaps.check_heaps(path) == []
