"""What becomes of memory that is freed."""

import os
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of GNU's malloc.h


def keep_freed() -> None:
    """Have GNU's C library keep what this process frees for what it asks for next, unless the environment says how it does.

    It hands large blocks back to the kernel, which clears them anew: a training frees the same gigabyte at every step, and that
    takes a tenth of its time or more.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    import ctypes

    with suppress(OSError, AttributeError):  # of another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # none is ever too much
