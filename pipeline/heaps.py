"""Texts of HDF5 files lie in global heaps (file format specification, III.E). HDF5 believes what these and the references to them
claim: it follows an entry that leads to itself for ever, and takes as much memory as a text is said to be long before it sees
that there is less. So both are looked at before HDF5 is."""

import mmap
import re
import struct
from bisect import bisect
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gaitreid.pose.errors import FormatError

HEAP = b"GCOL\x01\0\0\0"
HEAD = 16  # bytes before the entries of a heap, and before the content of an entry
REFERENCE = struct.Struct("<IQI")  # how long the text is, where its heap is, and the entry's number there
BLOCK = 2**24  # bytes that are searched at a time
# An attribute that is one text (IV.A.2.m): its datatype, a variable-length string of bytes, padded or not; its dataspace, scalar,
# of version 1 or 2; and the reference.
ATTRIBUTE = re.compile(
    rb"\x19\x01[\x00\x01]\x00\x10\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x08\x00(?:\x00{4})?"
    rb"(?:\x01\x00{7}|\x02\x00{3})(?=(.{16}))",
    re.DOTALL,
)


def check_heaps(path: Path) -> list[int]:
    """Walk all heaps, and look at what refers to them.

    Returns:
        The bytes at which something looks like a reference to a text that is longer than the file. It is one, unless it lies
        within the values of a dataset, where numbers, or pieces of two references, may look like anything. A claim that is
        false but smaller costs no memory, and HDF5 sees it.

    Raises:
        FormatError: an entry of a heap leads to itself or out of it, or the text of an attribute would be longer than the file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for text in ATTRIBUTE.finditer(content):
            if REFERENCE.unpack(text[1])[0] > len(content):
                place = text.start(1)
                raise FormatError(f"{path}: a text is damaged: the one of byte {place} would be longer than the file")
        heads: list[int] = []
        texts: dict[int, set[int]] = {}
        place = content.find(HEAP)
        while place >= 0:
            texts[place] = set()
            for at, number in _walk(path, content, place):
                heads.append(at)
                texts[place].add(number)
            place = content.find(HEAP, place + len(HEAP))
        return [at for at in _too_long(content, texts) if not _touches(heads, at + 4)] if texts else []


def _touches(heads: list[int], at: int) -> bool:
    """Whether eight bytes touch the head of an entry, whose numbers may look like where a heap is."""
    near = bisect(heads, at + 7)
    return near > 0 and at < heads[near - 1] + HEAD


def _walk(path: Path, content: mmap.mmap, place: int) -> Iterator[tuple[int, int]]:
    """Where the texts of a heap begin, and their numbers; each must lead on."""
    (size,) = struct.unpack_from("<Q", content, place + 8) if place + HEAD <= len(content) else (0,)
    at, end = place + HEAD, place + size
    while at + HEAD <= min(end, len(content)):
        number, length = struct.unpack_from("<H6xQ", content, at)
        step = HEAD + -(-length // 8) * 8 if number else length  # number 0 is free space, its own head included
        if not HEAD <= step <= end - at:
            raise FormatError(f"{path}: a heap of texts is damaged at byte {at}")
        if number:
            yield at, number
        at += step


def _too_long(content: mmap.mmap, texts: dict[int, set[int]]) -> list[int]:
    """See `check_heaps`."""
    heaps, found = np.array(list(texts), dtype=np.uint64), set()
    for first in range(0, len(content) - REFERENCE.size, BLOCK):
        block = content[first : first + BLOCK + REFERENCE.size]
        for shift in range(8):  # references lie at any byte
            words = np.frombuffer(block, "<u8", (len(block) - shift) // 8, shift)
            if len(heaps) == 1:  # as most files have
                near = np.flatnonzero(words == heaps[0])
            else:
                near = np.flatnonzero(words <= heaps[-1])
                near = near[np.isin(words[near], heaps)]
            for word in near.tolist():
                at = shift + 8 * word - 4
                if 0 <= at <= len(block) - REFERENCE.size:
                    length, place, number = REFERENCE.unpack_from(block, at)
                    if length > len(content) and number in texts[place]:
                        found.add(first + at)
    return sorted(found)
