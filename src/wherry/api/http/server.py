"""The HTTP server: from a connection to a handler, and from an error to an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http import answers, errors
from wherry.api.http.bodies import finished
from wherry.api.http.connection import HEAD_LIMIT, FirstRequest
from wherry.api.http.hijack import HangupWatch, wants_upgrade
from wherry.api.http.request import ApiRequest
from wherry.api.http.routing import Route, Router
from wherry.api.http.socket_body import HttpConnection, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web import BaseRequest, StreamResponse

log = logging.getLogger(__name__)

READ_BUFFER: Final = 1024 * 1024  #: bytes of a request's body that may wait; archives come through here
LINGER: Final = 2.0  #: seconds to read on behind an error: a client that still sends its archive reads no answer
KEEP_ALIVE: Final = 86400.0  #: seconds that a connection may idle; it costs next to nothing, and no timer runs before


class Http2Server(Protocol):
    """Serves connections that begin with HTTP/2."""

    def open(self, transport: asyncio.Transport, early: bytes, lost: Callable[[Exception | None], None]) -> object:
        """Take a connection, with what came already; tell of its end."""

    async def close(self) -> None:
        """End them all."""


class Api:
    """Answers requests; :meth:`connection` makes the protocol objects that listeners need."""

    def __init__(self, router: Router, watch: HangupWatch, http2: Http2Server | None = None) -> None:
        self._router = router
        self._watch = watch
        self._http2 = http2
        self.observe: Callable[[Route, float], None] | None = None  #: told of each success, and the seconds it took
        self.afterwards: Callable[[], None] | None = None  #: called after each request
        self._server = HttpServer(
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
        return FirstRequest(self._server(), self._http2.open if self._http2 is not None else None)

    async def close(self) -> None:
        """Cancel every open request; operations in the engine continue."""
        self._server.pre_shutdown()
        if self._http2 is not None:
            await self._http2.close()
        await self._server.shutdown(0.2)
        self._watch.close()

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        began = time.monotonic()
        try:
            response = await self._answer(request)
        finally:
            if isinstance(request.protocol, HttpConnection):
                request.protocol.drain_body()
            if self.afterwards is not None:
                self.afterwards()
        if log.isEnabledFor(logging.DEBUG):
            took = f"{(time.monotonic() - began) * 1000:.1f}"
            log.debug("request answered", extra={"request": _name(request), "status": response.status, "ms": took})
        return response

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        try:
            route, version, path = self._router.find(request.method, request.path)
            began = time.monotonic()
            response = await _run(route, ApiRequest(request, version, path))
            if self.observe is not None:
                self.observe(route, time.monotonic() - began)
            return response  # noqa: TRY300 - what observes may fail as a handler may
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            return answers.BrokenOff()  # the client has left, or is to see that its answer breaks off
        except Exception as error:  # the outermost layer: every error becomes an answer here
            if request.writer.output_size:  # an answer has begun: a second one would be taken for its content
                errors.note(error, _name(request))
                return answers.BrokenOff()
            answer = errors.answer(error, _name(request))
            if wants_upgrade(request) or not request.content.is_eof():
                answer.force_close()  # what the client still sends is not HTTP, or is not read for long
            return answer


def _name(request: BaseRequest) -> str:
    return f"{request.method} {request.path}"


async def _run(route: Route, request: ApiRequest) -> StreamResponse:
    """Run a handler; one that does not stream ends what it began, even when its client has left."""
    if route.streaming:
        return await route.handler(request)
    return await finished(route.handler(request))
