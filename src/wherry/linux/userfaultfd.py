"""userfaultfd(2), for one property of memory that is registered: the kernel maps its pages one by one.

A fault on a page of a file otherwise maps the fifteen around it as well, if they are in the page cache; they count as
the process's from then on, though it may never look at them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Iterable
from typing import Final

from wherry.linux._libc import system_call
from wherry.linux.fd import Fd

__all__ = ["REQUEST", "map_singly", "registration"]

# linux/userfaultfd.h
_UFFDIO_API, _API, _FEATURE_WP_ASYNC = 0xC018AA3F, 0xAA, 1 << 15
_UFFDIO_REGISTER, _MODE_WP = 0xC020AA00, 1 << 1
#: What the kernel is asked first: a struct uffdio_api.
REQUEST: Final = struct.pack("=QQQ", _API, _FEATURE_WP_ASYNC, 0)

_userfaultfd = system_call("userfaultfd", ctypes.c_int)


def registration(address: int, size: int) -> bytes:
    """Return what the kernel is asked for a piece of memory: a struct uffdio_register."""
    return struct.pack("=QQQQ", address, size, _MODE_WP, 0)


def map_singly(ranges: Iterable[tuple[int, int]]) -> Fd | None:
    """Have a fault in this process's memory map one page and no more, for as long as the descriptor is open.

    Nothing is reported by the descriptor, and nothing is protected: with asynchronous write protection (Linux 6.7) both
    would have to be asked for. A child's memory is as it always is.

    :param ranges: address and size of each; there may be holes in it.
    :returns: the descriptor, or None where the kernel does not know that.
    """
    number = _userfaultfd(os.O_CLOEXEC | os.O_NONBLOCK)
    if number < 0:
        return None
    fd = Fd(number)
    try:
        fcntl.ioctl(fd.fileno(), _UFFDIO_API, bytearray(REQUEST))
        for address, size in ranges:
            fcntl.ioctl(fd.fileno(), _UFFDIO_REGISTER, bytearray(registration(address, size)))
    except OSError:
        fd.close()
        return None
    return fd
