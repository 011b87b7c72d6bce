"""A guard against server-side request forgery (SSRF): a DNS resolver that refuses this machine's own addresses.

A registry may redirect to another host, for a blob or a token. Unless the registry itself is on this machine, the
target must not be this machine or its link (metadata services answer there), whatever its name. So the addresses are
checked when the connection is made: a second answer of the name server cannot change them (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from wherry.distribution.client.addresses import is_local
from wherry.errors import InvalidInput

__all__ = ["PublicResolver", "resolves_to_local"]


class PublicResolver(AbstractResolver):
    """Resolves names for aiohttp; refuses loopback and link-local addresses."""

    def __init__(self) -> None:
        self._resolver = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        :raises InvalidInput: one of them is this machine's.
        """
        found = await self._resolver.resolve(host, port, family)
        if any(is_local(one["host"].partition("%")[0]) for one in found):
            raise InvalidInput(f"the registry leads to this machine itself, to {host!r}", hint="refused")
        return found

    async def close(self) -> None:
        """Close the underlying resolver."""
        await self._resolver.close()


async def resolves_to_local(host: str) -> bool:
    """Whether a host, by its name or any of its addresses, is this machine; False without addresses."""
    if is_local(host):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(is_local(str(address[0]).partition("%")[0]) for *_, address in found)
