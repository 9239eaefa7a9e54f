"""Records to HDF5 and back. The only module that knows h5py; `docs/format.md` is its contract.

A file holds the groups of one schema. Root attributes: `schema`, `schema_version`, `gaitreid_version`, and the stage's
provenance. A group is a record: each array field a dataset with `dims` and `unit`, each other field an attribute. Files
hold no time of writing and no address of memory: the same content is the same bytes.

A file may come from anyone. What is read lies in the file itself (no links, virtual or external data), takes memory in
proportion to its size (`pipeline/bounds.py`), and holds what such a record can hold (`pipeline/checks.py`).
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import h5py
import numpy as np

from gaitreid import __version__
from gaitreid.pipeline.bounds import Allowance
from gaitreid.pipeline.checks import check
from gaitreid.pipeline.files import replacing
from gaitreid.pipeline.heaps import REFERENCE, check_heaps
from gaitreid.pipeline.schema import SCHEMAS
from gaitreid.pipeline.sink import Sink
from gaitreid.pipeline.versions import CODE
from gaitreid.pose.arrays import Record, Spec, required, scalars, specs
from gaitreid.pose.errors import FormatError, ShapeError
from gaitreid.pose.skeleton import Skeleton

R = TypeVar("R", bound=Record)
Attribute = str | int | float | bool
NUMBERED = re.compile(r"\d{6}|[1-9]\d{6,17}")  # what stands for `*` in a schema
# Other filters are plug-ins that a file could ask for, or are decoders that damaged data can crash.
FILTERS = frozenset([h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32])
# What h5py raises on damaged files.
DAMAGE = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


def write(
    path: Path, schema: str, groups: Mapping[str, Record], attributes: Mapping[str, Attribute], *, private: bool = True
) -> Path:
    """Write a file of one schema, whole or not at all.

    Args:
        groups: group path (such as `/tracks/000001`) -> record.
        attributes: of the root; texts, numbers, truth values. Lists and maps go in as JSON text.
        private: whether only the owner may read it, as of `files.replacing`.
    """
    parents = {pattern.rsplit("/", 1)[0] for pattern in SCHEMAS[schema].groups if pattern.endswith("/*")}
    with replacing(path, private=private) as temporary, _new(temporary, libver=("earliest", "v110")) as file:
        file.attrs["schema"] = schema
        file.attrs["schema_version"] = SCHEMAS[schema].version
        file.attrs["gaitreid_version"] = __version__
        if schema in CODE:
            file.attrs["code_version"] = CODE[schema]
        file.attrs.update(attributes)
        for parent in sorted(parents):
            file.create_group(parent)
        for name, record in groups.items():
            if _record_class(schema, name) is not type(record):
                raise FormatError(f"{path}: schema {schema} has no {type(record).__name__} at {name}")
            _write_record(file.create_group(name) if name not in file else file[name], record)
    return path


def read(path: Path, schema: str, record: type[R], group: str) -> R:
    """Read one record.

    Raises:
        FormatError: the file cannot be read, is of another schema or a later major version, or lacks something.
    """
    with _opened(path, schema) as file:
        return _read_record(path, file, group, record, Allowance(path))


def read_all(path: Path, schema: str, record: type[R], parent: str = "/tracks") -> dict[str, R]:
    """Read every numbered record below a group, by name in order: `{'000001': ...}`."""
    with _opened(path, schema) as file:
        numbered = sorted(name for name in _group(path, file, parent) if NUMBERED.fullmatch(name))
        allowance = Allowance(path)
        return {name: _read_record(path, file, f"{parent}/{name}", record, allowance) for name in numbered}


def column(path: Path, schema: str, record: type[Record], group: str, name: str) -> Any:
    """One array of a record, without reading the others.

    Raises:
        FormatError: as of `read`.
    """
    with _opened(path, schema) as file:
        return _read_array(f"{path}: {group}", _group(path, file, group), name, dict(specs(record))[name], Allowance(path))


def attributes(path: Path, schema: str) -> dict[str, Attribute]:
    """The root attributes, as Python values."""
    with _opened(path, schema) as file:
        return _attributes(file)


def relabel(path: Path, schema: str, changes: Mapping[str, Attribute]) -> Path:
    """Change root attributes; the records stay, and the file is replaced whole."""
    with (
        _opened(path, schema) as old,
        replacing(path) as temporary,
        _new(temporary, libver=("earliest", "v110")) as new,
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
                shape = list(item.shape) if item.shape is not None else None
                datasets[f"/{name}"] = {"shape": shape, "dtype": _dtype_name(item), **_attributes(item)}

        file.visititems(visit)
        return {"attributes": _attributes(file), "datasets": datasets}


def write_sleap(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write SLEAP's analysis file: arrays compressed as SLEAP does, texts as bytes."""
    with replacing(path, private=False) as temporary, _new(temporary) as file:
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
        too_long = check_heaps(path)
        with h5py.File(path, "r") as file:
            _check_texts(path, file, too_long)
            allowance = Allowance(path)
            for name in ("tracks", "point_scores", "node_names", "track_names", "edge_inds", "video_path"):
                if name in file:
                    dataset = _dataset(str(path), file, name, allowance)
                    found[name] = _values(f"{path}: {name}", dataset, allowance)
                    if "dims" in (given := _attributes(dataset)):
                        found["dims"][name] = json.loads(str(given["dims"]))
    except DAMAGE as error:
        raise FormatError(f"{path}: cannot be read as SLEAP's analysis file: {error}") from error
    return found


def _values(where: str, dataset: Any, allowance: Allowance) -> Any:
    """Of another tool's dataset: numbers as an array, texts one by one, one text as such."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[()] if dataset.dtype.kind in "iufb" else None
    texts = _texts(where, dataset, allowance, "replace")
    return texts if dataset.shape else texts[0]


def _texts(where: str, dataset: Any, allowance: Allowance, errors: str = "strict") -> list[str]:
    """Texts of a dataset of one axis, or of none; in parts, as any number of them may be one long text of the file."""
    texts = dataset.asstr("utf-8", errors)
    if not dataset.shape:
        return [str(texts[()])]
    found: list[str] = []
    while len(found) < len(dataset):
        part = texts[len(found) : len(found) + max(1, allowance.left // max(allowance.held, 1))].ravel().tolist()
        allowance.take(where, sum(map(len, part)))
        found += part
    return found


@contextmanager
def _new(path: Path, **options: Any) -> Iterator[Any]:
    """A file to write."""
    with Sink(path) as sink, h5py.File(sink, "w", **options) as file:
        yield file


@contextmanager
def _opened(path: Path, schema: str | None) -> Iterator[Any]:
    """The file, its schema and version checked; what h5py raises becomes a FormatError that names the file."""
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    try:
        too_long = check_heaps(path)
        with h5py.File(path, "r") as file:
            _check_texts(path, file, too_long)
            _check_schema(path, file, schema)
            yield file
    except DAMAGE as error:
        raise FormatError(f"{path}: cannot be read as HDF5 ({error}); if it is damaged, delete it and run again") from error


def _check_texts(path: Path, file: Any, too_long: list[int]) -> None:
    """What looks like a reference to a text that is longer than the file must be something else among the values of a dataset.

    Raises:
        FormatError: it is a reference.
    """
    values: list[tuple[int, int, int]] = []

    def visit(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and (place := item.id.get_offset()) is not None:
            size = item.id.get_storage_size()
            values.append((place, place + size, 0 if item.dtype.kind in "iufb" else REFERENCE.size))

    if too_long:
        file.visititems(visit)
    for at in too_long:
        if not any(first <= at < last and (not stride or (at - first) % stride) for first, last, stride in values):
            raise FormatError(f"{path}: a text is damaged: the one of byte {at} would be longer than the file")


def _check_schema(path: Path, file: Any, expected: str | None) -> None:
    given = _attributes(file, ("schema", "schema_version"))
    found = given.get("schema", "")
    if found not in SCHEMAS:
        what = f"unknown schema '{found}'" if found else "no attribute 'schema'"
        raise FormatError(f"{path}: {what}: not a file that this version of gaitreid ({__version__}) knows")
    if expected and found != expected:
        raise FormatError(f"{path}: schema is '{found}', expected '{expected}'")
    version = str(given.get("schema_version", ""))
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


def _read_record(path: Path, file: Any, name: str, cls: type[R], allowance: Allowance) -> R:
    group, where = _group(path, file, name), f"{path}: {name}"
    given = [(field, spec) for field, spec in specs(cls) if spec.default is None or group.id.links.exists(field.encode())]
    values: dict[str, Any] = {field: _read_array(where, group, field, spec, allowance) for field, spec in given}
    hints, attributes = get_type_hints(cls), _attributes(group)
    for field in scalars(cls):
        if field.name in attributes:
            values[field.name] = _read_scalar(f"{where}: {field.name}", attributes[field.name], hints[field.name])
        elif required(field):
            raise FormatError(f"{where}: has no attribute '{field.name}'")
    try:
        record = cls(**values)
        check(record)
    except (ShapeError, FormatError) as error:
        raise FormatError(f"{where}: {error}") from error
    return record


def _group(path: Path, file: Any, name: str) -> Any:
    """A group of this very file."""
    group = file
    for part in name.strip("/").split("/"):
        if not _is_inside(group, part, f"{path}: {part}") or not isinstance(group := group[part], h5py.Group):
            raise FormatError(f"{path}: has no group {name}")
    return group


def _dataset(where: str, group: Any, name: str, allowance: Allowance) -> Any:
    """A dataset whose values lie in this very file and, as they are claimed to be, fit what is allowed to it."""
    if not _is_inside(group, name, f"{where}: {name}") or not isinstance(dataset := group[name], h5py.Dataset):
        raise FormatError(f"{where}: has no dataset '{name}'")
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"{where}: {name}: its values lie in other files, which are not read")
    if dataset.shape is None:
        raise FormatError(f"{where}: {name}: is empty")
    made = dataset.id.get_create_plist()
    unknown = {made.get_filter(k)[0] for k in range(made.get_nfilters())} - FILTERS
    if unknown:
        raise FormatError(f"{where}: {name}: is packed by the filters {sorted(unknown)}: gzip, shuffle and fletcher32 are read")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > allowance.left:
        raise FormatError(f"{where}: {name}: its chunks claim {chunk} bytes each")
    allowance.take(f"{where}: {name}", math.prod(dataset.shape) * dataset.dtype.itemsize)
    return dataset


def _is_inside(group: Any, name: str, where: str) -> bool:
    """Whether there is something of this name, and in this place of this file: links, which may lead anywhere, are refused."""
    links, key = group.id.links, name.encode()
    if not links.exists(key):
        return False
    if links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise FormatError(f"{where}: is a link to elsewhere: only what lies in the file itself is read")
    return True


def _read_array(where: str, group: Any, name: str, spec: Spec, allowance: Allowance) -> Any:
    dataset = _dataset(where, group, name, allowance)
    if spec.dtype != "text":
        if dataset.dtype.kind not in "iufb":
            raise FormatError(f"{where}: {name}: dtype is {dataset.dtype}, expected {np.dtype(spec.dtype)}")
        return dataset[()]
    if h5py.check_string_dtype(dataset.dtype) is None or len(dataset.shape) != 1:
        raise FormatError(f"{where}: {name}: dtype is {dataset.dtype} of shape {dataset.shape}, expected texts in a row")
    found = _texts(f"{where}: {name}", dataset, allowance)
    allowance.take(f"{where}: {name}", 4 * max(map(len, found), default=0) * len(found))  # numpy gives all the longest's room
    return np.array(found, dtype=np.str_)


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


def _attributes(item: Any, names: Iterable[str] | None = None) -> dict[str, Attribute]:
    """The attributes, or some of them, that are one value each, as Python values; others are none of ours."""
    found, attributes = {}, item.attrs  # once: h5py looks the item up anew each time
    for name in attributes if names is None else (name for name in names if name in attributes):
        if attributes.get_id(name).get_space().get_simple_extent_type() == h5py.h5s.SCALAR:
            found[name] = _plain(attributes[name])
    return found


def _plain(value: Any) -> Attribute:
    """An attribute's value as h5py gives it, as Python's own type."""
    if isinstance(value, bytes):
        return value.decode()
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, str | int | float | bool) else str(plain)
