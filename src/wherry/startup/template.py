"""In the template: stop once everything is imported; and in each process that is made of it, be that process.

It may import only what a program has anyway: all of it is in the snapshot, and looked at in each start.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys

from wherry.errors import Unsupported
from wherry.linux._libc import ALONE
from wherry.startup.control import PAGE, Control
from wherry.startup.lasting import Lasting, check_state
from wherry.startup.machine_code import entry_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

__all__ = ["become"]

_PR_GET_TID_ADDRESS = 40
_GET_ROBUST_LIST = 274
#: Modules with a state that every process would begin with.
_FORBIDDEN = ("random", "threading", "ssl", "_hashlib")
#: What the interpreter ignores from its first moment on.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


def become(base: int, ordinary: Sequence[str], *, lasts: bool = False) -> Callable[[], None]:
    """Stop here; a process that is made of this one goes on from here.

    It has its own arguments, environment, streams and signals then. If a file has changed that the snapshot was made
    of, or the caller's locale has another encoding than UTF-8, it executes the ordinary program instead, with ``-X
    stale`` where the snapshot is to be made again. If the snapshot has been moved or copied, with all that it was made
    of, that is the program beside it.

    :param base: where the starter is, :class:`wherry.startup.starter.Starter`.
    :param ordinary: the interpreter, and what it gets before the program's own arguments: options, the program.
    :param lasts: it is a program that goes on, with threads and TLS (:mod:`wherry.startup.lasting`).
    :returns: what has the pages mapped that a larger command uses (`wherry.startup.build.Program`); of a program that
        lasts, what a child of this process calls that lasts in its place.
    :raises Unsupported: this process has something that a snapshot cannot have.
    """
    _check(lasts)
    _fill(base)
    files = _Files()
    directory = _directory()
    lasting = Lasting()
    gc.collect()
    gc.freeze()  # a collection in a process that is made of this one would write to all of its pages
    stop = ctypes.PYFUNCTYPE(ctypes.c_uint64)(base + entry_of("stop"))
    changed = ctypes.PYFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(base + entry_of("changed"))
    touch = ctypes.PYFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64)(base + entry_of("touch"))

    def number(place: Control) -> int:
        return ctypes.c_uint64.from_address(base + PAGE + int(place)).value

    environ = ctypes.c_uint64.in_dll(ALONE, "environ")
    stack = stop()
    arguments, address = _words(stack + 8)
    environ.value = address
    environment, _ = _words(address)
    _take_environment(environment)
    own = [os.fsdecode(one) for one in arguments[1:]]
    if (here := _directory() or directory) != directory:
        ordinary = _moved(ordinary, directory, here)
    if here != directory or not _is_utf8():
        _execute(ordinary[0], [*ordinary, *own])
    if changed(ctypes.addressof(files.words), files.count):
        _execute(ordinary[0], [ordinary[0], "-X", "stale", *ordinary[1:], *own])
    sys.argv[1:] = own
    sys.orig_argv[:] = [*ordinary, *own]
    _take_signals()
    _take_streams()
    if lasts:
        lasting.take(number(Control.MAPPER), _pairs(base + PAGE + Control.AREAS, number(Control.AREAS_COUNT)))
        lasting.renew()
        return lasting.map_again
    return lambda: touch(number(Control.MORE), number(Control.MORE_COUNT))


def _pairs(address: int, count: int) -> list[tuple[int, int]]:
    """Return the address and size of each struct uffdio_register, of four words."""
    words = [ctypes.c_uint64.from_address(address + 8 * index).value for index in range(4 * count)]
    return list(zip(words[::4], words[1::4], strict=True))


def _check(lasts: bool) -> None:
    if len(os.listdir("/proc/self/task")) != 1:
        raise Unsupported("the template has several threads")
    open_ones = os.listdir("/proc/self/fd")
    if len(open_ones) != 4:  # the streams, and what lists them
        raise Unsupported(f"the template has other descriptors open than its streams: {open_ones}")
    if lasts:
        check_state()
    for name in _FORBIDDEN:
        if name in sys.modules and not lasts:
            raise Unsupported(f"the template has the module {name}")
    try:
        registered = ctypes.c_uint.in_dll(ALONE, "__rseq_size").value
    except ValueError:  # the C library is older than 2.35
        return
    if registered:
        raise Unsupported("the template has a restartable sequence registered")


def _fill(base: int) -> None:
    """Write down what the machine code has to know of this process."""
    ALONE.pthread_self.restype = ctypes.c_uint64
    thread_id, robust, size = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint64()
    if ALONE.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(thread_id)):
        raise Unsupported("the kernel does not say where the C library keeps the thread's ID")
    if ALONE.syscall(_GET_ROBUST_LIST, 0, ctypes.byref(robust), ctypes.byref(size)):
        raise Unsupported("the kernel does not say where the list of robust futexes is")
    numbers = {
        Control.THREAD: ALONE.pthread_self(),
        Control.THREAD_ID: thread_id.value,
        Control.ROBUST: robust.value,
        Control.ROBUST_SIZE: size.value,
        Control.BREAK: ctypes.addressof(ctypes.c_uint64.in_dll(ALONE, "__curbrk")),
    }
    for place, number in numbers.items():
        ctypes.c_uint64.from_address(base + PAGE + int(place)).value = number


# ------------------------------------------------------------------------------------------------------------ the files


class _Files:
    """What the snapshot is made of, as the machine code has it."""

    def __init__(self) -> None:
        begun = os.stat("/proc/self/exe").st_mtime_ns
        self._paths: list[Any] = []
        numbers: list[int] = []
        for path in sorted(_paths()):
            try:
                found = os.stat(path)
            except OSError:
                continue
            # One that has changed since this process began may have been read before or after: it counts as changed.
            inode = found.st_ino if found.st_mtime_ns < begun else 0
            encoded = ctypes.create_string_buffer(os.fsencode(path))
            self._paths.append(encoded)
            seconds, rest = divmod(found.st_mtime_ns, 10**9)
            numbers += [ctypes.addressof(encoded), inode, found.st_size, seconds, rest]
        self.count = len(self._paths)
        self.words = (ctypes.c_uint64 * len(numbers))(*numbers)


def _paths() -> set[str]:
    """Programs and libraries, modules, and what says where they are."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(maxsplit=5)[5].strip() for line in file if "/" in line}
    paths.discard(os.readlink("/proc/self/exe"))
    for module in list(sys.modules.values()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        if origin.startswith("/"):
            paths.add(origin)
    environment = sys.executable.rpartition("/bin/")[0]
    return paths | {sys.executable, f"{environment}/pyvenv.cfg", sys.argv[0]}


# ---------------------------------------------------------------------------------------------------- the process's own


def _words(address: int) -> tuple[list[bytes], int]:
    """Read a list of strings that ends with a null; returns it, and the address behind it."""
    found = []
    while pointer := ctypes.c_uint64.from_address(address).value:
        found.append(ctypes.string_at(pointer))
        address += 8
    return found, address + 8


def _take_environment(strings: list[bytes]) -> None:
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]  # as a forked child has it
    data.clear()
    for one in strings:
        name, equals, value = one[1:].partition(b"=")  # a name may begin with the sign
        if equals:
            data.setdefault(one[:1] + name, value)


def _is_utf8() -> bool:
    """Whether the interpreter would have taken UTF-8 for the encoding of everything, locale(7)."""
    name = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C"
    return name in ("C", "POSIX") or name.lower().replace("-", "").endswith("utf8")


def _directory() -> str:
    """Where the snapshot is, or in the template what becomes it; empty where that cannot be found out."""
    try:
        return os.readlink("/proc/self/exe").rpartition("/")[0]
    except OSError:  # as in a chroot without /proc
        return ""


def _moved(ordinary: Sequence[str], before: str, now: str) -> list[str]:
    """What is the ordinary program in a copy of a tree.

    :param before: a directory somewhere in the tree, and ``now``: the same one in the copy.
    """
    while before and before.rpartition("/")[2] == now.rpartition("/")[2]:
        before, now = before.rpartition("/")[0], now.rpartition("/")[0]
    return [f"{now}{one.removeprefix(before)}" if one.startswith(f"{before}/") else one for one in ordinary]


def _execute(path: str, arguments: list[str]) -> NoReturn:
    os.execv(path, arguments)


def _take_signals() -> None:
    """Do what the interpreter does at its start; a SIGINT that the caller ignores stays ignored (signal(7), nohup)."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN if _is_ignored(signal.SIGINT) else signal.default_int_handler)


def _is_ignored(number: int) -> bool:
    action = (ctypes.c_uint64 * 32)()  # struct sigaction begins with the handler
    ALONE.sigaction(number, None, action)
    return action[0] == int(signal.SIG_IGN)


def _take_streams() -> None:
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = _stream(fd, f"<{name}>", mode, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(fd: int, name: str, mode: str, before: Any) -> Any:
    """Open a stream as the interpreter does, with the template's encoding; None if the caller has it closed."""
    try:
        os.fstat(fd)
    except OSError:
        return None
    stream: Any = open(  # noqa: SIM115
        fd, mode, encoding=before.encoding, errors=before.errors, newline=None if fd == 0 else "\n", closefd=False
    )
    stream.buffer.raw.name = name
    stream.mode = mode
    if fd == 2:
        stream.reconfigure(line_buffering=True)
    return stream
