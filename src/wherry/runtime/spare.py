"""A child that was cloned before anybody asked for it, and waits for its plan.

Cloning takes longer than anything else on a container's way to its program: the kernel copies the engine's page tables,
makes the namespaces, and the child then copies every page that it touches. All that does not depend on the
plan but for the kinds of new namespaces, and those are nearly always the same. So, while containers are being
started, one child is kept that has all this behind it.

The mount namespace is not among what it has: it is made when the plan comes, because what the host mounts in between
must be in it. And there are spares only where the child enters its control group by itself (version 1); on version 2
it is born in it.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import signal
import socket
from collections.abc import Iterable
from typing import Final, NoReturn

from wherry.errors import SystemCallError, SystemFault
from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, clone, pidfd_send_signal, set_name
from wherry.runtime import channel, child
from wherry.runtime.plan import Plan

__all__ = ["Spare"]

#: A plan of more bytes does not go through the channel in one message; its process is cloned when it is started.
_LARGEST_PLAN: Final = 65536
_NAME: Final = "wherry-spare"


class Spare:
    """A waiting child.

    :ivar pid: its number here.
    :ivar pidfd: what stands for it.
    :ivar channel: the parent's end, the same that reports come through later.
    """

    def __init__(self, flags: int, pid: int, pidfd: Fd, end: socket.socket) -> None:
        self._flags: Final = flags
        self.pid: Final = pid
        self.pidfd: Final = pidfd
        self.channel: Final = end

    @classmethod
    def make(cls, example: Plan, encoded: bytes, ignored: Iterable[int]) -> Spare:
        """Clone a child for plans with the same new namespaces as one had before.

        :param example: that plan.
        :param encoded: its bytes.
        :param ignored: signals that this process ignores and a program should not.
        :raises SystemCallError: there is no memory, or there are too many processes.
        """
        flags = example.namespaces & ~CLONE.NEWNS
        ours, theirs = channel.make()
        with theirs, Fd(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) as null:
            try:
                pid, pidfd = clone(flags | CLONE.CLEAR_SIGHAND)
            except BaseException:
                ours.close()
                raise
            if pid == 0:
                _wait((*(null.fileno(),) * 3, theirs.fileno()), ignored, encoded)
        if pidfd is None:
            raise SystemFault("clone returned no descriptor of the process")
        return cls(flags, pid, pidfd, ours)

    @staticmethod
    def could_be(plan: Plan) -> bool:
        """Whether a plan's process needs nothing at its birth but new namespaces."""
        born_elsewhere = plan.user_path or plan.parent_joins or plan.time_offsets or plan.container
        return not (born_elsewhere or plan.uid_map or plan.prepared or plan.namespaces & CLONE.NEWUSER)

    def fits(self, plan: Plan, encoded: bytes) -> bool:
        """Whether this child can become that process."""
        same = plan.namespaces & ~CLONE.NEWNS == self._flags
        return same and len(encoded) <= _LARGEST_PLAN and self.could_be(plan)

    def give(self, encoded: bytes, streams: tuple[int, int, int], size: tuple[int, int] | None) -> bool:
        """Let the child carry out a plan; False if it is dead.

        :param encoded: what `Plan.encode` gave.
        :param streams: its standard input, output and error, which remain the caller's.
        :param size: rows and columns of a new terminal.
        """
        try:
            socket.send_fds(self.channel, [marshal.dumps((size, encoded))], list(streams))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def end(self) -> None:
        """Kill and reap it."""
        self.channel.close()
        try:
            pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except SystemCallError as error:
            if error.errno != errno.ESRCH:
                raise
        with contextlib.suppress(ChildProcessError):  # it was reaped with other strangers
            os.waitid(os.P_PIDFD, self.pidfd.fileno(), os.WEXITED)
        self.pidfd.close()


def _wait(fds: tuple[int, ...], ignored: Iterable[int], example: bytes) -> NoReturn:
    """In the child: get ready, wait for the plan, carry it out.

    Reading an example is part of that: Python writes to all that it looks at, and a page that is still shared with the
    engine's process costs an exception then. (Making all pages this process's own at one go, MADV_POPULATE_WRITE, was
    measured: 4 ms of system time, and no faster.)
    """
    plan = None
    try:
        child.become(fds, ignored)
        set_name(_NAME)
        Plan.decode(example)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=child.CHANNEL) as end:
            data, streams, _, _ = socket.recv_fds(end, 2 * _LARGEST_PLAN, child.CHANNEL, socket.MSG_CMSG_CLOEXEC)
            end.detach()
        if not data:
            os._exit(0)  # not needed any more, or the keeper is gone
        size, encoded = marshal.loads(data)
        for place, fd in enumerate(streams):
            os.dup2(fd, place)
            os.close(fd)
        plan = Plan.decode(encoded)
    except BaseException as error:
        channel.send_failure(child.CHANNEL, channel.failure("take a plan", error))
    finally:
        if plan is None:
            os._exit(1)
    child.follow(plan, new=plan.namespaces & CLONE.NEWNS, size=size)
