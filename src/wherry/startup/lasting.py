"""A program that lasts: what its template may have besides, and what each process makes its own of that.

Its template may have modules for threads, random numbers and TLS, if they have done nothing but be imported. What they
hold that has to differ from process to process is renewed before anything else runs: there are no two processes that
draw the same numbers.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import time

from wherry.errors import Unsupported
from wherry.linux.fd import Fd
from wherry.linux.userfaultfd import map_singly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

__all__ = ["Lasting", "check_state"]

#: Types of objects that have numbers drawn by lot in them, or what the kernel knows of their process.
_STATEFUL: Final = (
    ("_ssl", "_SSLContext"), ("sqlite3", "Connection"), ("socket", "socket"),
    ("selectors", "EpollSelector"), ("multiprocessing.process", "BaseProcess"),
)  # fmt: skip
#: Modules whose state in C nobody can look at, or renew.
_UNKNOWN: Final = ("numpy", "cryptography.hazmat.bindings._rust")
_NONE: Final = 1 << 32  # no descriptor
_LEAST_STACK: Final = 256 << 10  # bytes, of a thread
_ENTROPY: Final = 32  # bytes


class Lasting:
    """What a process of a program that lasts does beside its work.

    Made in the template, before its objects are frozen (`gc.freeze`): who is asked for them does not tell of those.
    """

    def __init__(self) -> None:
        generator = getattr(sys.modules.get("random"), "Random", ())
        self._generators = [one for one in gc.get_objects() if issubclass(type(one), generator)]
        self._databases = ctypes.CDLL(sys.modules["_sqlite3"].__file__) if "_sqlite3" in sys.modules else None
        self._areas: Sequence[tuple[int, int]] = ()
        self._fd: Fd | None = None

    def take(self, mapper: int, areas: Sequence[tuple[int, int]]) -> None:
        """Own what the machine code has opened, so that only those pages of the snapshot are mapped that are used.

        :param mapper: the descriptor; a large number where there is none.
        :param areas: address and size of what was registered.
        """
        self._areas = areas
        self._fd = Fd(mapper) if mapper < _NONE else None

    def map_again(self) -> None:
        """Do that once more, in a child that is to last."""
        if self._fd is not None:
            self._fd.close()
        self._fd = map_singly(self._areas)

    def renew(self) -> None:
        """Make all state this process's own that the template's modules had."""
        modules = sys.modules
        for one in self._generators:
            one.seed()
        if self._databases:
            self._databases.sqlite3_randomness(0, None)  # so that it asks the kernel for what it begins with
        if "_ssl" in modules:
            modules["_ssl"].RAND_add(os.urandom(_ENTROPY), float(_ENTROPY))  # the library reads the kernel's as well
        if "threading" in modules:
            threading = modules["threading"]
            threading.main_thread()._set_native_id()
            soft, _ = resource.getrlimit(resource.RLIMIT_STACK)  # which the C library read in the template
            threading.stack_size(0 if soft == resource.RLIM_INFINITY else max(soft, _LEAST_STACK))
        time.tzset()


def check_state() -> None:
    """See whether a template has what processes may not share, and cannot renew.

    :raises Unsupported: it has.
    """
    for name in _UNKNOWN:
        if name in sys.modules:
            raise Unsupported(f"the template has the module {name}")
    if "_sqlite3" in sys.modules and not getattr(sys.modules["_sqlite3"], "__file__", None):
        raise Unsupported("the interpreter has a library for databases in it whose random numbers cannot be renewed")
    kinds = tuple(getattr(sys.modules[module], name) for module, name in _STATEFUL if module in sys.modules)
    gc.collect()
    for one in gc.get_objects():
        if issubclass(type(one), kinds):  # a proxy of what has gone can be asked for nothing else
            raise Unsupported(f"the template has an object with a state: {one!r}")
