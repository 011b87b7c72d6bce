"""``GET /events``: past and future events, one JSON object a line."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Protocol

from wherry.api.http import compat
from wherry.api.http.answers import encode, negotiate, open_stream
from wherry.api.http.routing import Route
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.http.query import Filters
    from wherry.api.http.request import ApiRequest
    from wherry.api.http.versions import Version
    from wherry.docker.events import Event

_JSON_LINES: Final = "application/jsonl"
_NDJSON: Final = "application/x-ndjson"
_SEQUENCE: Final = "application/json-seq"
_FORMS: Final = (_JSON_LINES, _NDJSON, _SEQUENCE)

#: Docker's command removed the containers of ``run --rm`` itself before, and ends with the event, whether the answer to
#: its removal has come or not: then it says ``context canceled``. So the answer goes first.
_REMOVES_ITSELF: Final = (1, 25)
_HEAD_START: Final = 0.05  # seconds


class Events(Protocol):
    """What this file needs of the engine."""

    def subscribe(self, filters: Filters, since: int | None, until: int | None) -> AsyncGenerator[Event, None]:
        """Yield events; those since a time in nanoseconds first, and up to `until` only."""


class EventRoutes:
    """The engine's events."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/events", self.events, streaming=True)]

    async def events(self, request: ApiRequest) -> StreamResponse:
        """SystemEvents. The head goes out at once, and every event as it happens."""
        since, until = request.moment("since"), request.moment("until")
        if since is not None and until is not None and since > until:
            raise InvalidInput(
                f"`since` time ({request.text('since')}) cannot be after `until` time ({request.text('until')})"
            )
        async with aclosing(self._events.subscribe(request.filters(), since, until)) as events:
            form = negotiate(request.http.headers.get("Accept", ""), _FORMS) or _usual_form(request.version)
            response = await open_stream(request.http, form)
            begin = b"\x1e" if form == _SEQUENCE else b""  # RFC 7464
            async for event in events:
                if request.version < _REMOVES_ITSELF and event.action == "destroy":
                    await asyncio.sleep(_HEAD_START)
                if (shown := compat.event(event, request.version)) is not None:
                    await response.write(begin + encode(shown))
        return response


def _usual_form(version: Version) -> str:
    """What a client gets that names none of the forms; up to 1.51 it was called JSON, which it is not."""
    if version < (1, 52):
        return "application/json"
    return _NDJSON if version < (1, 53) else _JSON_LINES
