"""The channel between the parent and the child that it cloned, until the program is executed.

A SEQPACKET socket pair, close-on-exec at both ends; the parent's is non-blocking::

    parent                                              child
      │  {"mounts": [2, 5]} + their descriptors   ──────>  (user namespaces only; any number of times)
      │  {"go": true}                             ──────>  the parent has done its part
      │  <──────  {"terminal": true} + the master          (with a terminal, once)
      │  <──────  {"root": true} + the root's mount        (with an overlay as root, once)
      │  <──────  {"hooks": true}                          (all is mounted; with hooks only, once)
      │  {"hooked": true}                         ──────>  the hooks were run; the child may go on
      │  <──────  {"program": path}                        (where the trampoline is to execute it, once)
      │  <──────  {"listener": true} + the seccomp listener    (from the trampoline, once)
      │  <──────  {"step", "call", "errno", "text", "kind"}   it failed, and leaves
      │  <──────  four zeros, errno, {"step", "call"}      the same, from the trampoline
      │  <──────  end of file                              executed (or, where its process is born inside,
      │                                                    on its way there: see wherry.runtime.steps.birth)

"go" is sent always, and the child takes it when it gets to where it needs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from typing import Any, Final

from wherry.errors import StepFailed, SystemCallError
from wherry.linux.fd import Fd
from wherry.linux.scm_rights import receive_fds
from wherry.runtime.report import EXECUTED, NOT_YET, Failed, Found, HooksDue, Listener, Report, Root, Terminal, failure

__all__ = [
    "CHANNEL",
    "FIRST_PRESERVED",
    "LISTENER",
    "await_hooks",
    "make",
    "read_report",
    "receive_release",
    "send_failure",
    "send_hooked",
    "send_mounts",
    "send_program",
    "send_release",
    "send_root",
    "send_terminal",
]

#: Where the child finds its end, after the three streams.
CHANNEL: Final = 3
#: And where the descriptors are that its program is to have beside the streams; between them is the container's pidfd.
FIRST_PRESERVED: Final = CHANNEL + 2
_LARGEST: Final = 65536
_TEXT: Final = 4096  #: characters of a sentence in a message; JSON makes twelve bytes of some
_STEP: Final = 512
_GO: Final = b'{"go":true}'
#: With it the trampoline sends the listener's descriptor.
LISTENER: Final = b'{"listener":true}'
_HOOKED: Final = b'{"hooked":true}'
_TRAMPOLINE: Final = bytes(4)
#: The kernel's SCM_MAX_FD is 253.
_MOST_FDS: Final = 250


def make() -> tuple[socket.socket, socket.socket]:
    """Return the parent's end and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


# ------------------------------------------------------------------------------------------------------ parent to child


def send_release(ours: socket.socket) -> None:
    """Tell the child that the parent has done its part. A child that has failed is ignored."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what it says is read by read_report
        ours.send(_GO)


def send_hooked(ours: socket.socket) -> None:
    """Tell the child that the hooks were run."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was killed: its exit status tells
        ours.send(_HOOKED)


def send_mounts(ours: socket.socket, mounts: dict[int, Fd]) -> None:
    """Hand prepared mounts to the child, by the number of the step that they are for."""
    steps = list(mounts)
    for start in range(0, len(steps), _MOST_FDS):
        part = steps[start : start + _MOST_FDS]
        rights = struct.pack(f"{len(part)}i", *[mounts[step].fileno() for step in part])
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
        data, fds = receive_fds(end, _LARGEST, _MOST_FDS)
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


def await_hooks(channel: int) -> None:
    """In the child: say that all is mounted, and wait until the parent has run the hooks.

    :raises StepFailed: the parent is gone.
    """
    _send(channel, {"hooks": True}, [])
    if os.read(channel, len(_HOOKED)) != _HOOKED:
        raise StepFailed("wait for the hooks", "the parent has ended")


def send_program(channel: int, program: str) -> None:
    """In the child: name the program that a process without a channel is going to execute."""
    _send(channel, {"program": program}, [])


def send_failure(channel: int, failed: Failed) -> None:
    """In the child: report an error, as far as possible, before it exits."""
    with contextlib.suppress(OSError):
        _send(channel, {**failed._asdict(), "text": failed.text[:_TEXT], "step": failed.step[:_STEP]}, [])


def _send(channel: int, message: dict[str, Any], fds: list[int]) -> None:
    end = _socket(channel)
    try:
        socket.send_fds(end, [json.dumps(message).encode()], fds)
    finally:
        end.detach()


def _socket(channel: int) -> socket.socket:
    """The channel as a socket object; family and type are given, because asking for them is three system calls."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=channel)


def read_report(channel: socket.socket) -> Report:
    """In the parent: read what the child says, without waiting; again until it is :class:`NotYet` or final."""
    try:
        data, fds = receive_fds(channel, _LARGEST, _MOST_FDS)
    except BlockingIOError:
        return NOT_YET
    except ConnectionResetError:
        # The child left before it had read all that it was sent. The kernel says so once, before what the child said.
        return read_report(channel)
    if not data:
        return EXECUTED
    try:
        return _from_trampoline(data) if data.startswith(_TRAMPOLINE) else _from_child(json.loads(data), fds)
    except (ValueError, IndexError) as error:  # or there is no room for descriptors: who waits must hear of it
        return Failed("hear what the new process says", "", 0, f"it makes no sense: {error}", "system")


def _from_child(message: dict[str, Any], fds: list[int]) -> Report:
    if message.get("program"):
        return Found(message["program"])
    if message.get("listener"):
        return Listener(Fd(fds[0]))
    if message.get("hooks"):
        return HooksDue()
    if message.get("terminal"):
        return Terminal(Fd(fds[0]))
    if message.get("root"):
        return Root(Fd(fds[0]))
    return Failed(message["step"], message["call"], message["errno"], message["text"], message["kind"])


def _from_trampoline(message: bytes) -> Failed:
    """Read what a script reports: four zeros, an error number, and what failed in JSON."""
    number = int.from_bytes(message[4:8], "little")
    reported = json.loads(message[8:])
    return failure(reported["step"], SystemCallError(reported.get("call", "clone"), "", number))
