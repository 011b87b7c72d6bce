"""The zygote: the process that spares are cloned from.

After a clone the kernel has to copy every page that either side writes to, and Python writes to all that it looks at
(reference counts). A keeper that cloned a child for each start would pay with some 700 page faults, again and again. So
it clones one copy of itself while containers are being started, the *zygote*, which does nothing but clone: its pages
stay as they are, and so do the keeper's. The children are the keeper's all the same (``CLONE_PARENT``, see clone(2)).
"""

from __future__ import annotations

import marshal
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from wherry.linux.fd import Fd
from wherry.linux.process import CLONE, clone, set_name
from wherry.linux.scm_rights import receive_fds
from wherry.runtime import channel
from wherry.runtime.launch import child
from wherry.runtime.launch.cloner import clone_keeper
from wherry.runtime.launch.reap import kill_and_reap
from wherry.runtime.launch.spare import LARGEST_PLAN, Spare, wait_for_plan

__all__ = ["Zygote"]

_NAME: Final = "wherry-zygote"
#: How long a clone may take; seconds.
_PATIENCE: Final = 0.25


class Zygote:
    """A process that clones spares on demand.

    :ivar pid: its number here.
    :ivar pidfd: what stands for it.
    :ivar channel: requests go out and spares come in here; it ends when this is closed.
    """

    def __init__(self, pid: int, pidfd: Fd, end: socket.socket) -> None:
        self.pid: Final = pid
        self.pidfd: Final = pidfd
        self.channel: Final = end
        self._asked: Final[deque[int]] = deque()
        self.is_dead = False

    @classmethod
    def make(cls, ignored: Iterable[int]) -> Zygote:
        """Clone this process.

        :param ignored: signals that this process ignores and a program should not.
        :raises SystemCallError: there is no memory, or there are too many processes.
        """
        pid, pidfd, ours = clone_keeper(_serve, ignored)
        ours.settimeout(_PATIENCE)
        return cls(pid, pidfd, ours)

    is_able = True  # any time
    is_supported = True  # anywhere

    @property
    def pids(self) -> tuple[int, ...]:
        """This process."""
        return (self.pid,)

    @property
    def asked(self) -> Sequence[int]:
        """The new namespaces of the spares that are on their way, in the order in which they come."""
        return self._asked

    def ask(self, flags: int, example: bytes, cgroup: Fd | None = None) -> bool:
        """Have a spare cloned; False if the zygote is dead.

        :param flags: the new namespaces.
        :param example: an encoded plan of the kind that is expected, of at most `LARGEST_PLAN` bytes.
        :param cgroup: the cgroup (v2) directory to be born into.
        """
        directory = [] if cgroup is None else [cgroup.fileno()]
        try:
            socket.send_fds(self.channel, [marshal.dumps((flags, example))], directory)
        except OSError:
            return False
        self._asked.append(flags)
        return True

    def receive(self) -> Spare | None:
        """Return the spare that was asked for first; None if it could not be made, which is the end of the zygote."""
        self._asked.popleft()
        spare = self._received()
        self.is_dead |= spare is None
        return spare

    def _received(self) -> Spare | None:
        try:
            data, fds = receive_fds(self.channel, 64, 2)
        except OSError:  # it takes too long, or is dead
            return None
        if len(fds) != 2:
            return None
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fds[1])
        end.setblocking(False)
        return Spare(int(data), Fd(fds[0]), end)

    def end(self) -> None:
        """Kill and reap it, and the spares that it may just have made."""
        while self._asked:
            spare = self.receive()
            if spare is None:
                break
            spare.end()
        self.channel.close()
        kill_and_reap(self.pidfd)


def _serve(fds: tuple[int, ...], ignored: Iterable[int]) -> NoReturn:
    """In the zygote: clone a child for each request, until the keeper is gone."""
    try:
        child.prepare_child(fds, ignored)
        set_name(_NAME)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=child.CHANNEL) as end:
            while True:
                request, directory = receive_fds(end, 2 * LARGEST_PLAN, 1)
                if not request:
                    break
                flags, example = marshal.loads(request)
                cgroup = Fd(directory[0]) if directory else None
                _clone_spare(end, flags, example, ignored, cgroup)
                if cgroup is not None:
                    cgroup.close()
    finally:
        os._exit(0)


def _clone_spare(end: socket.socket, flags: int, example: bytes, ignored: Iterable[int], cgroup: Fd | None) -> None:
    """Clone one child, and hand it over; without descriptors the answer says that there is none."""
    try:
        ours, theirs = channel.make()
        with ours, theirs:
            pid, pidfd = clone(flags | CLONE.PARENT | CLONE.CLEAR_SIGHAND, cgroup_fd=cgroup)
            if pid == 0:
                wait_for_plan((0, 1, 2, theirs.fileno()), ignored, example)
            assert pidfd is not None
            with pidfd:
                socket.send_fds(end, [b"%d" % pid], [pidfd.fileno(), ours.fileno()])
    except OSError:  # too many processes, too little memory: the start itself will say so
        end.send(b"0")
