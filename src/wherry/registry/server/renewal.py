"""SIGHUP: the settings are read again, and hold from the next request on; what is under way goes on as it began."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Final

from wherry.errors import WherryError
from wherry.registry.server.assembly import Assembly, renewed
from wherry.registry.server.tls import renew_certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiohttp import web

    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.settings import Settings

__all__ = ["Gate"]

_log = logging.getLogger(__name__)

#: What is opened, bound or begun once.
_FIXED: Final = ("addr", "root", "workers", "storage", "proxy", "gc", "webhooks")


class Gate:
    """Hands each request to the registry as it is now; an ``aiohttp`` low-level handler.

    :param reread: reads the settings again.
    :param context: gets the certificate again when there is TLS.
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
        self._renewals: asyncio.Task[None] | None = None

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        return await self.assembly.front(request)

    def begin_renewal(self) -> None:
        """Take over what has changed, one time after the other."""
        self._renewals = asyncio.create_task(self._renew(self._renewals))

    async def _renew(self, before: asyncio.Task[None] | None) -> None:
        """Settings that cannot be used change nothing, and the log says so."""
        if before is not None:
            await asyncio.wait({before})
        try:
            self.assembly.doors.log.reopen()
            settings = self._reread()
            assembly = await renewed(self.assembly, settings, self._metrics)
            if self._context is not None and settings.tls is not None:
                renew_certificate(self._context, settings.tls)
        except WherryError as error:
            _log.error("the settings cannot be used, those from before hold: %s", error)
            return
        for name in _fixed(self._settings, settings):
            _log.warning("a change of %s takes a restart", name)
        logging.getLogger().setLevel(settings.log.level.upper())
        self.assembly, self._settings = assembly, settings
        _log.info("the settings were read again by process %d", os.getpid())


def _fixed(old: Settings, new: Settings) -> list[str]:
    """What has changed that cannot change."""
    changed = [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
    if (old.tls is None) != (new.tls is None) or (old.tls and new.tls and old.tls.client_ca != new.tls.client_ca):
        changed.append("tls")
    if (old.log.access, old.log.format) != (new.log.access, new.log.format):
        changed.append("log.access")
    return changed
