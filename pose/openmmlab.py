"""mmpose and mmdet: what makes them import and run here, their zoos by name, and models with weights.

They ask for packages that are compiled for old versions of torch and numpy. Before their first import `prepare` puts in place

- `xtcocotools` (built against numpy 1), which is pycocotools under another name;
- `mmcv._ext`, the compiled operations that mmcv-lite lacks: a module whose `nms` is torchvision's and whose other functions
  raise an error that says so. With the full mmcv its own are used.

Everything else of this package goes through here, so that there is one place to mend when versions move.
"""

import contextlib
import difflib
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gaitreid.pose.errors import FormatError, UsageError
from gaitreid.pose.weights import load_checkpoint, required, resolve, weight

if TYPE_CHECKING:
    import torch

# Releases that this was tried with. Where they move: let tests/pose/test_openmmlab.py pass with the new ones, then change this.
VERSIONS = {"mmengine": "0.10", "mmpose": "1.3", "mmdet": "3.3"}
MMCV = "2.1"


class Operations(ModuleType):
    """What mmcv imports as `mmcv._ext`: every name is there, and only what torchvision can do works."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A function that raises a UsageError when it is called."""
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: object, **__: object) -> Any:
            raise UsageError(
                f"this model needs mmcv's compiled operation '{name}', which mmcv-lite lacks: choose another model, or install "
                f"mmcv {MMCV} built for this torch in place of mmcv-lite"
            )

        return missing

    @staticmethod
    def nms(boxes: "torch.Tensor", scores: "torch.Tensor", iou_threshold: float, offset: int) -> "torch.Tensor":
        """Indices of the boxes that are kept, best first; see `torchvision.ops.nms`."""
        from torchvision.ops import nms

        if offset:
            raise UsageError("this model counts pixels of boxes inclusively (nms with offset 1), which needs the full mmcv")
        kept: torch.Tensor = nms(boxes, scores, iou_threshold)
        return kept


@dataclass(frozen=True)
class Built:
    """A model of a zoo, ready to infer.

    Attributes:
        name: of its configuration.
        config: an `mmengine.Config`.
        model: in evaluation mode, on its device.
        meta: what its checkpoint says of the data set that it was trained on; empty where it says nothing.
    """

    name: str
    config: Any
    model: Any
    meta: dict[str, Any]


@cache
def prepare() -> None:
    """Make mmpose and mmdet importable; must come before anything of theirs is imported.

    Raises:
        UsageError: one of them is not installed, or in a version that this was not made for.
    """
    for package, wanted in {**VERSIONS, _mmcv(): MMCV}.items():
        _check(package, wanted)
    with quiet():
        if importlib.util.find_spec("xtcocotools") is None:
            for name in ("", ".mask", ".coco", ".cocoeval"):
                sys.modules[f"xtcocotools{name}"] = importlib.import_module(f"pycocotools{name}")
        if importlib.util.find_spec("mmcv._ext") is None:
            operations = Operations("mmcv._ext")
            operations.__spec__ = ModuleSpec("mmcv._ext", None)  # mmcv looks for the spec to know whether operations are there
            sys.modules["mmcv._ext"] = operations


def zoo(package: str) -> dict[str, Path]:
    """Configurations that an installed package (mmpose or mmdet) carries, by name.

    Raises:
        UsageError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)  # finding a package does not import it
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{package} is not installed: `pip install --no-deps {package}~={VERSIONS[package]}.0`")
    folder = Path(spec.submodule_search_locations[0]) / ".mim" / "configs"
    return {file.stem: file for file in sorted(folder.rglob("*.py")) if "_base_" not in file.parts}


def find(package: str, name: str, *, trust: bool = False) -> Path:
    """The file of a configuration: by its name in the installed zoo, or a Python file of the user's own where that is trusted.

    Raises:
        UsageError: there is none of this name, or a file is named that is not trusted: it is a program that would be run.
    """
    known = zoo(package)
    if name.removesuffix(".py") in known:
        return known[name.removesuffix(".py")]
    path = Path(name).expanduser()
    if not path.is_file():
        near = difflib.get_close_matches(name, known, 3, 0.4) or [other for other in known if name in other][:3]
        hint = f"did you mean {' or '.join(near)}?" if near else f"names are those of its model zoo, {len(known)} in all"
        raise UsageError(f"{package} has no configuration '{name}', and there is no such file: {hint}")
    if path.suffix != ".py":
        raise UsageError(f"{path}: a configuration of {package} is a Python file")
    if not trust:
        raise UsageError(f"{path} is a Python program, which is run when it is read: look into it, then give --trust-config")
    return path


def build(package: str, argument: str, device: str = "cpu", *, trust: bool = False) -> Built:
    """A model of mmpose's or mmdet's, with its weights.

    Args:
        argument: `CONFIG[,CHECKPOINT]`: a configuration's name in the package's zoo (or a trusted Python file), and a file of
            weights, or the name of known weights. Without one, the weights that were published for this configuration.
        device: of torch, such as `cpu` or `cuda:0`.
        trust: whether a Python file may be run.

    Raises:
        UsageError: see `find`; the weights are not on this machine (the message says where they come from), or do not fit.
        FormatError: the checkpoint holds something else than weights, or has the wrong hash.
    """
    text, _, checkpoint = argument.partition(",")
    config, path = load_config(package, text, trust=trust)
    if not checkpoint and path not in zoo(package).values():
        raise UsageError(f"{package}:{text}: name the weights of your own configuration: {package}:{text},CHECKPOINT")
    file = resolve(checkpoint) if checkpoint else required(weight(path.stem))
    model = construct(package, config)
    meta = _load(model, file, path.stem)
    return Built(path.stem, config, model.to(device).eval(), meta)


def load_config(package: str, name: str, *, trust: bool = False) -> tuple[Any, Path]:
    """An `mmengine.Config` and the file that it was read from; see `find`.

    Raises:
        UsageError: see `find`; or the file cannot be read.
    """
    path = find(package, name, trust=trust)
    prepare()
    with quiet():
        from mmengine.config import Config

        try:
            return Config.fromfile(path), path
        except Exception as error:  # it is a program: anything may go wrong
            raise UsageError(f"{path}: cannot be read as a configuration: {error}") from error


def construct(package: str, config: Any) -> Any:
    """The model that a configuration describes, in evaluation mode, with random weights, on the CPU.

    Raises:
        UsageError: the configuration describes none that can be built here.
    """
    prepare()
    with quiet():
        registry = importlib.import_module(f"{package}.registry").MODELS
        from mmengine.model import revert_sync_batchnorm
        from mmengine.registry import DefaultScope

        described = {**config["model"], "train_cfg": None} if "model" in config else None
        if described is None:
            raise UsageError("the configuration has no `model`")
        try:
            with DefaultScope.overwrite_default_scope(package):
                model = registry.build(described)
        except (KeyError, TypeError, ValueError, ImportError) as error:
            raise UsageError(f"{package} cannot build this model: {_cause(error)}") from error
        return revert_sync_batchnorm(model).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, read as data: nothing in it is run.

    Raises:
        FormatError: as of `load_checkpoint`, or it is another thing than a dict.
    """
    import torch

    prepare()
    with torch.serialization.safe_globals(_harmless()):
        content = load_checkpoint(path)
    if not isinstance(content, dict):
        raise FormatError(f"{path}: is no checkpoint: it holds a {type(content).__name__}")
    return content


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back warnings of old packages about their own affairs while they are imported or build something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _mmcv() -> str:
    """Under which name mmcv is installed."""
    with contextlib.suppress(PackageNotFoundError):
        version("mmcv")
        return "mmcv"
    return "mmcv-lite"


def _check(package: str, wanted: str) -> None:
    try:
        found = version(package)
    except PackageNotFoundError:
        raise UsageError(f"{package} is not installed: `pip install --no-deps {package}~={wanted}.0`") from None
    if not f"{found}.".startswith(f"{wanted}."):
        raise UsageError(
            f"{package} {found} is installed, and mmpose was made to run here with {package} {wanted}: "
            f"`pip install --no-deps {package}~={wanted}.0`, or see VERSIONS in gaitreid/pose/openmmlab.py"
        )


def _cause(error: Exception) -> str:
    """Why a model was not built: mostly a package beside mmpose and mmdet, by which registries find what `PACKAGE.Name` is."""
    found = re.search(r"(\w+)\.\w+ is not in the", str(error))
    if found and importlib.util.find_spec(found[1]) is None:
        return f"it needs the package {found[1]}, which is not installed: `pip install --no-deps {found[1]}`"
    return str(error)


def _load(model: Any, path: Path, name: str) -> dict[str, Any]:
    """Put a checkpoint's weights into a model; what it says of its data set."""
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except (RuntimeError, AttributeError) as error:
        raise UsageError(f"{path}: its weights do not fit the configuration {name}: {_first_mismatch(error)}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise UsageError(
            f"{path}: its weights do not fit the configuration {name}: {len(missing)} are missing, first {missing[0]}"
        )
    meta = content.get("meta")
    found = meta.get("dataset_meta") if isinstance(meta, dict) else None
    return found if isinstance(found, dict) else {}


def _first_mismatch(error: Exception) -> str:
    """Torch's message has a heading, then a line for each weight that differs."""
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[1] if len(lines) > 1 else str(error)


class _Inert:
    """Takes the place of a training's log: made and filled without doing anything."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        """Takes anything."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None: ...


def _inert(*_: object) -> None:
    """Takes the place of `getattr`, by which a log names its own methods."""


def _harmless() -> list[Any]:
    """What checkpoints of mmengine hold beside weights, as torch's reader knows it: classes and the names that files use."""
    import numpy as np
    from numpy._core import multiarray

    arrays = [(getattr(multiarray, name), f"{home}.multiarray.{name}") for name in ("_reconstruct", "scalar") for home in _NUMPY]
    types = [type(np.dtype(code)) for code in "?bBhHiIlLefdU"]
    log = "mmengine.logging.history_buffer.HistoryBuffer"
    return [np.ndarray, np.dtype, *types, *arrays, (_Inert, log), (_inert, "builtins.getattr"), (_inert, "__builtin__.getattr")]


_NUMPY = ("numpy.core", "numpy._core")  # as numpy 1 and numpy 2 write them
