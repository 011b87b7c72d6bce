"""Supervises the keeper: connects to it, handles its events, replaces it when it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from wherry import __version__
from wherry.engine.keeper.reports import ExitReport, KeptProcess
from wherry.engine.lifecycle.start import Starter
from wherry.errors import WherryError
from wherry.keeper.protocol import PROTOCOL, Message
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from wherry.engine.build.running import RunningSteps
    from wherry.engine.container.container import Container
    from wherry.engine.container.store import ContainerStore
    from wherry.engine.keeper.connection import KeeperConnection
    from wherry.engine.lifecycle.exec import Execs
    from wherry.engine.lifecycle.lifecycle import Lifecycle
    from wherry.engine.lifecycle.tasks import BackgroundTasks
    from wherry.engine.lifecycle.watches import Watches
    from wherry.engine.recovery.reconcile import Reconciler

__all__ = ["KeeperSupervisor"]

_log: Final = logging.getLogger(__name__)
_RETRIES: Final = 20


class KeeperSupervisor:
    """The keeper of an engine, from the first greeting to the engine's end.

    :param deposit_firewall: gives a new keeper the firewall's socket to hold.
    """

    def __init__(
        self,
        *,
        keeper: KeeperConnection,
        containers: ContainerStore,
        starter: Starter,
        lifecycle: Lifecycle,
        execs: Execs,
        steps: RunningSteps,
        watches: Watches,
        reconciler: Reconciler,
        tasks: BackgroundTasks,
        deposit_firewall: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._keeper = keeper
        self._containers = containers
        self._starter = starter
        self._lifecycle = lifecycle
        self._execs = execs
        self._steps = steps
        self._watches = watches
        self._reconciler = reconciler
        self._tasks = tasks
        self._deposit_firewall = deposit_firewall
        self._closing = False
        self._early_exits: list[ExitReport] | None = []  # reported before the processes are adopted

    async def greet(self, ready: Callable[[], None]) -> list[KeptProcess]:
        """Connect to the keeper, started or upgraded if need be; returns the processes that it knows.

        :param ready: waits for a keeper that somebody is starting already.
        """
        await asyncio.to_thread(ready)
        hello = await self._connect()
        if hello.fields["version"] != __version__ or self._keeper.protocol != PROTOCOL:
            _log.info("upgrading the keeper version=%s", hello.fields["version"])
            await self._keeper.upgrade()
        return _processes(hello)

    async def reconcile(self, processes: Sequence[KeptProcess], connection: int | None = None) -> None:
        """Adopt what the keeper runs, then handle the exits that it has reported since. Starts are possible afterwards.

        :param processes: those in its answer to ``hello``.
        :param connection: the number of the connection on which it did; the present one if not given.
        """
        connection = connection or self._keeper.connections
        ended = frozenset(report.key for report in self._early_exits or [])
        for each in processes:
            if each.kind == "exec" and each.exited is not None:
                await self._execs.exited(each.key, each.exited.status)
        self._execs.end_unknown({each.key for each in processes})
        await self._reconciler.reconcile(processes, ended)
        for container in self._containers:
            if container.state.is_alive:
                self._watches.resumed(container)
        early, self._early_exits = self._early_exits or [], None
        for report in early:
            self._process_exited(report)
        if self._keeper.connections == connection:  # else this one is gone as well
            self._keeper.reconciled.set()

    def close(self) -> None:
        """The engine ends: a keeper that ends now need not be replaced."""
        self._closing = True

    # --- events of the keeper -----------------------------------------------------------------------

    async def _connect(self) -> Message:
        return await self._keeper.connect(self._keeper_said, self._keeper_lost)

    def _keeper_said(self, message: Message) -> None:
        event, key = message.fields["event"], message.fields.get("key", "")
        container = self._containers.find(key)
        if event == "grew" and container is not None:
            container.log.has_grown()
        elif event == "exited" and self._early_exits is not None:
            self._early_exits.append(ExitReport.read(message.fields))
        elif event == "exited":
            self._process_exited(ExitReport.read(message.fields))
        elif event == "process":
            self._found_running(container, message)

    def _process_exited(self, report: ExitReport) -> None:
        container = self._containers.find(report.key)
        if container is not None:
            self._lifecycle.exited(container, report)
        elif self._steps.expects(report.key) or report.kind == "step":
            self._steps.exited(report)
        elif report.kind == "exec" and report.forgotten:
            self._execs.ended(report.key, report.status)
        elif report.kind == "exec":
            self._tasks.start(self._execs.exited(report.key, report.status), "exec exit")
        else:
            self._tasks.start(self._keeper.forget(report.key), "forget")

    @staticmethod
    def _found_running(container: Container | None, message: Message) -> None:
        """After ``hello``: the descriptors of a process that was running before this daemon was."""
        if container is None:
            for fd in message.fds:
                Fd(fd).close()
        else:
            Starter.take_descriptors(container, message)

    # --- another keeper ---------------------------------------------------------------------------

    def _keeper_lost(self) -> None:
        self._steps.keeper_lost()
        if self._closing:
            self._keeper.reconciled.set()  # waiting starts fail: there is no keeper
        else:
            _log.error("the keeper has ended; starting another one")
            self._tasks.start(self._replace(), "replace the keeper")

    async def _replace(self) -> None:
        """Start another keeper and hand it what this process holds of each container."""
        self._early_exits = []
        for attempt in range(_RETRIES):
            try:
                hello = await self._connect()
                break
            except (WherryError, OSError) as exc:
                _log.warning("cannot start a keeper attempt=%d error=%s", attempt + 1, exc)
                await asyncio.sleep(min(0.05 * 2**attempt, 5))
        else:
            _log.critical("no keeper can be started; containers run on without one")
            self._keeper.reconciled.set()
            return
        connection = self._keeper.connections
        for container in self._containers:
            if container.pidfd is not None and container.state.is_alive:
                await self._hand_over(container, container.pidfd)
        self._tasks.start(self._deposit_firewall(), "deposit the firewall")
        await self.reconcile(_processes(hello), connection)

    async def _hand_over(self, container: Container, pidfd: Fd) -> None:
        fds = [pidfd.fileno()]
        if container.terminal is not None:
            fds.append(container.terminal.fileno())
        try:
            await self._keeper.request(
                "adopt", fds, key=container.id, container=container.id, kind="container",
                terminal=container.has_terminal, stdin=bool(container.config.open_stdin),
                log=self._starter.log_fields(container), **self._starter.hold_field(container),
            )  # fmt: skip
        except WherryError as exc:
            _log.warning("the new keeper did not take a container container=%s error=%s", container.id, exc)


def _processes(hello: Message) -> list[KeptProcess]:
    return [KeptProcess.read(fields) for fields in hello.fields["processes"]]
