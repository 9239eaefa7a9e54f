"""A file for HDF5 to write into, which takes it well when the disk is full."""

import io
import os
from pathlib import Path
from types import TracebackType


class Sink:
    """A file that a library writes, which never fails to write: what happened is raised when the file is closed.

    HDF5 crashes the process where a write fails on closing: it cannot be told of that by an exception.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._place = 0
        self._error: OSError | None = None

    def __enter__(self) -> "Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._handle)
        if self._error is not None:
            raise self._error from error

    def write(self, data: memoryview) -> int:
        """Write at the present place; after the first error nothing is written any more."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and self._error is None:
            try:
                done += os.pwrite(self._handle, view[done:], self._place + done)
            except OSError as error:
                self._error = error
        self._place += len(view)
        return len(view)

    def readinto(self, buffer: memoryview) -> int:
        """Read from the present place; what is not there, or was not written, is zeros."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self._handle, len(view), self._place)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence)
        self._place = offset + (os.fstat(self._handle).st_size if start is None else start)
        return self._place

    def tell(self) -> int:
        """The present place."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cut off or extend to a size."""
        size = self._place if size is None else size
        if self._error is None:
            try:
                os.ftruncate(self._handle, size)
            except OSError as error:
                self._error = error
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def read(self, size: int = -1) -> bytes:
        """Read from the present place."""
        size = os.fstat(self._handle).st_size - self._place if size < 0 else size
        data = os.pread(self._handle, size, self._place)
        self._place += len(data)
        return data
