"""The DNS server: one object for all sandboxes, on sockets that somebody bound inside them."""

from __future__ import annotations

import socket

from wherry.network.dns.directory import Directory

__all__ = ["DnsServer"]


class DnsServer:
    """Answers questions on the sockets it is given; used on the event loop's thread only.

    :param directory: who is called what.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def serve(self, owner: str, udp: socket.socket, tcp: socket.socket) -> None:
        """Answer what arrives on these sockets, in the name of an owner; they are the server's from now on.

        :param owner: handed to the directory with each question. One that is served already is first stopped.
        :param udp: bound.
        :param tcp: bound and listening.
        """

    def stop(self, owner: str) -> None:
        """Close an owner's sockets and give its open questions up; nothing happens when it has none."""

    def forget_cache(self) -> None:
        """Forget what upstream servers answered, and which of them were silent: the machine's network changed."""

    def close(self) -> None:
        """Stop all owners."""
