import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner, Result

from gaitreid.cli import app
from gaitreid.pipeline import doctor
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.lock import writing
from gaitreid.pose import weights
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.weights import KNOWN, Weight

CONTENT = bytes(range(256)) * 8192  # two chunks
LOCK = (Path(__file__).resolve().parents[2] / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own caches is seen; the folder of weights, which is not there yet."""
    monkeypatch.setenv("GAITREID_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "weights"


class Publisher(BaseHTTPRequestHandler):
    """Serves CONTENT as toy.pth, and as cut.pth a part of it."""

    def do_GET(self) -> None:
        if self.path not in ("/toy.pth", "/cut.pth"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if self.path == "/toy.pth" else CONTENT[:1000])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weight]:
    """Weights that a server of this machine publishes."""
    server = HTTPServer(("127.0.0.1", 0), Publisher)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/toy.pth"
    weight = Weight("toy", "tests", "toy.pth", address, "MIT", "nothing", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(KNOWN, "toy", weight)
    yield weight
    server.shutdown()
    thread.join()
    server.server_close()


def examined(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def levels(found: doctor.Examination) -> dict[str, list[str]]:
    return {level: [f.what for f in found.findings if f.level == level] for level in ("problem", "warning")}


def test_all_is_well_here(kept: Path) -> None:
    result = examined()
    assert result.exit_code == 0, result.output
    assert "problem" not in result.output
    assert "the default chain can run" in result.output
    assert f"torch {metadata.version('torch')}" in result.output
    assert "writes and reads .avi (MJPG)" in result.output
    assert KNOWN["mediapipe-landmarks"].sha256 in result.output
    assert "absent   keypointrcnn_resnet50_fpn: 226.1 MiB, BSD-3-Clause" in result.output
    assert not kept.exists()
    assert not Path("work").exists()  # looking makes nothing


def test_json_says_the_same() -> None:
    result = examined("--json", "--device", "cpu")
    found = json.loads(result.stdout)
    assert found["healthy"]
    states = {w["name"]: (w["state"], w["hash"]) for w in found["weights"]}
    assert states["shipped-encoder"] == ("present", "whole")
    assert states["rtmpose-m_8xb256-420e_coco-256x192"] == ("absent", "prefix")
    assert {f["topic"] for f in found["findings"]} == {"python", "packages", "optional", "device", "video", "work", "weights"}


def test_settings_are_read_as_by_other_commands(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("device: cpu\n")
    for options in (["--config", "mine.yaml"], ["--set", "device=cpu"]):
        assert "no GPU is used" in examined(*options).output
    for wrong in (["--config", "nothere.yaml"], ["--device", "banana"], ["--set", "split.lenght=3"]):
        assert isinstance(examined(*wrong).exception, UsageError)


def test_without_a_package_that_settings_need_the_others_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gaitreid.pipeline.config", None)  # as where OpenCV cannot be imported
    result = examined("--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "no GPU is used" in result.output


def test_lines_for_programs() -> None:
    lines = [json.loads(line) for line in examined("--log-json").stdout.splitlines()]
    assert {line["event"] for line in lines} == {"line"}
    assert lines[-1]["text"] == "doctor: the default chain can run"
    assert examined("--log-json", "-q").stdout == ""


def test_the_versions_that_were_tried_are_those_of_the_lock() -> None:
    locked = dict(line.split("==") for line in LOCK.splitlines())
    assert {name: ".".join(locked[name].split(".")[:2]) for name in doctor.TRIED} == doctor.TRIED


@pytest.mark.parametrize(
    ("package", "version", "level", "words"),
    [
        ("torch", None, "problem", "torch is not installed"),
        ("torch", "2.99.1", "warning", "torch 2.99.1 is later than"),
        ("mediapipe", "0.10.22", "warning", "mediapipe 0.10.22, wanted ==0.10.21"),
        ("opencv-python", None, "problem", "opencv-python is not installed"),
    ],
)
def test_versions_that_were_not_tried(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str | None, level: str, words: str
) -> None:
    real = metadata.version

    def pretended(name: str) -> str:
        if not name.startswith(package):
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == package else real(name)

    monkeypatch.setattr(metadata, "version", pretended)
    (found,) = [f for f in doctor._packages() if words in f.what]
    assert found.level == level
    assert f"'{package}" in found.remedy


def test_optional_packages_that_are_missing_are_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["rtmlib>=0.0.13; extra == 'rtmlib'", 'onnxscript>=0.2; extra == "onnx"', "numpy>=2"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    real = metadata.version

    def pretended(name: str) -> str:
        if name == "numpy":
            return real(name)
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", pretended)
    *_, found = doctor._packages()
    assert found.level == "fine"
    assert "rtmlib (pip install --no-deps rtmlib onnxruntime)" in found.what
    assert "onnxscript (pip install 'onnxscript>=0.2')" in found.what


def test_what_two_extras_ask_for_is_said_once() -> None:
    said = [f.what for f in doctor.examine(Path("work"), "cpu").findings]
    assert len(said) == len(set(said))


def test_opencvs_headless_twin_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def pretended(name: str) -> str:
        if name == "opencv-python":
            raise metadata.PackageNotFoundError(name)
        return "4.12.0" if name == "opencv-python-headless" else real(name)

    monkeypatch.setattr(metadata, "version", pretended)
    assert "opencv-python 4.12.0" in [f.what for f in doctor._packages() if f.level == "fine"]


def test_missing_or_damaged_weights_of_the_default_chain_are_a_problem(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = KNOWN["shipped-encoder"]
    monkeypatch.setitem(KNOWN, encoder.name, replace(encoder, sha256="0" * 64))
    landmarks = KNOWN["mediapipe-landmarks"]
    monkeypatch.setitem(KNOWN, landmarks.name, replace(landmarks, file="modules/gone.tflite"))
    result = examined()
    assert result.exit_code == 1
    assert "problem: weights: mediapipe-landmarks is missing: install the package mediapipe" in result.stderr
    assert "encoder.safetensors is not what it must be" in result.stderr
    assert "damaged  shipped-encoder" in result.stdout
    assert "cannot run" in result.stdout


def test_damaged_weights_that_were_downloaded_are_a_warning(kept: Path) -> None:
    kept.mkdir()
    (kept / KNOWN["keypointrcnn_resnet50_fpn"].file).write_bytes(b"half of it")
    result = examined()
    assert result.exit_code == 0
    assert "warning: weights" in result.stderr
    assert "gaitreid doctor --download keypointrcnn_resnet50_fpn" in result.stderr


def test_a_work_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = examined("--work", str(tmp_path / "file" / "work"))
    assert result.exit_code == 1
    assert "problem: work:" in result.stderr
    assert "GAITREID_WORK" in result.stderr


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, level in ((50 * 2**20, "problem"), (2**30, "warning"), (2**40, "fine")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert [f.level for f in doctor._work(Path("work"))] == [level]


def test_a_run_that_goes_on_and_what_killed_ones_left(tmp_path: Path) -> None:
    work = tmp_path / "w"
    with subprocess.Popen(["true"]) as gone:
        pass
    with writing(work):
        (work / "pose2d").mkdir()
        (work / f"pose2d/.a.h5.{gone.pid}.tmp").write_bytes(bytes(2**20))
        found = list(doctor._work(work))
        assert any(f"(process {os.getpid()} on" in f.what and f.level == "fine" for f in found)
        [left] = [f for f in found if f.level == "warning"]
        assert left.what.startswith("1 unfinished files of runs that were killed, 1.0 MiB")
    with writing(work):  # as the remedy says
        pass
    assert [f.level for f in doctor._work(work)] == ["fine"]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w/pose 2d").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    [found] = [f for f in doctor._work(tmp_path / "w") if f.level == "problem"]
    assert found.remedy == f"chmod -R u+rwX '{tmp_path}/w/pose 2d'"


class Mute:
    """A video writer that writes nothing, as OpenCV's does where it has no encoder."""

    fourcc = cv2.VideoWriter.fourcc

    def __init__(self, *_: object) -> None:
        pass

    def write(self, _: object) -> None:
        pass

    def release(self) -> None:
        pass


def test_a_codec_that_writes_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", Mute)
    found = {f.what.split(" read ")[1][:4]: f.level for f in doctor._video()}
    assert found == {".avi": "problem", ".mp4": "warning"}


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    facts = type("Facts", (), {"name": "A card", "total_memory": 24 * 2**30})
    monkeypatch.setattr(doctor, "_has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: facts)
    assert [f.what.startswith("cuda:0 A card, 24 GiB, ") for f in doctor._device("auto")] == [True]
    assert [f.level for f in doctor._device("cuda")] == [f.level for f in doctor._device("cuda:0")] == ["fine"]
    assert [f.what for f in doctor._device("cuda:1") if f.level == "problem"] == ["there is no CUDA device for --device cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert [f.level for f in doctor._device("auto")] == ["warning", "fine"]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert [f.level for f in doctor._device("auto")] == ["problem"]
    monkeypatch.setattr(doctor, "_has_driver", lambda: False)
    assert [f.level for f in doctor._device("cuda:0")] == ["fine", "problem"]
    assert [f.what.startswith("no GPU is used") for f in doctor._device("cpu")] == [True]


def test_a_download_is_kept_when_its_hash_is_right(kept: Path, toy: Weight) -> None:
    result = examined("--download", "toy")
    assert result.exit_code == 0, result.output
    assert (kept / "toy.pth").read_bytes() == CONTENT
    assert kept.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in kept.iterdir()] == ["toy.pth"]
    assert "present  toy: MIT" in result.stdout
    assert weights.required(toy) == kept / "toy.pth"
    assert "toy is here" in examined("--download", "toy").stdout


def test_a_download_of_which_only_the_first_digits_are_known(kept: Path, toy: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "toy", replace(toy, sha256=toy.sha256[:8]))
    assert "no more is published" in examined("--download", "toy").stdout
    assert (kept / "toy.pth").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sha256": "0" * 64}, FormatError, "expected 0{64}: not kept"),
        ({"sha256": "0" * 8}, FormatError, "expected 0{8}: not kept"),
        ({"sha256": ""}, UsageError, "no SHA-256 of .* is published"),
        ({"source": "/cut.pth"}, EmptyError, f"cut off after 1000 of {len(CONTENT)} bytes"),
        ({"source": "/absent.pth"}, EmptyError, "cannot be downloaded: HTTP Error 404.*put toy.pth into"),
    ],
)
def test_nothing_is_kept_of_what_went_wrong(
    kept: Path, toy: Weight, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    if "source" in change:
        change = {"source": toy.source.replace("/toy.pth", change["source"])}
    monkeypatch.setitem(KNOWN, "toy", replace(toy, **change))
    result = examined("--download", "toy")
    with pytest.raises(error, match=words):
        raise result.exception or AssertionError(result.output)
    assert not kept.exists() or not list(kept.iterdir())


def test_what_packages_carry_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "toy", Weight("toy", "", "absent.tflite", "mediapipe", "MIT", "nothing", "0" * 64))
    with pytest.raises(UsageError, match="install the package mediapipe"):
        doctor.download("toy", Console())
