"""Sends and receives whole messages with descriptors over a SEQPACKET socket, without waiting; see unix(7)."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable, Sequence

from wherry.errors import InvalidInput
from wherry.keeper.protocol import LARGEST, MOST_FDS

_FD_SIZE = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE((MOST_FDS + 1) * _FD_SIZE)


class Gone(Exception):
    """The other side has closed the connection."""


def send(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> bool:
    """Send one message; False when the socket takes none just now.

    :raises Gone: nobody will read it.
    """
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sock.sendmsg([data], control, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionError) as error:
        raise Gone from error
    return True


def receive(sock: socket.socket) -> tuple[bytes, list[int]] | None:
    """Receive one message and its descriptors (close-on-exec, the caller's to close); None when there is none now.

    :raises Gone: no more will come.
    :raises InvalidInput: the message was too large; it is lost, and its descriptors are closed.
    """
    try:
        data, control, flags, _ = sock.recvmsg(LARGEST, _ROOM, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except ConnectionError as error:
        raise Gone from error
    fds = _fds_in(control)
    if not data:
        close_all(fds)
        raise Gone
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)
        raise InvalidInput("a message is too large, or carries too many descriptors")
    return data, fds


def close_all(fds: Iterable[int]) -> None:
    """Close unused descriptors."""
    for fd in fds:
        os.close(fd)


def _fds_in(control: Iterable[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _FD_SIZE])
    return fds.tolist()
