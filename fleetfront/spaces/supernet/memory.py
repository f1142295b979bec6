"""Keep the memory that tensors free, instead of giving it back for the next ones.

Given back, the kernel clears it page by page, which takes a fifth of the time of training, and where maps are large two
thirds of an evaluation's; much more where several processes do it in a virtual machine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: What glibc begins with: bytes at the end of its heap, and pieces that are mapped one by one.
_TRIM_BYTES, _MOST_MAPPED = 128 * 1024, 65536


def keep_memory() -> None:
    """Let glibc keep what is freed until this process ends; does nothing with another C library."""
    _tell(0, 2**31 - 1)


@contextmanager
def kept_memory() -> Iterator[None]:
    """Let glibc keep what is freed within, and give all of it back at the end."""
    keep_memory()
    try:
        yield
    finally:
        _tell(_MOST_MAPPED, _TRIM_BYTES)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _tell(most_mapped: int, trim_bytes: int) -> None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_MAX, most_mapped)
        library.mallopt(_M_TRIM_THRESHOLD, trim_bytes)
