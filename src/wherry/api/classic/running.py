"""A build and its progress as one stream."""

from __future__ import annotations

import asyncio
from collections import deque
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

_WAITING: Final = 64  # events
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
        progress, feed = self._builds.progress(self._request.ref), _Feed(build)
        reader = asyncio.ensure_future(feed.fill(progress))
        try:
            await asyncio.sleep(0)  # it has begun, or has no ID of its own
            if build.done() and isinstance(build.exception(), Conflict):
                build.result()
            while await feed.some():
                yield feed.take()
            if reader.done():
                reader.result()
            self.response = await build
        finally:
            for task in (build, reader):
                task.cancel()
                await finished(task)
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


class _Feed:
    """Events on their way to whoever listens: a task for each of them would cost more than all else that is done.

    :param build: the build that they are of.
    """

    def __init__(self, build: asyncio.Future[Any]) -> None:
        self._build = build
        self._events: deque[Progress] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        build.add_done_callback(lambda _: self._changed.set())

    async def fill(self, events: AsyncIterator[Progress]) -> None:
        """Read all events; waits while some wait."""
        try:
            async for event in events:
                self._events.append(event)
                self._changed.set()
                if len(self._events) >= _WAITING:
                    self._room.clear()
                    await self._room.wait()
        except NotFound:
            if not self._build.done():
                raise
            # it failed before there was anything to tell
        finally:
            self._ended = True
            self._changed.set()

    async def some(self) -> bool:
        """Wait for events; False: there will be none."""
        while not self._events and not self._ended:
            self._changed.clear()
            try:
                async with asyncio.timeout(self._patience()):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return bool(self._events)

    def _patience(self) -> float | None:
        if not self._build.done():
            return None
        return _PATIENCE if not self._build.cancelled() and not self._build.exception() else 1

    def take(self) -> Progress:
        """The next event, of some."""
        event = self._events.popleft()
        self._room.set()
        return event
