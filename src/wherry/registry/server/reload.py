"""Reload at SIGHUP: new settings hold from the next request on; running requests keep the old."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from wherry.errors import WherryError
from wherry.registry.server.composition import Assembly, renewed
from wherry.registry.server.tls import renew_certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp import web

    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.settings import Settings
    from wherry.serving import Acceptor

__all__ = ["Gate"]

_log = logging.getLogger(__name__)

#: What is opened, bound or begun once.
_FIXED: Final = ("addr", "root", "workers", "storage", "proxy", "gc", "webhooks")


class Gate:
    """Hands each request to the registry as it is now; an ``aiohttp`` low-level handler.

    :param reread: reads the settings again.
    :param context: gets the certificate again when there is TLS.
    :ivar connections: is told which are in use.
    """

    def __init__(
        self,
        assembly: Assembly,
        settings: Settings,
        reread: Callable[[], Settings],
        *,
        metrics: Metrics | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.assembly = assembly
        self._settings = settings
        self._reread = reread
        self._metrics = metrics
        self._context = context
        self.connections: Acceptor | None = None
        self._renewals: asyncio.Task[None] | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if self.connections is None:
            return await self.assembly.app(request)
        transport = request.transport
        self.connections.busy(transport)
        try:
            return await self.assembly.app(request)
        finally:
            self.connections.idle(transport)

    def begin_renewal(self) -> None:
        """Start a reload; reloads run one after the other."""
        self._renewals = asyncio.create_task(self._renew(self._renewals))

    async def _renew(self, before: asyncio.Task[None] | None) -> None:
        """Settings that cannot be used change nothing, and the log says so."""
        if before is not None:
            await asyncio.wait({before})
        try:
            self.assembly.services.log.reopen()
            settings = self._reread()
            assembly = await renewed(self.assembly, settings, self._metrics)
            if self._context is not None and settings.tls is not None:
                renew_certificate(self._context, settings.tls)
        except WherryError as error:
            _log.error("invalid settings, keeping the previous ones: %s", error)
            return
        for name in _fixed(self._settings, settings):
            _log.warning("a change of %s needs a restart", name)
        logging.getLogger().setLevel(settings.log.level.upper())
        self.assembly, self._settings = assembly, settings
        _log.info("the settings were read again by process %d", os.getpid())


def _fixed(old: Settings, new: Settings) -> list[str]:
    """Changed settings that need a restart."""
    changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
    if (old.tls is None) != (new.tls is None) or (old.tls and new.tls and old.tls.client_ca != new.tls.client_ca):
        changed.append("tls")
    if (old.log.access, old.log.format) != (new.log.access, new.log.format):
        changed.append("log.access")
    return changed
