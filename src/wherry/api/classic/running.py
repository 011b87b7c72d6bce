"""A build and its progress as one stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from wherry.content.threads import finished
from wherry.docker.progress import ProgressMessage
from wherry.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from wherry.build.model.progress import Progress
    from wherry.build.model.request import BuildRequest, FrontResult
    from wherry.build.model.service import BuildService
    from wherry.oci.digest import Digest

__all__ = ["Running"]

_PATIENCE: Final = 10.0  # seconds in which the progress of a build that has ended ends, too


class Running:
    """One build, which ends when nobody listens any more.

    :ivar tokens: of shells in steps that have failed, by the steps' vertices.
    :ivar response: the exporters' answer, once it is over.
    :ivar messages: for the client, from others than the builder.
    :ivar answer: the frontend's answer to a subrequest: ``result.txt``.
    :ivar solved: what the frontend gave; None: nothing yet.
    """

    def __init__(
        self,
        builds: BuildService,
        request: BuildRequest,
        messages: asyncio.Queue[ProgressMessage] | None = None,
        tokens: Mapping[Digest, str] | None = None,
    ) -> None:
        self.tokens = {} if tokens is None else tokens
        self.response: dict[str, str] = {}
        self.answer: dict[str, str] = {}
        self.solved: FrontResult | None = None
        self.messages = messages or asyncio.Queue()
        self._builds = builds
        self._request = request

    @property
    def ref(self) -> str:
        """The build's ID."""
        return self._request.ref

    async def events(self) -> AsyncGenerator[Progress, None]:
        """Build, and yield what happens; raises the build's error at the end. To be closed.

        :raises Conflict: another build has that ID; what happens in that one is not to be seen here.
        """
        build = asyncio.ensure_future(self._build())
        progress = self._builds.progress(self._request.ref)
        try:
            await asyncio.sleep(0)  # it has begun, or has no ID of its own
            if build.done() and isinstance(build.exception(), Conflict):
                build.result()
            while (event := await _next(progress, build)) is not None:
                yield event
            self.response = await build
        finally:
            build.cancel()
            await finished(build)
            with suppress(AttributeError):
                await progress.aclose()  # type: ignore[attr-defined]

    def _take(self, result: FrontResult) -> None:
        self.solved = result

    async def _build(self) -> dict[str, str]:
        request = self._request
        if not request.options.get("requestid"):
            return await self._builds.build(replace(request, on_solved=self._take))
        build = self._builds.begin(request)
        try:
            result = await build.solve(request.frontend, request.options)
            self.answer = {name: value.decode(errors="replace") for name, value in result.metadata.items()}
            return await build.finish(result)
        except BaseException:
            await finished(asyncio.ensure_future(self._builds.cancel(request.ref)))
            raise


async def _next(progress: AsyncIterator[Progress], build: asyncio.Future[Any]) -> Progress | None:
    """The next event; None: there will be none."""
    event = asyncio.ensure_future(anext(progress, None))
    try:
        await asyncio.wait({event, build}, return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            await asyncio.wait({event}, timeout=_PATIENCE if not build.cancelled() and not build.exception() else 1)
        return event.result() if event.done() else None
    except NotFound:
        if not build.done():
            raise
        return None  # it failed before there was anything to tell
    finally:
        event.cancel()
        await finished(event)
