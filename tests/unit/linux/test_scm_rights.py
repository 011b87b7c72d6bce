"""Descriptors that come over a socket."""

from __future__ import annotations

import os
import socket

from wherry.linux.scm_rights import receive_fds


def test_what_is_received_is_not_for_programs() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        socket.send_fds(theirs, [b"word"], [0, theirs.fileno()])
        data, fds = receive_fds(ours, 16, 2)
        assert (data, len(fds)) == (b"word", 2)
        assert not any(os.get_inheritable(fd) for fd in fds)
        assert os.path.sameopenfile(fds[1], theirs.fileno())
        for fd in fds:
            os.close(fd)
        theirs.send(b"alone")
        assert receive_fds(ours, 16, 2) == (b"alone", [])
