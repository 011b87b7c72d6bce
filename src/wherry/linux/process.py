"""Processes: clone, namespaces, pidfds, prctl, execveat.

The file mode mask and resource limits are in the standard library (``os.umask``, ``resource.prlimit``).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from enum import IntFlag
from typing import Any, Final

from wherry.errors import Unsupported
from wherry.linux._libc import (
    ALONE,
    NUMBERS,
    buffer_of,
    fail,
    flag_names,
    of_small_numbers,
    path_bytes,
    system_call,
)
from wherry.linux.fd import Fd, FdLike, number
from wherry.linux.mount import AT

__all__ = [
    "CLONE",
    "clone",
    "execveat",
    "ioprio_set",
    "keyctl_join_session_keyring",
    "personality",
    "pidfd_exit_status",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
    "reset_signal",
    "sched_setattr",
    "set_child_subreaper",
    "set_dumpable",
    "set_keepcaps",
    "set_mempolicy",
    "set_name",
    "set_no_new_privs",
    "set_pdeathsig",
    "setdomainname",
    "sethostname",
    "setns",
    "unshare",
    "waitid_pidfd",
]


class CLONE(IntFlag):
    """Flags of clone3(2), unshare(2) and setns(2) that make sense without threads."""

    NEWTIME = 0x80
    VM = 0x100
    FS = 0x200
    FILES = 0x400
    PIDFD = 0x1000
    VFORK = 0x4000
    PARENT = 0x8000
    NEWNS = 0x20000
    SYSVSEM = 0x40000
    NEWCGROUP = 0x2000000
    NEWUTS = 0x4000000
    NEWIPC = 0x8000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    CLEAR_SIGHAND = 0x100000000
    INTO_CGROUP = 0x200000000


_INT, _UINT, _LONG, _ULONG = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_ulong
_STRING, _POINTER, _SIZE = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t

_unshare = system_call("unshare", _ULONG)
_setns = system_call("setns", _INT, _INT)
_rt_sigaction = system_call("rt_sigaction", _INT, _POINTER, _POINTER, ctypes.c_size_t)
#: ``struct kernel_sigaction``: handler (0 is SIG_DFL), flags, restorer, mask; 8 bytes each.
_SIGACTION_SIZE: Final = 32
_SIGSET_SIZE: Final = 8
_pidfd_open = system_call("pidfd_open", _INT, _UINT)
_pidfd_send_signal = system_call("pidfd_send_signal", _INT, _INT, _POINTER, _UINT)
_pidfd_getfd = system_call("pidfd_getfd", _INT, _INT, _UINT)
_prctl = system_call("prctl", _INT, _ULONG, _ULONG, _ULONG, _ULONG)
_prctl_small = of_small_numbers("prctl")
_prctl_string = system_call("prctl", _INT, _STRING, _ULONG, _ULONG, _ULONG)
_personality = system_call("personality", _ULONG)
_sethostname = system_call("sethostname", _STRING, _SIZE)
_setdomainname = system_call("setdomainname", _STRING, _SIZE)
_execveat = system_call("execveat", _INT, _STRING, _POINTER, _POINTER, _INT)
_keyctl = system_call("keyctl", _INT, _STRING, _ULONG, _ULONG, _ULONG)
_ioprio_set = system_call("ioprio_set", _INT, _INT, _INT)
_sched_setattr = system_call("sched_setattr", _INT, _POINTER, _UINT)
_set_mempolicy = system_call("set_mempolicy", _INT, _POINTER, _ULONG)


# ------------------------------------------------------------------------------------------------------------- clone


class _CloneArgs(ctypes.Structure):
    """``struct clone_args`` of linux/sched.h."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


def _alone(*argument_types: Any) -> Any:
    """Declare ``syscall(3)`` so that Python's lock is kept during the call."""
    function = ALONE["syscall"]
    function.restype = _LONG
    function.argtypes = (_LONG, *argument_types)
    return function


def _interpreter_hook(name: str) -> Any:
    """Declare one of Python's own functions around a fork."""
    function = ctypes.pythonapi[name]
    function.restype = None
    function.argtypes = ()
    return function


_before_fork = _interpreter_hook("PyOS_BeforeFork")
_after_fork_parent = _interpreter_hook("PyOS_AfterFork_Parent")
_after_fork_child = _interpreter_hook("PyOS_AfterFork_Child")
_CLONE3, _CLONE = NUMBERS.get("clone3", -1), NUMBERS.get("clone", -1)
_raw_clone3 = _alone(_POINTER, _SIZE)
_raw_clone = _alone(_ULONG, _POINTER, _POINTER, _POINTER, _POINTER)


def clone(flags: int, *, cgroup_fd: FdLike | None = None, want_pidfd: bool = True) -> tuple[int, Fd | None]:
    """Make a child as fork(2) does, in new namespaces as the flags say; see clone(2).

    The caller must be the only thread: the child is a copy of this thread alone, and locks that others hold
    would stay locked in it. The system call bypasses ``fork(3)``, so the books are kept here:

    * Python's lock is held during the call, so the child owns it.
    * ``PyOS_BeforeFork`` and ``PyOS_AfterFork_*`` are Python's own interface for who forks by other means. They make
      the child forget signals that the parent had caught and not yet handled (else both would handle them), renew
      Python's locks and run what was registered with ``os.register_at_fork``.
    * The C library is not told. That is sound for one thread: nothing else can hold its locks, and it caches no
      process ID.

    :param flags: of :class:`CLONE`, without ``VM``, ``VFORK`` and the like: the child needs memory of its own.
    :param cgroup_fd: the cgroup (v2) directory to be born into; adds ``INTO_CGROUP``.
    :param want_pidfd: whether to return the child's pidfd, close-on-exec.
    :returns: in the parent, the child's process ID and pidfd; in the child, ``(0, None)``.
    :raises Unsupported: the kernel lacks clone3 and the old call cannot do what is asked.
    """
    if flags & (CLONE.VM | CLONE.VFORK):
        raise ValueError("a child that shares this process's memory cannot run Python")
    if cgroup_fd is not None:
        flags |= CLONE.INTO_CGROUP
    if want_pidfd:
        flags |= CLONE.PIDFD
    pidfd = _INT(-1)
    pid = _fork_with_books(flags, pidfd, 0 if cgroup_fd is None else number(cgroup_fd))
    if pid < 0:
        fail("clone3", flag_names(CLONE, flags))
    return pid, Fd(pidfd.value) if pid and want_pidfd else None


def _fork_with_books(flags: int, pidfd: ctypes.c_int, cgroup: int) -> int:
    ending = 0 if flags & CLONE.PARENT else signal.SIGCHLD  # a sibling ends with the same signal as this process
    arguments = _CloneArgs(flags=flags, pidfd=ctypes.addressof(pidfd), exit_signal=ending, cgroup=cgroup)
    reference, size = ctypes.byref(arguments), ctypes.sizeof(arguments)
    _before_fork()
    pid: int = _raw_clone3(_CLONE3, reference, size)
    if pid < 0 and ctypes.get_errno() == errno.ENOSYS and not int(flags) & ~0xFFFFFF00:
        pid = _raw_clone(_CLONE, flags | signal.SIGCHLD, None, ctypes.byref(pidfd), None, None)
    if pid == 0:
        _after_fork_child()
    else:
        code = ctypes.get_errno()
        _after_fork_parent()
        ctypes.set_errno(code)
    return pid


def unshare(flags: int) -> None:
    """Move this process into new namespaces; see unshare(2)."""
    if _unshare(flags) < 0:
        fail("unshare", flag_names(CLONE, flags))


def setns(fd: FdLike, flags: int = 0) -> None:
    """Move this process into existing namespaces; see setns(2).

    :param fd: a namespace, or a process's pidfd.
    :param flags: the kinds to join; needed with a pidfd, a check otherwise.
    """
    if _setns(number(fd), flags) < 0:
        fail("setns", f"descriptor {number(fd)}, {flag_names(CLONE, flags)}")


# ------------------------------------------------------------------------------------------------------------- pidfds


def pidfd_open(pid: int) -> Fd:
    """Return a descriptor of a process, close-on-exec; it stays this process's even when the number is used again."""
    result = _pidfd_open(pid, 0)
    if result < 0:
        fail("pidfd_open", f"process {pid}")
    return Fd(result)


def pidfd_send_signal(fd: FdLike, sig: int) -> None:
    """Send a signal to exactly the process that the descriptor stands for."""
    if _pidfd_send_signal(number(fd), sig, None, 0) < 0:
        fail("pidfd_send_signal", f"descriptor {number(fd)}, signal {sig}")


def pidfd_getfd(fd: FdLike, target: int) -> Fd:
    """Return a duplicate of another process's descriptor, close-on-exec; needs the right to trace that process."""
    result = _pidfd_getfd(number(fd), target, 0)
    if result < 0:
        fail("pidfd_getfd", f"descriptor {target} of the process of descriptor {number(fd)}")
    return Fd(result)


# struct pidfd_info, in its first published size (linux/pidfd.h): mask, cgroupid, eleven IDs, exit_code.
_PIDFD_INFO: Final = struct.Struct("=QQ11Ii")
_PIDFD_INFO_EXIT: Final = 1 << 3
_PIDFD_GET_INFO: Final = 0xC000FF0B | _PIDFD_INFO.size << 16


def pidfd_exit_status(fd: FdLike) -> int | None:
    """Ask how a process ended without being its parent (Linux 6.15).

    The kernel tells it only after the parent has reaped the process.

    :returns: the status as waitpid(2) encodes it; None as long as it is not known.
    :raises Unsupported: the kernel does not tell.
    """
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0, *(0,) * 11, 0))
    try:
        fcntl.ioctl(number(fd), _PIDFD_GET_INFO, info)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None  # before 6.15: the process is gone, and its status with it
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            raise Unsupported(
                "this kernel does not tell how another's child ended", hint="it takes Linux 6.15"
            ) from error
        fail("ioctl", f"PIDFD_GET_INFO, descriptor {number(fd)}", number=error.errno)
    mask, *_, status = _PIDFD_INFO.unpack(info)
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def waitid_pidfd(fd: FdLike, *, block: bool = True, reap: bool = True) -> int | None:
    """Wait for a child by its pidfd; see waitid(2).

    :param block: whether to wait until the child has ended.
    :param reap: whether the kernel may forget it then.
    :returns: the status as waitpid(2) encodes it, or None if it has not ended and ``block`` is false.
    """
    options = os.WEXITED | (0 if block else os.WNOHANG) | (0 if reap else os.WNOWAIT)
    try:
        found = os.waitid(os.P_PIDFD, number(fd), options)
    except OSError as error:
        fail("waitid", f"descriptor {number(fd)}", number=error.errno or errno.EIO)
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return found.si_status << 8
    return found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)


# -------------------------------------------------------------------------------------------------------------- prctl

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_KEEPCAPS, _SET_NAME = 1, 4, 8, 15
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 36, 38


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """Change or ask a property of this process; see prctl(2)."""
    result = _prctl(option, arg2, arg3, arg4, arg5)
    if result < 0:
        fail("prctl", f"option {option}, {arg2}, {arg3}, {arg4}, {arg5}")
    return result


def set_no_new_privs() -> None:
    """Forbid for ever that an executed program gains privileges (PR_SET_NO_NEW_PRIVS)."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def set_dumpable(on: bool) -> None:
    """Say whether others of the same user may trace this process and open its files under /proc (PR_SET_DUMPABLE)."""
    if _prctl_small(_SET_DUMPABLE, int(on), 0, 0, 0) < 0:
        fail("prctl", f"PR_SET_DUMPABLE, {on}")


def set_child_subreaper(on: bool) -> None:
    """Say whether orphaned descendants become this process's children (PR_SET_CHILD_SUBREAPER)."""
    prctl(_SET_CHILD_SUBREAPER, int(on))


def reset_signal(sig: int) -> None:
    """Give a signal its default action (rt_sigaction(2)).

    Python and the C library refuse to touch signals 32 and 33, which the library keeps for itself; a parent may have
    left them ignored all the same, as GNU make does, and execve hands that on.
    """
    if _rt_sigaction(sig, bytes(_SIGACTION_SIZE), None, _SIGSET_SIZE) < 0:
        fail("rt_sigaction", f"signal {sig}")


def set_pdeathsig(sig: int) -> None:
    """Ask for a signal when the parent *thread* ends; 0 for none (PR_SET_PDEATHSIG)."""
    prctl(_SET_PDEATHSIG, sig)


def set_keepcaps(on: bool) -> None:
    """Say whether permitted capabilities survive the change from user 0 to another (PR_SET_KEEPCAPS)."""
    if _prctl_small(_SET_KEEPCAPS, int(on), 0, 0, 0) < 0:
        fail("prctl", f"PR_SET_KEEPCAPS, {on}")


def set_name(name: str) -> None:
    """Set the name that ps(1) shows for this thread; the kernel keeps 15 bytes (PR_SET_NAME)."""
    if _prctl_string(_SET_NAME, os.fsencode(name), 0, 0, 0) < 0:
        fail("prctl", f"PR_SET_NAME, {name!r}")


# ------------------------------------------------------------------------------------------- names, execution, the rest


def personality(persona: int) -> int:
    """Set the execution domain and return the one before; ``0xffffffff`` only asks; see personality(2)."""
    result = _personality(persona)
    if result < 0:
        fail("personality", hex(persona))
    return result


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace, at most 64 bytes."""
    encoded = os.fsencode(name)
    if _sethostname(encoded, len(encoded)) < 0:
        fail("sethostname", repr(name))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace, at most 64 bytes."""
    encoded = os.fsencode(name)
    if _setdomainname(encoded, len(encoded)) < 0:
        fail("setdomainname", repr(name))


def execveat(
    fd: FdLike,
    path: str | bytes,
    argv: Sequence[str | bytes],
    envp: Sequence[str | bytes] | Mapping[str, str],
    flags: int = AT.EMPTY_PATH,
) -> None:
    """Execute the program behind a descriptor; returns only by raising; see execveat(2).

    :param path: relative to the descriptor; empty, together with ``AT.EMPTY_PATH``, for the descriptor itself.
    :param envp: ``NAME=value`` strings, or a mapping.
    """
    environment = [f"{name}={value}" for name, value in envp.items()] if isinstance(envp, Mapping) else envp
    arguments, variables = _strings(argv), _strings(environment)
    _execveat(number(fd), path_bytes(path), arguments, variables, flags)
    fail("execveat", f"descriptor {number(fd)}, {os.fsdecode(path)!r}, {flag_names(AT, flags)}")


def _strings(values: Sequence[str | bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """Lay strings out as a C program's ``argv``: pointers, the last one NULL."""
    encoded = [path_bytes(value) for value in values]
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def keyctl_join_session_keyring(name: str | None) -> int:
    """Give this process a session keyring of its own, or the named one; see keyctl(2).

    :returns: the keyring's number.
    """
    result = _keyctl(1, None if name is None else os.fsencode(name), 0, 0, 0)
    if result < 0:
        fail("keyctl", f"KEYCTL_JOIN_SESSION_KEYRING, {name!r}")
    return result


def ioprio_set(io_class: int, level: int) -> None:
    """Set this process's input/output priority; see ioprio_set(2).

    :param io_class: 1 real-time, 2 best effort, 3 idle.
    :param level: 0 (first) to 7.
    """
    this_process = 1
    if _ioprio_set(this_process, 0, io_class << 13 | level) < 0:
        fail("ioprio_set", f"class {io_class}, level {level}")


# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")


def sched_setattr(
    policy: int,
    *,
    flags: int = 0,
    nice: int = 0,
    priority: int = 0,
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
) -> None:
    """Set this process's scheduling policy; see sched_setattr(2).

    :param runtime: and ``deadline`` and ``period``: nanoseconds, for SCHED_DEADLINE.
    """
    packed = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, flags, nice, priority, runtime, deadline, period)
    if _sched_setattr(0, buffer_of(packed), 0) < 0:
        fail("sched_setattr", f"policy {policy}, nice {nice}, priority {priority}")


def set_mempolicy(mode: int, nodes: Sequence[int] = ()) -> None:
    """Set this process's NUMA memory policy; see set_mempolicy(2).

    :param mode: MPOL_* with its flags.
    """
    mask = sum(1 << node for node in set(nodes))
    size = max(mask.bit_length() + 1, 64)
    words = buffer_of(mask.to_bytes((size + 63) // 64 * 8, "little"))
    if _set_mempolicy(mode, words if nodes else None, size if nodes else 0) < 0:
        fail("set_mempolicy", f"mode {mode:#x}, nodes {list(nodes)}")
