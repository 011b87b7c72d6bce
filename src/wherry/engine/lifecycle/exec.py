"""Execs: one more process in a running container."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET

from wherry.docker.container_answers import ExecInspect, ExecProcess
from wherry.docker.container_requests import ExecConfig, HostConfig
from wherry.engine.container.container import Container
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.names import new_id
from wherry.engine.container.state import Status
from wherry.engine.container.store import ContainerStore
from wherry.engine.create.validate import check_exec
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.lifecycle.exit_facts import failure_code
from wherry.engine.lifecycle.start import Starter, encoded_memfd
from wherry.engine.settings import Settings
from wherry.engine.spec.exec_plans import ExecPlans
from wherry.engine.spec.process import environment
from wherry.engine.spec.security import capability_sets
from wherry.engine.streams.attach import ExecAttachment
from wherry.errors import Conflict, NotFound, SystemCallError, WherryError
from wherry.linux import pty
from wherry.linux.fd import Fd
from wherry.linux.process import pidfd_send_signal
from wherry.oci.runtime_spec import Process, User

__all__ = ["Execs"]

_KEPT: Final = 256  # finished execs whose exit code can still be asked for, per container
_REMEMBERED: Final = 60.0  # seconds, of those that ended with their container
_LOST: Final = 255  # the exit code of an exec that ended while nobody could see it
_RESIZE_PATIENCE: Final = 10.0  # seconds until a terminal is there whose size somebody knows already; as dockerd


@dataclass(eq=False)
class _Exec:
    """A process that was asked for: before its start, while it runs, and for a while after."""

    id: str
    container: Container
    config: ExecConfig
    argv: list[str]
    running: bool = False
    started: bool = False
    pid: int = 0
    exit_code: int | None = None
    pidfd: Fd | None = None
    terminal: Fd | None = None
    launched: asyncio.Event = field(default_factory=asyncio.Event)  # or not to be launched any more
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Execs:
    """All execs of this engine. They live in memory: an exec ends with the daemon that its client talks to."""

    def __init__(
        self,
        settings: Settings,
        containers: ContainerStore,
        keeper: KeeperConnection,
        starter: Starter,
        events: ContainerEvents,
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._keeper = keeper
        self._starter = starter
        self._events = events
        self._plans = ExecPlans()
        self._execs: dict[str, _Exec] = {}
        self._finished: dict[str, list[str]] = {}  # of each container that runs: those whose exit code can be asked for

    def create(self, container_ref: str, config: ExecConfig) -> str:
        """Prepare a process; returns its ID.

        :raises NotFound: there is no such container.
        :raises Conflict: it does not run.
        :raises InvalidInput: the configuration is wrong.
        """
        container = self._containers.get(container_ref)
        container.state.check_running(container.id)
        if container.state.status is Status.PAUSED:
            raise Conflict(f"container {container_ref} is paused, unpause the container before exec")
        argv = check_exec(config)
        entry = _Exec(new_id(), container, config, argv)
        self._forget_old(container)
        self._execs[entry.id] = entry
        container.exec_ids.append(entry.id)
        self._events.publish(container, f"exec_create: {' '.join(argv)}", execID=entry.id)
        return entry.id

    def _forget_old(self, container: Container) -> None:
        """Bound what is remembered, of those that ended and of those that nobody ever started."""
        for listed in (self._finished.get(container.id, []), container.exec_ids):
            while len(listed) >= _KEPT:
                oldest = next((i for i in listed if not self._execs[i].running), None)
                if oldest is None:
                    break
                self.forget(oldest)

    def _get(self, identifier: str) -> _Exec:
        entry = self._execs.get(identifier)
        if entry is None:
            raise NotFound(f"No such exec instance: {identifier}")
        return entry

    # --- start ------------------------------------------------------------------------------------

    async def start(
        self, identifier: str, *, detach: bool, tty: bool, size: tuple[int, int] | None
    ) -> ExecAttachment | None:
        """Start it; returns its streams, unless it is to run on its own.

        :param tty: what the client says; the exec's own configuration counts, as in Docker.
        :param size: rows and columns of its terminal.
        :raises NotFound: there is no such exec.
        :raises Conflict: it was started before, or its container does not run.
        :raises CommandNotFound: there is no such program.
        :raises CommandNotExecutable: it cannot be executed.
        """
        entry = self._get(identifier)
        if entry.started:
            raise Conflict(
                f"exec {identifier} has already run" if not entry.running else f"exec {identifier} is already running"
            )
        container = entry.container
        container.state.check_running(container.id)
        entry.started = True
        self._events.publish(container, f"exec_start: {' '.join(entry.argv)}", execID=entry.id)
        pipes = _Pipes(entry.config, detach=detach)
        try:
            await self._launch(entry, pipes, size)
        except WherryError as exc:
            pipes.close()
            self._failed(entry, exc)
            raise
        return self._attachment(entry, pipes, detach=detach)

    async def _launch(self, entry: _Exec, pipes: _Pipes, size: tuple[int, int] | None) -> None:
        await self._keeper.reconciled.wait()
        plan = self._plan(entry)
        tty = bool(entry.config.tty)
        entry.running = True  # an exit may be reported before this coroutine goes on
        with encoded_memfd(entry.id, plan) as descriptor:
            streams = [] if tty else pipes.theirs
            message = await self._keeper.request(
                "launch",
                [descriptor.fileno(), *streams],
                key=entry.id,
                container=entry.container.id,
                kind="exec",
                terminal=tty,
                size=list(size or entry.config.console_size or ()) or None,
            )
        pipes.close_theirs()
        entry.pid = message.fields["pid"]
        owned = [Fd(fd) for fd in message.fds]
        entry.pidfd, entry.terminal = owned[0], owned[1] if len(owned) > 1 else None
        entry.launched.set()

    def _plan(self, entry: _Exec) -> bytes:
        container, config = entry.container, entry.config
        values = dict(e.partition("=")[::2] for e in environment(container))
        values.update(e.partition("=")[::2] for e in config.env or [])
        if config.tty:
            values.setdefault("TERM", "xterm")
        process = Process(
            cwd=config.working_dir or container.config.working_dir or "/",
            args=tuple(entry.argv),
            env=tuple(f"{name}={value}" for name, value in values.items()),
            terminal=bool(config.tty),
            user=User(username=config.user or container.config.user or "0"),
            capabilities=capability_sets(HostConfig(privileged=True)) if config.privileged else None,
        )
        other = self._starter.other_runtime(container)
        if other is not None:
            return self._starter.exec_plan(container, process, entry.id, other).encode()
        return self._plans.encoded(process, container, self._starter.spec_of(container))

    def _failed(self, entry: _Exec, error: WherryError) -> None:
        self._record_end(entry, failure_code(error, 126))

    def _attachment(self, entry: _Exec, pipes: _Pipes, *, detach: bool) -> ExecAttachment | None:
        keys = entry.config.detach_keys or ""
        if entry.terminal is not None:
            fds = (os.dup(entry.terminal.fileno()), os.dup(entry.terminal.fileno()))
            attachment = ExecAttachment({fds[0]: 1}, fds[1], entry.ended, tty=True, detach_keys=keys)
        elif detach:
            return None
        else:
            attachment = ExecAttachment(pipes.outputs, pipes.stdin, entry.ended, tty=False, detach_keys=keys)
        if not detach:
            return attachment
        drain = asyncio.ensure_future(_discard(attachment))  # a terminal that nobody reads would block its process
        entry.ended.add_done_callback(lambda _: drain.done())
        return None

    # --- exit -------------------------------------------------------------------------------------

    async def exited(self, key: str, status: int) -> None:
        """The keeper reports the exit of an exec, and remembers it."""
        self.ended(key, status)
        await self._keeper.forget(key)

    def ended(self, key: str, status: int) -> None:
        """An exec has exited."""
        entry = self._execs.get(key)
        if entry is not None and entry.exit_code is None:
            self._ended(entry, status)

    def end_unknown(self, known: Collection[str]) -> None:
        """There is another keeper: what that does not know has ended, and nobody saw how.

        :param known: the keys of the processes that it knows.
        """
        for entry in list(self._execs.values()):
            if entry.running and entry.pid and entry.id not in known:
                self._ended(entry, _LOST)

    def _ended(self, entry: _Exec, status: int) -> None:
        self._record_end(entry, status)
        self._events.publish(entry.container, "exec_die", execID=entry.id, exitCode=str(status))

    def _record_end(self, entry: _Exec, status: int) -> None:
        container = entry.container
        if entry.id in container.exec_ids:
            container.exec_ids.remove(entry.id)
        if container.state.is_alive:
            self._finished.setdefault(container.id, []).append(entry.id)
        else:  # it ended with its container: whoever started it has yet to ask how
            asyncio.get_running_loop().call_later(_REMEMBERED, self.forget, entry.id)
        entry.running, entry.exit_code = False, status
        entry.launched.set()
        if not entry.ended.done():
            entry.ended.set_result(status)
        for descriptor in (entry.pidfd, entry.terminal):
            if descriptor is not None:
                descriptor.close()
        entry.pidfd = entry.terminal = None

    def container_exited(self, container: Container) -> None:
        """All its execs ended with it; those that the keeper has not reported yet will be."""
        for identifier in [*self._finished.get(container.id, ()), *container.exec_ids]:
            self.forget(identifier)
        self._finished.pop(container.id, None)

    async def end(self, identifier: str, patience: float) -> None:
        """Kill it and wait until it has exited, so many seconds at most."""
        entry = self._get(identifier)
        if entry.pidfd is not None:
            with suppress(SystemCallError):  # it has just exited
                pidfd_send_signal(entry.pidfd.fileno(), signal.SIGKILL)
        await asyncio.wait([entry.ended], timeout=patience)

    def forget(self, identifier: str) -> None:
        """Remember nothing of it, unless it runs."""
        entry = self._execs.get(identifier)
        if entry is not None and not entry.running:
            del self._execs[identifier]
            for listed in (entry.container.exec_ids, self._finished.get(entry.container.id, [])):
                if identifier in listed:
                    listed.remove(identifier)

    # --- the rest ---------------------------------------------------------------------------------

    async def resize(self, identifier: str, height: int, width: int) -> None:
        """Tell its terminal the size, in characters; of one that is being started, as soon as it is there.

        Clients have their streams before the process runs, and send the size at once (docker-py, aiodocker).

        :raises NotFound: there is no such exec.
        :raises Conflict: it does not run, or has no terminal.
        """
        entry = self._get(identifier)
        with suppress(TimeoutError):
            await asyncio.wait_for(entry.launched.wait(), _RESIZE_PATIENCE)
        if not entry.running or entry.terminal is None:
            raise Conflict(f"exec {identifier} has no terminal, or is not running")
        pty.set_winsize(entry.terminal.fileno(), height, width)

    def inspect(self, identifier: str) -> ExecInspect:
        """Everything about it.

        :raises NotFound: there is no such exec.
        """
        entry = self._get(identifier)
        config = entry.config
        return ExecInspect(
            id=entry.id,
            running=entry.running,
            exit_code=entry.exit_code,
            process_config=ExecProcess(
                tty=bool(config.tty),
                entrypoint=entry.argv[0],
                arguments=entry.argv[1:],
                privileged=bool(config.privileged),
                user=config.user or UNSET,
            ),
            open_stdin=bool(config.attach_stdin),
            open_stderr=bool(config.attach_stderr),
            open_stdout=bool(config.attach_stdout),
            can_remove=not entry.running,
            container_id=entry.container.id,
            detach_keys=config.detach_keys or "",
            pid=entry.pid,
        )


class _Pipes:
    """The pipes of an exec without a terminal, or ``/dev/null`` for what is not attached."""

    def __init__(self, config: ExecConfig, *, detach: bool) -> None:
        self.outputs: dict[int, int] = {}
        self.stdin = -1
        self.theirs: list[int] = []
        if config.tty:
            return
        self._add_input(attached=bool(config.attach_stdin) and not detach)
        self._add_output(1, attached=bool(config.attach_stdout) and not detach)
        self._add_output(2, attached=bool(config.attach_stderr) and not detach)

    def _add_input(self, *, attached: bool) -> None:
        if attached:
            reading, self.stdin = os.pipe2(os.O_CLOEXEC)
            self.theirs.append(reading)
        else:
            self.theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def _add_output(self, stream: int, *, attached: bool) -> None:
        if attached:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            self.outputs[reading] = stream
            self.theirs.append(writing)
        else:
            self.theirs.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))

    def close_theirs(self) -> None:
        """The process has its own; ours would keep the pipes open."""
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        """Close everything."""
        self.close_theirs()
        for fd in [*self.outputs, *([self.stdin] if self.stdin >= 0 else [])]:
            os.close(fd)


async def _discard(attachment: ExecAttachment) -> None:
    async for _ in attachment.output():
        pass
    await attachment.close()
