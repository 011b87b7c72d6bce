"""The one place where wherry meets the C library.

Calls are made by number through ``syscall(3)``, because the C library has no function for half of them and the numbers
never change. ctypes knows nothing of PEP 475, so that retrying after EINTR happens here, too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from enum import IntFlag
from typing import Any, Final, NoReturn

from wherry.errors import SystemCallError, Unsupported

__all__ = [
    "ALONE",
    "ARCHITECTURE",
    "NUMBERS",
    "buffer_of",
    "fail",
    "flag_names",
    "of_small_numbers",
    "path_bytes",
    "system_call",
]

# Since Linux 5.0 a new call gets the same number everywhere.
_COMMON: Final = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
}
_OLDER: Final = {
    "x86_64": {
        "bpf": 321,
        "capget": 125,
        "capset": 126,
        "clone": 56,
        "close": 3,
        "dup3": 292,
        "execve": 59,
        "execveat": 322,
        "exit_group": 231,
        "fcntl": 72,
        "fstatfs": 138,
        "futex": 202,
        "getdents64": 217,
        "ioctl": 16,
        "ioprio_set": 251,
        "keyctl": 250,
        "kill": 62,
        "memfd_create": 319,
        "mount": 165,
        "personality": 135,
        "pivot_root": 155,
        "prctl": 157,
        "prlimit64": 302,
        "quotactl": 179,
        "renameat2": 316,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "rt_sigtimedwait": 128,
        "sched_setattr": 314,
        "seccomp": 317,
        "sendmsg": 46,
        "set_mempolicy": 238,
        "setdomainname": 171,
        "sethostname": 170,
        "setns": 308,
        "setsid": 112,
        "signalfd4": 289,
        "statfs": 137,
        "syncfs": 306,
        "umount2": 166,
        "unshare": 272,
        "userfaultfd": 323,
        "wait4": 61,
        "writev": 20,
    },
    "aarch64": {
        "bpf": 280,
        "capget": 90,
        "capset": 91,
        "clone": 220,
        "close": 57,
        "dup3": 24,
        "execve": 221,
        "execveat": 281,
        "exit_group": 94,
        "fcntl": 25,
        "fstatfs": 44,
        "futex": 98,
        "getdents64": 61,
        "ioctl": 29,
        "ioprio_set": 30,
        "keyctl": 219,
        "kill": 129,
        "memfd_create": 279,
        "mount": 40,
        "personality": 92,
        "pivot_root": 41,
        "prctl": 167,
        "prlimit64": 261,
        "quotactl": 60,
        "renameat2": 276,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "rt_sigtimedwait": 137,
        "sched_setattr": 274,
        "seccomp": 277,
        "sendmsg": 211,
        "set_mempolicy": 237,
        "setdomainname": 162,
        "sethostname": 161,
        "setns": 268,
        "setsid": 157,
        "signalfd4": 74,
        "statfs": 43,
        "syncfs": 267,
        "umount2": 39,
        "unshare": 97,
        "userfaultfd": 282,
        "wait4": 260,
        "writev": 66,
    },
}

#: The kernel's name of this machine's architecture.
ARCHITECTURE: Final = os.uname().machine
#: The numbers of the system calls here; empty on an architecture that wherry does not know.
NUMBERS: Final[dict[str, int]] = (
    {**_COMMON, **_OLDER[ARCHITECTURE]} if ARCHITECTURE in _OLDER and sys.maxsize > 2**32 else {}
)
#: What a call made through :func:`system_call` returns on failure.
_FAILED: Final = -1

_libc: Final = ctypes.CDLL(None, use_errno=True)
#: The same C library, called without giving up Python's lock: for clone, whose child must own that lock.
ALONE: Final = ctypes.PyDLL(None, use_errno=True)


def system_call(name: str, *argument_types: Any) -> Callable[..., int]:
    """Declare a system call.

    :param name: its kernel name.
    :param argument_types: the ctypes of its arguments. Python's lock is released while the call runs.
    :returns: a function that makes the call, again for as long as it is interrupted, and returns -1 on failure
        (then :func:`fail` knows the reason).
    """
    number = NUMBERS.get(name)
    if number is None:
        return _unknown(name)
    function = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *argument_types, use_errno=True)(("syscall", _libc))

    def call(*arguments: Any) -> int:
        while True:
            result: int = function(number, *arguments)
            if result != _FAILED or ctypes.get_errno() != errno.EINTR:
                return result

    call.__name__ = name
    return call


def c_function(name: str, *argument_types: Any) -> Callable[..., int] | None:
    """Declare a function of the C library that is no system call; None where the library lacks it."""
    function = getattr(_libc, name, None)
    if function is not None:
        function.argtypes = argument_types
    return function


def of_small_numbers(name: str) -> Callable[..., int]:
    """Declare a function of the C library that is never interrupted, and takes and returns small numbers only.

    ctypes needs no types for these, and without it is three to four times as fast: 0.7 and not 2.6 us for prctl(2).

    :returns: the function, which returns -1 on failure (then :func:`fail` knows the reason). Numbers go up to 2**31.
    """
    return _libc[name]


def _unknown(name: str) -> Callable[..., int]:
    """Stand in for a call whose number here is not known."""

    def call(*_: Any) -> int:
        raise Unsupported(f"the system call {name} is not known on the architecture {ARCHITECTURE!r}")

    return call


def fail(call: str, operands: str, *, number: int | None = None, hint: str | None = None) -> NoReturn:
    """Raise the error of a system call that just failed.

    :param call: its kernel name.
    :param operands: its decoded arguments.
    :param number: the error number; without it, the one that the last call in this thread left.
    :param hint: what the kernel's text does not say; without it, a known one for this call and error.
    :raises SystemCallError: always.
    """
    code = ctypes.get_errno() if number is None else number
    raise SystemCallError(call, operands, code, hint=hint or _hint(call, operands, code))


_NAMESPACE_CALLS: Final = frozenset({"clone", "clone3", "unshare", "setns"})
_MOUNT_CALLS: Final = frozenset(
    {"mount", "fsopen", "fsconfig", "fsmount", "open_tree", "move_mount", "mount_setattr", "umount2", "pivot_root"}
)
_HINTS: Final = {
    ("openat2", errno.EXDEV): "the path leads out of the directory that it must stay in",
    ("openat2", errno.ELOOP): "a symbolic link stands where none is allowed, or there are too many of them",
    ("openat2", errno.E2BIG): "this kernel does not know all of the requested flags",
    ("execveat", errno.ENOENT): "the file may be there and its interpreter be missing",
    ("seccomp", errno.EACCES): "a filter needs no_new_privs or CAP_SYS_ADMIN",
    ("fsconfig", errno.EINVAL): "the file system gave no reason; the kernel log may have one",
    ("setns", errno.EINVAL): "the descriptor is of another kind of namespace, or this process has several threads",
    ("unshare", errno.EINVAL): "the kernel lacks this kind of namespace, or this process has several threads",
    (
        "bpf",
        errno.EPERM,
    ): "device programs need CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, outside of user namespaces",
    ("pidfd_open", errno.ESRCH): "the process is gone",
    ("fsconfig", errno.ENOSPC): "the disk below it has no room, or no inodes, left",
}


def _hint(call: str, operands: str, code: int) -> str | None:
    """Say what the kernel's text for an error leaves out."""
    if code == errno.ENOSYS:
        return "the kernel is too old for this call, or a seccomp filter hides it"
    known = _HINTS.get((call, code))
    if known is not None:
        return known
    if call in _MOUNT_CALLS:
        return _mount_hint(operands, code)
    if call in _NAMESPACE_CALLS:
        return _namespace_hint(code)
    return None


def _mount_hint(operands: str, code: int) -> str | None:
    if code == errno.ENOSPC:
        return "this mount namespace has as many mounts as /proc/sys/fs/mount-max allows"
    if code == errno.EINVAL and "overlay" in operands:
        return (
            "the kernel log has the reason; upper and work directories must lie on one file system that is no overlay"
        )
    if code == errno.EBUSY:
        return "something still uses it, or it is mounted elsewhere in another way"
    if code == errno.EPERM:
        return "mounting needs CAP_SYS_ADMIN in the user namespace that owns this mount namespace"
    if code == errno.ENODEV:
        return "the kernel does not have this file system"
    return None


def _namespace_hint(code: int) -> str | None:
    if code in (errno.ENOSPC, errno.EUSERS):
        return "a limit in /proc/sys/user/ is used up, or namespaces are nested too deep"
    if code == errno.EPERM:
        return "namespaces need CAP_SYS_ADMIN; user namespaces may be switched off, or forbidden after chroot"
    return None


def flag_names(kind: type[IntFlag], value: int) -> str:
    """Write flags as in C: ``MS_RDONLY|MS_BIND``, and bits that have no name as one number.

    The prefix is the name of the enumeration.
    """
    bits = {f"{kind.__name__}_{member.name}": int(member) for member in kind}
    rest = int(value)
    names = [name for name, bit in bits.items() if bit and rest & bit == bit]
    for bit in bits.values():
        rest &= ~bit  # of plain integers: ~ of a member keeps only bits that have a name
    if rest or not names:
        names.append(hex(rest) if rest else "0")
    return "|".join(names)


def path_bytes(path: str | bytes | os.PathLike[str]) -> bytes:
    """Encode a path as the kernel takes it.

    :raises ValueError: it contains a NUL byte, at which the kernel would silently cut it.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError(f"the path {path!r} contains a NUL byte")
    return encoded


def buffer_of(data: bytes | bytearray) -> ctypes.Array[ctypes.c_char]:
    """Copy bytes to where a system call can point at them."""
    return ctypes.create_string_buffer(bytes(data), len(data))
