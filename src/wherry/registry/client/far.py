"""Names that lead to this machine, though they do not look like it.

A registry may send us elsewhere, for a blob or a token. Where it is not on this machine itself, that may not be this
machine or its link either (metadata services answer there), whatever name it has: so addresses are looked at when they
are connected to, which no second answer of a name server comes after.
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from wherry.errors import InvalidInput
from wherry.registry.client.addresses import is_local

__all__ = ["FarResolver", "is_near"]


class FarResolver(AbstractResolver):
    """Finds the addresses of names; those of this machine are refused."""

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
        """Let go of what finds them."""
        await self._resolver.close()


async def is_near(host: str) -> bool:
    """Whether a host, by its name or any of its addresses, is this machine; a name without addresses is not."""
    if is_local(host):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(is_local(str(address[0]).partition("%")[0]) for *_, address in found)
