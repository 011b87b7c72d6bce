"""vfork(2) for Python: a child that runs a Python function on this process's memory, which waits meanwhile.

The child of fork(2) copies every page that it writes to, and Python writes to all that it looks at (reference counts).
The child of vfork(2) copies nothing. What is the kernel's (credentials, namespaces, descriptors, working directory,
signals) is its own all the same, for it is a process and no thread.

The price is that Python has to be, when the child is done with it, as it was before: the parent goes on with it. So the
child must return from the function, and what ends its stay in this memory (execve(2), as a rule) is done by machine
code. A child that was killed within the function leaves Python in the midst of something; then this process ends, too.

The parent does not wait in the kernel as with ``CLONE_VFORK``, where it would count as busy in the load average, but
for the futex that the kernel wakes when the child leaves the memory (``CLONE_CHILD_CLEARTID``).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import struct
from collections.abc import Callable
from typing import Any, Final

from wherry.errors import SystemCallError, Unsupported
from wherry.linux._libc import ALONE, fail, flag_names
from wherry.linux.fd import FdLike, number
from wherry.linux.process import CLONE
from wherry.linux.vfork_code import machine_code

__all__ = ["Vfork"]

_PARENT_SETTID, _CHILD_CLEARTID = 0x100000, 0x200000
_MAP_FIXED_NOREPLACE: Final = 0x100000
_FOLLOWS: Final = 256  # where the second piece of code is
_Function = Callable[[], int]


def _declared(name: str, result: Any, *arguments: Any) -> Any:
    function = ALONE[name]
    function.restype, function.argtypes = result, arguments
    return function


_mmap = _declared(
    "mmap", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long
)  # fmt: skip
_mprotect = _declared("mprotect", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Vfork:
    """Makes children that share this process's memory; the process must have one thread, and handle no signals.

    :param function: what a child runs. It returns 0 for the code that follows to be carried out; otherwise the process
        ends. It must not raise, and must not end the process.
    :param follows: machine code that does not return.
    :param data: address and size of memory for the code that follows; it is zero before each child.
    :param report_to: descriptor that the ID of each child is written to at once, in eight bytes, lowest first; -1: none
    :raises Unsupported: this architecture or this machine does not allow it.
    """

    def __init__(self, function: _Function, follows: bytes, data: tuple[int, int], *, report_to: int = -1) -> None:
        code = machine_code().ljust(_FOLLOWS, b"\xcc") + follows
        self._data, self._room = data
        self._used = 0
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        _mapped(self._data, self._room, protection)
        page = _mapped(0, len(code), protection)  # whole pages of it
        ctypes.memmove(page, code, len(code))
        if _mprotect(page, len(code), mmap.PROT_READ | mmap.PROT_EXEC):
            raise Unsupported("memory cannot be made executable", cause=os.strerror(ctypes.get_errno()))
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        prototype = ctypes.PYFUNCTYPE(ctypes.c_long, pointer, size, pointer, pointer, pointer, ctypes.c_int)
        self._enter: Final = prototype(page)
        self._report_to: Final = report_to
        self._follows: Final = page + _FOLLOWS
        self._callback: Final = ctypes.PYFUNCTYPE(ctypes.c_int)(function)
        self._words: Final = (ctypes.c_uint32 * 4)()

    def write(self, data: bytes) -> None:
        """In the child: put something into the memory for the code that follows.

        :raises SystemCallError: there is not so much room.
        """
        if len(data) > self._room:
            raise SystemCallError("execve", "", errno.E2BIG)
        self._used = len(data)
        ctypes.memmove(self._data, data, len(data))

    def clone(self, flags: int, cgroup: FdLike | None = None) -> None:
        """Make a child, and wait until it has executed a program or ended.

        :param flags: of :class:`CLONE`; ``VM`` is added.
        :param cgroup: the cgroup (v2) directory to be born into.
        :raises SystemCallError: there is no child.
        """
        flags |= CLONE.VM | _PARENT_SETTID | _CHILD_CLEARTID | (0 if cgroup is None else CLONE.INTO_CGROUP)
        words = ctypes.addressof(self._words)
        self._words[0] = self._words[1] = 0
        ending = 0 if flags & CLONE.PARENT else signal.SIGCHLD  # a sibling ends with the same signal as this process
        directory = 0 if cgroup is None else number(cgroup)
        arguments = struct.pack("=11Q", flags, 0, words, words, ending, 0, 0, 0, 0, 0, directory)
        callback = ctypes.cast(self._callback, ctypes.c_void_p)
        result = self._enter(arguments, len(arguments), callback, words, self._follows, self._report_to)
        if result < 0:
            fail("clone3", flag_names(CLONE, flags), number=-result)
        ctypes.memset(self._data, 0, self._used)
        self._used = 0


def _mapped(address: int, size: int, protection: int) -> int:
    """Map memory of this process's own.

    :param address: where; 0: anywhere.
    :raises Unsupported: something is there already.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_MAP_FIXED_NOREPLACE if address else 0)
    found = _mmap(address, size, protection, flags, -1, 0)
    if not found or found == ctypes.c_void_p(-1).value or (address and found != address):
        raise Unsupported("there is no such memory", cause=os.strerror(ctypes.get_errno()))
    return int(found)
