"""A builder that builds nothing: what it is asked is recorded, and what it answers is set by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from support.step_streams import EchoingStreams
from wherry.build.model.container import ContainerProcess, ContainerRequest
from wherry.build.model.failure import Attend
from wherry.build.model.graph import Edge
from wherry.build.model.progress import Progress, WarningProgress
from wherry.build.model.request import BuildRequest, FrontResult
from wherry.build.model.service import BuildRecord, CacheRecord, FileInfo, PruneOptions, ResolvedImage
from wherry.build.model.session import BuildSession
from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.oci.digest import Digest

__all__ = ["FakeBuild", "FakeBuilds", "FakeContainer"]


class FakeContainer:
    """A container whose processes say in capitals what they are told.

    :ivar processes: that were run.
    :ivar streams: of each.
    :ivar files: of its root.
    :ivar ends: how the next ones end: an exit code, or an error before anything runs.
    """

    def __init__(self, request: ContainerRequest) -> None:
        self.request = request
        self.processes: list[ContainerProcess] = []
        self.streams: list[EchoingStreams] = []
        self.ends: list[int | Exception] = []
        self.running = 0
        self.is_released = False
        self.files: dict[str, bytes] = {}

    async def read_file(self, mount: int, path: str, offset: int = 0, length: int = -1) -> bytes:
        data = (await self._files_of(mount))[path][offset:]
        return data if length < 0 else data[:length]

    async def stat_file(self, mount: int, path: str) -> FileInfo:
        return FileInfo(path=path, mode=0o100644, size=len((await self._files_of(mount))[path]))

    async def read_directory(self, mount: int, path: str, pattern: str = "") -> list[FileInfo]:
        return [FileInfo(path=name, mode=0o100644, size=len(data)) for name, data in self.files.items()]

    async def _files_of(self, mount: int) -> dict[str, bytes]:
        if mount:
            raise InvalidInput(f"no such mount: {mount}")
        return self.files

    async def run(self, process: ContainerProcess, attend: Attend) -> int:
        self.processes.append(process)
        end = self.ends.pop(0) if self.ends else 0
        if isinstance(end, Exception):
            raise end
        self.streams.append(streams := EchoingStreams())
        self.running += 1
        try:
            await attend(streams)
        finally:
            self.running -= 1
        return end

    async def release(self) -> None:
        self.is_released = True


class FakeBuild:
    """One build.

    :param result: what its frontend gives.
    """

    def __init__(self, request: BuildRequest, builds: FakeBuilds) -> None:
        self.request = request
        self.asked: list[tuple[object, ...]] = []
        self.finished: FrontResult | None = None
        self.failed: Exception | None = None
        self._builds = builds

    @property
    def ref(self) -> str:
        return self.request.ref

    async def solve(
        self,
        frontend: str,
        options: Mapping[str, str],
        inputs: Mapping[str, Edge] | None = None,
        definition: Edge | None = None,
    ) -> FrontResult:
        self.asked.append(("solve", frontend, dict(options), dict(inputs or {}), definition))
        if isinstance(self._builds.result, Exception):
            raise self._builds.result
        return self._builds.result

    async def evaluate(self, edge: Edge) -> None:
        self.asked.append(("evaluate", edge))

    async def read_file(self, edge: Edge | None, path: str, offset: int = 0, length: int = -1) -> bytes:
        data = self._file(path)[offset:]
        return data if length < 0 else data[:length]

    async def stat_file(self, edge: Edge | None, path: str) -> FileInfo:
        return FileInfo(path=path, mode=0o100644, size=len(self._file(path)))

    async def read_directory(self, edge: Edge | None, path: str, pattern: str = "") -> list[FileInfo]:
        return [FileInfo(path=name, mode=0o100600, size=len(data)) for name, data in self._builds.files.items()]

    async def resolve_image(self, reference: str, platform: str = "", mode: str = "") -> ResolvedImage:
        self.asked.append(("resolve", reference, platform, mode))
        return ResolvedImage(Digest.from_bytes(reference.encode()), f"docker.io/library/{reference}", b"{}")

    async def container(self, request: ContainerRequest) -> FakeContainer:
        if isinstance(self._builds.container_failure, Exception):
            raise self._builds.container_failure
        made = FakeContainer(request)
        self._builds.containers.append(made)
        return made

    def warn(self, warning: WarningProgress) -> None:
        self.asked.append(("warn", warning))

    async def finish(self, result: FrontResult) -> dict[str, str]:
        self.finished = result
        if self._builds.failure is not None:
            raise self._builds.failure
        return self._builds.response

    async def fail(self, error: Exception) -> None:
        self.failed = error
        self._builds.ended.set()

    def _file(self, path: str) -> bytes:
        if path not in self._builds.files:
            raise NotFound(f"open {path}: no such file or directory")
        return self._builds.files[path]


class FakeBuilds:
    """`wherry.build.model.service.BuildService`."""

    def __init__(self) -> None:
        self.sessions: dict[str, BuildSession] = {}
        self.session_there = asyncio.Event()
        self.detached: list[str] = []
        self.builds: dict[str, FakeBuild] = {}
        self.whole: list[BuildRequest] = []
        self.begun = asyncio.Event()
        self.building = asyncio.Event()
        self.ended = asyncio.Event()
        self.result: FrontResult | Exception = FrontResult(refs={})
        self.response: dict[str, str] = {}
        self.failure: Exception | None = None
        self.files: dict[str, bytes] = {}
        self.containers: list[FakeContainer] = []
        self.container_failure: Exception | None = None
        self.events: list[Progress] = []
        self.going_on: asyncio.Event | None = None  #: progress ends when it is set
        self.history: list[BuildRecord] = []
        self.changes: asyncio.Queue[BuildRecord] = asyncio.Queue()
        self.updated: list[tuple[str, bool | None, bool]] = []
        self.cache: list[CacheRecord] = []
        self.pruned: list[PruneOptions] = []

    async def ready(self) -> None:
        """It is."""

    def attach(self, session: BuildSession) -> None:
        self.sessions[session.id] = session
        self.session_there.set()

    async def detach(self, identifier: str) -> None:
        del self.sessions[identifier]
        self.detached.append(identifier)

    def begin(self, request: BuildRequest) -> FakeBuild:
        if request.ref in self.builds:
            raise Conflict(f"job {request.ref} already exists")
        self.builds[request.ref] = build = FakeBuild(request, self)
        self.begun.set()
        return build

    async def build(self, request: BuildRequest) -> dict[str, str]:
        self.whole.append(request)
        try:
            self.building.set()
            if self.going_on is not None:
                await self.going_on.wait()
        except asyncio.CancelledError:
            self.ended.set()
            raise
        if self.failure is not None:
            raise self.failure
        return self.response

    def running(self, ref: str) -> FakeBuild:
        if ref not in self.builds:
            raise NotFound(f"no such build: {ref}")
        return self.builds[ref]

    async def cancel(self, ref: str) -> None:
        pass

    async def progress(self, ref: str) -> AsyncIterator[Progress]:
        for event in self.events:
            yield event
        if self.going_on is not None:
            await self.going_on.wait()

    def records(self) -> Sequence[BuildRecord]:
        return self.history

    async def watch_records(self) -> AsyncIterator[BuildRecord]:
        while True:
            yield await self.changes.get()

    async def update_record(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        self.updated.append((ref, pinned, delete))

    async def disk_usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        return self.cache

    async def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        self.pruned.append(options)
        for record in self.cache:
            yield record
