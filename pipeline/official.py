"""The official .npy layout of AGE and CAGE, in and out: one file an axis of flat windows, and a pickled dict of who they are.

Datasets/NAME/f/[view_k/]NAME_train_npy_data/{source,target}_{x,y,z}_NAME_f.npy, ids_NAME_f.npy; the test set is in
NAME_test_npy_data, its windows are t_source_... The pickled dicts are read by an unpickler that knows numbers, texts, lists,
dicts and numpy's arrays, so that nothing in them runs.
"""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.files import digest, replacing, sha256
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import EmptyError, FormatError
from gaitreid.pose.skeleton import CASIA14, KINECT20, KINECT25
from gaitreid.reid.records import Sequences
from gaitreid.reid.select import select
from gaitreid.reid.windows import SplitConfig, Windows, join

SKELETONS = {14: CASIA14, 20: KINECT20, 25: KINECT25}
SOURCE = re.compile(r"^(t_)?source_x_(?P<name>.+)_(?P<length>\d+)\.npy$")


def bring_in(work: Work, paths: list[Path], console: Console) -> Path:
    """Windows of the official layout to `sequences.h5`; conditions are train and test (or nm, bg, cl; IAS-A, IAS-B).

    Raises:
        EmptyError: there is nothing of the kind.
        FormatError: lengths, joints or persons do not fit together.
    """
    files = sorted({file for path in paths for file in path.rglob("*source_x_*.npy") if SOURCE.match(file.name)})
    if not files:
        raise EmptyError(f"no source_x_NAME_f.npy below {', '.join(map(str, paths))}")
    windows: list[Windows] = []
    rows: list[dict[str, Any]] = []
    shapes = set()
    for file in files:
        found = SOURCE.match(file.name)
        assert found
        length = int(found["length"])
        axes = [_load(file.with_name(file.name.replace("source_x_", f"source_{axis}_"))) for axis in "xyz"]
        xyz = np.stack([a.reshape(-1, length, a.shape[-1]) for a in axes], axis=-1).astype(np.float32)
        shapes.add((length, xyz.shape[2]))
        for person, numbers in _people(file, found["name"], length):
            if numbers and not 0 <= min(numbers) <= max(numbers) < len(xyz):
                raise FormatError(f"{file}: person {person} has windows that are not there")
            own = xyz[numbers]
            start = np.arange(len(own)) * length
            windows.append(Windows(own.reshape(-1, xyz.shape[2], 3), np.arange(len(own) * length), start))
            rows.append(_row(file, found["name"], person))
    if len(shapes) != 1:
        raise FormatError(f"files differ in length or joints: {sorted(shapes)}; import one data set of one length at a time")
    (length, joints), kept = shapes.pop(), [k for k, w in enumerate(windows) if len(w.start)]
    if joints not in SKELETONS:
        raise FormatError(f"{joints} joints: expected {', '.join(map(str, SKELETONS))}")
    columns: dict[str, Any] = {name: np.array([rows[k][name] for k in kept]) for name in rows[0]}
    sequences = Sequences(
        **join([windows[k] for k in kept]),
        **columns,
        length=length,
        fps=0.0,
        normalize="none",
        skeleton=SKELETONS[joints],
    )
    config = SplitConfig(length=length, fps=None, normalize="none")
    facts = {**provenance(config, digest(sha256(file) for file in files)), "imported": "npy", "left_out": "{}"}
    store.write(work.sequences, "sequences", {"/sequences": sequences}, facts)
    console.say(f"import: {len(sequences.start)} windows of {length} frames, {len(set(columns['subject']))} people (npy)")
    return work.sequences


def hand_out(work: Work, target: Path, name: str, train: str, test: str, console: Console) -> Path:
    """Write the windows in the official layout, as its code reads them: float64, targets reversed, ids pickled."""
    sequences = store.read(work.sequences, "sequences", Sequences, "/sequences")
    folder = target / name / str(sequences.length)
    for part, prefix, selector in (("train", "", train), ("test", "t_", test)):
        chosen = np.flatnonzero(np.isin(sequences.window_track, select(sequences, selector)))
        rows = sequences.start[chosen][:, None] + np.arange(sequences.length)
        xyz = sequences.xyz[rows].astype(np.float64)
        subject = sequences.subject[sequences.window_track[chosen]]
        ids = {str(s): np.flatnonzero(subject == s).tolist() for s in np.unique(subject)}
        for axis, letter in enumerate("xyz"):
            for kind, windows in (("source", xyz), ("target", xyz[:, ::-1])):
                flat = np.ascontiguousarray(windows[..., axis]).reshape(-1, xyz.shape[2])
                _save(folder / f"{name}_{part}_npy_data" / f"{prefix}{kind}_{letter}_{name}_{sequences.length}.npy", flat)
        _save(folder / f"{name}_{part}_npy_data" / f"ids_{name}_{sequences.length}.npy", np.array(ids, dtype=object))
        console.say(f"export: {len(chosen)} {part} windows of {len(ids)} people")
    return folder


def _save(path: Path, values: Any) -> None:
    with replacing(path, private=False) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=True)


def _load(path: Path) -> FloatArray:
    try:
        found: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    return found


def _row(file: Path, name: str, person: str) -> dict[str, Any]:
    parts = file.parts
    condition = next(
        (p for p in reversed(parts[:-1]) if p in {"nm", "bg", "cl"}), "test" if file.name.startswith("t_") else "train"
    )
    view = next((p.removeprefix("view_") for p in parts if re.fullmatch(r"view_\d+", p)), "")
    video = f"{name}-{condition}-{view or 'all'}-{person}"
    labels = {"subject": person, "condition": condition, "number": "", "view": view}
    return {"video": video, "track": 1, "recording": video, **labels}


def _people(file: Path, name: str, length: int) -> Iterator[tuple[str, list[int]]]:
    path = file.with_name(f"ids_{name}_{length}.npy")
    try:
        with path.open("rb") as opened:
            version = np.lib.format.read_magic(opened)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            reader(opened)
            value = _Plain(opened).load()
        ids = value.item() if isinstance(value, np.ndarray) else value
        yield from ((str(person), [int(n) for n in numbers]) for person, numbers in ids.items())
    except (OSError, ValueError, TypeError, AttributeError, pickle.UnpicklingError, EOFError, IndexError) as error:
        raise FormatError(f"{path}: not a table of persons and their windows: {error}") from error


class _Plain(pickle.Unpickler):
    """Reads numbers, texts, lists, dicts and numpy's arrays, and nothing else."""

    ALLOWED = {  # noqa: RUF012
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
        for name in ("_reconstruct", "scalar", "ndarray", "dtype")
    }

    def find_class(self, module: str, name: str) -> Any:
        """Refuse everything that is not plain data."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}")
        return super().find_class(module, name)
