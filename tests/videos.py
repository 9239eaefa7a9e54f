"""Videos that say of themselves what is not so."""

import struct
from pathlib import Path


def claim(path: Path, frames: int) -> Path:
    """Make an AVI's header say that there are so many frames."""
    data = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(name) + offset
        data[at : at + 4] = struct.pack("<I", frames)
    path.write_bytes(bytes(data))
    return path
