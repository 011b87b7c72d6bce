"""One build, from its beginning to its end."""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from wherry.build.builder.gateway import Gateway
from wherry.build.builder.scanner import scan
from wherry.build.builder.sessions import Sessions
from wherry.build.builder.shared_cache import SharedCache
from wherry.build.cache.threads import Threads
from wherry.build.exporters.contract import Exporter, Product
from wherry.build.history.history import History
from wherry.build.history.spool import Spool
from wherry.build.model import host_directories
from wherry.build.model.container import BuildContainer, ContainerRequest
from wherry.build.model.failure import Leftover
from wherry.build.model.graph import Edge, SourceOp
from wherry.build.model.progress import Progress, VertexProgress, WarningProgress, legal_text
from wherry.build.model.redaction import redacted, redacted_options
from wherry.build.model.request import BuildRequest, Export, FrontResult, Ref
from wherry.build.model.service import BuildRecord, FileInfo, ResolvedImage
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.model.source_policy import SourcePolicy
from wherry.build.remote_cache.remote_cache import RemoteCache
from wherry.build.solver.containers import Container, op_of
from wherry.build.solver.context import CANCELLED, BuildContext, Solver
from wherry.build.solver.contract import Files
from wherry.build.solver.entitlements import Permissions, granted
from wherry.build.solver.explain import Explainer
from wherry.build.solver.resolution import Resolution
from wherry.content.threads import finished, in_thread
from wherry.docker.reference import Reference
from wherry.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["Build", "Parts"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)
_FRONTEND: Final = "dockerfile.v0"
_FORWARDED: Final = "gateway.v0"
_IMAGE: Final = "docker-image://"
_MOST_CONTAINERS: Final = 100
"""Containers of one build at a time, beside its steps."""
_EXPORTING: Final = {
    "moby": "exporting to image",
    "image": "exporting to image",
    "registry": "exporting to image",
    "oci": "exporting to oci image format",
    "docker": "exporting to docker image format",
    "local": "exporting to client directory",
    "tar": "exporting to client tarball",
}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What builds need of the builder.

    :param front_threads: for Dockerfiles.
    """

    solver: Solver
    sessions: Sessions
    exporters: Mapping[str, Exporter]
    history: History
    allowed: frozenset[str]
    front_threads: Threads
    remote_cache: RemoteCache | None = None


class Build:
    """A build that is under way; see `RunningBuild`.

    :param spool: takes everything that happens.
    :param ended: called once, when it is over and nothing is left of it.
    """

    def __init__(
        self, parts: Parts, request: BuildRequest, spool: Spool, ended: Callable[[Build], Awaitable[None]]
    ) -> None:
        self.request: Final = request
        self.spool: Final = spool
        self._parts = parts
        self._ended = ended
        self._token = Digest.from_bytes(f"{request.ref} {time.time_ns()}".encode()).hex
        self._shared = SharedCache(parts.remote_cache, request.cache, self._token)
        self._permissions = Permissions(granted(request.entitlements, parts.allowed), request.joins, request.binds)
        self._resolution: Resolution | None = None
        self._session: BuildSession | None = None
        self._opening = asyncio.Lock()
        self._front_work = asyncio.Lock()
        self._explains: Explainer | None = None
        self._texts: dict[str, bytes] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._containers: list[Container] = []
        self._ending: asyncio.Task[None] | None = None
        self._vertices: dict[Digest, VertexProgress] = {}
        self.record = BuildRecord(
            ref=request.ref,
            frontend=request.frontend,
            options=redacted_options(request.options),
            created=time.time_ns(),
            internal=request.internal,
        )
        parts.history.set(self.record)

    @property
    def files(self) -> Files:
        """Reads files."""
        return self._parts.solver.files

    @property
    def ref(self) -> str:
        """The build's ID."""
        return self.request.ref

    # --- calls ------------------------------------------------------------------------------------

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something for the client, unless the build is over; its end ends it.

        :raises Conflict: the build is over.
        :raises Unavailable: it was cancelled meanwhile.
        """
        if self._ending is not None:
            work.close()
            raise Conflict(f"the build {self.ref} is over")
        task = asyncio.get_running_loop().create_task(work, name="wherry-build-call")
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable(CANCELLED) from None
            task.cancel()
            await finished(task)
            raise

    async def _open(self) -> Resolution:
        """What solves its graphs; its client's session is waited for."""
        async with self._opening:
            if self._resolution is None:
                self._session = await self._parts.sessions.get(self.request.session)
                context = BuildContext(
                    token=self._token,
                    session=self._session,
                    show=self.show,
                    room=self.spool.room,
                    limits=self.request.limits,
                    permissions=self._permissions,
                    policy=self.request.policy,
                    source_text=lambda name: self._texts.get(name, b""),
                    imports=self._shared.imports,
                    explain=self._explainer(self._session).explain,
                    on_failure=self.request.on_failure,
                    keeps_failed=self.request.keeps_failed,
                )
                self._resolution = Resolution(self._parts.solver, context)
            return self._resolution

    def _explainer(self, session: BuildSession) -> Explainer:
        """Builds of the same thing are known by where they come from, and by what is made of it."""
        options = self.request.options
        about = [options.get(name, "") for name in ("filename", "target", "platform", "context")]
        names = [export.attributes.get("name", "") for export in self.request.exports]
        solver = self._parts.solver
        self._explains = Explainer(solver.cache.memory, f"{session.shared_key} {about} {names}", solver.files.listing)
        return self._explains

    async def solve(
        self,
        frontend: str,
        options: Mapping[str, str],
        inputs: Mapping[str, Edge] | None = None,
        definition: Edge | None = None,
    ) -> FrontResult:
        """Ask a frontend; see `RunningBuild.solve`."""
        return await self._call(self._solve(frontend, options, inputs or {}, definition))

    async def _solve(
        self, frontend: str, options: Mapping[str, str], inputs: Mapping[str, Edge], definition: Edge | None
    ) -> FrontResult:
        if not frontend:
            return FrontResult(refs={"": Ref(edge=definition)})
        if frontend not in (_FRONTEND, _FORWARDED):
            raise NotFound(f"unsupported frontend: {frontend}")
        self._permissions.check_sources(host_directories.parse(options.get(host_directories.OPTION, "")))
        await self._open()
        assert self._session is not None, "it was opened"
        await self._shared.open(options, self._session, self.show)
        front = importlib.import_module("wherry.build.front.dockerfile")  # the first build pays for it
        result: FrontResult = await front.solve(options, inputs, Gateway(self))
        self._texts |= result.sources
        return result

    async def evaluate(self, edge: Edge) -> None:
        """Run what gives an edge."""
        await self._call(self.snapshot(edge))

    async def snapshot(self, edge: Edge | None) -> Snapshot:
        """What an edge gives; it stays until the end of the build."""
        if edge is None:
            return EMPTY
        [found] = await (await self._open()).solve([edge])
        return found

    async def read_file(self, edge: Edge | None, path: str, offset: int = 0, length: int = -1) -> bytes:
        """A file's content, of a result that is run for it if need be.

        :raises NotFound: there is no such file.
        :raises TooLarge: it is more than fits into a message.
        """

        async def work() -> bytes:
            return await self.files.read(await self.snapshot(edge), path, offset, length)

        return await self._call(work())

    async def stat_file(self, edge: Edge | None, path: str) -> FileInfo:
        """One file.

        :raises NotFound: there is no such file.
        """

        async def work() -> FileInfo:
            return await self.files.stat(await self.snapshot(edge), path)

        return await self._call(work())

    async def read_directory(self, edge: Edge | None, path: str, pattern: str = "") -> list[FileInfo]:
        """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``.

        :raises NotFound: there is no such directory.
        """

        async def work() -> list[FileInfo]:
            return await self.files.list_directory(await self.snapshot(edge), path, pattern)

        return await self._call(work())

    async def resolve_image(self, reference: str, platform: str = "", mode: str = "") -> ResolvedImage:
        """What an image's name means.

        :raises NotFound: there is no such image.
        """
        wanted = Platform.parse(platform) if platform else None
        return await self._call(self.resolve(reference, wanted, mode, ""))

    async def resolve(self, reference: str, platform: Platform | None, mode: str, name: str) -> ResolvedImage:
        """The same for the front, shown under a vertex's name."""
        await self._open()
        assert self._session is not None, "it was opened"
        shown = name or f"resolve image config for {reference}"
        vertex = VertexProgress(
            digest=Digest.from_bytes(f"{shown} {platform}".encode()), name=shown, started=time.time_ns()
        )
        self.show(vertex)
        try:
            if self.request.policy:
                reference = await in_thread(_converted, self.request.policy, reference)
            found = await self._parts.solver.sources.resolve_image(
                reference, platform, mode, self._session, self._shown_under(vertex)
            )
        except BaseException as error:
            self._complete(vertex, str(error) if isinstance(error, Exception) else CANCELLED)
            raise
        self._complete(vertex)
        return found

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the front's work in a thread: one at a time, so that no Dockerfile keeps others waiting for long."""
        async with self._front_work:
            return await self._parts.front_threads.run(work, *arguments)

    def _shown_under(self, vertex: VertexProgress) -> Callable[[Progress], None]:
        def show(event: Progress) -> None:
            if not isinstance(event, VertexProgress):
                event = msgspec.structs.replace(event, vertex=vertex.digest)
            self.show(event)

        return show

    def _complete(self, vertex: VertexProgress, error: str = "") -> None:
        self.show(msgspec.structs.replace(vertex, completed=time.time_ns(), error=error))

    # --- containers -------------------------------------------------------------------------------

    async def container(self, request: ContainerRequest) -> BuildContainer:
        """Make a container; it ends with the build."""
        return await self._call(self._container(request))

    async def _container(self, request: ContainerRequest) -> Container:
        self._containers = [one for one in self._containers if not one.is_released]
        if len(self._containers) >= _MOST_CONTAINERS:
            raise TooLarge(f"a build has {_MOST_CONTAINERS} containers at most")
        self._permissions.check(op_of(request))  # before anything is run for it
        resolution = await self._open()
        edges = [one for one in request.inputs if isinstance(one, Edge)]
        found = iter(await resolution.solve(edges, is_final=True))
        snapshots = [_snapshot_of(one, found) for one in request.inputs]
        session = self._session
        assert session is not None, "it was opened"
        made = await self._parts.solver.operations.containers.make(
            request, snapshots, lambda: session, self._permissions, self.request.limits
        )
        self._containers.append(made)
        return made

    def warn(self, warning: WarningProgress) -> None:
        """Show a warning."""
        self.show(warning)

    # --- progress ---------------------------------------------------------------------------------

    def show(self, event: Progress) -> None:
        """Something happens."""
        if isinstance(event, VertexProgress):
            if "@" in event.name:  # a client gives its steps names itself
                event = msgspec.structs.replace(event, name=redacted(event.name))
            self._vertices[event.digest] = event
        elif isinstance(event, WarningProgress):
            self.record = msgspec.structs.replace(self.record, warnings=self.record.warnings + 1)
        self.spool.append(event)

    # --- the end ----------------------------------------------------------------------------------

    async def finish(self, result: FrontResult) -> dict[str, str]:
        """Run the rest, export, and end the build; returns the exporters' answer, in BuildKit's names.

        :raises VertexFailed: a step failed.
        """
        try:
            response = await self._call(self._finish(result))
        except Conflict:
            raise
        except BaseException as error:
            await self.end(str(error) if isinstance(error, Exception) else CANCELLED)
            raise
        await self.end("", response)
        return response

    async def _finish(self, result: FrontResult) -> dict[str, str]:
        self._texts |= result.sources
        resolution = await self._open()
        assert self._session is not None, "it was opened"
        await self._shared.open(self.request.options, self._session, self.show)
        keys = [key for key, ref in result.refs.items() if ref.edge is not None]
        edges = [edge for key in keys if (edge := result.refs[key].edge) is not None]
        snapshots = dict(zip(keys, await resolution.solve(edges, is_final=True), strict=True))
        response: dict[str, str] = {}
        for export in self.request.exports:
            response |= await self._export(result, snapshots, export, resolution)
        response |= await self._shared.export(resolution, list(snapshots.values()), self._session, self.show)
        return response

    async def _export(
        self, result: FrontResult, snapshots: Mapping[str, Snapshot], export: Export, resolution: Resolution
    ) -> dict[str, str]:
        exporter = self._parts.exporters.get(export.type)
        if exporter is None:
            raise InvalidInput(f'exporter "{export.type}" could not be found')
        assert self._session is not None, "it was opened"
        name = _EXPORTING.get(export.type, f"exporting to {export.type}")
        digest = Digest.from_bytes(f"{self._token} {name} {export.number}".encode())
        vertex = VertexProgress(digest=digest, name=name, started=time.time_ns())
        product = Product(
            request=self.request,
            result=result,
            snapshots={key: snapshots.get(key, EMPTY) for key in result.refs},
            session=self._session,
            progress=self.show,
            vertex=digest,
            started=self.record.created,
            pins=resolution.pins(),
            scan=partial(self._scan, result, resolution),
            extras=partial(self._extras, result, resolution),
            inline_cache=self._shared.inline(resolution),
        )
        self.show(vertex)
        try:
            answer = await exporter.export(product, export)
        except BaseException as error:
            self._complete(vertex, str(error) if isinstance(error, Exception) else CANCELLED)
            raise
        self._complete(vertex)
        return answer

    async def _scan(
        self, result: FrontResult, resolution: Resolution, generator: str, parameters: Mapping[str, str], key: str
    ) -> list[bytes]:
        async def solve(edge: Edge) -> Snapshot:
            [found] = await resolution.solve([edge])
            return found

        return await scan(self, solve, generator, parameters, result.refs[key])

    async def _extras(self, result: FrontResult, resolution: Resolution, key: str) -> dict[str, Snapshot]:
        extras = result.refs[key].extras
        return dict(zip(extras, await resolution.solve(list(extras.values())), strict=True))

    async def fail(self, error: Exception) -> None:
        """End the build without a result."""
        await self.end(str(error))

    async def end(self, error: str, response: Mapping[str, str] | None = None) -> None:
        """End the build; returns when nothing of it is left. Safe to call twice, and while being cancelled."""
        if self._ending is None:
            work = self._end(error, dict(response or {}))
            self._ending = asyncio.get_running_loop().create_task(work, name="wherry-build-end")
        await finished(self._ending)
        self._ending.result()

    async def store(self) -> None:
        """Remember it, once it is over."""
        if self._explains is not None:
            await self._parts.solver.threads.finish(self._explains.store)
        await self._parts.history.end(self.ref, self.spool)

    async def _end(self, error: str, response: dict[str, str]) -> None:
        for task in (calls := list(self._calls)):
            task.cancel()
        for task in calls:
            await finished(task)
        await asyncio.gather(*(one.release() for one in self._containers))
        try:
            if self._resolution is not None:
                await self._resolution.close()
        except Exception as failure:  # the build is over all the same, and nobody may wait for it
            _log.error("a build did not end in order", extra={"ref": self.ref}, exc_info=failure)
            error = error or f"internal error: {type(failure).__name__}: {failure}"
        steps = self._vertices.values()
        self.record = msgspec.structs.replace(
            self.record,
            completed=time.time_ns(),
            error=legal_text(error),
            exporter_response=response,
            steps=len(steps),
            cached=sum(one.cached for one in steps),
            completed_steps=sum(one.completed is not None for one in steps),
        )
        self._vertices.clear()
        self._texts.clear()
        self._parts.history.set(self.record)
        self.spool.close()
        await self._ended(self)


def _converted(policy: SourcePolicy, reference: str) -> str:
    """The image that a policy has instead of one.

    :raises Forbidden: none.
    """
    named = reference if "://" in reference else f"{_IMAGE}{Reference.parse(reference).with_default_tag()}"
    found = policy.applied(SourceOp(named)).identifier
    if "://" not in reference and not found.startswith(_IMAGE):
        raise InvalidInput(f"a source policy converts the image {reference} to {found[:200]!r}, which is none")
    return found.removeprefix(_IMAGE)


def _snapshot_of(given: Edge | Leftover | None, solved: Iterator[Snapshot]) -> Snapshot:
    """What an input of a container shows."""
    if isinstance(given, Leftover):
        return given.snapshot
    return next(solved) if given is not None else EMPTY
