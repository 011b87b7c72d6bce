"""Carrying out one vertex whose inputs are there: snapshots in, snapshots out."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wherry.build.cache.mounts import CacheMount
from wherry.build.cache.remote import ImportedCache
from wherry.build.cache.threads import Threads
from wherry.build.model.executor import Executor, Limits, Output, StepResult
from wherry.build.model.failure import OnFailure
from wherry.build.model.graph import NO_OUTPUT, Copy, DiffOp, ExecOp, FileAction, FileOp, MergeOp, Vertex
from wherry.build.model.progress import STDERR, Cost, LogProgress
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import EMPTY, Snapshot
from wherry.build.solver.containers import Containers
from wherry.build.solver.contract import Files
from wherry.build.solver.failed_run import FailedRun
from wherry.build.solver.jobs import Job
from wherry.build.solver.leftovers import Leftovers
from wherry.build.solver.steps import PreparedStep, StepMaker, StepRequest
from wherry.errors import CommandNotExecutable, CommandNotFound, InvalidInput, WherryError

__all__ = ["ExitError", "Operations", "Task", "outputs_of"]

_log: Final = logging.getLogger(__name__)


class ExitError(WherryError):
    """A step's command ended with an error.

    :param exit_code: of the command.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code: Final = exit_code


@dataclass(frozen=True, kw_only=True)
class Task:
    """A vertex to be carried out.

    :param inputs: what its edges give.
    :param caches: its cache mounts, by the numbers of its mounts.
    :param imports: has the first content of cache mounts; None: nobody has.
    :param start: called when it begins, after it has waited for its turn.
    :param note_cost: called with what a step has cost.
    :param on_failure: called when its command ended with an error, while all of it is still there.
    """

    vertex: Vertex
    inputs: Sequence[Snapshot]
    caches: Mapping[int, CacheMount] = field(default_factory=dict)
    imports: ImportedCache | None = None
    limits: Limits = field(default_factory=Limits)
    start: Callable[[], object] = lambda: None
    note_cost: Callable[[Cost], object] = lambda cost: None
    on_failure: OnFailure | None = None


class Operations:
    """Carries out vertices, a bounded number at a time.

    :param parallel: how many steps run at a time; 0: as many as suit the machine.
    """

    def __init__(
        self, executor: Executor, steps: StepMaker, files: Files, threads: Threads, *, parallel: int = 0
    ) -> None:
        processors = os.cpu_count() or 1
        self.containers: Final = Containers(executor, steps)
        self._executor = executor
        self._steps = steps
        self._files = files
        self._threads = threads
        self._running = asyncio.Semaphore(parallel or max(8, 2 * processors))
        self._copying = asyncio.Semaphore(max(2, processors))

    async def run(self, task: Task, job: Job) -> dict[int, Snapshot]:
        """Carry out a vertex; returns its outputs, by their numbers.

        :raises ExitError: its command ended with an error.
        :raises WherryError: it could not be carried out.
        """
        op = task.vertex.op
        if isinstance(op, ExecOp):
            return await self._exec(op, task, job)
        async with self._copying:
            task.start()
            if isinstance(op, FileOp):
                outputs = await self._files.execute(op, task.inputs, task.vertex.platform)
                return dict(zip(outputs_of(task.vertex), outputs, strict=True))
            if isinstance(op, DiffOp):
                return {0: await self._files.diff(_input(task, op.lower), _input(task, op.upper))}
        raise InvalidInput(f"there is no such operation: {type(op).__name__}")

    async def merge(self, op: MergeOp, inputs: Sequence[Snapshot]) -> Snapshot:
        """Lay snapshots upon each other."""
        return await self._files.merge([inputs[number] if number >= 0 else EMPTY for number in op.inputs])

    async def copy_of(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot with the same files, in layers of its own: of a client's directory."""
        copy = FileAction(Copy("/", "/", contents_only=True), secondary=0, output=0)
        async with self._copying:
            [found] = await self._files.execute(FileOp((copy,)), [snapshot], None)
        return found

    async def _exec(self, op: ExecOp, task: Task, job: Job) -> dict[int, Snapshot]:
        digest = task.vertex.digest

        async def output(stream: int, data: bytes) -> None:
            await job.output(LogProgress(vertex=digest, stream=stream, data=data, at=time.time_ns()))

        def waits(text: str) -> None:
            job.show(LogProgress(vertex=digest, stream=STDERR, data=f"{text}\n".encode(), at=time.time_ns()))

        def session() -> BuildSession:
            return job.session

        request = StepRequest(
            op=op,
            platform=task.vertex.platform,
            inputs=task.inputs,
            caches=task.caches,
            imports=task.imports,
            session=session,
            limits=task.limits,
            waits=waits,
        )
        # its cache mounts first: who waits for one of another step must not keep that step from running
        prepared = await self._steps.prepare(request)
        try:
            try:
                async with self._running:
                    task.start()
                    await self._run(prepared, op, task, output)
            except ExitError as error:
                if task.on_failure is not None:  # the next step may have its turn meanwhile
                    await task.on_failure(FailedRun(prepared, self._executor, digest, str(error), job.show))
                if job.keeps_failed:
                    job.leftovers = await _left(prepared)
                raise
            return await prepared.commit()
        finally:
            await prepared.close()

    async def _run(self, prepared: PreparedStep, op: ExecOp, task: Task, output: Output) -> None:
        try:
            result = await prepared.run(self._executor, output)
        except (CommandNotFound, CommandNotExecutable) as error:
            code = 127 if isinstance(error, CommandNotFound) else 126
            raise ExitError(f"{_process(op)} did not complete successfully: {error}", code) from error
        task.note_cost(result.cost)
        _check(op, result)


async def _left(prepared: PreparedStep) -> Leftovers | None:
    """What a failed step has left; nothing where that cannot be kept: why it failed is more important."""
    try:
        return await prepared.leave()
    except WherryError as error:
        _log.warning("what a failed step has left cannot be kept", extra={"error": str(error)})
        return None


def outputs_of(vertex: Vertex) -> list[int]:
    """The numbers of all outputs that a vertex has."""
    op = vertex.op
    if isinstance(op, ExecOp):
        return sorted({mount.output for mount in op.mounts if mount.output != NO_OUTPUT})
    if isinstance(op, FileOp):
        return sorted({action.output for action in op.actions if action.output != NO_OUTPUT})
    return [0]


def _input(task: Task, number: int) -> Snapshot:
    return task.inputs[number] if number >= 0 else EMPTY


def _check(op: ExecOp, result: StepResult) -> None:
    """Texts as in BuildKit, which clients show.

    :raises ExitError: the command ended with an error.
    """
    if result.exit_code in (op.valid_exit_codes or (0,)):
        return
    why = f"exit code: {result.exit_code}"
    if result.out_of_memory:
        why += ": cannot allocate memory"
    raise ExitError(f"{_process(op)} did not complete successfully: {why}", result.exit_code)


def _process(op: ExecOp) -> str:
    text = " ".join(op.args).replace("\\", "\\\\").replace('"', '\\"')
    for character, name in (("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r")):
        text = text.replace(character, name)
    return f'process "{text}"'
