"""Records to HDF5 and back. The only module that knows h5py; `docs/format.md` is its contract.

A file holds the groups of one schema. Root attributes: `schema`, `schema_version`, `gaitreid_version`, and the stage's
provenance. A group is a record: each array field a dataset with `dims` and `unit`, each other field an attribute. Files
hold no time of writing and no address of memory: the same content is the same bytes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import h5py
import numpy as np

from gaitreid import __version__
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.schema import SCHEMAS
from gaitreid.pose.arrays import Record, Spec, required, scalars, specs
from gaitreid.pose.errors import FormatError, ShapeError
from gaitreid.pose.skeleton import Skeleton

R = TypeVar("R", bound=Record)
Attribute = str | int | float | bool
MOST_VALUES = 2**28  # of one dataset of another tool's file: a small file can claim any size


def write(
    path: Path, schema: str, groups: Mapping[str, Record], attributes: Mapping[str, Attribute], *, private: bool = False
) -> Path:
    """Write a file of one schema, whole or not at all.

    Args:
        groups: group path (such as `/tracks/000001`) -> record.
        attributes: of the root; texts, numbers, truth values. Lists and maps go in as JSON text.
        private: whether only the owner may read it.
    """
    parents = {pattern.rsplit("/", 1)[0] for pattern in SCHEMAS[schema].groups if pattern.endswith("/*")}
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        file.attrs["schema"] = schema
        file.attrs["schema_version"] = SCHEMAS[schema].version
        file.attrs["gaitreid_version"] = __version__
        file.attrs.update(attributes)
        for parent in sorted(parents):
            file.create_group(parent)
        for name, record in groups.items():
            if _record_class(schema, name) is not type(record):
                raise FormatError(f"{path}: schema {schema} has no {type(record).__name__} at {name}")
            _write_record(file.create_group(name) if name not in file else file[name], record)
        if private:
            temporary.chmod(0o600)
    return path


def read(path: Path, schema: str, record: type[R], group: str) -> R:
    """Read one record.

    Raises:
        FormatError: the file cannot be read, is of another schema or a later major version, or lacks something.
    """
    with _opened(path, schema) as file:
        return _read_record(path, file, group, record)


def read_all(path: Path, schema: str, record: type[R], parent: str = "/tracks") -> dict[str, R]:
    """Read every record below a group, by name in order: `{'000001': ...}`."""
    with _opened(path, schema) as file:
        if parent not in file:
            raise FormatError(f"{path}: has no group {parent}")
        return {name: _read_record(path, file, f"{parent}/{name}", record) for name in sorted(file[parent])}


def attributes(path: Path, schema: str) -> dict[str, Attribute]:
    """The root attributes, as Python values."""
    with _opened(path, schema) as file:
        return {name: _plain(value) for name, value in file.attrs.items()}


def relabel(path: Path, schema: str, changes: Mapping[str, Attribute]) -> Path:
    """Change root attributes; the records stay, and the file is replaced whole."""
    with (
        _opened(path, schema) as old,
        replacing(path) as temporary,
        h5py.File(temporary, "w", libver=("earliest", "v110")) as new,
    ):
        new.attrs.update({**old.attrs, **changes})
        for name in old:
            old.copy(name, new)
    return path


def describe(path: Path) -> dict[str, Any]:
    """What is in a file of any schema: root attributes, and per dataset its shape, dtype, dims and unit."""
    with _opened(path, None) as file:
        datasets: dict[str, dict[str, Any]] = {}

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                facts = {key: _plain(value) for key, value in item.attrs.items()}
                datasets[f"/{name}"] = {"shape": list(item.shape), "dtype": _dtype_name(item), **facts}

        file.visititems(visit)
        return {"attributes": {k: _plain(v) for k, v in file.attrs.items()}, "datasets": datasets}


def write_sleap(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write SLEAP's analysis file: arrays compressed as SLEAP does, texts as bytes."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, value in arrays.items():
            if isinstance(value, np.ndarray):
                packed = {"compression": "gzip", "compression_opts": 9} if value.size else {}
                file.create_dataset(name, data=value, track_times=False, **packed)
            else:
                data = np.char.encode(np.array(value, dtype=np.str_), "utf-8") if isinstance(value, list) else value
                file.create_dataset(name, data=data, track_times=False)
    return path


def read_sleap(path: Path) -> dict[str, Any]:
    """The datasets of SLEAP's analysis file by name; texts as texts, and under `dims` the names of axes where it gives them.

    Raises:
        FormatError: the file cannot be read, or a dataset is too large.
    """
    found: dict[str, Any] = {"dims": {}}
    try:
        with h5py.File(path, "r") as file:
            for name in ("tracks", "point_scores", "node_names", "track_names", "edge_inds", "video_path"):
                if isinstance(dataset := file.get(name), h5py.Dataset):
                    if dataset.size > MOST_VALUES:
                        raise FormatError(f"{path}: {name} has shape {dataset.shape}: more than {MOST_VALUES} values")
                    found[name] = _texts(dataset[()])
                    if "dims" in dataset.attrs:
                        found["dims"][name] = json.loads(dataset.attrs["dims"])
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: cannot be read as SLEAP's analysis file: {error}") from error
    return found


def _texts(value: Any) -> Any:
    """Bytes as texts, one by one in an array; anything else as it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in value.ravel().tolist()]
    return value


@contextmanager
def _opened(path: Path, schema: str | None) -> Iterator[Any]:
    """The file, its schema and version checked; what h5py raises becomes a FormatError that names the file."""
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            _check_schema(path, file, schema)
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: cannot be read as HDF5 ({error}); if it is damaged, delete it and run again") from error


def _check_schema(path: Path, file: Any, expected: str | None) -> None:
    found = _plain(file.attrs.get("schema", ""))
    if found not in SCHEMAS:
        what = f"unknown schema '{found}'" if found else "no attribute 'schema'"
        raise FormatError(f"{path}: {what}: not a file that this version of gaitreid ({__version__}) knows")
    if expected and found != expected:
        raise FormatError(f"{path}: schema is '{found}', expected '{expected}'")
    version = str(_plain(file.attrs.get("schema_version", "")))
    known = SCHEMAS[str(found)].version
    major = version.partition(".")[0]
    if not major.isdigit():
        raise FormatError(f"{path}: schema_version is '{version}', expected such as '{known}'")
    if int(major) > int(known.partition(".")[0]):
        raise FormatError(f"{path}: {found} {version} is newer than {known}, which gaitreid {__version__} knows: update gaitreid")


def _record_class(schema: str, group: str) -> type[Record] | None:
    groups = SCHEMAS[schema].groups
    return groups.get(group) or groups.get(f"{group.rsplit('/', 1)[0]}/*")


def _write_record(group: Any, record: Record) -> None:
    for name, spec in specs(type(record)):
        value = getattr(record, name)
        options: dict[str, Any] = {}
        if spec.dtype == "text":
            value, options["dtype"] = value.astype(object), h5py.string_dtype()
        elif spec.dtype == "u1" and value.size:  # masks shrink twentyfold; measured coordinates hardly at all
            options |= {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        dataset = group.create_dataset(name, data=value, track_times=False, **options)
        dataset.attrs["dims"] = ",".join(spec.dims)
        dataset.attrs["unit"] = spec.unit
    for field in scalars(type(record)):
        value = getattr(record, field.name)
        if isinstance(value, Skeleton):
            group.attrs[field.name] = json.dumps({"name": value.name, "joints": value.joints, "edges": value.edges})
        else:
            group.attrs[field.name] = value


def _read_record(path: Path, file: Any, name: str, cls: type[R]) -> R:
    if name not in file:
        raise FormatError(f"{path}: has no group {name}")
    group, where = file[name], f"{path}: {name}"
    given = ((field, spec) for field, spec in specs(cls) if spec.default is None or field in group)
    values: dict[str, Any] = {field: _read_array(where, group, field, spec) for field, spec in given}
    hints = get_type_hints(cls)
    for field in scalars(cls):
        if field.name in group.attrs:
            values[field.name] = _read_scalar(f"{where}: {field.name}", _plain(group.attrs[field.name]), hints[field.name])
        elif required(field):
            raise FormatError(f"{where}: has no attribute '{field.name}'")
    try:
        return cls(**values)
    except ShapeError as error:
        raise FormatError(f"{where}: {error}") from error


def _read_array(where: str, group: Any, name: str, spec: Spec) -> Any:
    if name not in group or not isinstance(group[name], h5py.Dataset):
        raise FormatError(f"{where}: has no dataset '{name}'")
    dataset = group[name]
    if spec.dtype == "text":
        if h5py.check_string_dtype(dataset.dtype) is None:
            raise FormatError(f"{where}: {name}: dtype is {dataset.dtype}, expected text")
        return np.array(dataset.asstr()[()].tolist(), dtype=np.str_).reshape(dataset.shape)
    return dataset[()]


def _read_scalar(where: str, value: Attribute, hint: type) -> object:
    if hint is Skeleton:
        return _read_skeleton(where, value)
    if hint is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, hint):
        raise FormatError(f"{where} is {value!r}, expected {hint.__name__}")
    return value


def _read_skeleton(where: str, value: Attribute) -> Skeleton:
    try:
        facts = json.loads(str(value))
        joints = tuple(str(joint) for joint in facts["joints"])
        edges = tuple((int(a), int(b)) for a, b in facts["edges"])
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{where}: not a skeleton: {error}") from error
    if any(not 0 <= i < len(joints) for edge in edges for i in edge):
        raise FormatError(f"{where}: an edge names a joint that is not there")
    return Skeleton(str(facts.get("name", "")), joints, edges)


def _dtype_name(dataset: Any) -> str:
    return "text" if h5py.check_string_dtype(dataset.dtype) else str(dataset.dtype)


def _plain(value: Any) -> Attribute:
    """An attribute's value as h5py gives it, as Python's own type."""
    if isinstance(value, bytes):
        return value.decode()
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float | bool) else str(plain)
