"""Of `socket`, sockets of the kernel's with descriptors passed along."""

from __future__ import annotations

import _socket
from _socket import (
    AF_UNIX,
    CMSG_LEN,
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
    "CMSG_LEN",
    "MSG_CMSG_CLOEXEC",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_DGRAM",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_SNDTIMEO",
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
    return end.sendmsg(data, [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])
