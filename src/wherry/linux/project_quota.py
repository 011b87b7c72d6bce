"""Project quotas: limits on the disk blocks of directory trees; quotactl(2), ioctl_xfs_fsgetxattr(2).

A project is a number that an inode carries. A directory that passes its number on (``PROJINHERIT``) gives it to all
that is made in it, and nothing with another number can be renamed or linked into it. Ext4 and XFS count the blocks of
each project and keep it to its limit, by the same calls for both; others know projects at most.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from wherry.linux._libc import fail, path_bytes, system_call
from wherry.linux.fd import FdLike, number

__all__ = ["Quota", "enforced", "get_project", "get_quota", "set_limit", "set_project"]

_UINT, _STRING, _POINTER = ctypes.c_uint, ctypes.c_char_p, ctypes.c_void_p

_quotactl = system_call("quotactl", _UINT, _STRING, _UINT, _POINTER)
_quotactl_fd = system_call("quotactl_fd", _UINT, _UINT, _UINT, _POINTER)

_PRJQUOTA: Final = 2  # linux/quota.h
_Q_GETQUOTA, _Q_SETQUOTA, _Q_XGETQSTAT = 0x800007, 0x800008, ord("X") << 8 | 5
_COMMANDS: Final = {_Q_GETQUOTA: "Q_GETQUOTA", _Q_SETQUOTA: "Q_SETQUOTA", _Q_XGETQSTAT: "Q_XGETQSTAT"}
_PDQ_ENFD: Final = 1 << 5  # linux/dqblk_xfs.h: limits on projects are kept
_QIF_BLIMITS: Final = 1
#: ``struct if_dqblk``: hard and soft limit in KiB, bytes used, the same of inodes, two times, what is valid.
_DQBLK: Final = struct.Struct("=8QI4x")
_KIB: Final = 1024
_STATE_SIZE: Final = 128  # ``struct fs_quota_stat`` has 80 bytes

_FS_IOC_FSGETXATTR, _FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820  # linux/fs.h
_FS_XFLAG_PROJINHERIT: Final = 0x200
#: ``struct fsxattr``: flags, extent size, extents, project, extent size of copies.
_FSXATTR: Final = struct.Struct("=5I8x")


class Quota(NamedTuple):
    """What a project may use, and uses.

    :ivar limit: bytes; 0 for no limit.
    :ivar used: bytes of blocks.
    :ivar files: how many files, directories and links carry its number.
    """

    limit: int
    used: int
    files: int


def enforced(fd: FdLike) -> bool:
    """Whether the file system of a file keeps projects to their limits: how it is mounted decides that."""
    state = ctypes.create_string_buffer(_STATE_SIZE)
    if _call(fd, _Q_XGETQSTAT, 0, state) < 0:
        return False
    (flags,) = struct.unpack_from("=H", state, 2)
    return bool(flags & _PDQ_ENFD)


def get_project(fd: FdLike) -> int:
    """The project that a file or directory belongs to; 0 is nobody's."""
    return int(_FSXATTR.unpack(_attributes(fd))[3])


def set_project(fd: FdLike, project: int) -> None:
    """Put a file or directory into a project; what is made in the directory from now on belongs there, too.

    :param fd: opened for reading (``O_PATH`` is not enough). What a directory holds already stays what it was.
    :raises SystemCallError: EOPNOTSUPP, ENOTTY: the file system knows no projects.
    """
    flags, extent, extents, _, copies = _FSXATTR.unpack(_attributes(fd))
    changed = _FSXATTR.pack(flags | _FS_XFLAG_PROJINHERIT, extent, extents, project, copies)
    try:
        fcntl.ioctl(number(fd), _FS_IOC_FSSETXATTR, changed)
    except OSError as error:
        fail("ioctl", f"FS_IOC_FSSETXATTR, project {project}", number=error.errno or errno.EIO)


def _attributes(fd: FdLike) -> bytes:
    try:
        return fcntl.ioctl(number(fd), _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    except OSError as error:
        fail("ioctl", "FS_IOC_FSGETXATTR", number=error.errno or errno.EIO)


def get_quota(fd: FdLike, project: int) -> Quota:
    """What a project may use on the file system of a file, and uses there.

    :raises SystemCallError: ESRCH, ENOSYS, EINVAL: there are no project quotas.
    """
    found = ctypes.create_string_buffer(_DQBLK.size)
    if _call(fd, _Q_GETQUOTA, project, found) < 0:
        if ctypes.get_errno() == errno.ENOENT:  # XFS never heard of it
            return Quota(0, 0, 0)
        _fail(_Q_GETQUOTA, project)
    hard, _, used, _, _, files, *_ = _DQBLK.unpack(found)
    return Quota(hard * _KIB, used, files)


def set_limit(fd: FdLike, project: int, size: int) -> None:
    """Limit the blocks of a project on the file system of a file.

    Who has ``CAP_SYS_RESOURCE`` is not kept to it by ext4; overlayfs writes without that, whoever asks it to.

    :param size: bytes, which are rounded up to KiB; 0 for no limit.
    :raises SystemCallError: ESRCH, ENOSYS, EINVAL: there are no project quotas.
    """
    limit = -(-size // _KIB)
    wanted = ctypes.create_string_buffer(_DQBLK.pack(limit, limit, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS), _DQBLK.size)
    if _call(fd, _Q_SETQUOTA, project, wanted) < 0:
        _fail(_Q_SETQUOTA, project)


def _fail(command: int, project: int) -> None:
    fail("quotactl", f"{_COMMANDS[command]}, project {project}")


def _call(fd: FdLike, command: int, project: int, data: object) -> int:
    """Ask by descriptor, or before Linux 5.14 by the block device; -1 on failure."""
    packed = command << 8 | _PRJQUOTA
    if _by_descriptor():
        return _quotactl_fd(number(fd), packed, project, data)
    device = _device(os.fstat(number(fd)).st_dev)
    if device is None:
        ctypes.set_errno(errno.ENOTBLK)
        return -1
    return _quotactl(packed, path_bytes(device), project, data)


@cache
def _by_descriptor() -> bool:
    return _quotactl_fd(0xFFFFFFFF, 0, 0, None) < 0 and ctypes.get_errno() != errno.ENOSYS


def _device(device: int) -> str | None:
    """The name of a mounted block device; None for what lies on none."""
    shown = f"{os.major(device)}:{os.minor(device)}"
    if os.path.exists(f"/dev/block/{shown}"):
        return f"/dev/block/{shown}"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == shown and right.split()[1].startswith("/dev/"):
            return right.split()[1]
    return None
