"""Numpy's files from anyone: plain arrays, no larger than the file can hold, and nothing pickled."""

import io
import math
import tokenize
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from gaitreid.pipeline.bounds import Allowance
from gaitreid.pose.errors import FormatError

LONGEST_HEADER = 1000  # characters: those of plain arrays have about a hundred
# What numpy and zipfile raise on damaged files; a header is parsed as Python's literals are.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
)
DAMAGE_ZIP = (*DAMAGE, BadZipFile, NotImplementedError, zlib.error)


def load(path: Path) -> NDArray[Any]:
    """The array in an .npy file.

    Raises:
        FormatError: it is none, holds objects, or claims to be larger than it is.
    """
    try:
        with path.open("rb") as file:
            return _read(file, Allowance(path), str(path), path.stat().st_size)
    except DAMAGE as error:
        raise FormatError(f"{path}: cannot be read as .npy: {error}") from error


def load_archive(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Mapping[str, NDArray[Any]]:
    """Arrays in an .npz file by name.

    Raises:
        FormatError: it is none, lacks one of the required ones, or claims to be larger than it can be.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        allowance = Allowance(path)
        with ZipFile(path) as archive:
            there = set(archive.namelist())
            for name in (*required, *(n for n in optional if f"{n}.npy" in there)):
                if f"{name}.npy" not in there:
                    raise FormatError(f"{path}: has no array '{name}'")
                size = archive.getinfo(f"{name}.npy").file_size
                allowance.take(f"{path}: {name}", size)
                with archive.open(f"{name}.npy") as file:
                    found[name] = _read(io.BytesIO(file.read(size)), allowance, f"{path}: {name}", size)
    except DAMAGE_ZIP as error:
        raise FormatError(f"{path}: cannot be read as .npz: {error}") from error
    return found


def header(file: BinaryIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype; what follows them in the file is the array.

    Raises:
        FormatError: it is no header of version 1 or 2.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=LONGEST_HEADER)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file, max_header_size=LONGEST_HEADER)
    raise FormatError(f"{where}: version {version} of .npy, read are 1.0 and 2.0")


def _read(file: BinaryIO, allowance: Allowance, where: str, size: int) -> NDArray[Any]:
    shape, transposed, dtype = header(file, where)
    if dtype.kind not in "biufSU":
        raise FormatError(f"{where}: holds {dtype}, expected numbers or texts")
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed > size:
        raise FormatError(f"{where}: claims to be an array of shape {shape} and {dtype}, {claimed} bytes, and has {size}")
    allowance.take(where, claimed)
    flat = np.frombuffer(file.read(claimed), dtype=dtype) if claimed else np.empty(shape, dtype).reshape(-1)
    return flat.reshape(shape[::-1]).T if transposed else flat.reshape(shape)
