"""The C library's allocator: give free memory back."""

from __future__ import annotations

import ctypes
from typing import Final

from wherry.linux._libc import c_function

__all__ = ["give_back_free_pages", "give_back_large_blocks"]

_M_MMAP_THRESHOLD: Final = -3  # malloc.h


def give_back_large_blocks(size: int = 128 << 10) -> bool:
    """Have blocks of this size or more returned to the kernel as soon as they are freed.

    The C library begins that way, and raises the limit to the largest block that was ever freed, up to 32 MiB
    (mallopt(3)); smaller ones then stay in its heap, between others that keep it from shrinking. Setting the limit
    stops that.

    :param size: bytes.
    :returns: whether this C library knows the call; musl does not, and does not need it.
    """
    mallopt = c_function("mallopt", ctypes.c_int, ctypes.c_int)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, size))


def give_back_free_pages() -> bool:
    """Return to the kernel what has been freed and is a whole page, wherever in the heap it is (malloc_trim(3)).

    By itself the C library returns only what is at a heap's end.

    :returns: whether this C library knows the call.
    """
    malloc_trim = c_function("malloc_trim", ctypes.c_size_t)
    if malloc_trim is None:
        return False
    malloc_trim(0)
    return True
