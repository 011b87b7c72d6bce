"""The ways in to BuildKit's gRPC: ``POST /grpc``, ``POST /session``, and HTTP/2 from the first byte on.

All else of this package is imported when the first client comes in by one of them: it takes a tenth of a second and
some megabytes, which a daemon that builds nothing does not need.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from wherry.api.buildkit.http2 import Http2
    from wherry.api.buildkit.services import Services
    from wherry.build.model.service import BuildService
    from wherry.oci.platform import Platform

__all__ = ["Doors"]

Lost = "Callable[[Exception | None], None]"


class Doors:
    """Serves connections that speak BuildKit's gRPC.

    :param platforms: what is built for, this machine's own first.
    :param gateway: the host's address, as steps reach it.
    :param devices: the names of devices that a step may ask for.
    """

    def __init__(
        self,
        builds: BuildService,
        platforms: Callable[[], Sequence[Platform]],
        gateway: Callable[[], str],
        devices: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self._devices = devices
        self._builds = builds
        self._platforms = platforms
        self._gateway = gateway
        self._services: Services | None = None
        self._open: set[Http2] = set()

    def open(self, transport: asyncio.Transport, early: bytes, lost: Callable[[Exception | None], None]) -> Http2:
        """Serve a connection whose client speaks HTTP/2.

        :param early: what it said already.
        :param lost: called when the connection has ended.
        """
        from wherry.api.buildkit.http2 import Http2  # noqa: PLC0415 - see above

        http = Http2(self._ready().accept, lost)
        self._begin(http, transport, early)
        return http

    async def session(
        self,
        transport: asyncio.Transport,
        early: bytes,
        headers: Mapping[str, Sequence[str]],
        lost: Callable[[Exception | None], None],
    ) -> None:
        """Use a connection as a client's session, until it ends.

        :param headers: of the request; names in lower case.
        """
        from wherry.api.buildkit.http2 import Http2  # noqa: PLC0415 - see above

        services = self._ready()
        http = Http2(None, lost)
        self._begin(http, transport, early)  # first of all: the client speaks already
        try:
            await self._builds.ready()
        except BaseException:
            http.abort()
            raise
        await services.sessions.serve(http, headers)

    async def close(self) -> None:
        """End all connections."""
        connections = list(self._open)
        for http in connections:
            http.abort()
        await asyncio.gather(*(http.wait_closed() for http in connections))

    def _begin(self, http: Http2, transport: asyncio.Transport, early: bytes) -> None:
        self._open.add(http)
        http.closed.add_done_callback(lambda _: self._open.discard(http))
        http.begin(transport, early)

    def _ready(self) -> Services:
        if self._services is None:
            from wherry.api.buildkit.services import Services  # noqa: PLC0415 - see above

            self._services = Services(self._builds, self._platforms, self._gateway, self._devices)
        return self._services
