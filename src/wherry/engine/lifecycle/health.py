"""Health checks: a command that is run in a container again and again, and what follows from how it ends.

::

    starting ──success──▶ healthy ◀──success── unhealthy
        └───────── `retries` failures in a row ───────▶┘

A failure within the start period does not count, until the first success. What was seen is part of the container's
state, so that another daemon goes on with it. A container without a check costs nothing: only one that has a check has
a task. The rules and the words are those of moby's ``daemon/health.go``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from wherry.docker import times
from wherry.docker.container_answers import Health, HealthReport, HealthStatus
from wherry.docker.container_requests import ContainerConfig, ExecConfig
from wherry.docker.units import duration_text
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.lifecycle.exec import Execs
from wherry.engine.streams.attach import ExecAttachment
from wherry.errors import Unavailable, WherryError

__all__ = ["Check", "HealthWatch", "check_of", "judge"]

_log: Final = logging.getLogger(__name__)
_SECOND: Final = 1_000_000_000  # in nanoseconds
_SHELL: Final = ("/bin/sh", "-c")
_KEPT_REPORTS: Final = 5
_KEPT_OUTPUT: Final = 4096  # bytes
_FAILED: Final = -1  # the exit code of a check that could not be run, or took too long
_PATIENCE: Final = 10.0  # seconds that a check which took too long gets to die of SIGKILL


class Check(NamedTuple):
    """What to run, and when; durations are seconds.

    :ivar argv: the command.
    :ivar interval: from the end of one check to the beginning of the next.
    :ivar timeout: after which a check is ended, and has failed.
    :ivar start_period: during which failures do not count.
    :ivar start_interval: replaces `interval` during the start period, until the first success.
    :ivar retries: how many failures in a row make a container unhealthy.
    """

    argv: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3

    def pause(self, status: HealthStatus, running: float) -> float:
        """The seconds until the next check, of a container that runs for so many seconds."""
        starts = status is HealthStatus.STARTING and running < self.start_period
        return self.start_interval if starts else self.interval


def check_of(config: ContainerConfig) -> Check | None:
    """The check that a container has, if it has one."""
    asked = config.healthcheck
    kind, *words = (asked.test if asked else None) or ["NONE"]
    if asked is None or not words or kind not in ("CMD", "CMD-SHELL"):
        return None
    argv = tuple(words) if kind == "CMD" else (*(config.shell or _SHELL), words[0])
    default = Check(argv)
    return Check(
        argv,
        interval=_seconds(asked.interval, default.interval),
        timeout=_seconds(asked.timeout, default.timeout),
        start_period=_seconds(asked.start_period, default.start_period),
        start_interval=_seconds(asked.start_interval, default.start_interval),
        retries=asked.retries or default.retries,
    )


def _seconds(nanoseconds: int | None, default: float) -> float:
    return nanoseconds / _SECOND if nanoseconds else default


def judge(health: Health, check: Check, report: HealthReport, running: float) -> bool:
    """Take note of a check; whether the status has changed.

    :param running: the seconds that the container had been running for when the check began.
    """
    before = health.status
    health.log = [*health.log, report][-_KEPT_REPORTS:]
    if report.exit_code == 0:
        health.failing_streak = 0
        health.status = HealthStatus.HEALTHY
    elif before is not HealthStatus.STARTING or running >= check.start_period:
        health.failing_streak += 1
        if health.failing_streak >= check.retries:
            health.status = HealthStatus.UNHEALTHY
    return health.status is not before


class HealthWatch:
    """Watches over containers that have a check, each in a task of its own.

    :param save: writes a container's state down.
    :param publish: publishes an event of a container.
    :ivar checks: how many checks there were.
    :ivar failed_checks: how many of them could not be run, or did not end in time.
    """

    def __init__(
        self, execs: Execs, save: Callable[[Container], None], publish: Callable[[Container, str], None]
    ) -> None:
        self._execs = execs
        self._save = save
        self._publish = publish
        self.checks = self.failed_checks = 0
        self._stops: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: dict[str, asyncio.Task[None]] = {}  # by container: a check that took too long to begin

    def started(self, container: Container) -> None:
        """A container was started: what was known of its health is known no more."""
        check = check_of(container.config)
        if check is None:
            return
        health = container.state.health
        container.state.health = Health(log=health.log if health else [])
        self._watch(container, check)

    def resume(self, container: Container) -> None:
        """A container runs that another daemon has started; nothing happens if it is watched already."""
        check = check_of(container.config)
        if check is None or container.id in self._stops:
            return
        container.state.health = container.state.health or Health()
        self._watch(container, check)

    def ended(self, container: Container) -> None:
        """A container has exited. As in Docker it counts as unhealthy from then on."""
        stop = self._stops.pop(container.id, None)
        if stop is not None:
            stop.set()
        if container.state.health is not None:
            container.state.health.status = HealthStatus.UNHEALTHY

    def close(self) -> None:
        """The engine ends, the containers go on."""
        for task in self._tasks:
            task.cancel()

    # --- one container ----------------------------------------------------------------------------

    def _watch(self, container: Container, check: Check) -> None:
        stop = self._stops[container.id] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._repeat(container, check, stop))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a health check failed error=%r", error, exc_info=error)

    async def _repeat(self, container: Container, check: Check, stop: asyncio.Event) -> None:
        started = times.from_rfc3339(container.state.started_at)
        while (health := container.state.health) is not None:
            pause = check.pause(health.status, (time.time_ns() - started) / _SECOND)
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                if _is_paused(container):
                    continue
            else:
                return
            began = time.time_ns()
            report = await self._probe(container, check, began)
            if stop.is_set():
                return
            if not _is_paused(container):  # else it may not have had the time
                self._judge(container, check, report, (began - started) / _SECOND)

    def _judge(self, container: Container, check: Check, report: HealthReport, running: float) -> None:
        health = container.state.health
        assert health is not None
        changed = judge(health, check, report, running)
        self._save(container)
        if changed:
            self._publish(container, f"health_status: {health.status}")

    async def _probe(self, container: Container, check: Check, began: int) -> HealthReport:
        config = ExecConfig(cmd=list(check.argv), attach_stdout=True, attach_stderr=True)
        try:
            if container.id in self._late:  # one that hangs is enough
                raise Unavailable("the check before has not begun yet")
            code, output = await self._run(container, self._execs.create(container.id, config), check.timeout)
        except WherryError as exc:
            code, output = _FAILED, str(exc)
        self.checks += 1
        self.failed_checks += code == _FAILED
        return HealthReport(start=times.rfc3339(began), end=times.now(), exit_code=code, output=output)

    async def _run(self, container: Container, identifier: str, timeout: float) -> tuple[int, str]:
        """Run an exec to its end; returns its exit code and its output.

        To begin may take long as well: a program, a user's entry, a directory can be where the container makes it wait.
        """
        output, began = _Output(), time.monotonic()
        start = asyncio.ensure_future(self._execs.start(identifier, detach=False, tty=False, size=None))
        text = f"Health check exceeded timeout ({duration_text(timeout)})"
        if not (await asyncio.wait([start], timeout=timeout))[0]:
            late = self._late[container.id] = asyncio.ensure_future(self._end_late(identifier, start))
            late.add_done_callback(lambda _: self._late.pop(container.id, None))
            return _FAILED, text
        try:
            attachment = start.result()
            assert attachment is not None
            try:
                await asyncio.wait_for(output.take(attachment), max(0.0, began + timeout - time.monotonic()))
            except TimeoutError:
                await self._execs.end(identifier, _PATIENCE)
                return _FAILED, f"{text}: {output}" if str(output) else text
            finally:
                await attachment.close()
            code = self._execs.inspect(identifier).exit_code
            return _FAILED if code is None else code, str(output)
        finally:
            self._execs.forget(identifier)

    async def _end_late(self, identifier: str, start: asyncio.Future[ExecAttachment | None]) -> None:
        """See that a check which begins too late ends at once."""
        try:
            attachment = await start
        except WherryError:
            attachment = None  # its container has ended, most likely
        if attachment is not None:
            await self._execs.end(identifier, _PATIENCE)
            await attachment.close()
        self._execs.forget(identifier)


def _is_paused(container: Container) -> bool:
    return container.state.status is Status.PAUSED


class _Output:
    """The beginning of what a check prints."""

    def __init__(self) -> None:
        self._data = b""
        self._more = False

    async def take(self, attachment: ExecAttachment) -> None:
        """Read until the check has ended."""
        async for chunk in attachment.output():
            room = _KEPT_OUTPUT - len(self._data)
            self._data += chunk.data[:room]
            self._more |= len(chunk.data) > room

    def __str__(self) -> str:
        return self._data.decode(errors="replace") + ("..." if self._more else "")
