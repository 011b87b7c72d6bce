"""The whole API, put together: every router gets the part of the engine that it needs, and nothing more."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from aiohttp.web import Server

from wherry.api import errors
from wherry.api.absent import AbsentRoutes
from wherry.api.attach import AttachRoutes
from wherry.api.call import Call
from wherry.api.commit import CommitRoutes
from wherry.api.containers import ContainerRoutes
from wherry.api.distribution import DistributionRoutes
from wherry.api.events import EventRoutes
from wherry.api.exec import ExecRoutes
from wherry.api.front import HEAD_LIMIT, FrontDoor
from wherry.api.hijack import HangupWatch, wants_upgrade
from wherry.api.images import ImageRoutes
from wherry.api.logs import LogRoutes
from wherry.api.networks import NetworkRoutes
from wherry.api.routing import Route, Router
from wherry.api.stats import StatsRoutes
from wherry.api.storage import StorageRoutes
from wherry.api.system import SystemRoutes
from wherry.api.transfer import finished
from wherry.api.volumes import VolumeRoutes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.web import BaseRequest, StreamResponse

    from wherry.engine.engine import Engine

log = logging.getLogger(__name__)

READ_BUFFER: Final = 1024 * 1024  #: bytes of a request's body that may wait; archives come through here
LINGER: Final = 2.0  #: seconds to read on behind an error: a client that still sends its archive reads no answer
KEEP_ALIVE: Final = 86400.0  #: seconds that a connection may idle; it costs next to nothing, and no timer runs before


class Api:
    """Answers requests; :meth:`connection` makes the protocol objects that listeners need."""

    def __init__(self, router: Router, watch: HangupWatch) -> None:
        self._router = router
        self._watch = watch
        self._server = Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            read_bufsize=READ_BUFFER,
            max_line_size=HEAD_LIMIT,  # lists of names and filters are long (``GET /images/get``)
            max_field_size=HEAD_LIMIT,
            auto_decompress=False,
            lingering_time=LINGER,
        )

    def connection(self) -> asyncio.Protocol:
        """Return what serves one connection."""
        return FrontDoor(self._server())

    async def close(self) -> None:
        """End every request that is still open; what they began in the engine goes on."""
        self._server.pre_shutdown()
        await self._server.shutdown(0.2)
        self._watch.close()

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        began = time.monotonic()
        response = await self._answer(request)
        if log.isEnabledFor(logging.DEBUG):
            took = f"{(time.monotonic() - began) * 1000:.1f}"
            log.debug("answered", extra={"request": _name(request), "status": response.status, "ms": took})
        return response

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        try:
            route, version, path = self._router.find(request.method, request.path)
            return await _run(route, Call(request, version, path))
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise  # the client has left; aiohttp knows what to do
        except Exception as error:  # the outermost layer: every error becomes an answer here
            answer = errors.answer(error, _name(request))
            if wants_upgrade(request):
                answer.force_close()  # what the client sends behind it is not HTTP
            return answer


def _name(request: BaseRequest) -> str:
    return f"{request.method} {request.path}"


async def _run(route: Route, call: Call) -> StreamResponse:
    """Run a handler; one that does not stream ends what it began, even when its client has left."""
    if route.streaming:
        return await route.handler(call)
    return await finished(route.handler(call))


def make_api(engine: Engine, shut_down: Callable[[bool], Awaitable[Sequence[str]]]) -> Api:
    """Build the API over an engine; needs the running event loop.

    :param shut_down: asks the daemon to end, with every container if told so.
    """
    watch = HangupWatch(asyncio.get_running_loop())
    containers = engine.containers
    parts = (
        SystemRoutes(engine, shut_down),
        ContainerRoutes(containers),
        LogRoutes(containers),
        AttachRoutes(containers, watch),
        ExecRoutes(engine.execs, watch),
        StatsRoutes(containers),
        EventRoutes(engine.events),
        DistributionRoutes(engine.distribution),
        ImageRoutes(engine.images, engine.distribution),
        NetworkRoutes(engine.networks),
        VolumeRoutes(),
        CommitRoutes(engine.commits),
        StorageRoutes(engine.storage),
        AbsentRoutes(),
    )
    return Api(Router(route for part in parts for route in part.routes()), watch)
