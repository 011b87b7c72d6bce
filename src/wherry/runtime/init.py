"""``--init``: the container's first process stays what it is, takes care of orphans and passes signals on.

Set by the annotation ``org.wherry.init`` of a specification (:data:`ANNOTATION`, value ``"true"``). No foreign
program is put into the container: the first process remains the forked Python, which

* has the program's user, capabilities and filter, no descriptor at all, and cannot be traced (not dumpable);
* was executed from a read-only mount of the interpreter (:mod:`wherry.runtime.protect`), so that /proc/1/exe leads to
  nothing that could be written;
* shares its memory with the engine's process, as it writes little: it costs some hundred kilobytes.

It waits for signals only, so it needs no processor time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import Final, NamedTuple

from wherry.linux import capabilities
from wherry.linux.files import close_range
from wherry.linux.process import set_dumpable, set_name
from wherry.runtime.context import Context

__all__ = ["ANNOTATION", "StayAsInit", "exit_code"]

ANNOTATION: Final = "org.wherry.init"
_NAME: Final = "wherry-init"
#: Signals that are about this process itself, or that nobody can wait for.
_OWN: Final = frozenset({signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU})
_ALL: Final = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}


class StayAsInit(NamedTuple):
    """Split in two: the child goes on to the program, the parent stays as the container's first process."""

    def describe(self) -> str:
        return "stay as the container's first process"

    def apply(self, context: Context) -> None:
        # Blocked before the fork, so that no signal can come between it and the first wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
        child = os.fork()
        if child:
            _look_after(child)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()


def _look_after(child: int) -> None:
    """Be init until the program has ended, then end in the same way; never returns."""
    status = 255
    try:
        _drop_what_execve_would()
        _disguise()
        close_range(0)
        status = _serve(child)
    finally:
        os._exit(status)


def _drop_what_execve_would() -> None:
    """Keep only ambient capabilities, unless this is root's process: those that an ordinary program would have."""
    if os.geteuid():
        kept = capabilities.ambient_read()
        capabilities.capset(kept, kept, capabilities.capget().inheritable)


def _serve(child: int) -> int:
    """Reap whoever ends and pass signals on; return the program's exit code."""
    while True:
        received = signal.sigwaitinfo(_ALL)
        if received.si_signo not in _OWN:
            _pass_on(child, received.si_signo)
            continue
        status = _reap(child)
        if status is not None:
            return exit_code(status)


def _pass_on(child: int, number: int) -> None:
    # It may have just ended, or have become another user; nobody could be told.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(child, number)


def _reap(child: int) -> int | None:
    """Reap all that have ended; return the program's status if it is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == child:
            return status
        if pid == 0:
            return None


def exit_code(status: int) -> int:
    """Turn a wait status into what a shell would say: 128 and the signal's number for a killed program."""
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _disguise() -> None:
    """Be hard to trace, and be called ``wherry-init`` in lists of processes."""
    set_dumpable(False)
    set_name(_NAME)
    if _command_line is not None:
        start, length = _command_line
        name = _NAME.encode()[: length - 1]
        ctypes.memmove(start, name.ljust(length, b"\0"), length)


def _find_command_line() -> tuple[int, int] | None:
    """Find where this process's command line lies in memory: fields 48 and 49 of /proc/self/stat, see proc(5)."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, IndexError, ValueError):
        return None
    return (start, end - start) if 0 < start < end else None


#: Looked up once in the engine's process: its forks have it in the same place, and have no /proc of the host any more.
_command_line: Final = _find_command_line()
