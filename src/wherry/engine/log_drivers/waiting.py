"""What a receiver's name and files are waited for in: threads of their own, with a bound.

A name server that does not answer keeps a thread for many seconds, and so does a file on a server that is gone. The
event loop's own threads are few, and for all that the daemon does.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.threads.workers import Workers
from wherry.errors import Unavailable
from wherry.linux.fd import AT_FDCWD
from wherry.linux.files import memfd, open_regular

__all__ = ["PATIENCE", "addresses_of", "copied", "in_a_thread"]

T = TypeVar("T")

PATIENCE: Final = 10.0  # seconds that a receiver gets to accept a connection
_LARGEST: Final = 4 << 20  # bytes of a file of certificates; all authorities of a machine have a quarter of a megabyte
_THREADS: Final = 32

_workers: Final = Workers(_THREADS, "log-receiver")


async def in_a_thread(what: str, function: Callable[[], T]) -> T:
    """Run a function that may wait for long.

    :param what: the work; few with the same text wait at a time.
    :raises TimeoutError: for too long.
    """
    try:
        return await call_bounded(what, function, PATIENCE, workers=_workers)
    except Unavailable as error:
        raise TimeoutError(f"cannot {what} within {PATIENCE:g} s") from error


async def addresses_of(host: str, port: int, kind: int) -> list[tuple[int, Any]]:
    """The addresses of a name, each with its family, as sockets take them; a number is one at once.

    :param kind: of the socket.
    :raises OSError: it has none, or nobody says which.
    :raises ValueError: it is no name.
    """
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await in_a_thread(f"look up {host}", partial(socket.getaddrinfo, host, port, type=kind))
    return [(family, where) for family, _, _, _, where in found]


@contextmanager
def copied(path: str) -> Iterator[str]:
    """The path of a copy in memory of a file of certificates, for OpenSSL, which takes any name and reads to the end.

    At a FIFO it would wait, and a device may have no end; both may lie where a container can put them.

    :raises OSError: it cannot be read, is no regular file, or too large.
    """
    with open_regular(os.path.realpath(path), AT_FDCWD) as file, open(file.fileno(), "rb", closefd=False) as opened:
        data = opened.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    with memfd("certificates", data) as copy:
        yield f"/proc/self/fd/{copy.fileno()}"
