"""The reports of a starting process, as values; a light module that the keeper imports as well."""

from __future__ import annotations

import errno
from typing import Final, NamedTuple

from wherry.errors import (
    CommandNotExecutable,
    CommandNotFound,
    InvalidInput,
    StepFailed,
    SystemCallError,
    Unsupported,
    WherryError,
)
from wherry.linux.fd import Fd

__all__ = [
    "EXECUTED",
    "NOT_YET",
    "Born",
    "Executed",
    "Failed",
    "Found",
    "HooksDue",
    "Listener",
    "NotYet",
    "Report",
    "Root",
    "Terminal",
    "failure",
]

_KINDS: Final[tuple[tuple[str, type[WherryError]], ...]] = (
    ("command-not-found", CommandNotFound),
    ("command-not-executable", CommandNotExecutable),
    ("invalid", InvalidInput),
    ("unsupported", Unsupported),
)


class NotYet(NamedTuple):
    """The child is still on its way."""


class Executed(NamedTuple):
    """The program runs (or the child was killed before; its exit status tells)."""


class Terminal(NamedTuple):
    """The child made its terminal: this is the master."""

    master: Fd


class Found(NamedTuple):
    """The child has found its program, which is executed by way of the trampoline."""

    program: str


class Listener(NamedTuple):
    """The filter is in force: on this descriptor its notifications arrive; see seccomp_unotify(2)."""

    fd: Fd


class HooksDue(NamedTuple):
    """The child has made all mounts, and waits for the hooks that are run outside (`Launched.hooks_done`)."""


class Born(NamedTuple):
    """The program's own process was born: it takes the place of the one that was cloned first.

    :param pid: its number here.
    :param start_time: when it was started, in clock ticks since boot (field 22 of /proc/<pid>/stat).
    """

    pid: int
    pidfd: Fd
    start_time: int


class Root(NamedTuple):
    """The child made its root: this is the mount.

    Whoever keeps it decides when the union file system ends. That matters because its end writes the *whole* file
    system below it to the disk (``ovl_sync_fs``): milliseconds, or seconds when somebody else was writing, which
    would otherwise pass before the kernel tells that the container has exited.
    """

    mount: Fd


class Failed(NamedTuple):
    """The child could not carry out a step, and leaves.

    :param step: what it was doing.
    :param call: the system call that failed, or an empty string.
    :param errno: its error number, or 0.
    :param kind: ``command-not-found``, ``command-not-executable``, ``invalid``, ``unsupported`` or ``system``.
    """

    step: str
    call: str
    errno: int
    text: str
    kind: str

    def error(self) -> WherryError:
        """Return the error to raise where the process was asked for."""
        for name, cls in _KINDS:
            if self.kind == name:
                return cls(self.text)
        return StepFailed(self.step, self.text, call=self.call, errno=self.errno)


Report = NotYet | Terminal | Root | Found | HooksDue | Listener | Born | Failed | Executed
NOT_YET: Final = NotYet()
EXECUTED: Final = Executed()


def failure(step: str, error: BaseException) -> Failed:
    """Describe an error as data."""
    call, code = "", 0
    if isinstance(error, (SystemCallError, StepFailed)):
        call, code = error.call, error.errno
    elif isinstance(error, OSError):
        code = error.errno or 0
    kind = next((name for name, cls in _KINDS if isinstance(error, cls)), "system")
    return Failed(step, call, code, _sentence(error), kind)


def _sentence(error: BaseException) -> str:
    if isinstance(error, WherryError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        name = errno.errorcode.get(error.errno, str(error.errno))
        what = f"{error.filename!r}: " if error.filename else ""
        return f"{what}{(error.strerror or 'error').lower()} [{name}]"
    return f"{type(error).__name__}: {error}"
