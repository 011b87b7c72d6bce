"""Reap zombies that the keeper has not started: siblings of a program in a container, and what is left over.

A program that the keeper is the parent of, an exec for one, can have children born as the keeper's (clone(2),
CLONE_PARENT). A zombie of a PID namespace keeps the namespace's first process from ending (pid_namespaces(7)), so a
container could not be killed while one is left; and nobody but the parent can reap it. So each end of a child is
listened for, by SIGCHLD.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

from wherry.keeper.loop import Loop, Timer
from wherry.keeper.process import Process
from wherry.linux.proc import read_stat

__all__ = ["Reaper", "end_newborns"]

_SOON: Final = 0.02
"""Seconds that a zombie waits at least: a container that makes them without end does not keep the keeper busy."""
_LATER: Final = 1.0
"""Seconds until those are looked at again that may be somebody's on his way."""
_TRAMPOLINE: Final = "/memfd:wherry"
"""What a process executes that has not become its program yet; see `wherry.runtime.steps.trampoline`."""
_MOST: Final = 1000
"""Zombies that are reaped in one go."""


class Reaper:
    """Reaps zombies that are none of the keeper's processes.

    :param known: the processes in the keeper's care.
    """

    def __init__(self, loop: Loop, known: Callable[[], Iterable[Process]]) -> None:
        self._loop: Final = loop
        self._known: Final = known
        self._timer: Timer | None = None
        self._bell: tuple[socket.socket, socket.socket]

    def listen(self) -> None:
        """Notice from now on when a child ends; there is one listener in a process, in its first thread."""
        ours, theirs = socket.socketpair()
        self._bell = ours, theirs
        for end in self._bell:
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._loop.watch(ours.fileno(), self._on_signal)

    def _on_signal(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._bell[0].recv(4096)
        self.soon()

    def soon(self, seconds: float = _SOON) -> None:
        """Reap before long."""
        if self._timer is None:
            self._timer = self._loop.later(seconds, self._in_time)

    def _in_time(self) -> None:
        self._timer = None
        self.reap()

    def reap(self) -> None:
        """Reap zombies, except the keeper's processes and newborns that may become some."""
        waiting = [process for process in self._known() if process.exit is None]
        if any(process.child is not None and process.child.leaves_orphans for process in waiting):
            self.soon(_LATER)  # one of the zombies may be a program that has just ended
            return
        ours = {process.description.pid for process in waiting}
        try:
            births = _namespaces_of_births(waiting)
        except OSError:  # a helper has just ended, and will be asked
            self.soon()
            return
        for _ in range(_MOST):
            pid = _first_zombie()
            if pid is None or pid in ours:  # its own event comes, and this is called again
                return
            if _may_be_expected(pid, births):
                _reap(other for other in _zombies() if other not in ours and not _may_be_expected(other, births))
                self.soon(_LATER)
                return
            _reap([pid])
        self.soon()


def end_newborns(helper: int, known: Iterable[Process]) -> None:
    """Kill a helper's newborn that has not executed its program: it was given up.

    Somebody in the container may have stopped it on its way, and would let it go on later.

    :param helper: its process ID; it has not been reaped.
    :param known: the processes in the keeper's care, which a newborn is not yet: an init stays in the trampoline for
        all its life, and other helpers are there for a moment.
    """
    spared = {process.description.pid for process in known if process.exit is None}
    try:
        namespace = os.stat(f"/proc/{helper}/ns/pid_for_children").st_ino
    except OSError:
        return  # it has ended, and so has what held its newborn up
    for pid in _children():
        with suppress(OSError):
            if pid == helper or pid in spared or os.stat(f"/proc/{pid}/ns/pid").st_ino != namespace:
                continue
            if os.readlink(f"/proc/{pid}/exe").startswith(_TRAMPOLINE):
                os.kill(pid, signal.SIGKILL)  # a child that was not reaped: the number is still its own


def _namespaces_of_births(processes: Iterable[Process]) -> set[int]:
    """The PID namespaces in which a process may be born that the keeper does not know yet.

    A process born in a container is unknown until its helper has ended (`wherry.runtime.steps.birth`).

    :raises OSError: a helper has ended.
    """
    helpers = [process.child.pid for process in processes if process.child is not None and process.is_among_others]
    return {os.stat(f"/proc/{helper}/ns/pid_for_children").st_ino for helper in helpers}


def _may_be_expected(pid: int, births: set[int]) -> bool:
    if not births:
        return False
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino in births
    except OSError:
        return True


def _first_zombie() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _zombies() -> Iterator[int]:
    """All of them; the kernel is asked for the first one only, unless that must stay."""
    return (pid for pid, state in _children_with_states() if state == "Z")


def _children() -> Iterator[int]:
    return (pid for pid, _ in _children_with_states())


def _children_with_states() -> Iterator[tuple[int, str]]:
    own = os.getpid()
    for pid in [int(name) for name in os.listdir("/proc") if name.isdecimal()]:
        with suppress(OSError):
            stat = read_stat(pid)
            if stat is not None and stat.parent == own:
                yield pid, stat.state


def _reap(zombies: Iterable[int]) -> None:
    for pid in zombies:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
