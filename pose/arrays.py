"""Records: frozen dataclasses whose array fields declare dims, dtype and unit once.

The declaration checks the arrays when a record is made, and `gaitreid.pipeline.store` writes and reads records by it,
so the file format cannot drift from the code:

    @record
    class Points(Record):
        frame: IntArray = array("T", dtype="i8", unit="frame")
        xy: FloatArray = array("T", "J", "2", dtype="f4", unit="px")
        fps: float
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from gaitreid.pose.errors import ShapeError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.str_]

C = TypeVar("C")
R = TypeVar("R", bound="Record")


@dataclass(frozen=True)
class Spec:
    """What a field's array must be.

    Attributes:
        dims: one name an axis; digits name a fixed size, letters a size shared by all fields of the record.
        dtype: numpy's code (`f4`, `i8`, `u1`, `?`), or `text` for strings.
        unit: of the values (`px`, `m`, `s`, `frame`), or `1`.
        default: what the array holds where it is not given, as older files have none of it; None where it must be given.
    """

    dims: tuple[str, ...]
    dtype: str
    unit: str
    default: float | None = None


def array(*dims: str, dtype: str, unit: str = "1", default: float | None = None) -> Any:
    """Declare an array field of a record; one with a `default` may be left away, and stands after those whose sizes it shares."""
    metadata = {"spec": Spec(dims, dtype, unit, default)}
    return field(metadata=metadata) if default is None else field(default=None, metadata=metadata)


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """Base of all records: checks the arrays against their declaration.

    Raises:
        ShapeError: an array has another number of axes, another size or an unsafe dtype.
    """

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, spec in specs(type(self)):
            object.__setattr__(self, name, _checked(name, getattr(self, name), spec, sizes))


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(array, field))
def record(cls: type[C]) -> type[C]:
    """Make a subclass of `Record` a frozen, keyword-only dataclass."""
    return dataclass(frozen=True, kw_only=True, eq=False)(cls)


def specs(cls: type[Record]) -> Iterator[tuple[str, Spec]]:
    """The array fields of a record class, in order."""
    for f in fields(cls):
        if "spec" in f.metadata:
            yield f.name, f.metadata["spec"]


def scalars(cls: type[Record]) -> Iterator[Field[Any]]:
    """The fields of a record class that are not arrays, in order."""
    for f in fields(cls):
        if "spec" not in f.metadata:
            yield f


def required(f: Field[Any]) -> bool:
    """Whether a record cannot be made without this field."""
    return f.default is MISSING and f.default_factory is MISSING


def take(items: R, dim: str, index: object, **changes: Any) -> R:
    """A record with `index` applied to every axis called `dim`, and `changes` made."""
    arrays = {
        name: getattr(items, name)[(slice(None),) * spec.dims.index(dim) + (index,)] if dim in spec.dims else getattr(items, name)
        for name, spec in specs(type(items))
    }
    others = {f.name: getattr(items, f.name) for f in scalars(type(items))}
    make: Callable[..., R] = type(items)
    return make(**{**others, **arrays, **changes})


def _checked(name: str, value: object, spec: Spec, sizes: dict[str, int]) -> NDArray[Any]:
    if value is None and spec.default is not None:
        return np.full([int(dim) if dim.isdigit() else sizes[dim] for dim in spec.dims], spec.default, spec.dtype)
    result = np.asarray(value)
    if spec.dtype == "text":
        if result.dtype.kind != "U":
            if result.size and not all(isinstance(v, str) for v in result.flat):
                raise ShapeError(f"{name}: dtype is {result.dtype}, expected text")
            result = result.astype(np.str_)
    elif result.dtype != np.dtype(spec.dtype):
        if result.size and not np.can_cast(result.dtype, np.dtype(spec.dtype), "same_kind"):
            raise ShapeError(f"{name}: dtype is {result.dtype}, expected {np.dtype(spec.dtype)}")
        result = result.astype(spec.dtype)
    if result.ndim != len(spec.dims):
        raise ShapeError(f"{name}: shape {result.shape}, expected axes ({', '.join(spec.dims)})")
    for axis, (dim, size) in enumerate(zip(spec.dims, result.shape, strict=True)):
        expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
        if size != expected:
            raise ShapeError(f"{name}: axis {axis} ({dim}) is {size}, expected {expected}")
    return result
