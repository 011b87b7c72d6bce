"""A vfork server: a process on whose memory others become containers, one after the other.

A child that is cloned as fork(2) does it copies a thousand pages on its way to its program, finds Python's code cold,
and leaves an address space that the kernel has to take apart: two thirds of what a start costs. A server's child shares
the server's memory until it executes its program (:mod:`wherry.linux.vfork`), and finds it as warm as the child before
has left it. So it carries out the plan's steps in Python, as any child does; only its last system calls, from the
filter to execve, are written down, and made by the trampoline's machine code (:mod:`wherry.runtime.steps.last_calls`).

What a container gets of that memory is nothing: execve gives its program memory of its own. The server itself is never
in a namespace, a cgroup or a root of a container's.

A child is cloned before there is a plan, as any spare. While it is on its way its server waits, so there are several.
It is the server that says at once which process the child is: the child itself may be in a control group already that
gives it no time on a processor.
"""

from __future__ import annotations

import marshal
import os
import resource
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NoReturn

from wherry.errors import SystemCallError, WherryError
from wherry.linux import elf
from wherry.linux.fd import Fd
from wherry.linux.files import close_range
from wherry.linux.process import CLONE, pidfd_open, set_dumpable, set_name
from wherry.linux.scm_rights import receive_fds
from wherry.linux.vfork import Vfork
from wherry.runtime import channel
from wherry.runtime.launch import child
from wherry.runtime.launch.cloner import clone_keeper
from wherry.runtime.launch.reap import kill_and_reap
from wherry.runtime.launch.spare import Spare, receive_plan
from wherry.runtime.report import failure
from wherry.runtime.steps import trampoline
from wherry.runtime.steps.trampoline_code import machine_code

__all__ = ["VforkServers"]

_NAME: Final = "wherry-vfork"
#: How long a clone may take; seconds.
_PATIENCE: Final = 0.25
#: Servers at once: one for each kind of start, and one for while another waits.
_MOST: Final = 5
#: A server ends after so many children: what may be left of each does not add up for ever.
_MOST_CHILDREN: Final = 1000
#: And when one has needed so many KiB more than it began with: a container's passwd(5) may be long.
_MOST_GROWTH: Final = 16 << 10
#: What a server says: that it has a child, that it waits for a request again, that it cannot work here.
_CHILD: Final = struct.Struct("<Q")
_OVER, _UNSUPPORTED = b"over", b"unsupported"
_ROOM: Final = 1 << 20  # for the last system calls: the filter, arguments and environment


class VforkServers:
    """Servers that make spares on demand.

    :param ignored: signals that this process ignores and a program should not.
    :ivar is_supported: False once it is known that this machine does not allow it.
    """

    def __init__(self, ignored: Iterable[int]) -> None:
        self._ignored: Final = tuple(ignored)
        self._servers: Final[list[_Server]] = []
        self._asked: Final[deque[int]] = deque()
        self._asking: Final[deque[_Server]] = deque()
        self.is_supported = True

    @classmethod
    def make(cls, ignored: Iterable[int]) -> VforkServers:
        """Clone this process once.

        :raises SystemCallError: there is no memory, or there are too many processes.
        """
        servers = cls(ignored)
        servers._servers.append(_Server.make(servers._ignored))
        return servers

    @property
    def pids(self) -> tuple[int, ...]:
        """The servers."""
        return tuple(server.pid for server in self._servers)

    @property
    def asked(self) -> Sequence[int]:
        """The new namespaces of the spares that are on their way, in the order in which they come."""
        return self._asked

    @property
    def is_able(self) -> bool:
        """Whether one could make a spare now."""
        return len(self._living()) < _MOST or any(server.is_free for server in self._servers)

    def ask(self, flags: int, _example: bytes, cgroup: Fd | None = None) -> bool:
        """Have a spare made; False if that cannot be.

        :param flags: the new namespaces.
        :param cgroup: the cgroup (v2) directory to be born into.
        """
        server = next((each for each in self._living() if each.is_free), None)
        if server is None:
            server = _Server.make(self._ignored)
            self._servers.append(server)
        if not server.ask(flags, cgroup):
            return False
        self._asked.append(flags)
        self._asking.append(server)
        return True

    def receive(self) -> Spare | None:
        """Return the spare that was asked for first; None if it could not be made."""
        self._asked.popleft()
        server = self._asking.popleft()
        spare = server.receive()
        if spare is None:
            self.is_supported &= not server.is_unsupported
            self._servers.remove(server)
            server.let_go()
        return spare

    @property
    def is_dead(self) -> bool:
        """Whether it will make no more spares."""
        return not self.is_supported

    def end(self) -> None:
        """Kill and reap the servers, and the spares that they may just have made."""
        while self._asked:
            spare = self.receive()
            if spare is not None:
                spare.end()
        for server in self._servers:
            server.end()
        self._servers.clear()

    def _living(self) -> list[_Server]:
        for server in list(self._servers):
            server.listen()
            if server.is_dead:
                self._servers.remove(server)
                server.end()
        return self._servers


class _Server:
    """One server, as the keeper sees it."""

    def __init__(self, pid: int, pidfd: Fd, control: socket.socket) -> None:
        self.pid: Final = pid
        self._pidfd: Final = pidfd
        self._control: Final = control
        self._channel: socket.socket | None = None
        self._is_busy = self.is_dead = self.is_unsupported = False

    @classmethod
    def make(cls, ignored: Iterable[int]) -> _Server:
        """Clone this process.

        :raises SystemCallError: there is no memory, or there are too many processes.
        """
        return cls(*clone_keeper(_serve, ignored))

    @property
    def is_free(self) -> bool:
        """Whether it waits for a request."""
        return not (self._is_busy or self.is_dead)

    def listen(self) -> None:
        """Hear whether it has become free, or has ended; not before `receive` has heard of its child."""
        while self._is_busy and self._channel is None:
            try:
                self._hear()
            except BlockingIOError:
                return

    def _hear(self) -> int:
        """Receive a word; returns the child that it tells of, 0 for none.

        :raises BlockingIOError: there is none, in time.
        """
        try:
            word = self._control.recv(64)
        except TimeoutError:
            raise BlockingIOError from None
        except ConnectionResetError:
            word = b""
        if len(word) == _CHILD.size:
            return int(_CHILD.unpack(word)[0])
        self._is_busy = False
        self.is_dead, self.is_unsupported = word != _OVER, word == _UNSUPPORTED
        return 0

    def ask(self, flags: int, cgroup: Fd | None) -> bool:
        """Have a child made."""
        ours, theirs = channel.make()
        try:
            with theirs:
                directory = [] if cgroup is None else [cgroup.fileno()]
                socket.send_fds(self._control, [marshal.dumps(int(flags))], directory)
                socket.send_fds(self._control, [b"channel"], [theirs.fileno()])
        except OSError:
            ours.close()
            self.is_dead = True
            return False
        self._channel, self._is_busy = ours, True
        return True

    def receive(self) -> Spare | None:
        """Return the child; None if there is none."""
        end, self._channel = self._channel, None
        assert end is not None
        self._control.settimeout(_PATIENCE)
        try:
            pid = self._hear()
            pidfd = pidfd_open(pid) if pid else None
        except (BlockingIOError, SystemCallError):  # it takes too long, or its child was reaped
            pidfd = None
        finally:
            self._control.setblocking(False)
        if pidfd is None or not _is_child(pidfd):
            end.close()
            return None
        return Spare(pid, pidfd, end)

    def let_go(self) -> None:
        """Let it end by itself, when the kernel lets it: it has not answered in time. Its parent reaps it."""
        self._control.close()
        self._pidfd.close()

    def end(self) -> None:
        """Kill and reap it."""
        self._control.close()
        kill_and_reap(self._pidfd)


def _is_child(pidfd: Fd) -> bool:
    """Whether it is a process of ours that has not been reaped: its number could be another's by now."""
    try:
        os.waitid(os.P_PIDFD, pidfd.fileno(), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------ in the server


def _serve(fds: tuple[int, ...], ignored: Iterable[int]) -> NoReturn:
    """In the server: make a child for each request, until the keeper is gone."""
    try:
        child.prepare_child(fds, ignored)
        set_name(_NAME)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=child.CHANNEL) as control:
            try:
                birthplace = _Birthplace()
            except WherryError:
                control.send(_UNSUPPORTED)
                os._exit(0)
            largest = _peak_memory() + _MOST_GROWTH
            for _ in range(_MOST_CHILDREN):
                if not birthplace.serve(control) or _peak_memory() > largest:
                    break
                set_dumpable(False)  # a change of a child's user may have set it: fs.suid_dumpable of proc(5)
                control.send(_OVER)
    finally:
        os._exit(0)


def _peak_memory() -> int:
    """The most memory that this process has had resident, KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class _Birthplace:
    """The server's memory, in which its children are."""

    def __init__(self) -> None:
        self._vfork: Final = Vfork(self._be_born, machine_code(), (elf.DATA, _ROOM), report_to=child.CHANNEL)

    def serve(self, control: socket.socket) -> bool:
        """Wait for a request, make a child, and wait until it has gone; False at the end of all."""
        request, fds = receive_fds(control, 64, 1)
        if not request:
            return False
        directory = Fd(fds[0]) if fds else None
        try:
            self._vfork.clone(marshal.loads(request) | CLONE.PARENT | CLONE.CLEAR_SIGHAND, directory)
        except SystemCallError:  # too many processes, too little memory: the start itself will say so
            for fd in receive_fds(control, 16, 1)[1]:
                os.close(fd)
        finally:
            if directory is not None:
                directory.close()
        return True

    def _be_born(self) -> int:
        """In the child: everything up to the last system calls. Nothing of it may be left in this memory."""
        try:
            _take_channel()
            os.umask(0)
            received = receive_plan()
            if received is None:
                return 1  # not needed any more, or the keeper is gone
            plan, context = received
            context.last_calls = []
            if not child.apply_steps(plan, context, new=plan.namespaces & CLONE.NEWNS):
                return 1
            self._vfork.write(_assembled(tuple(context.last_calls)))
        except BaseException as error:
            channel.send_failure(child.CHANNEL, failure("take a plan", error))
            return 1
        return 0


def _assembled(last_calls: trampoline.Branch) -> bytes:
    """In the child: what the machine code carries out."""
    is_trampolines = len(last_calls) == 1 and last_calls[0].name == "execveat"
    return _assembled_before(last_calls) if is_trampolines else trampoline.assemble(last_calls).data


@lru_cache(maxsize=4)
def _assembled_before(last_calls: trampoline.Branch) -> bytes:
    """The execution of the trampoline, which is the same for all programs: nothing of a container's is in it."""
    return trampoline.assemble(last_calls).data


def _take_channel() -> None:
    """In the child: put its channel in the place of the server's, which is not its to keep."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=child.CHANNEL)
    _, fds = receive_fds(control, 16, 1)
    control.detach()
    os.dup2(fds[0], child.CHANNEL, inheritable=False)
    close_range(child.CHANNEL + 1)
