"""Descriptors that come over a Unix socket (SCM_RIGHTS, unix(7)).

`socket.recv_fds` of the standard library ignores its flags (seen up to Python 3.13), and so ``MSG_CMSG_CLOEXEC``: what
it receives would be open in every program that is executed.
"""

from __future__ import annotations

import socket
import struct

__all__ = ["receive_fds"]

_SIZE = struct.calcsize("i")


def receive_fds(end: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive bytes, and the descriptors that come along with them; these are closed by execve(2).

    :param size: how many bytes at most.
    :param most: how many descriptors at most; the kernel closes the others.
    :raises OSError: see recvmsg(2).
    """
    data, ancillary, _, _ = end.recvmsg(size, socket.CMSG_LEN(most * _SIZE), socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(rights) // _SIZE
            fds += struct.unpack(f"{whole}i", rights[: whole * _SIZE])
    return data, fds
