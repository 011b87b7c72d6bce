"""The builds of the past and of now: operations of wherry's own, below ``/wherry/builds``."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry.api.http.answers import reply_from_thread
from wherry.api.http.progress import stream
from wherry.api.http.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest
    from wherry.build.model.service import BuildRecord, BuildService
    from wherry.docker.progress import ProgressMessage

__all__ = ["BuildHistoryRoutes"]

# What these operations need is imported when the first of them is asked for.


class BuildHistoryRoutes:
    """The operations on what was built.

    :param image_id: gives the ID of an image by whatever means it; empty: there is none.
    """

    def __init__(self, builds: BuildService, image_id: Callable[[str], str]) -> None:
        self._builds = builds
        self._image_id = image_id

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("GET", "/wherry/builds", self.list),
            Route("GET", "/wherry/builds/{id:path}/json", self.inspect),
            Route("GET", "/wherry/builds/{id:path}/logs", self.logs, streaming=True),
        ]

    async def list(self, _request: ApiRequest) -> StreamResponse:
        """All builds that are remembered, and those of now, the last one first."""
        from wherry.api.classic.records import document, newest_first  # noqa: PLC0415

        await self._builds.ready()
        return await reply_from_thread([document(one) for one in newest_first(self._builds.records())])

    async def inspect(self, request: ApiRequest) -> StreamResponse:
        """One build."""
        from wherry.api.classic.records import document  # noqa: PLC0415

        return await reply_from_thread(document(await self._found(request)))

    async def logs(self, request: ApiRequest) -> StreamResponse:
        """All that happened in a build, as ``POST /build`` with ``version=3`` tells it; ``follow``: until its end."""
        record = await self._found(request)
        return await stream(request, self._messages(record.ref, follow=request.flag("follow")))

    async def _messages(self, ref: str, *, follow: bool) -> AsyncGenerator[ProgressMessage, None]:
        from wherry.api.classic.events import BuildEvents, message  # noqa: PLC0415
        from wherry.api.classic.records import document, find  # noqa: PLC0415

        translated = BuildEvents()
        async with aclosing(self._builds.log(ref, follow=follow)) as events:  # type: ignore[type-var]
            async for event in events:
                yield translated.take(event)
        yield message("build", **document(find(self._builds.records(), ref, self._image_id)))

    async def _found(self, request: ApiRequest) -> BuildRecord:
        from wherry.api.classic.records import find  # noqa: PLC0415

        await self._builds.ready()
        return find(self._builds.records(), request.id, self._image_id)
