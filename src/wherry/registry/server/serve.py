"""One worker: listeners, garbage collection, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import TYPE_CHECKING, Final

from aiohttp import web

from wherry.registry.server.composition import Assembly, assemble
from wherry.registry.server.reload import Gate
from wherry.registry.server.settings import seconds
from wherry.registry.server.tls import tls_context
from wherry.serving import Acceptor, Bounds

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.settings import Settings

__all__ = ["serve"]

_log = logging.getLogger(__name__)
_GRACE_SECONDS: Final = 10.0
_KEEP_ALIVE_SECONDS: Final = 75.0
_MAX_HEADER: Final = 64 << 10
"""Lists of ranges are long."""
_HOUSE_SECONDS: Final = 60.0
"""At most this long after start, unfinished uploads are looked through, and then at every collection."""


async def serve(
    settings: Settings,
    listener: socket.socket,
    metrics: Metrics,
    *,
    housekeeper: bool,
    ready: Callable[[], None],
    reread: Callable[[], Settings],
) -> None:
    """Serve until SIGTERM or SIGINT.

    :param reread: reads the settings again, at SIGHUP.
    :param housekeeper: whether this worker collects garbage.
    :param ready: is called when requests are answered.
    """
    assembly = await assemble(settings, metrics)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    context = tls_context(settings.tls) if settings.tls else None
    gate = Gate(assembly, settings, reread, metrics=metrics, context=context)
    loop.add_signal_handler(signal.SIGHUP, gate.begin_renewal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked by who has started this worker
    http = web.Server(gate, access_log=None, keepalive_timeout=_KEEP_ALIVE_SECONDS, max_field_size=_MAX_HEADER)
    acceptor = Acceptor(listener, http, Bounds(settings.limits.connections), context, evicts=True)
    gate.connections = acceptor
    acceptor.start()
    house = asyncio.create_task(_keep_house(settings, assembly, metrics)) if housekeeper else None
    try:
        ready()
        await ended.wait()
    finally:
        acceptor.close()
        if house is not None:
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)
        http.pre_shutdown()  # connections on which nothing is under way end now, the others get a while
        with contextlib.suppress(TimeoutError):
            await http.shutdown(_GRACE_SECONDS)
        await assembly.close()


async def _keep_house(settings: Settings, assembly: Assembly, metrics: Metrics) -> None:
    """Collect garbage, again and again."""
    interval = seconds(settings.gc.interval)
    if not interval or settings.read_only:
        return
    while True:
        await asyncio.sleep(interval)
        try:
            done = await assembly.gc.run()
        except Exception:
            _log.exception("garbage collection failed; retrying at the next interval")
            continue
        metrics.add("collected_blobs", done.blobs)
        metrics.add("collected_bytes", done.bytes)
        _log.info("collected %s", done)
