"""One more process in the container of a step that runs: an exec, as `wherry exec` is one."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from wherry.engine.build import remains
from wherry.engine.build.interactive import AttendedStreams
from wherry.engine.lifecycle.start import plan_memfd
from wherry.engine.spec.process import DEFAULT_PATH
from wherry.errors import InvalidInput, Unavailable
from wherry.linux.fd import Fd
from wherry.oci.runtime_spec import Process, User
from wherry.runtime.compile.exec import ContainerState, compile_exec

if TYPE_CHECKING:
    from wherry.build.model.container import ContainerProcess
    from wherry.build.model.failure import Attend
    from wherry.engine.build.running import RunningSteps
    from wherry.engine.keeper.connection import KeeperConnection
    from wherry.engine.keeper.reports import ExitReport

__all__ = ["join"]

_MOST_WORDS: Final = 100_000
_END_PATIENCE: Final = 60.0  # seconds that a process gets to end once it is killed


async def join(
    keeper: KeeperConnection,
    running: RunningSteps,
    state: ContainerState,
    process: ContainerProcess,
    attend: Attend,
    *,
    over: asyncio.Future[None],
) -> int:
    """Run a process to its end; returns its exit code. Being cancelled ends it.

    :param state: of the container.
    :param over: done when nobody wants the container any more.
    :raises CommandNotFound: there is no such program in its root.
    :raises WherryError: the machine refused, or the container is gone.
    """
    key = secrets.token_hex(32)
    streams = AttendedStreams(process.console)
    exited = running.expect(key)
    pidfd: Fd | None = None
    attending: asyncio.Task[None] | None = None
    try:
        pidfd = await _launch(keeper, key, state, process, streams)
        attending = asyncio.create_task(streams.attended(attend))
        first: list[asyncio.Future[Any]] = [over, attending, exited]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if attending.done():
            attending.result()  # he left
        elif not exited.done():
            raise Unavailable("the container has ended")
        report = await exited
        streams.has_ended()
        await asyncio.wait([over, attending], return_when=asyncio.FIRST_COMPLETED)
        return report.status
    finally:
        if attending is not None:
            attending.cancel()
            await asyncio.wait([attending])
        await _end(pidfd, exited)
        streams.close()
        running.forget(key)
        if pidfd is not None:
            await keeper.forget(key)


async def _launch(
    keeper: KeeperConnection, key: str, state: ContainerState, process: ContainerProcess, streams: AttendedStreams
) -> Fd:
    plan = compile_exec(_process(process), state=state)
    with plan_memfd(key, plan) as descriptor:
        message = await keeper.request(
            "launch", [descriptor.fileno(), *(fd.fileno() for fd in streams.theirs)],
            key=key, container=state.container_id, kind="exec", terminal=streams.terminal, size=streams.size,
        )  # fmt: skip
    pidfd, *masters = (Fd(fd) for fd in message.fds)
    streams.close_theirs()
    streams.take_process(pidfd, masters)
    return pidfd


def _process(process: ContainerProcess) -> Process:
    if len(process.args) + len(process.env) > _MOST_WORDS:  # as in a step; each costs time on the event loop
        raise InvalidInput(f"a process cannot have more than {_MOST_WORDS} arguments and environment variables")
    defaults = {"PATH": DEFAULT_PATH, **({"TERM": "xterm"} if process.console.terminal else {})}
    named = {entry.partition("=")[0] for entry in process.env}
    return Process(
        cwd=process.cwd or "/",
        args=process.args,
        env=(*(f"{name}={value}" for name, value in defaults.items() if name not in named), *process.env),
        terminal=process.console.terminal,
        user=User(username=process.user or "0"),
    )


async def _end(pidfd: Fd | None, exited: asyncio.Future[ExitReport]) -> None:
    """Kill it, and wait until the keeper has told of it."""
    if pidfd is None:
        return
    if not exited.done():
        remains.kill(pidfd)
        await asyncio.wait([exited], timeout=_END_PATIENCE)
    pidfd.close()
    if exited.done() and not exited.cancelled():
        exited.exception()  # the keeper's end ends all anyway
