"""The builder: all builds, their sessions, their history, and the cache that they share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.build.builder.running_build import Build, Parts
from wherry.build.builder.sessions import Sessions
from wherry.build.cache.cache import BuildCache
from wherry.build.cache.policy import BuilderSettings
from wherry.build.cache.threads import Threads
from wherry.build.exporters.contract import Exporter
from wherry.build.history.history import History
from wherry.build.history.spool import Spool
from wherry.build.model.executor import Executor
from wherry.build.model.progress import Progress
from wherry.build.model.request import BuildRequest
from wherry.build.model.service import BuildRecord, CacheRecord, PruneOptions
from wherry.build.model.session import BuildSession
from wherry.build.remote_cache.remote_cache import RemoteCache
from wherry.build.solver.context import CANCELLED, Solver
from wherry.build.solver.contract import Files, Snapshots
from wherry.build.solver.jobs import Jobs
from wherry.build.solver.operations import Operations
from wherry.build.solver.steps import StepMaker
from wherry.build.sources.contract import Sources
from wherry.content.durable import disk_errors, remove_tree
from wherry.content.threads import finished
from wherry.database.database import Database
from wherry.errors import Conflict, NotFound, TooLarge, Unavailable, WherryError

__all__ = ["Builder"]

_log: Final = logging.getLogger(__name__)
_BUILDS: Final = 500
"""Builds at a time; each waits for its turn at what is scarce."""
_PATIENCE: Final = 6.0
"""Seconds for which progress of a build that is to come is waited for."""
_FRONT_THREADS: Final = 4
"""Dockerfiles that are worked on at a time."""


class Builder:
    """Builds; see `BuildService`. To be used from the event loop's thread.

    `start` comes first, `close` last.

    :param root: the builder's directory below the data root.
    :param private: a directory in memory, below the exec root: for secrets and sockets; it is emptied.
    :param database: not a durable connection.
    :param cache: made by who makes this, as sources need it as well.
    :param exporters: by type: ``moby``, ``oci``.
    :param patience: seconds for which progress of a build that is to come is waited for.
    :param remote_cache: imports and exports the cache; None: nothing does.
    """

    def __init__(
        self,
        root: Path,
        private: Path,
        database: Database,
        *,
        cache: BuildCache,
        snapshots: Snapshots,
        files: Files,
        sources: Sources,
        executor: Executor,
        exporters: Mapping[str, Exporter],
        threads: Threads,
        settings: BuilderSettings | None = None,
        sessions: Sessions | None = None,
        patience: float = _PATIENCE,
        remote_cache: RemoteCache | None = None,
    ) -> None:
        self._patience = patience
        self._settings = settings or BuilderSettings()
        self._cache = cache
        self._threads = threads
        self._private = private
        self._jobs_directory = root / "jobs"
        self._history = History(root / "history", database, threads, self._settings.history)
        self._sessions = sessions or Sessions()
        steps = StepMaker(snapshots, files, cache.directories, threads, private)
        operations = Operations(executor, steps, files, threads, parallel=self._settings.parallel)
        jobs = Jobs(cache, threads, self._jobs_directory)
        self._parts = Parts(
            solver=Solver(cache=cache, jobs=jobs, operations=operations, sources=sources, files=files, threads=threads),
            sessions=self._sessions,
            exporters=exporters,
            history=self._history,
            remote_cache=remote_cache,
            allowed=self._settings.entitlements,
            front_threads=Threads(_FRONT_THREADS),
        )
        self._builds: dict[str, Build] = {}
        self._expected: dict[str, list[asyncio.Future[None]]] = {}
        self._storing: dict[str, tuple[Build, asyncio.Task[None]]] = {}
        self._collecting: asyncio.Task[None] | None = None
        self._wants_collection = False
        self._is_closed = False

    async def start(self) -> None:
        """Make rows and disk agree, after the snapshots' store has; remove what a crash has left."""
        await self._threads.run(self._load)

    def _load(self) -> None:
        with disk_errors("make the builder's directories"):
            for directory in (self._jobs_directory, self._private):
                if directory.exists():
                    remove_tree(directory)
                directory.mkdir(parents=True, mode=0o700)
        self._cache.load()
        self._history.load()

    async def close(self) -> None:
        """End all builds, and write what waits."""
        self._is_closed = True
        await asyncio.gather(*(build.end(CANCELLED) for build in list(self._builds.values())))
        if self._collecting is not None:
            self._collecting.cancel()
            await finished(self._collecting)
        while storing := [task for _, task in self._storing.values() if not task.done()]:
            await asyncio.wait(storing)
        self._parts.front_threads.close()
        await self._parts.solver.jobs.close()
        await self._cache.close()

    # --- sessions ---------------------------------------------------------------------------------

    def attach(self, session: BuildSession) -> None:
        """A client's session is there from now on; builds may wait for it."""
        self._sessions.attach(session)

    async def detach(self, identifier: str) -> None:
        """A session has ended: its builds are cancelled; returns when nothing of them is left."""
        self._sessions.detach(identifier)
        mine = [build for build in self._builds.values() if build.request.session == identifier]
        if mine:
            await asyncio.gather(*(build.end(CANCELLED) for build in mine))

    # --- builds -----------------------------------------------------------------------------------

    def begin(self, request: BuildRequest) -> Build:
        """Begin a build.

        :raises Conflict: there is one with that ID, or a record of one that is to be kept.
        :raises Forbidden: it asks for an entitlement that the daemon does not allow.
        """
        if self._is_closed:
            raise Unavailable("the builder is being shut down")
        if request.ref in self._builds or request.ref in self._storing:
            raise Conflict(f"a build with the ID {request.ref} is under way")
        if self._history.is_pinned(request.ref):
            raise Conflict(f"a build with the ID {request.ref} is remembered, and pinned")
        if len(self._builds) >= _BUILDS:
            raise TooLarge("there are too many builds")
        spool = Spool(self._history.path(request.ref), self._threads)
        build = self._builds[request.ref] = Build(self._parts, request, spool, self._end)
        for future in self._expected.pop(request.ref, []):
            if not future.done():
                future.set_result(None)
        return build

    async def build(self, request: BuildRequest) -> dict[str, str]:
        """A whole build: begin, solve, finish. Being cancelled ends it."""
        build = self.begin(request)
        try:
            result = await build.solve(request.frontend, request.options, request.inputs, request.definition)
            if request.on_solved is not None:
                request.on_solved(result)
            return await build.finish(result)
        except BaseException as error:
            await build.end(str(error) if isinstance(error, Exception) else CANCELLED)
            raise

    def running(self, ref: str) -> Build:
        """A build that is under way.

        :raises NotFound: there is none.
        """
        build = self._builds.get(ref)
        if build is None:
            raise NotFound(f"no such job {ref}")
        return build

    async def cancel(self, ref: str) -> None:
        """End a build. Does nothing where there is none."""
        build = self._builds.get(ref)
        if build is not None:
            await build.end(CANCELLED)

    async def _end(self, build: Build) -> None:
        """A build is over, and nothing is left of it: it is remembered, and the cache may be too large."""
        del self._builds[build.ref]
        task = asyncio.get_running_loop().create_task(self._store(build), name="wherry-build-history")
        self._storing[build.ref] = build, task
        task.add_done_callback(lambda _: self._storing.pop(build.ref))

    async def _store(self, build: Build) -> None:
        try:
            await build.store()
        except Exception as error:
            _log.error("a build cannot be remembered", extra={"ref": build.ref}, exc_info=error)
        self._wants_collection = True
        if not self._is_closed and (self._collecting is None or self._collecting.done()):
            self._collecting = asyncio.get_running_loop().create_task(self._collect(), name="wherry-build-gc")

    async def collected(self) -> None:
        """Wait until the builds that are over are remembered, and the cache is within its limits."""
        while storing := [task for _, task in self._storing.values() if not task.done()]:
            await asyncio.wait(storing)
        if self._collecting is not None:
            await asyncio.wait([self._collecting])

    async def _collect(self) -> None:
        """Builds that end one soon after the other share a collection, but each is followed by one."""
        while self._wants_collection:
            await asyncio.sleep(self._settings.collect_after)
            self._wants_collection = False
            try:
                await self._cache.collect(self._settings.limits)
            except WherryError as error:
                _log.warning("the build cache cannot be kept within its limits: %s", error)
            except Exception as error:  # nobody awaits this: it would be told when the task is collected, if ever
                _log.error("the build cache cannot be kept within its limits", exc_info=error)

    # --- progress and history ---------------------------------------------------------------------

    async def progress(self, ref: str) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning, and on until it ends; waits a while for one that is to come.

        :raises NotFound: there is no such build.
        """
        spool = await self._spool(ref)
        async for event in spool.read():
            yield event

    async def log(self, ref: str, *, follow: bool = False) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning to what there is now; no build waits for who reads this.

        :param follow: go on until the build ends.
        :raises NotFound: there is no such build.
        """
        spool = await self._spool(ref)
        async for event in spool.read(follow=follow):
            yield event

    async def _spool(self, ref: str) -> Spool:
        build = self._known(ref)
        if build is None and not self._is_remembered(ref):
            await self._expect(ref)
            build = self._known(ref)
        if build is not None:
            return build.spool
        if not self._is_remembered(ref):
            raise NotFound(f"no such job {ref}")
        return await Spool.stored(self._history.path(ref), self._threads)

    def _known(self, ref: str) -> Build | None:
        """A build of now, or one that is being stored."""
        if ref in self._storing:
            return self._storing[ref][0]
        return self._builds.get(ref)

    def _is_remembered(self, ref: str) -> bool:
        with suppress(NotFound):
            return self._history.get(ref).completed is not None
        return False

    async def _expect(self, ref: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._expected.setdefault(ref, [])
        waiting.append(future)
        try:
            await asyncio.wait([future], timeout=self._patience)
        finally:
            waiting.remove(future)
            if not waiting and self._expected.get(ref) is waiting:
                del self._expected[ref]

    def records(self) -> Sequence[BuildRecord]:
        """The builds of the past that are remembered, and those of now, the oldest first."""
        return self._history.records()

    def watch_records(self) -> AsyncIterator[BuildRecord]:
        """Each change of a record, from now on."""
        return self._history.watch()

    async def update_record(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        """Keep a record, or forget it.

        :raises NotFound: there is no such record.
        """
        if ref in self._storing:
            await asyncio.wait([self._storing[ref][1]])
        await self._history.update(ref, pinned=pinned, delete=delete)

    # --- the cache --------------------------------------------------------------------------------

    async def disk_usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        """The entries of the cache."""
        return await self._cache.usage(filters)

    async def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        """Remove entries that are not in use, the least recently used first; yields each one that went."""
        async for entry in self._cache.prune(options):
            yield entry
