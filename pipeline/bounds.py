"""How much files from anyone may ask for: what they claim is compared with their size before memory is taken for it.

A file that unfolds to FREE bytes is read whatever its size; a larger one to RATIO times its size. Names that stand in a file
become parts of paths by `file_name` only.
"""

import re
import stat
from pathlib import Path

from gaitreid.pose.errors import FormatError

FREE = 2**26  # bytes
RATIO = 100  # masks shrink twentyfold, tables of texts more
LARGEST_TEXT = 2**30  # bytes of JSON or CSV: parsed, they take ten to thirty times as much
LONGEST = 150  # bytes of a name: file systems take 255, and endings come after it


class Allowance:
    """What may still be read of one file, however often parts of it are named."""

    def __init__(self, path: Path) -> None:
        self.path, self.held = path, path.stat().st_size
        self.left = max(FREE, RATIO * self.held)

    def take(self, what: str, size: int) -> None:
        """Raises: FormatError: the file asks for more than one of its size can hold."""
        if size > self.left:
            raise FormatError(
                f"{what}: takes {size / 2**20:.4g} MiB where {self.left / 2**20:.4g} are left to a file of {self.held} bytes: "
                "it is damaged or made to fill the memory, and not read"
            )
        self.left -= size


def read_bytes(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """The whole of a file that is not too large; pipes and devices, which may never end, are none.

    Raises:
        FormatError: it is no regular file, cannot be read, or is larger than `most` bytes.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise FormatError(f"{path}: not a regular file")
        if facts.st_size > most:
            raise FormatError(f"{path}: {facts.st_size / 2**20:.0f} MiB, read are {most / 2**20:g} at most: divide it")
        with path.open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise FormatError(f"{path}: cannot be read: {error}") from error


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """As `read_bytes`, UTF-8, with or without its mark at the beginning.

    Raises:
        FormatError: also where it is no text.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not UTF-8 text: {error}") from error


def file_name(text: str) -> str:
    """A text as a part of a path: no separators, nothing hidden, nothing that leads elsewhere, not too long; may be empty."""
    plain = re.sub(r"[^\w.=+-]", "_", text).lstrip(".")
    return plain.encode(errors="replace")[:LONGEST].decode(errors="ignore")
