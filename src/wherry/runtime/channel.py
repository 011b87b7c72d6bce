"""The channel between the parent and the child that it cloned, until the program is executed.

A SEQPACKET socket pair, close-on-exec at both ends; the parent's is non-blocking::

    parent                                              child
      │  {"mounts": [2, 5]} + their descriptors   ──────>  (user namespaces only; any number of times)
      │  {"go": true}                             ──────>  the parent has done its part
      │  <──────  {"terminal": true} + the master          (with a terminal, once)
      │  <──────  {"root": true} + the root's mount        (with an overlay as root, once)
      │  <──────  {"step", "call", "errno", "text", "kind"}   it failed, and leaves
      │  <──────  end of file                              executed

"go" is sent always, and the child takes it when it gets to where it needs it.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
from typing import Any, Final, NamedTuple

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
    "Executed",
    "Failed",
    "NotYet",
    "Report",
    "Root",
    "Terminal",
    "error_from",
    "failure",
    "make",
    "read_report",
    "receive_release",
    "send_failure",
    "send_mounts",
    "send_release",
    "send_root",
    "send_terminal",
]

_LARGEST: Final = 65536
_GO: Final = b'{"go":true}'
#: The kernel's SCM_MAX_FD is 253.
_MOST_FDS: Final = 250


class NotYet(NamedTuple):
    """The child is still on its way."""


class Executed(NamedTuple):
    """The program runs (or the child was killed before; its exit status tells)."""


class Terminal(NamedTuple):
    """The child made its terminal: this is the master."""

    master: Fd


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
        """Return the error that this failure is for whoever asked for the process."""
        return error_from(self._asdict())


Report = NotYet | Terminal | Root | Failed | Executed
NOT_YET: Final = NotYet()
EXECUTED: Final = Executed()

_KINDS: Final[tuple[tuple[str, type[WherryError]], ...]] = (
    ("command-not-found", CommandNotFound),
    ("command-not-executable", CommandNotExecutable),
    ("invalid", InvalidInput),
    ("unsupported", Unsupported),
)


def make() -> tuple[socket.socket, socket.socket]:
    """Return the parent's end and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


# ------------------------------------------------------------------------------------------------------ parent to child


def send_release(ours: socket.socket) -> None:
    """Tell the child that the parent has done its part; one that has failed meanwhile need not hear it."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what it says is read by read_report
        ours.send(_GO)


def send_mounts(ours: socket.socket, mounts: dict[int, Fd]) -> None:
    """Hand prepared mounts to the child, by the number of the step that they are for."""
    steps = list(mounts)
    for start in range(0, len(steps), _MOST_FDS):
        part = steps[start : start + _MOST_FDS]
        rights = array.array("i", [mounts[step].fileno() for step in part])
        ours.sendmsg([json.dumps({"mounts": part}).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def receive_release(channel: int, *, with_mounts: bool = True) -> dict[int, Fd]:
    """In the child: wait for the parent; return the mounts that were handed over.

    :param with_mounts: False if there will be none; that saves the child a socket object and its code.
    :raises StepFailed: the parent is gone.
    """
    if not with_mounts:
        if not os.read(channel, len(_GO)):
            raise StepFailed("wait for the parent", "the parent has ended")
        return {}
    mounts: dict[int, Fd] = {}
    while True:
        message, fds = _receive(channel)
        if message is None:
            raise StepFailed("wait for the parent", "the parent has ended")
        if message.get("go"):
            return mounts
        mounts.update(zip(message["mounts"], fds, strict=True))


def _receive(channel: int) -> tuple[dict[str, Any] | None, list[Fd]]:
    """Receive one message; None at the end of file."""
    end = _socket(channel)
    try:
        data, fds, _, _ = socket.recv_fds(end, _LARGEST, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
    finally:
        end.detach()
    return (json.loads(data) if data else None), [Fd(fd) for fd in fds]


# ------------------------------------------------------------------------------------------------------ child to parent


def send_terminal(channel: int, master: Fd) -> None:
    """In the child: hand the master of its terminal to the parent."""
    _send(channel, {"terminal": True}, [master.fileno()])


def send_root(channel: int, mount: Fd) -> None:
    """In the child: hand the mount of the container's root to the parent."""
    _send(channel, {"root": True}, [mount.fileno()])


def send_failure(channel: int, failed: Failed) -> None:
    """In the child: say what went wrong; whoever leaves can do no more if even that fails."""
    with contextlib.suppress(OSError):
        _send(channel, {**failed._asdict(), "text": failed.text[:8192]}, [])


def _send(channel: int, message: dict[str, Any], fds: list[int]) -> None:
    end = _socket(channel)
    try:
        socket.send_fds(end, [json.dumps(message).encode()], fds)
    finally:
        end.detach()


def _socket(channel: int) -> socket.socket:
    """The channel as a socket object; family and type are given, because asking for them is three system calls."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=channel)


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


def error_from(report: dict[str, Any]) -> WherryError:
    """Return the error that a child's report is; ``report`` has the fields of :class:`Failed`."""
    for name, cls in _KINDS:
        if report["kind"] == name:
            return cls(report["text"])
    return StepFailed(report["step"], report["text"], call=report["call"], errno=report["errno"])


def read_report(channel: socket.socket) -> Report:
    """In the parent: read what the child says, without waiting; again until it is :class:`NotYet` or final."""
    try:
        data, fds, _, _ = socket.recv_fds(channel, _LARGEST, _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return NOT_YET
    except ConnectionResetError:
        # The child left before it had read all that it was sent. The kernel says so once, before what the child said.
        return read_report(channel)
    if not data:
        return EXECUTED
    message = json.loads(data)
    if message.get("terminal"):
        return Terminal(Fd(fds[0]))
    if message.get("root"):
        return Root(Fd(fds[0]))
    return Failed(message["step"], message["call"], message["errno"], message["text"], message["kind"])
