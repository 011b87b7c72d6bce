"""Containers of a client that drives its build: a step that is prepared, whose commands come later."""

from __future__ import annotations

import asyncio
import posixpath
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from msgspec.structs import replace

from wherry.build.cache.mounts import CacheMount, mount_key
from wherry.build.model.container import ContainerProcess, ContainerRequest, FileInfo
from wherry.build.model.executor import Executor, Limits
from wherry.build.model.failure import Attend, Leftover
from wherry.build.model.graph import NO_INPUT, BuildMount, Cache, ExecOp
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.entitlements import Permissions
from wherry.build.solver.steps import PreparedStep, StepMaker, StepRequest
from wherry.content.threads import finished
from wherry.errors import Conflict, TooLarge, Unavailable

__all__ = ["Container", "Containers", "op_of"]

_MOST_PROCESSES: Final = 100
"""Processes of one container that a client may attend to at a time."""


def op_of(request: ContainerRequest) -> ExecOp:
    """A container as the operation of a step that has no command yet."""
    return ExecOp(
        args=(),
        mounts=request.mounts,
        network=request.network,
        hostname=request.hostname,
        extra_hosts=request.extra_hosts,
    )


class Containers:
    """Makes them."""

    def __init__(self, executor: Executor, steps: StepMaker) -> None:
        self._executor = executor
        self._steps = steps

    async def make(
        self,
        request: ContainerRequest,
        inputs: Sequence[Snapshot],
        session: Callable[[], BuildSession],
        permissions: Permissions,
        limits: Limits,
    ) -> Container:
        """Prepare all that a container mounts; nothing runs yet.

        :param inputs: the snapshots of its inputs, which stay until it is released.
        :param permissions: of its build.
        :raises NotFound: the client has no such secret or agent.
        :raises OutOfSpace: the disk is full.
        """
        op = op_of(request)
        permissions.check(op)
        caches = {
            number: CacheMount(mount.kind.id, key := _key_of(mount, mount.kind, request), key)
            for number, mount in enumerate(op.mounts)
            if isinstance(mount.kind, Cache)
        }
        asked = StepRequest(
            op=op, platform=request.platform, inputs=inputs, caches=caches, session=session, limits=limits
        )
        return Container(self._executor, await self._steps.prepare(asked), permissions)


def _key_of(mount: BuildMount, kind: Cache, request: ContainerRequest) -> str:
    """By what the directory of a cache mount is known; that of a failed step, by what it was to the step."""
    given = request.inputs[mount.input] if mount.input != NO_INPUT else None
    if isinstance(given, Leftover) and given.cache:
        return given.cache
    return mount_key(kind, request.platform, "")


class Container:
    """A container; see `wherry.build.model.container.BuildContainer`."""

    def __init__(self, executor: Executor, prepared: PreparedStep, permissions: Permissions) -> None:
        self._executor = executor
        self._files = prepared.maker.files
        self._prepared = prepared
        self._permissions = permissions
        self._id = secrets.token_hex(32)
        self._has_begun = False
        self._processes: set[asyncio.Task[int]] = set()
        self._ending: asyncio.Task[None] | None = None

    async def run(self, process: ContainerProcess, attend: Attend) -> int:
        """Run a process to its end; the first one is the container's."""
        if len(self._processes) >= _MOST_PROCESSES:
            raise TooLarge(f"a container of a build has {_MOST_PROCESSES} processes at most")
        if self.is_released:
            raise Conflict("the container was released")
        self._permissions.check(replace(self._prepared.request.op, security=process.security))
        is_first, self._has_begun = not self._has_begun, True
        work = self._run_first(process, attend) if is_first else self._run_further(process, attend)
        return await self._until_released(work)

    async def _until_released(self, work: Coroutine[Any, Any, int]) -> int:
        task = asyncio.get_running_loop().create_task(work, name="wherry-build-container")
        self._processes.add(task)
        task.add_done_callback(self._processes.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable("the container was released") from None
            task.cancel()
            await finished(task)
            raise

    async def _run_first(self, process: ContainerProcess, attend: Attend) -> int:
        prepared = self._prepared.step
        assert prepared is not None, "it was prepared"
        op = replace(
            prepared.op, args=process.args, cwd=process.cwd or "/", user=process.user, security=process.security
        )
        step = replace(prepared, id=self._id, op=op, env=await self._environment(process))
        return (await self._executor.interact(step, process.console, attend)).exit_code

    async def _run_further(self, process: ContainerProcess, attend: Attend) -> int:
        env = await self._environment(process)
        return await self._executor.join(self._id, replace(process, env=env, secret_env=()), attend)

    async def _environment(self, process: ContainerProcess) -> tuple[str, ...]:
        return (*process.env, *await self._prepared.files.environment(process.secret_env))

    # --- its files --------------------------------------------------------------------------------

    async def read_file(self, mount: int, path: str, offset: int = 0, length: int = -1) -> bytes:
        """A file's content, in one of its mounts."""
        return await self._files.read(self._view(mount), self._within(mount, path), offset, length)

    async def stat_file(self, mount: int, path: str) -> FileInfo:
        """One file."""
        return await self._files.stat(self._view(mount), self._within(mount, path))

    async def read_directory(self, mount: int, path: str, pattern: str = "") -> list[FileInfo]:
        """The entries of a directory."""
        return await self._files.list_directory(self._view(mount), self._within(mount, path), pattern)

    def _view(self, mount: int) -> Snapshot:
        if self.is_released:
            raise Conflict("the container was released")
        return self._prepared.view(mount)

    def _within(self, mount: int, path: str) -> str:
        """Where a path is below what is mounted; it does not lead above that."""
        below = posixpath.normpath(f"/{path}").lstrip("/")  # two slashes stay, of any number
        return posixpath.join("/", self._prepared.request.op.mounts[mount].selector, below)

    # --- its end ----------------------------------------------------------------------------------

    @property
    def is_released(self) -> bool:
        """Whether it is over, or ends."""
        return self._ending is not None

    async def release(self) -> None:
        """End it, and all that runs in it."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name="wherry-build-container-end")
        await finished(self._ending)

    async def _end(self) -> None:
        for task in (running := list(self._processes)):
            task.cancel()
        for task in running:
            await finished(task)
        await self._prepared.close()
