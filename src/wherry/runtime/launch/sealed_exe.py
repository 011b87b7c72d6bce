"""Protect the engine's process and its executable from containers (CVE-2019-5736).

Two ways lead from a container to the engine's own program. A process that has just entered a container shows the
engine's interpreter as /proc/<pid>/exe; and whoever opens that for writing when the process has ended writes to the
host's file (CVE-2019-5736). And whoever can trace such a process has its rights.

Against both: the engine's process is not *dumpable*, which its children inherit until they execute a program; then only
holders of CAP_SYS_PTRACE on the host can look at them. And even these find nothing that can be written: the
interpreter was executed from a mount of its own, read-only and attached nowhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from wherry.errors import SystemCallError
from wherry.linux.fd import AT_FDCWD
from wherry.linux.mount import AT, MOUNT_ATTR, OPEN_TREE, mount_setattr, open_tree
from wherry.linux.process import execveat, set_dumpable

__all__ = ["become_untraceable", "is_protected", "reexec_from_readonly_mount"]

_OWN_PROGRAM: Final = "/proc/self/exe"


def become_untraceable() -> None:
    """Forbid other processes of the same user to trace this one or to open its files under /proc."""
    set_dumpable(False)


def is_protected() -> bool:
    """Whether this process's program lies on a read-only mount."""
    fd = os.open(_OWN_PROGRAM, os.O_PATH | os.O_CLOEXEC)
    try:
        return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
    finally:
        os.close(fd)


def reexec_from_readonly_mount(argv: Sequence[str]) -> bool:
    """Re-execute the interpreter through a read-only mount of its own, then become untraceable.

    The process keeps its ID, its children and the descriptors that are inheritable. Python finds its libraries by
    ``argv[0]``, which stays the interpreter's path, so virtual environments work.

    :param argv: the arguments of the new process, without the interpreter: ``["-I", "-m", "wherry.keeper.main", ...]``.
    :returns: True if this process is protected already. False if the kernel or missing rights do not allow it; then the
        process goes on without, and being untraceable is its only protection.
    """
    if is_protected():
        become_untraceable()  # executing a program has made this process traceable again
        return True
    try:
        _execute_read_only(argv)
    except SystemCallError:
        return False  # before Linux 5.12, or without CAP_SYS_ADMIN: containers that matter cannot be started either
    return True


def _execute_read_only(argv: Sequence[str]) -> None:
    with open_tree(AT_FDCWD, _OWN_PROGRAM, OPEN_TREE.CLONE) as program:
        mount_setattr(program, "", AT.EMPTY_PATH, attr_set=MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV)
        execveat(program, "", [sys.executable, *argv], dict(os.environ), AT.EMPTY_PATH)
