"""A sandbox: the network namespace of one owner."""

from __future__ import annotations

import socket
from typing import Protocol

__all__ = ["Sandbox"]


class Sandbox(Protocol):
    """The signatures of `Sandbox`, until it is there."""

    id: str  #: 64 hexadecimal digits
    owner: str
    owner_name: str

    @property
    def path(self) -> str:
        """Where the runtime finds the namespace: ``/proc/<this daemon's pid>/fd/<n>``."""

    def fileno(self) -> int:
        """The namespace's descriptor."""

    async def dns_sockets(self) -> tuple[socket.socket, socket.socket]:
        """UDP and TCP sockets bound to 127.0.0.11:53 inside; the second one listens, neither blocks.

        The caller closes them.

        :raises SystemCallError: they cannot be bound, as when a program of the container's has taken the port.
        """
