"""``GET /events``: what happened, and what is happening, one JSON object a line."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from wherry.api.answers import encode, open_stream
from wherry.api.routing import Route
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.query import Filters


class Events(Protocol):
    """What this file needs of the engine."""

    def subscribe(self, filters: Filters, since: int | None, until: int | None) -> AsyncGenerator[Json, None]:
        """Yield events; those since a time in nanoseconds first, and up to `until` only."""


class EventRoutes:
    """The engine's events."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [Route("GET", "/events", self.events, streaming=True)]

    async def events(self, call: Call) -> StreamResponse:
        """SystemEvents. The head goes out at once, and every event as it happens."""
        since, until = call.moment("since"), call.moment("until")
        if since is not None and until is not None and since > until:
            raise InvalidInput(
                f"`since` time ({call.text('since')}) cannot be after `until` time ({call.text('until')})"
            )
        async with aclosing(self._events.subscribe(call.filters(), since, until)) as events:
            response = await open_stream(call.request, "application/json")
            async for event in events:
                await response.write(encode(event))
        return response
