"""The official .npy layout of AGE and CAGE, in and out: one file an axis of flat windows, and a pickled dict of who they are.

Datasets/NAME/f/[view_k/]NAME_train_npy_data/{source,target}_{x,y,z}_NAME_f.npy, ids_NAME_f.npy; the test set is in
NAME_test_npy_data, its windows are t_source_... The pickled dicts are read by an unpickler that knows numbers, texts, lists,
dicts and what stands for numpy's arrays, so that nothing in them runs, or takes more memory than they have bytes for.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gaitreid.pipeline import npy, store
from gaitreid.pipeline.bounds import read_bytes
from gaitreid.pipeline.console import Console, counted
from gaitreid.pipeline.files import digest, replacing, sha256
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.skeleton import CASIA14, KINECT20, KINECT25
from gaitreid.reid.records import Sequences
from gaitreid.reid.select import select
from gaitreid.reid.windows import SplitConfig, Windows, join

SKELETONS = {14: CASIA14, 20: KINECT20, 25: KINECT25}
CONDITIONS = ("nm", "bg", "cl")  # folders of CASIA-B's test set
LONGEST = 10_000  # frames a window
FARTHEST = 1e6
SOURCE = re.compile(r"^(t_)?source_x_(?P<name>.+)_(?P<length>\d+)\.npy$")


def bring_in(work: Work, paths: list[Path], console: Console) -> Path:
    """Windows of the official layout to `sequences.h5`; conditions are train and test (or nm, bg, cl; IAS-A, IAS-B).

    Raises:
        UsageError: tracks are in the work folder, of which the next stage would make other windows in the place of these.
        EmptyError: there is nothing of the kind.
        FormatError: lengths, joints or persons do not fit together.
    """
    if work.stems("pose2d") or work.stems("pose3d"):
        raise UsageError(f"import npy: {work.root} has tracks, and windows are made of these: use another --work")
    found = {file for path in paths for file in path.rglob("*source_x_*.npy") if SOURCE.match(file.name) and file.is_file()}
    # Beside CASIA-B's nm/, bg/ and cl/ the official code wants a file of them all, whose windows would be there twice.
    pooled = {file for file in found if any(file.parent / condition / file.name in found for condition in CONDITIONS)}
    for file in sorted(pooled):
        console.say(f"import: {file} is left out: the folders of conditions beside it have its windows")
    files = sorted(found - pooled)
    if not files:
        raise EmptyError(f"no source_x_NAME_f.npy below {', '.join(map(str, paths))}")
    windows: list[Windows] = []
    rows: list[dict[str, Any]] = []
    shapes = set()
    for file in files:
        name, length = _name_of(file)
        xyz = _windows(file, length)
        shapes.add((length, xyz.shape[2]))
        for person, numbers in _people(file, name, length, len(xyz)):
            if numbers:
                windows.append(_joined(xyz[numbers]))
                rows.append(_row(file, name, person))
    if len(shapes) != 1:
        raise FormatError(f"files differ in length or joints: {sorted(shapes)}; import one data set of one length at a time")
    length, joints = shapes.pop()
    if joints not in SKELETONS:
        raise FormatError(f"{files[0]}: {joints} joints, expected {' or '.join(map(str, SKELETONS))}")
    if not windows:
        raise EmptyError(f"nobody has a window in {', '.join(map(str, files))}")
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    sequences = Sequences(
        **join(windows),
        **columns,
        length=length,
        fps=0.0,
        normalize="none",
        skeleton=SKELETONS[joints],
    )
    config = SplitConfig(length=length, fps=None, normalize="none")
    facts = {**provenance(config, digest(sha256(file) for file in files)), "imported": "npy", "left_out": "{}"}
    store.write(work.sequences, "sequences", {"/sequences": sequences}, facts)
    console.say(
        f"import: {counted(len(sequences.start), 'windows')} of {length} frames, {len(set(columns['subject']))} people (npy)"
    )
    return work.sequences


def hand_out(work: Work, target: Path, name: str, train: str, test: str, console: Console) -> Path:
    """Write the windows in the official layout, as its code reads them: float64, targets reversed, ids pickled.

    Windows of tracks without a subject are there to be learnt from, and nobody's among the ids.
    """
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    folder = target / name / str(sequences.length)
    for part, prefix, selector in (("train", "", train), ("test", "t_", test)):
        chosen = np.flatnonzero(np.isin(sequences.window_track, select(sequences, selector)))
        rows = sequences.start[chosen][:, None] + np.arange(sequences.length)
        xyz = sequences.xyz[rows].astype(np.float64)
        subject = sequences.subject[sequences.window_track[chosen]]
        ids = {str(s): np.flatnonzero(subject == s).tolist() for s in np.unique(subject) if s}
        for axis, letter in enumerate("xyz"):
            for kind, windows in (("source", xyz), ("target", xyz[:, ::-1])):
                flat = np.ascontiguousarray(windows[..., axis]).reshape(-1, xyz.shape[2])
                _save(folder / f"{name}_{part}_npy_data" / f"{prefix}{kind}_{letter}_{name}_{sequences.length}.npy", flat)
        _save(folder / f"{name}_{part}_npy_data" / f"ids_{name}_{sequences.length}.npy", np.array(ids, dtype=object))
        unnamed = np.count_nonzero(subject == "")
        note = f", {unnamed} of unknown people and not among the ids" if unnamed else ""
        console.say(f"export: {len(chosen)} {part} windows of {counted(len(ids), 'people')}{note}")
    return folder


def _save(path: Path, values: Any) -> None:
    with replacing(path, private=False) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=True)


def _name_of(file: Path) -> tuple[str, int]:
    """The data set's name and the windows' length, as the file's name has them."""
    found = SOURCE.match(file.name)
    assert found
    length = int(found["length"])
    if not 2 <= length <= LONGEST:
        raise FormatError(f"{file}: windows of {length} frames, expected 2 to {LONGEST}")
    return found["name"], length


def _windows(file: Path, length: int) -> FloatArray:
    """(N, length, J, 3) of the three files of which `file` has x."""
    axes = [npy.load(file.with_name(file.name.replace("source_x_", f"source_{axis}_"))) for axis in "xyz"]
    shape = axes[0].shape
    if len(shape) < 2 or not shape[-1] or axes[0].size % (length * shape[-1]) or axes[0].dtype.kind not in "fiu":
        raise FormatError(f"{file}: {axes[0].dtype} of shape {shape}, expected rows of joints, {length} a window")
    if any(axis.shape != shape or axis.dtype.kind not in "fiu" for axis in axes):
        raise FormatError(f"{file}: x, y and z differ in shape: {', '.join(str(axis.shape) for axis in axes)}")
    if not all((np.abs(axis) <= FARTHEST).all() for axis in axes):
        raise FormatError(f"{file}: a number is none, or beyond {FARTHEST:g}")
    return np.stack([axis.reshape(-1, length, shape[-1]) for axis in axes], axis=-1).astype(np.float32)


def _joined(own: FloatArray) -> Windows:
    """Windows (N, f, J, 3) as frames: one that begins with the second half of that before it goes on from there."""
    length = own.shape[1]
    step = length // 2
    goes_on = np.concatenate([[False], (own[1:, : length - step] == own[:-1, step:]).all(axis=(1, 2, 3))])
    start = np.cumsum(np.where(goes_on, step, length)) - length
    xyz = np.empty((start[-1] + length, *own.shape[2:]), dtype=own.dtype)
    xyz[start[:, None] + np.arange(length)] = own
    return Windows(xyz, np.arange(len(xyz)), start)


def _row(file: Path, name: str, person: str) -> dict[str, Any]:
    parts = file.parts
    part = "test" if file.name.startswith("t_") else "train"
    if parts[-2].endswith(f"_{part}_npy_data") and parts[-2] != f"{name}_{part}_npy_data":
        part = name  # IAS-Lab's test sets share a folder: t_source_x_IAS-A_6.npy, t_source_x_IAS-B_6.npy
    condition = next((p for p in reversed(parts[:-1]) if p in CONDITIONS), part)
    view = next((p.removeprefix("view_") for p in parts if re.fullmatch(r"view_\d+", p)), "")
    video = f"{name}-{condition}-{view or 'all'}-{person}"
    labels = {"subject": person, "condition": condition, "number": "", "view": view}
    return {"video": video, "track": 1, "recording": video, **labels}


def _people(file: Path, name: str, length: int, windows: int) -> Iterator[tuple[str, list[int]]]:
    """Everybody and the numbers of their windows, of which there are `windows`."""
    path = file.with_name(f"ids_{name}_{length}.npy")
    try:
        content = io.BytesIO(read_bytes(path))
        npy.header(content, str(path))
        found: dict[str, list[int]] = {}
        left = windows
        for person, numbers in _dict(_plain(content.read())).items():
            left -= len(numbers)
            if left < 0:
                raise ValueError(f"people have more windows than the {windows} that are there")
            found[str(person)] = [int(n) for n in numbers]
    except (*npy.DAMAGE, AttributeError, IndexError, pickle.UnpicklingError) as error:
        raise FormatError(f"{path}: not a table of persons and their windows: {error}") from error
    for person, numbers in found.items():
        if numbers and not 0 <= min(numbers) <= max(numbers) < windows:
            raise FormatError(f"{path}: person {person!r} has windows that are not there")
        if not person.isprintable() or "/" in person:
            raise FormatError(f"{path}: {person!r} cannot be a person's name")
        yield person, numbers


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"it holds a {type(value).__name__}")
    return value


def _plain(content: bytes) -> Any:
    """What a pickle of plain data holds.

    Raises:
        pickle.UnpicklingError: something else is in it, or it claims places and lengths beyond its own size.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in PLAIN or (isinstance(argument, int) and "INT" not in opcode.name and argument > len(content)):
            raise pickle.UnpicklingError(f"it has a {opcode.name} {str(argument)[:40]}")
    value = _Unpickler(io.BytesIO(content)).load()
    if isinstance(value, _Array):
        value = value.values
    return value[0] if isinstance(value, list) and len(value) == 1 else value


# Of pickle's operations those that plain data and numpy's arrays are made of, protocols 2 to 4 and numpy's 3.
_PLAIN = """
PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT LONG BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
UNICODE BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINSTRING SHORT_BINSTRING
EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT LIST SETITEM SETITEMS
BINPUT LONG_BINPUT PUT MEMOIZE BINGET LONG_BINGET GET GLOBAL STACK_GLOBAL REDUCE BUILD
"""
PLAIN = frozenset(_PLAIN.split())


class _Array:
    """Stands for numpy's array while one is read: a list of its values, of which each has its bytes in the file."""

    values: list[Any]

    def __init__(self, *_: object) -> None:
        self.values = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, _, dtype, _, data = state
        self.values = list(data) if isinstance(data, list) else dtype.of(data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)


class _Dtype:
    """Stands for numpy's dtype while one is read."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = str(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = {">": ">"}.get(state[1], "<") + self.code

    def of(self, data: bytes) -> list[Any]:
        """Whole numbers in bytes."""
        if not re.fullmatch(r"[<>]?[iu][1248]", self.code):
            raise ValueError(f"it has an array of {self.code[:40]!r}, expected whole numbers")
        values: list[Any] = np.frombuffer(data, dtype=self.code).tolist()
        return values


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return dtype.of(data)[0]


class _Unpickler(pickle.Unpickler):
    """Reads numbers, texts, lists, dicts and numpy's arrays, and nothing else: no class of numpy's is made here."""

    KNOWN: ClassVar = {"_reconstruct": _Array, "ndarray": _Array, "dtype": _Dtype, "scalar": _scalar}
    MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")

    def find_class(self, module: str, name: str) -> Any:
        """Refuse everything that is not plain data."""
        if module not in self.MODULES or name not in self.KNOWN:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return self.KNOWN[name]
