"""A sandbox: the network namespace of one owner."""

from __future__ import annotations

import errno
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from wherry.errors import SystemCallError

if TYPE_CHECKING:
    from wherry.linux.fd import Fd
    from wherry.network.firewall.elements import ReplyMasquerade
    from wherry.network.kernel_thread import Kernel

__all__ = ["Sandbox"]

_DNS: Final = ("127.0.0.11", 53)
_BACKLOG: Final = 128


class Sandbox:
    """A network namespace with an owner.

    :param namespace: its descriptor, which the sandbox owns from now on: the namespace stays while it is open.
    :ivar id: 64 hexadecimal digits.
    :ivar prepared_endpoint: the ID of an endpoint that is prepared in it, and has no owner yet.
    :ivar reply_masquerades: where its replies take another way, as the firewall has it.
    """

    def __init__(self, kernel: Kernel, namespace: Fd, owner: str, owner_name: str) -> None:
        self.id: Final = secrets.token_hex(32)
        self.owner: Final = owner
        self.owner_name = owner_name
        self.prepared_endpoint: str | None = None
        self.reply_masquerades: frozenset[ReplyMasquerade] = frozenset()
        self._kernel = kernel
        self._namespace = namespace
        self._dns: tuple[socket.socket, socket.socket] | None = None

    def given_to(self, owner: str, owner_name: str) -> Sandbox:
        """The same sandbox for an owner; this object has nothing any more."""
        other = Sandbox(self._kernel, self._namespace, owner, owner_name)
        other.prepared_endpoint, self.prepared_endpoint = self.prepared_endpoint, None
        other._dns, self._dns = self._dns, None
        return other

    @property
    def path(self) -> str:
        """Where the runtime finds the namespace: ``/proc/<this daemon's pid>/fd/<n>``."""
        return f"/proc/{os.getpid()}/fd/{self._namespace.fileno()}"

    def fileno(self) -> int:
        """The namespace's descriptor; -1 once released."""
        return self._namespace.fileno()

    def close(self) -> None:
        """Close the namespace; when no process is in it, the kernel removes it, with all interfaces."""
        self.close_dns()
        self._namespace.close()

    async def prepare_dns(self) -> None:
        """Open the sockets that `dns_sockets` gives, for an owner that is still to come.

        :raises SystemCallError: they cannot be bound.
        """
        self._dns = await self._kernel.run(self._open_dns_sockets)

    def close_dns(self) -> None:
        """Close them, if they were opened, and nobody has taken them."""
        for each in self._dns or ():
            each.close()
        self._dns = None

    async def dns_sockets(self) -> tuple[socket.socket, socket.socket]:
        """UDP and TCP sockets bound to 127.0.0.11:53 inside; the second one listens, neither blocks.

        The caller closes them.

        :raises SystemCallError: they cannot be bound, as when a program of the container's has taken the port.
        """
        prepared, self._dns = self._dns, None
        return await self._kernel.run(self._open_dns_sockets) if prepared is None else prepared

    def _open_dns_sockets(self) -> tuple[socket.socket, socket.socket]:
        opened: list[socket.socket] = []
        with self._kernel.inside(self.fileno()):
            try:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    opened.append(socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
                    if kind == socket.SOCK_STREAM:  # connections of a former daemon may linger
                        opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    opened[-1].bind(_DNS)
                opened[1].listen(_BACKLOG)
            except OSError as exc:
                for each in opened:
                    each.close()
                raise SystemCallError("bind", "127.0.0.11 port 53 in a container", exc.errno or errno.EIO) from exc
        return opened[0], opened[1]
