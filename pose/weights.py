"""Weights of the models that gaitreid can use: what each is for, where it comes from, its licence, and the hash it must have.

Some come with the packages that are installed; the others are kept in one folder, to which `gaitreid doctor --download NAME`
brings them. Nothing here touches the network.
"""

import difflib
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gaitreid.pose.errors import FormatError, UsageError

TORCHVISION = "https://download.pytorch.org/models/"
OPENMMLAB = "https://download.openmmlab.com/"
HUMAN36M = "Human3.6M (its licence: academic use only)"
BODY7 = "AI Challenger, COCO, CrowdPose, MPII, sub-JHMDB, Halpe, PoseTrack18"


@dataclass(frozen=True)
class Weight:
    """One file of weights.

    Attributes:
        use: what it is for, as a user would name it on the command line.
        file: its file name; where a package carries it, its path inside.
        source: the publisher's address, or the name of the package that carries it.
        licence: of the weights, as their publisher states it.
        data: what they were trained on, which may have terms of its own.
        sha256: in hex, whole or its first digits (publishers write eight into the file's name); empty where nobody publishes one.
        size: MiB, as published; None where it is not.
    """

    name: str
    use: str
    file: str
    source: str
    licence: str
    data: str
    sha256: str
    size: float | None = None

    @property
    def embedded(self) -> bool:
        """Whether a package carries it."""
        return "/" not in self.source

    @property
    def hash_kind(self) -> str:
        """How much of the SHA-256 is known: whole, prefix or unknown."""
        return {64: "whole", 0: "unknown"}.get(len(self.sha256), "prefix")


def _torchvision(name: str, use: str, file: str, size: float, sha256: str = "") -> Weight:
    return Weight(name, use, file, TORCHVISION + file, "BSD-3-Clause", "COCO", sha256 or _hash_in(file), size)


def _openmmlab(name: str, use: str, address: str, data: str) -> Weight:
    file = address.rpartition("/")[2]
    return Weight(name, use, file, OPENMMLAB + address, "Apache-2.0", data, _hash_in(file))


def _rtmlib(name: str, use: str, address: str, data: str) -> Weight:
    # The archive's name bears the hash of the checkpoint that it was made from: neither the archive's own nor the ONNX file's.
    file = address.rpartition("/")[2].replace(".zip", ".onnx")
    return Weight(name, use, file, OPENMMLAB + address, "Apache-2.0", data, "")


def _hash_in(file: str) -> str:
    """The first digits of the SHA-256 that torchvision and OpenMMLab write into file names, or nothing."""
    found = re.search(r"-([0-9a-f]{8})(_\d{8})?\.pth$", file)
    return found[1] if found else ""


_WEIGHTS = (
    Weight(
        "mediapipe-detection",
        "--pose mediapipe",
        "modules/pose_detection/pose_detection.tflite",
        "mediapipe",
        "Apache-2.0",
        "Google's own",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        2.82,
    ),
    Weight(
        "mediapipe-landmarks",
        "--pose mediapipe",
        "modules/pose_landmark/pose_landmark_full.tflite",
        "mediapipe",
        "Apache-2.0",
        "Google's own",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        6.14,
    ),
    Weight(
        "shipped-encoder",
        "match and identify without training",
        "reid/shipped/encoder.safetensors",
        "gaitreid",
        "MIT",
        "rendered walkers and CMU motion capture (reid/shipped/README.md)",
        "177cda4002c522641037cf4d7b01bf6bed03f4d49b6625a984cb99f26db6239a",
        0.09,
    ),
    Weight(
        "shipped-cohort",
        "identify without training: scales and calibration",
        "reid/shipped/cohort.safetensors",
        "gaitreid",
        "MIT",
        "rendered walkers (reid/shipped/README.md)",
        "d4137c66b72cc5b5cb86296662925772611409a76caba2578c245b6ed39a0dc2",
        0.29,
    ),
    Weight(
        "shipped-lifter",
        "--lifter tcn",
        "pose/lifters/shipped/lifter.safetensors",
        "gaitreid",
        "MIT",
        "CMU motion capture and rendered walkers (pose/lifters/shipped/README.md)",
        "c226472011e01e976f2390c5a5be723ddc20b4429908201368c9b9379e8af3e6",
        4.09,
    ),
    _torchvision(
        "keypointrcnn_resnet50_fpn",
        "--pose keypointrcnn",
        "keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        226.054,
        "fc266e953d2b302cdcbb9ae66f71f6b0d4649928bf02dc573961e361e4918926",
    ),
    _torchvision(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "--detector torchvision",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
        74.239,
    ),
    _torchvision(
        "fasterrcnn_mobilenet_v3_large_fpn",
        "--detector torchvision:fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        74.239,
    ),
    _torchvision(
        "fasterrcnn_resnet50_fpn_v2",
        "--detector torchvision:fasterrcnn_resnet50_fpn_v2",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        167.104,
    ),
    _torchvision(
        "ssdlite320_mobilenet_v3_large",
        "--detector torchvision:ssdlite320_mobilenet_v3_large",
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        13.418,
    ),
    _openmmlab(
        "rtmpose-m_8xb256-420e_coco-256x192",
        "--pose mmpose",
        "mmpose/v1/projects/rtmposev1/rtmpose-m_simcc-coco_pt-aic-coco_420e-256x192-d8dd5ca4_20230127.pth",
        "AI Challenger, COCO",
    ),
    _openmmlab(
        "rtmpose-m_8xb256-420e_body8-256x192",
        "--pose mmpose:rtmpose-m_8xb256-420e_body8-256x192",
        "mmpose/v1/projects/rtmposev1/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.pth",
        BODY7,
    ),
    _openmmlab(
        "rtmpose-m_8xb512-700e_body8-halpe26-256x192",
        "--pose mmpose:rtmpose-m_8xb512-700e_body8-halpe26-256x192",
        "mmpose/v1/projects/rtmposev1/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.pth",
        BODY7,
    ),
    _openmmlab(
        "td-hm_hrnet-w32_8xb64-210e_coco-256x192",
        "--pose mmpose:td-hm_hrnet-w32_8xb64-210e_coco-256x192",
        "mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth",
        "COCO",
    ),
    _openmmlab(
        "rtmo-s_8xb32-600e_body7-640x640",
        "--pose mmpose:rtmo-s_8xb32-600e_body7-640x640",
        "mmpose/v1/projects/rtmo/rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211.pth",
        BODY7,
    ),
    _openmmlab(
        "rtmdet_tiny_8xb32-300e_coco",
        "--detector rtmdet",
        "mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth",
        "COCO",
    ),
    _openmmlab(
        "rtmdet_m_8xb32-300e_coco",
        "--detector rtmdet:rtmdet_m_8xb32-300e_coco",
        "mmdetection/v3.0/rtmdet/rtmdet_m_8xb32-300e_coco/rtmdet_m_8xb32-300e_coco_20220719_112220-229f527c.pth",
        "COCO",
    ),
    _openmmlab(
        "video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m",
        "--lifter mmpose:video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m",
        "mmpose/body3d/videopose/videopose_h36m_27frames_fullconv_supervised-fe8fbba9_20210527.pth",
        HUMAN36M,
    ),
    _openmmlab(
        "video-pose-lift_tcn-243frm-supv-cpn-ft_8xb128-200e_h36m",
        "--lifter mmpose:video-pose-lift_tcn-243frm-supv-cpn-ft_8xb128-200e_h36m",
        "mmpose/body3d/videopose/videopose_h36m_243frames_fullconv_supervised_cpn_ft-88f5abbb_20210527.pth",
        HUMAN36M,
    ),
    _openmmlab(
        "motionbert_dstformer-ft-243frm_8xb32-120e_h36m",
        "--lifter mmpose:motionbert_dstformer-ft-243frm_8xb32-120e_h36m",
        "mmpose/v1/body_3d_keypoint/pose_lift/h36m/motionbert_ft_h36m-d80af323_20230531.pth",
        HUMAN36M,
    ),
    _rtmlib(
        "rtmlib-rtmpose-m",
        "--pose rtmlib",
        "mmpose/v1/projects/rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
        BODY7,
    ),
    _rtmlib(
        "rtmlib-rtmpose-m-halpe26",
        "--pose rtmlib:rtmlib-rtmpose-m-halpe26",
        "mmpose/v1/projects/rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605.zip",
        BODY7,
    ),
)
KNOWN = {weight.name: weight for weight in _WEIGHTS}


def weight(name: str) -> Weight:
    """A known weight by name; any model of the installed zoos of mmpose and mmdet is known by its configuration's name.

    Raises:
        UsageError: there is none of this name.
    """
    found = KNOWN.get(name) or _zoo(name)
    if found is None:
        near = difflib.get_close_matches(name, KNOWN, 3, 0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "`gaitreid doctor` lists them"
        raise UsageError(f"unknown weights '{name}': {hint}")
    return found


def resolve(text: str) -> Path:
    """The file that a checkpoint's path or a weight's name stands for; one whose hash is known has that hash.

    Raises:
        UsageError: it is neither a file nor a known name, or the weights are not on this machine.
        FormatError: its hash is not the one that it must have.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise UsageError(f"{text}: no such file: name a checkpoint, or weights that `gaitreid doctor` lists")
        return required(weight(text))
    for known in _WEIGHTS:
        if known.file == path.name:
            verify(known, path)
    return path


def required(weights: Weight) -> Path:
    """Where weights are on this machine, their hash checked.

    Raises:
        UsageError: they are not there; the message says how to get them.
        FormatError: their hash is not the one that they must have.
    """
    path = locate(weights)
    if path is None:
        raise UsageError(f"weights '{weights.name}' are not on this machine: {remedy(weights)}")
    verify(weights, path)
    return path


def remedy(weights: Weight) -> str:
    """What brings weights that are missing or damaged to this machine."""
    if weights.embedded:
        return f"install the package {weights.source} anew, in the version that gaitreid asks for"
    if weights.hash_kind == "unknown":  # nothing is downloaded whose content cannot be checked
        target = folder() / weights.file
        return f"no SHA-256 of {weights.source} is published: fetch it yourself and put the .onnx inside it to {target}"
    return f"run `gaitreid doctor --download {weights.name}`, or put {weights.file} into {folder()}"


def locate(weights: Weight) -> Path | None:
    """Where weights are on this machine, not looked into; None where they are not."""
    if weights.embedded:
        spec = importlib.util.find_spec(weights.source)  # finding a package does not import it
        roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    else:
        roots = [folder(), *_caches()]
    return next((root / weights.file for root in roots if (root / weights.file).is_file()), None)


def verify(weights: Weight, path: Path) -> None:
    """Compare a file's hash with the known one, or with as much of it as is known.

    Raises:
        FormatError: it differs.
    """
    found = _digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    if not found.startswith(weights.sha256):
        raise FormatError(f"{path}: its SHA-256 is {found}, expected {weights.sha256}: delete it and {remedy(weights)}")


def load_checkpoint(path: Path) -> Any:
    """What a checkpoint holds, read as data: nothing in the file is run.

    Raises:
        FormatError: it is damaged, or holds more than weights, numbers and texts.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything at all on a damaged file, some of it without a word
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(f"{path}: cannot be read as a checkpoint: {reason}") from error


def load_into(model: Any, path: Path, name: str) -> None:
    """The weights of a checkpoint into a model of torchvision's, which is called `name`.

    Raises:
        UsageError: they are another model's.
        FormatError: as of `load_checkpoint`.
    """
    content = load_checkpoint(path)
    state = content.get("model", content) if isinstance(content, dict) else {}  # torchvision's training writes {"model": ...}
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UsageError(f"{path}: these are not weights of {name}: {reason}") from error


def folder() -> Path:
    """Where downloaded weights are kept: GAITREID_WEIGHTS, or .cache/gaitreid in the home folder."""
    named = os.environ.get("GAITREID_WEIGHTS")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "gaitreid"


def _caches() -> Iterator[Path]:
    """Where torch hub (torchvision, mmengine) and rtmlib keep what they downloaded."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for name in ("torch", "rtmlib"):
        yield Path(os.environ.get("TORCH_HOME") or cache_home / name).expanduser() / "hub" / "checkpoints"


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    """SHA-256 in hex; a process reads a file once, unless it changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _zoo(name: str) -> Weight | None:
    """A model of the zoos that mmpose and mmdet carry, by its configuration's name."""
    for package, use in (("mmpose", "--pose"), ("mmdet", "--detector")):
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted((Path(root) / ".mim" / "configs").rglob("*.yml")):
                text = file.read_text(encoding="utf-8")
                if f"/{name}.py" in text:
                    found = next((m for m in _models(text) if Path(str(m.get("Config"))).stem == name), None)
                    if found and str(found.get("Weights", "")).startswith("https://"):
                        return _of_zoo(name, use, found)
    return None


def _of_zoo(name: str, use: str, model: dict[str, Any]) -> Weight:
    address = str(model["Weights"])
    kind = {"--pose": "mmpose", "--detector": "rtmdet"}[use]
    if "body_3d" in str(model["Config"]):
        use = "--lifter"
    data = (model.get("Metadata") or {}).get("Training Data", "")
    named = ", ".join(data) if isinstance(data, list) else str(data)
    if "h36m" in name:
        named = HUMAN36M
    file = address.rpartition("/")[2]
    return Weight(name, f"{use} {kind}:{name}", file, address, "Apache-2.0", named, _hash_in(file))


def _models(text: str) -> list[dict[str, Any]]:
    """The models that a metafile of OpenMMLab lists."""
    import yaml

    content = yaml.safe_load(text)
    models = content.get("Models", []) if isinstance(content, dict) else content
    return [model for model in models or [] if isinstance(model, dict)]
