"""Replaces the keeper's program image and keeps everything else: children, descriptors, the connection.

``execve`` keeps the process, and with it parenthood, process ID, locks and inheritable descriptors. The state goes
along as JSON in a memfd, whose number is the argument of ``--resume``.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from wherry.errors import CorruptData

FORMAT: Final = 1
OPTION: Final = "--resume"

Fields = dict[str, Any]
Reexecute = Callable[[Fields, list[int]], None]


def reexecute(state: Fields, fds: Iterable[int]) -> None:
    """Start over with the program that is on disk now; returns only by raising.

    :param state: for :func:`load`.
    :param fds: that the new image needs; all others are closed.
    :raises OSError: the program cannot be executed; nothing has changed.
    """
    memfd = os.memfd_create("keeper-state", os.MFD_CLOEXEC)
    with open(memfd, "wb", closefd=False) as file:
        file.write(json.dumps({"format": FORMAT, **state}).encode())
    arguments = command(["--resume", str(memfd)])
    kept = [*fds, memfd]
    try:
        _set_inheritable(kept, True)
        os.execv(arguments[0], arguments)
    finally:
        _set_inheritable(kept, False)
        os.close(memfd)


def load(memfd: int) -> Fields:
    """The state that the former image has left; its descriptors will not be inherited further.

    :raises CorruptData: it is none, or that of a version that is too different.
    """
    with open(memfd, "rb") as file:
        file.seek(0)
        state = json.load(file)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CorruptData(f"a keeper's state has the format {state.get('format')!r}, not {FORMAT}")
    for fd in _fds_in(state):
        os.set_inheritable(fd, False)
    return state


def command(more: list[str]) -> list[str]:
    """The command line of this process, without what was said for its own start only."""
    words = list(sys.orig_argv)
    if not os.path.isabs(words[0]):
        words[0] = sys.executable
    if OPTION in words:
        at = words.index(OPTION)
        del words[at : at + 2]
    return [word for word in words if word != "--daemonize"] + more


def _fds_in(state: Fields) -> list[int]:
    fds = [state["connection"], state["listener"], state["lock"], *state.get("held", {}).values()]
    for process in state["processes"]:
        if process["exit"] is None:
            fds += [fd for fd in process["fds"].values() if fd is not None]
            fds += process["outputs"].values()
    return fds


def _set_inheritable(fds: Iterable[int], inheritable: bool) -> None:
    for fd in fds:
        flags = fcntl.fcntl(fd, fcntl.F_GETFD)
        flags = flags & ~fcntl.FD_CLOEXEC if inheritable else flags | fcntl.FD_CLOEXEC
        fcntl.fcntl(fd, fcntl.F_SETFD, flags)
