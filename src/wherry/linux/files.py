"""Files: openat2, closing ranges of descriptors, files in memory."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterable
from enum import IntFlag
from typing import Final, NoReturn

from wherry.linux._libc import fail, flag_names, path_bytes, system_call
from wherry.linux.fd import AT_FDCWD, Fd, FdLike, number

__all__ = [
    "CLOSE_RANGE",
    "RENAME",
    "RESOLVE",
    "SFD",
    "close_range",
    "keep_apart",
    "memfd",
    "open_regular",
    "openat2",
    "openat2_if_there",
    "renameat2",
    "signalfd",
    "syncfs",
    "unlock",
]

Path = str | bytes | os.PathLike[str]


class RESOLVE(IntFlag):
    """How openat2(2) may follow a path."""

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10
    CACHED = 0x20


class CLOSE_RANGE(IntFlag):
    """Flags of close_range(2)."""

    UNSHARE = 2
    CLOEXEC = 4


class RENAME(IntFlag):
    """Flags of renameat2(2)."""

    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


class SFD(IntFlag):
    """Flags of signalfd(2)."""

    NONBLOCK = os.O_NONBLOCK
    CLOEXEC = os.O_CLOEXEC


_INT, _UINT, _STRING = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t

#: ``struct open_how`` of linux/openat2.h: flags, mode, resolve.
_OPEN_HOW: Final = struct.Struct("=3Q")

_openat2 = system_call("openat2", _INT, _STRING, _POINTER, _SIZE)
_close_range = system_call("close_range", _UINT, _UINT, _UINT)
_memfd_create = system_call("memfd_create", _STRING, _UINT)
_renameat2 = system_call("renameat2", _INT, _STRING, _INT, _STRING, _UINT)
_signalfd4 = system_call("signalfd4", _INT, _POINTER, _SIZE, _INT)
_syncfs = system_call("syncfs", _INT)

# openat2 with RESOLVE_IN_ROOT gives up when a rename happens anywhere during "..", which on a busy machine happens.
_ATTEMPTS: Final = 128


def openat2(dirfd: FdLike, path: Path, flags: int, mode: int = 0, resolve: int = RESOLVE.IN_ROOT) -> Fd:
    """Open a file without leaving a directory, as the flags of :class:`RESOLVE` say; always close-on-exec.

    :param path: with ``IN_ROOT``, absolute paths and links start at ``dirfd``, as after chroot(2).
    :param mode: permissions of a file that ``O_CREAT`` makes.
    """
    result = _open_safely(dirfd, path, flags, mode, resolve)
    if result < 0:
        _fail_to_open(dirfd, path, flags, resolve)
    return Fd(result)


def openat2_if_there(dirfd: FdLike, path: Path, flags: int, resolve: int = RESOLVE.IN_ROOT) -> Fd | None:
    """Open a file as :func:`openat2` does, or return None if nothing is there (ENOENT, ENOTDIR).

    For who expects that: an exception with its sentence costs many times the call.
    """
    result = _open_safely(dirfd, path, flags, 0, resolve)
    if result >= 0:
        return Fd(result)
    if ctypes.get_errno() not in (errno.ENOENT, errno.ENOTDIR):
        _fail_to_open(dirfd, path, flags, resolve)
    return None


def _open_safely(dirfd: FdLike, path: Path, flags: int, mode: int, resolve: int) -> int:
    how, encoded = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve), path_bytes(path)
    result = -1
    for _ in range(_ATTEMPTS):
        result = _openat2(number(dirfd), encoded, how, _OPEN_HOW.size)
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return result


def _fail_to_open(dirfd: FdLike, path: Path, flags: int, resolve: int) -> NoReturn:
    fail("openat2", f"{_at(dirfd, path)}, flags {flags:#o}, {flag_names(RESOLVE, resolve)}")


def open_regular(name: Path, dir_fd: FdLike) -> Fd:
    """Open a regular file for reading, and nothing else; its time of access stays, where that is ours to say.

    To open a device does something, whichever flags are used: a watchdog starts to run, a tape rewinds. So what a
    container may exchange at any time is looked at before it is opened.

    :param name: of a file of the directory; no path.
    :raises OSError: it is gone (``ENOENT``), or something else (``ENXIO``, as for a socket), or somebody has a lease on
        it, who would have to be waited for (``EAGAIN``).
    """
    with Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=number(dir_fd))) as found:
        if not stat.S_ISREG(os.fstat(found.fileno()).st_mode):
            raise OSError(errno.ENXIO, "this is no regular file", name)
        there, flags = f"/proc/self/fd/{found.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            try:
                return Fd(os.open(there, flags | os.O_NOATIME))
            except PermissionError:  # O_NOATIME is for owners
                return Fd(os.open(there, flags))
        except BlockingIOError as error:
            raise OSError(errno.EAGAIN, "somebody has a lease on it", name) from error


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """Close all descriptors from ``first`` to ``last``, or mark them close-on-exec; see close_range(2)."""
    if _close_range(first, last, flags) < 0:
        fail("close_range", f"{first} to {last}, {flag_names(CLOSE_RANGE, flags)}")


# F_ADD_SEALS with F_SEAL_SEAL, SHRINK, GROW and WRITE: nobody can ever change the content.
_ADD_SEALS, _ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_NOEXEC_SEAL = 1, 2, 8


def memfd(name: str, data: bytes, *, sealed: bool = True) -> Fd:
    """Make a file in memory with this content, positioned at its start, close-on-exec.

    :param name: shown under /proc/self/fd.
    :param sealed: whether nobody, this process included, may change it any more.
    """
    encoded = os.fsencode(name)
    result = _memfd_create(encoded, _MFD_CLOEXEC | _MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
    if result < 0 and ctypes.get_errno() == errno.EINVAL:  # MFD_NOEXEC_SEAL came with Linux 6.3
        result = _memfd_create(encoded, _MFD_CLOEXEC | _MFD_ALLOW_SEALING)
    if result < 0:
        fail("memfd_create", repr(name))
    fd = Fd(result)
    _fill(fd, data)
    if sealed:
        fcntl.fcntl(fd.fileno(), _ADD_SEALS, _ALL_SEALS)
    return fd


def _fill(fd: Fd, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd.fileno(), rest) :]
        os.lseek(fd.fileno(), 0, os.SEEK_SET)
    except OSError as error:
        fail("write", f"{len(data)} bytes into memory", number=error.errno or errno.EIO)


def renameat2(old_dir: FdLike, old: Path, new_dir: FdLike, new: Path, flags: int = 0) -> None:
    """Rename a file, and as the flags say fail if the new name exists, or exchange the two; see renameat2(2)."""
    if _renameat2(number(old_dir), path_bytes(old), number(new_dir), path_bytes(new), flags) < 0:
        fail("renameat2", f"{_at(old_dir, old)} to {_at(new_dir, new)}, {flag_names(RENAME, flags)}")


def syncfs(fd: FdLike) -> None:
    """Bring all that was written to a file system to its disk, and wait for it; see syncfs(2).

    Since Linux 5.8 this also tells of errors of earlier writes.

    :param fd: of any file or directory in it.
    """
    if _syncfs(number(fd)) < 0:
        fail("syncfs", f"the file system of descriptor {number(fd)}")


_FS_IOC_GETFLAGS: Final = 0x80086601  # linux/fs.h
_FS_IOC_SETFLAGS: Final = 0x40086602
_FS_IMMUTABLE_FL: Final = 0x10
_FS_APPEND_FL: Final = 0x20
_FS_TOPDIR_FL: Final = 0x20000


def keep_apart(fd: FdLike) -> bool:
    """Mark a directory as the top of unrelated trees (chattr(1), ``T``).

    Ext4 then spreads them over the disk's block groups. Otherwise all of them, and what is in them, are made in one,
    where for some minutes each new file has to look past all those that were removed: it takes no inode again that it
    freed less than a minute ago, and tries them one by one.

    :param fd: a directory.
    :returns: False where the file system knows no such thing, or it is not ours to say.
    """
    return _set_flags(fd, add=_FS_TOPDIR_FL)


def unlock(fd: FdLike) -> bool:
    """Take away what keeps even root from removing a file: that it is immutable, or may only grow (chattr(1)).

    :param fd: of the file, or of the directory that holds it.
    :returns: False where the file system knows no such thing, or it is not ours to say.
    """
    return _set_flags(fd, drop=_FS_IMMUTABLE_FL | _FS_APPEND_FL)


def _set_flags(fd: FdLike, *, add: int = 0, drop: int = 0) -> bool:
    flags = bytearray(8)
    try:
        fcntl.ioctl(number(fd), _FS_IOC_GETFLAGS, flags)
        (before,) = struct.unpack_from("I", flags)
        wanted = (before | add) & ~drop
        if wanted != before:
            fcntl.ioctl(number(fd), _FS_IOC_SETFLAGS, struct.pack("Q", wanted))
    except OSError:
        return False
    return True


def signalfd(signals: Iterable[int], *, fd: FdLike = -1, flags: int = SFD.CLOEXEC | SFD.NONBLOCK) -> Fd:
    """Return a descriptor that becomes readable when one of the signals is pending; see signalfd(2).

    The signals must be blocked (``signal.pthread_sigmask``), else they are delivered as usual.

    :param fd: an earlier result whose set of signals is to be replaced, or -1.
    """
    mask = 0
    for one in signals:
        mask |= 1 << (one - 1)
    result = _signalfd4(number(fd), ctypes.byref(ctypes.c_uint64(mask)), 8, flags)
    if result < 0:
        fail("signalfd4", f"signals {mask:#x}, {flag_names(SFD, flags)}")
    return Fd(result)


def _at(dirfd: FdLike, path: Path) -> str:
    shown = repr(os.fsdecode(path))
    return shown if number(dirfd) == AT_FDCWD else f"{shown} in descriptor {number(dirfd)}"
