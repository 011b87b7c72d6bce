"""Failed children: kill and reap them, and remove their cgroups.

Such a child may not end when it is killed. It waits in the kernel for a file system that does not answer, or others in
its PID namespace trace it, or are frozen with it. So nothing here waits for more than a moment.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from wherry.errors import WherryError
from wherry.keeper.contract import Child
from wherry.keeper.loop import Loop, say
from wherry.keeper.process import Process
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal

__all__ = ["clean_up", "clean_up_later", "kill_child", "leave_channel"]

BRIEFLY: Final = 1.0
"""Seconds for which a child that was killed is waited for; it takes milliseconds."""


def leave_channel(process: Process) -> None:
    """Close what a child reports by; it has been unwatched."""
    if process.child is not None:
        process.child.close()
        process.child = None


def kill_child(process: Process, *, wait: bool) -> Fd | None:
    """Put an end to a process on its way; what stands for it if it has not ended yet, and will be reaped later.

    :param wait: for a moment. Who is among others is not ours to reap before they let go of it, and who does not answer
        may wait in the kernel.
    """
    leave_channel(process)
    if process.pidfd is None:
        return None
    pidfd_send_signal(process.pidfd, signal.SIGKILL)  # no error, if it has left by itself already: it is a zombie
    has_ended = _reap(process.pidfd, BRIEFLY if wait else 0)
    return None if has_ended else process.pidfd.duplicate()


def clean_up(child: Child) -> None:
    """Remove what was made for a child that has ended; what stays is the daemon's to see to."""
    try:
        child.clean_up()
    except WherryError as error:
        say(str(error))


def clean_up_later(child: Child, pidfd: Fd, loop: Loop, may: Callable[[], bool]) -> None:
    """Remove what was made for a child when that has ended.

    :param pidfd: stands for it; owned from now on.
    :param may: whether it is still nobody else's by then.
    """

    def on_end(_: int) -> None:
        loop.unwatch(pidfd.fileno())
        with pidfd:
            _reap(pidfd, 0)
        if may():
            clean_up(child)

    loop.watch(pidfd.fileno(), on_end)


def _reap(pidfd: Fd, seconds: float) -> bool:
    """Reap a child when it ends within so many seconds; whether it did."""
    poll = select.poll()
    poll.register(pidfd.fileno(), select.POLLIN)
    poll.poll(seconds * 1000)
    with suppress(ChildProcessError):  # somebody else has reaped it
        return os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED | os.WNOHANG) is not None
    return True
