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

import struct

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


_FD = 4


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
    return end.sendmsg(data, [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def recv_fds(end, size, most, flags=0):
    """Receive bytes, and the descriptors that came along with them."""
    fds = []
    data, ancillary, flags, address = end.recvmsg(size, _socket.CMSG_LEN(most * _FD), flags)
    for level, kind, rights in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += struct.unpack(f"{len(rights) // _FD}i", rights[: len(rights) - len(rights) % _FD])
    return data, fds, flags, address
