"""Kill and reap a child of this process."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from wherry.errors import SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal

__all__ = ["kill_and_reap"]


def kill_and_reap(pidfd: Fd) -> None:
    """Kill a child, wait for its end, and close its pidfd."""
    try:
        pidfd_send_signal(pidfd, signal.SIGKILL)
    except SystemCallError as error:
        if error.errno != errno.ESRCH:
            raise
    with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
        os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED)
    pidfd.close()
