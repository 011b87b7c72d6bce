"""A builder that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.build.model.errors import DockerfileError
from wherry.build.model.progress import Progress
from wherry.build.model.request import BuildRequest, FrontResult, PlannedStep
from wherry.build.model.service import BuildRecord, CacheRecord, PruneOptions, RunningBuild
from wherry.build.model.session import BuildSession, Selection
from wherry.errors import NotFound

__all__ = ["FakeBuilds"]


class FakeBuilds:
    """A `BuildService`.

    :ivar steps: what whoever asks is told of the Dockerfile.
    :ivar events: what a build says before it ends; an event to be waited for may be among it.
    :ivar outcome: what it ends with.
    :ivar name_as_asked: whether a DockerfileError names the file that was asked for.
    :ivar answer: the frontend's, to whoever begins a build by steps.
    :ivar secrets: those that a build asks for, and what it got in `secrets_found`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sessions: dict[str, BuildSession] = {}
        self.requests: list[BuildRequest] = []
        self.pruned: list[PruneOptions] = []
        self.steps: tuple[PlannedStep, ...] = ()
        self.events: list[Progress | asyncio.Event] = []
        self.outcome: dict[str, str] | Exception = {"containerimage.config.digest": f"sha256:{'a' * 64}"}
        self.cancelled: list[str] = []
        self.contexts: list[dict[str, bytes]] = []
        self.started = asyncio.Event()
        self.name_as_asked = False
        self.answer: dict[str, bytes] = {}
        self.secrets: list[str] = []
        self.secrets_found: dict[str, bytes] = {}
        self.history: list[BuildRecord] = []
        self.followed: list[bool] = []
        self._queues: dict[str, asyncio.Queue[Progress | None]] = {}

    async def ready(self) -> None:
        """It is."""

    def attach(self, session: BuildSession) -> None:
        self.sessions[session.id] = session

    async def detach(self, identifier: str) -> None:
        del self.sessions[identifier]

    def begin(self, request: BuildRequest) -> Any:
        self.requests.append(request)
        return _Answering(self, request)

    async def build(self, request: BuildRequest) -> dict[str, str]:
        self.requests.append(request)
        queue = self._queue(request.ref)
        try:
            await self._take_context(request)
            self.started.set()
            if request.on_solved is not None:
                request.on_solved(FrontResult(refs={}, steps=self.steps))
            for event in self.events:
                await event.wait() if isinstance(event, asyncio.Event) else queue.put_nowait(event)
        except asyncio.CancelledError:
            self.cancelled.append(request.ref)
            raise
        finally:
            queue.put_nowait(None)
        if isinstance(self.outcome, DockerfileError) and self.name_as_asked:
            self.outcome.file = request.options["filename"]
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def _take_context(self, request: BuildRequest) -> None:
        session = self.sessions.get(request.session)
        if session is None:
            return
        for name in self.secrets:
            with suppress(NotFound):
                self.secrets_found[name] = await session.secret(name)
        used = await session.directory("context", Selection(), lambda _: None)
        if used is not None:
            self.contexts.append(await asyncio.to_thread(_files, used.places[0]))
            used.release()
            return
        target = self.root / f"context-{len(self.requests)}"
        os.mkdir(target)
        try:
            await session.sync("context", target, Selection(), lambda _: None)
        except NotFound:
            return
        self.contexts.append(await asyncio.to_thread(_files, target))

    def _queue(self, ref: str) -> asyncio.Queue[Progress | None]:
        return self._queues.setdefault(ref, asyncio.Queue())

    def running(self, ref: str) -> RunningBuild:
        raise NotFound(ref)

    async def cancel(self, ref: str) -> None:
        self.cancelled.append(ref)

    async def progress(self, ref: str) -> AsyncIterator[Progress]:
        queue = self._queue(ref)
        while (event := await queue.get()) is not None:
            yield event

    async def log(self, ref: str, *, follow: bool = False) -> AsyncIterator[Progress]:
        self.followed.append(follow)
        for event in self.events:
            if isinstance(event, asyncio.Event):
                if not follow:
                    return
                await event.wait()
            else:
                yield event

    def records(self) -> Sequence[BuildRecord]:
        return self.history

    async def watch_records(self) -> AsyncIterator[BuildRecord]:
        for record in self.records():
            yield record

    async def update_record(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        raise NotFound(ref)

    async def disk_usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        return []

    async def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        self.pruned.append(options)
        for record in (CacheRecord(id="one", size=1), CacheRecord(id="two", size=2)):
            yield record


class _Answering:
    """A build that only asks the frontend."""

    def __init__(self, builds: FakeBuilds, request: BuildRequest) -> None:
        self._builds, self._request = builds, request

    async def solve(self, frontend: str, options: Mapping[str, str]) -> FrontResult:
        return FrontResult(refs={}, metadata=self._builds.answer)

    async def finish(self, result: FrontResult) -> dict[str, str]:
        self._builds._queue(self._request.ref).put_nowait(None)
        return {}


def _files(root: Path) -> dict[str, Any]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
