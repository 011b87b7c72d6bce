"""Registries: pulling, pushing, searching, and who we are there."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

from wherry.api import errors
from wherry.api.answers import encode, open_stream, reply
from wherry.api.routing import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.call import Call, Json
    from wherry.api.query import Filters

log = logging.getLogger(__name__)


class Distribution(Protocol):
    """What this file needs of the engine; ``auth`` is the header ``X-Registry-Auth`` as it came."""

    def pull(self, name: str, platform: str, auth: str) -> AsyncGenerator[Json, None]:
        """Pull an image and yield what happens."""

    def push(self, name: str, tag: str, platform: str, auth: str) -> AsyncGenerator[Json, None]:
        """Push an image and yield what happens."""

    async def login(self, body: object) -> Json:
        """Try credentials."""

    async def describe(self, name: str, auth: str) -> Json:
        """Return what a registry has under a name."""

    async def manifest(self, name: str, platform: str, auth: str, *, referrers: bool) -> Json:
        """Return manifests and configuration of an image that is not here."""

    async def search(self, term: str, limit: int, filters: Filters, auth: str) -> Sequence[Json]:
        """Return what matches."""


class DistributionRoutes:
    """The operations that ask a registry."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/auth", self.login),
            Route("GET", "/images/search", self.search),
            Route("POST", "/images/{name:path}/push", self.push, streaming=True),
            Route("GET", "/distribution/{name:path}/json", self.describe),
            Route("GET", "/distribution/{name:path}/manifest", self.manifest),
        ]

    async def login(self, call: Call) -> StreamResponse:
        """SystemAuth."""
        return reply(await self._distribution.login(await call.json(dict[str, Any])))

    async def search(self, call: Call) -> StreamResponse:
        """ImageSearch."""
        limit = call.integer("limit")
        return reply(await self._distribution.search(call.text("term"), limit, call.filters(), _auth(call)))

    async def describe(self, call: Call) -> StreamResponse:
        """DistributionInspect."""
        return reply(await self._distribution.describe(call.path["name"], _auth(call)))

    async def manifest(self, call: Call) -> StreamResponse:
        """What a registry has under a name: manifests, configuration, referrers; no operation of Docker's."""
        platform, referrers = call.platform(), call.flag("referrers")
        name = call.path["name"]
        return reply(await self._distribution.manifest(name, platform, _auth(call), referrers=referrers))

    async def push(self, call: Call) -> StreamResponse:
        """ImagePush."""
        name, tag = call.path["name"], call.text("tag")
        return await stream(call, self._distribution.push(name, tag, call.platform(), _auth(call)))


def pull_of(call: Call, distribution: Distribution) -> AsyncGenerator[Json, None]:
    """The part of ImageCreate that pulls: ``fromImage``, ``tag`` (or a digest), ``platform``."""
    tag = call.text("tag")
    suffix = f"@{tag}" if ":" in tag else f":{tag}" if tag else ""
    return distribution.pull(call.text("fromImage") + suffix, call.platform(), _auth(call))


async def stream(call: Call, messages: AsyncGenerator[Json, None]) -> StreamResponse:
    """Send messages as lines of JSON; what fails before the first of them is an answer with a status of its own."""
    async with aclosing(messages):
        first = await anext(messages, None)
        response = await open_stream(call.request, "application/json")
        try:
            if first is not None:
                await response.write(encode(first))
            async for message in messages:
                await response.write(encode(message))
        except ConnectionError:
            raise  # the client has left
        except Exception as error:  # the head is sent; from here an error is a line of the stream
            sentence = errors.sentence_of(error)
            log.warning("a request failed", extra={"request": f"POST {call.request.path}", "error": sentence})
            await response.write(encode({"errorDetail": {"message": sentence}, "error": sentence}))
    return response


def _auth(call: Call) -> str:
    return call.request.headers.get("X-Registry-Auth", "")
