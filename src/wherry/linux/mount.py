"""Mounting: mount(2), pivot_root(2), and the calls by descriptor that came with Linux 5.2 and 5.12.

All of it can be called in a forked child: nothing is imported, allocated globally or locked at call time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from enum import IntFlag
from typing import Final, NamedTuple

from wherry.errors import SystemCallError
from wherry.linux._libc import fail, flag_names, path_bytes, system_call
from wherry.linux.fd import AT_FDCWD, Fd, FdLike, number

__all__ = [
    "AT",
    "DEVPTS_SUPER_MAGIC",
    "MNT",
    "MNT_DETACH",
    "MOUNT_ATTR",
    "MOVE_MOUNT",
    "MS",
    "OPEN_TREE",
    "PROC_SUPER_MAGIC",
    "TMPFS_MAGIC",
    "StatFs",
    "fsconfig_create",
    "fsconfig_fd",
    "fsconfig_flag",
    "fsconfig_reconfigure",
    "fsconfig_string",
    "fsmount",
    "fsopen",
    "fspick",
    "has_mount_setattr",
    "has_new_mount_api",
    "has_overlay_lowerdir_append",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
    "statfs",
    "umount2",
]

Path = str | bytes | os.PathLike[str]

#: Types of file systems, as :func:`statfs` tells them (linux/magic.h).
DEVPTS_SUPER_MAGIC: Final = 0x1CD1
PROC_SUPER_MAGIC: Final = 0x9FA0
TMPFS_MAGIC: Final = 0x01021994


class MS(IntFlag):
    """Flags of mount(2)."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    MANDLOCK = 64
    DIRSYNC = 128
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    SILENT = 32768
    POSIXACL = 1 << 16
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    KERNMOUNT = 1 << 22
    I_VERSION = 1 << 23
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class MNT(IntFlag):
    """Flags of umount2(2)."""

    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8  # UMOUNT_NOFOLLOW in the kernel's headers


MNT_DETACH: Final = MNT.DETACH


class MOUNT_ATTR(IntFlag):
    """Properties of a mount, for fsmount(2) and mount_setattr(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    #: A mask: all that says how access times are kept. It must be in ``attr_clr`` whenever one of them is set.
    ATIME = 0x70
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000


class OPEN_TREE(IntFlag):
    """Flags of open_tree(2); those of :class:`AT` can be added."""

    CLONE = 1
    CLOEXEC = os.O_CLOEXEC


class MOVE_MOUNT(IntFlag):
    """Flags of move_mount(2)."""

    F_SYMLINKS = 0x1
    F_AUTOMOUNTS = 0x2
    F_EMPTY_PATH = 0x4
    T_SYMLINKS = 0x10
    T_AUTOMOUNTS = 0x20
    T_EMPTY_PATH = 0x40
    SET_GROUP = 0x100
    BENEATH = 0x200


class AT(IntFlag):
    """Flags of calls that take a directory's descriptor and a path."""

    SYMLINK_NOFOLLOW = 0x100
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000


#: ``struct mount_attr`` of linux/mount.h: attr_set, attr_clr, propagation, userns_fd.
_MOUNT_ATTR: Final = struct.Struct("=4Q")

_INT, _UINT, _LONG, _ULONG = ctypes.c_int, ctypes.c_uint, ctypes.c_long, ctypes.c_ulong
_STRING, _POINTER, _SIZE = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t

_mount = system_call("mount", _STRING, _STRING, _STRING, _ULONG, _STRING)
_umount2 = system_call("umount2", _STRING, _INT)
_pivot_root = system_call("pivot_root", _STRING, _STRING)
_fsopen = system_call("fsopen", _STRING, _UINT)
_fspick = system_call("fspick", _INT, _STRING, _UINT)
_fsconfig = system_call("fsconfig", _INT, _UINT, _STRING, _STRING, _INT)
_fsmount = system_call("fsmount", _INT, _UINT, _UINT)
_open_tree = system_call("open_tree", _INT, _STRING, _UINT)
_move_mount = system_call("move_mount", _INT, _STRING, _INT, _STRING, _UINT)
_mount_setattr = system_call("mount_setattr", _INT, _STRING, _UINT, _POINTER, _SIZE)
_statfs = system_call("statfs", _STRING, _POINTER)
_fstatfs = system_call("fstatfs", _INT, _POINTER)


# --------------------------------------------------------------------------------------------- mount(2) and its age


def mount(
    source: Path | None, target: Path, fstype: str | None = None, flags: int = 0, data: str | bytes | None = None
) -> None:
    """Mount a file system, bind a directory, or change a mount; see mount(2).

    :param data: the file system's options, separated by commas; the kernel takes less than one page.
    :raises SystemCallError: naming source, target, type and flags.
    """
    result = _mount(
        None if source is None else path_bytes(source),
        path_bytes(target),
        None if fstype is None else os.fsencode(fstype),
        flags,
        None if data is None else os.fsencode(data),
    )
    if result < 0:
        shown = f"{_shown(source)} on {_shown(target)}, type {fstype}, {flag_names(MS, flags)}"
        fail("mount", f"{shown}, options {_shown(data)}" if data else shown)


def umount2(target: Path, flags: int = 0) -> None:
    """Take a mount away; see umount2(2)."""
    if _umount2(path_bytes(target), flags) < 0:
        fail("umount2", f"{_shown(target)}, {flag_names(MNT, flags)}")


def pivot_root(new: Path, old: Path) -> None:
    """Make a mount the root and put the old root on a directory; ``(".", ".")`` stacks them, see pivot_root(2)."""
    if _pivot_root(path_bytes(new), path_bytes(old)) < 0:
        fail("pivot_root", f"{_shown(new)}, old root on {_shown(old)}")


# ------------------------------------------------------------------------------------- mounts as descriptors, 5.2 on

_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_OPEN_TREE_CLOEXEC: Final = int(OPEN_TREE.CLOEXEC)
_SET_FLAG, _SET_STRING, _SET_FD, _CREATE, _RECONFIGURE = 0, 1, 5, 6, 7


def fsopen(fstype: str) -> Fd:
    """Begin to configure a new file system; see fsopen(2)."""
    result = _fsopen(os.fsencode(fstype), _FSOPEN_CLOEXEC)
    if result < 0:
        fail("fsopen", repr(fstype))
    return Fd(result)


def fspick(dirfd: FdLike, path: Path, flags: int = 0) -> Fd:
    """Begin to reconfigure a mounted file system; see fspick(2)."""
    result = _fspick(number(dirfd), path_bytes(path), flags | 1)
    if result < 0:
        fail("fspick", _at(dirfd, path))
    return Fd(result)


def fsconfig_string(fd: FdLike, key: str, value: str | bytes) -> None:
    """Set an option that has a value.

    :raises SystemCallError: with what the file system wrote into the context's log.
    """
    if _fsconfig(number(fd), _SET_STRING, os.fsencode(key), os.fsencode(value), 0) < 0:
        _fail_with_log(fd, f"set {key}={_shown(value)}")


def fsconfig_flag(fd: FdLike, key: str) -> None:
    """Set an option that has no value, ``"ro"`` for one."""
    if _fsconfig(number(fd), _SET_FLAG, os.fsencode(key), None, 0) < 0:
        _fail_with_log(fd, f"set {key}")


def fsconfig_fd(fd: FdLike, key: str, value: FdLike) -> None:
    """Set an option whose value is a descriptor."""
    if _fsconfig(number(fd), _SET_FD, os.fsencode(key), None, number(value)) < 0:
        _fail_with_log(fd, f"set {key} to descriptor {number(value)}")


def fsconfig_create(fd: FdLike) -> None:
    """Make the file system out of the options set so far."""
    if _fsconfig(number(fd), _CREATE, None, None, 0) < 0:
        _fail_with_log(fd, "create the file system")


def fsconfig_reconfigure(fd: FdLike) -> None:
    """Apply the options set so far to the file system that :func:`fspick` chose."""
    if _fsconfig(number(fd), _RECONFIGURE, None, None, 0) < 0:
        _fail_with_log(fd, "reconfigure the file system")


def fsmount(fd: FdLike, attrs: int = 0) -> Fd:
    """Return a detached mount of the file system that was created; see fsmount(2)."""
    result = _fsmount(number(fd), _FSMOUNT_CLOEXEC, attrs)
    if result < 0:
        code = ctypes.get_errno()
        fail("fsmount", flag_names(MOUNT_ATTR, attrs), number=code, hint=_context_log(fd))
    return Fd(result)


def open_tree(dirfd: FdLike, path: Path, flags: int = 0) -> Fd:
    """Return a descriptor of a mount, or with ``OPEN_TREE.CLONE`` of a detached copy; always close-on-exec.

    ``AT.RECURSIVE`` takes what is mounted below as well; see open_tree(2).
    """
    result = _open_tree(number(dirfd), path_bytes(path), flags | _OPEN_TREE_CLOEXEC)
    if result < 0:
        fail("open_tree", f"{_at(dirfd, path)}, {_tree_flags(flags)}")
    return Fd(result)


def move_mount(from_fd: FdLike, from_path: Path, to_fd: FdLike, to_path: Path, flags: int = 0) -> None:
    """Attach a detached mount, or move an attached one; see move_mount(2).

    An empty path means the descriptor itself and needs ``F_EMPTY_PATH`` or ``T_EMPTY_PATH``.
    """
    if _move_mount(number(from_fd), path_bytes(from_path), number(to_fd), path_bytes(to_path), flags) < 0:
        fail("move_mount", f"{_at(from_fd, from_path)} to {_at(to_fd, to_path)}, {flag_names(MOVE_MOUNT, flags)}")


def mount_setattr(  # noqa: PLR0917  the kernel's order
    dirfd: FdLike,
    path: Path,
    flags: int = 0,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: FdLike | None = None,
) -> None:
    """Change the properties of a mount, or with ``AT.RECURSIVE`` of all below it; see mount_setattr(2).

    :param propagation: one of ``MS.SHARED``, ``MS.SLAVE``, ``MS.PRIVATE``, ``MS.UNBINDABLE``, or 0 to leave it.
    :param userns_fd: the user namespace whose id map ``MOUNT_ATTR.IDMAP`` gives to a detached mount.
    """
    packed = _MOUNT_ATTR.pack(attr_set, attr_clr, propagation, 0 if userns_fd is None else number(userns_fd))
    if _mount_setattr(number(dirfd), path_bytes(path), flags, packed, _MOUNT_ATTR.size) < 0:
        changes = f"set {flag_names(MOUNT_ATTR, attr_set)}, clear {flag_names(MOUNT_ATTR, attr_clr)}"
        if propagation:
            changes += f", {flag_names(MS, propagation)}"
        fail("mount_setattr", f"{_at(dirfd, path)}, {changes}")


# ----------------------------------------------------------------------------------------------------------- questions


class StatFs(NamedTuple):
    """``struct statfs``: sizes are in blocks of ``f_frsize`` bytes; see statfs(2)."""

    f_type: int
    f_bsize: int
    f_blocks: int
    f_bfree: int
    f_bavail: int
    f_files: int
    f_ffree: int
    f_fsid: int
    f_namelen: int
    f_frsize: int
    f_flags: int


def statfs(path: Path | FdLike) -> StatFs:
    """Ask which file system something lies on and how full that is; ``os.statvfs`` lacks its type.

    :param path: a path or a descriptor.
    """
    words = (ctypes.c_uint64 * 15)()
    if isinstance(path, (str, bytes, os.PathLike)):
        failed = _statfs(path_bytes(path), ctypes.byref(words)) < 0
        if failed:
            fail("statfs", _shown(path))
    elif _fstatfs(number(path), ctypes.byref(words)) < 0:
        fail("fstatfs", f"descriptor {number(path)}")
    return StatFs(*words[:11])


_answers: dict[str, bool] = {}


def has_new_mount_api() -> bool:
    """Whether mounts can be made by descriptor (fsopen(2) and its kin, Linux 5.2)."""
    if "fsopen" not in _answers:
        # Without a name there is nothing to open: EFAULT or EPERM from a kernel that knows the call.
        _answers["fsopen"] = _fsopen(None, 0) >= 0 or ctypes.get_errno() != errno.ENOSYS
    return _answers["fsopen"]


def has_mount_setattr() -> bool:
    """Whether mounts can be changed recursively and be id-mapped (mount_setattr(2), Linux 5.12)."""
    if "mount_setattr" not in _answers:
        _answers["mount_setattr"] = _mount_setattr(-1, b"", 0, None, 0) >= 0 or ctypes.get_errno() != errno.ENOSYS
    return _answers["mount_setattr"]


def has_overlay_lowerdir_append() -> bool:
    """Whether an overlay's layers can be given one by one as ``lowerdir+`` (Linux 6.7).

    Needs the right to mount; without it, the answer is no.
    """
    if "lowerdir+" not in _answers:
        _answers["lowerdir+"] = has_new_mount_api() and _overlay_takes_lowerdir_append()
    return _answers["lowerdir+"]


def _overlay_takes_lowerdir_append() -> bool:
    try:
        with fsopen("overlay") as context:
            if _fsconfig(context.fileno(), _SET_STRING, b"no-such-option", b"/", 0) >= 0:
                return False  # before 6.5 an overlay took every option and complained at the end
            return _fsconfig(context.fileno(), _SET_STRING, b"lowerdir+", b"/", 0) >= 0
    except SystemCallError:
        return False


# ------------------------------------------------------------------------------------------------------ telling errors


def _fail_with_log(fd: FdLike, doing: str) -> None:
    code = ctypes.get_errno()
    fail("fsconfig", doing, number=code, hint=_context_log(fd))


def _context_log(fd: FdLike) -> str | None:
    """Read the messages of a file system context: one per read, each with a letter for its severity."""
    messages = []
    try:
        while message := os.read(number(fd), 4096):
            messages.append(message.decode(errors="replace").strip().removeprefix("e ").removeprefix("w "))
    except OSError:
        pass  # ENODATA: there are no more
    return "; ".join(messages) or None


def _shown(path: Path | None) -> str:
    return "none" if path is None else repr(os.fsdecode(path))


def _at(dirfd: FdLike, path: Path) -> str:
    fileno = number(dirfd)
    if fileno == AT_FDCWD:
        return _shown(path)
    return f"{_shown(path)} in descriptor {fileno}" if path else f"descriptor {fileno}"


def _tree_flags(flags: int) -> str:
    names = ["OPEN_TREE_CLONE"] if flags & OPEN_TREE.CLONE else []
    rest = int(flags) & ~int(OPEN_TREE.CLONE)
    return "|".join([*names, flag_names(AT, rest)] if rest or not names else names)
