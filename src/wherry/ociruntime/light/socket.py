"""Of `socket`, sockets of the kernel's with descriptors passed along."""

from __future__ import annotations

import _socket
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)

import array

__all__ = [
    "AF_UNIX",
    "MSG_CMSG_CLOEXEC",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_DGRAM",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_SNDTIMEO",
    "recv_fds",
    "send_fds",
    "socket",
    "socketpair",
]


class socket(_socket.socket):
    """A socket that is closed at the end of a ``with``."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def socketpair(family=AF_UNIX, kind=SOCK_STREAM, protocol=0):
    """Make two sockets that are connected."""
    ours, theirs = _socket.socketpair(family, kind, protocol)
    return tuple(socket(family, kind, protocol, fileno=one.detach()) for one in (ours, theirs))


def send_fds(end, data, fds):
    """Send bytes, and descriptors along with them."""
    return end.sendmsg(data, [(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))])


def recv_fds(end, size, most, flags=0):
    """Receive bytes, and the descriptors that came along with them."""
    fds = array.array("i")
    data, ancillary, flags, address = end.recvmsg(size, _socket.CMSG_LEN(most * fds.itemsize), flags)
    for level, kind, rights in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
    return data, list(fds), flags, address
