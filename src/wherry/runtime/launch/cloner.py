"""The process that children are cloned from, beside the keeper: a copy of the keeper, with a channel to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import NoReturn

from wherry.errors import SystemFault
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, clone
from wherry.runtime import channel

__all__ = ["clone_keeper"]


def clone_keeper(
    serve: Callable[[tuple[int, ...], Iterable[int]], NoReturn], ignored: Iterable[int]
) -> tuple[int, Fd, socket.socket]:
    """Clone this process; returns the clone's number and pidfd, and this end of the channel.

    :param serve: what the clone does, with three streams and its end of the channel.
    :param ignored: signals that this process ignores and a program should not.
    :raises SystemCallError: there is no memory, or there are too many processes.
    """
    ours, theirs = channel.make()
    with theirs, Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
        try:
            pid, pidfd = clone(CLONE.CLEAR_SIGHAND)
        except BaseException:
            ours.close()
            raise
        if pid == 0:
            serve((*(null.fileno(),) * 3, theirs.fileno()), ignored)
    if pidfd is None:
        raise SystemFault("clone returned no descriptor of the process")
    return pid, pidfd, ours
