"""The composition root: builds every part of an engine and passes it what it needs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from wherry import __version__
from wherry.engine import files
from wherry.engine.accounts import Accounts
from wherry.engine.commit import Committer
from wherry.engine.container import Container
from wherry.engine.containers import Containers
from wherry.engine.creation import Creator
from wherry.engine.database import Database
from wherry.engine.distribution import Distribution
from wherry.engine.events import EventBus
from wherry.engine.execs import Execs
from wherry.engine.explain import Explainer
from wherry.engine.images import Images
from wherry.engine.information import information, version
from wherry.engine.keeper_link import KeeperLink
from wherry.engine.launcher import Launcher
from wherry.engine.lifecycle import Lifecycle
from wherry.engine.metrics import Metrics
from wherry.engine.network_catalog import NetworkCatalog
from wherry.engine.network_options import network_settings
from wherry.engine.networking import Networking
from wherry.engine.reconcile import Reconciler, empty_directory, remove_empty_cgroup
from wherry.engine.registry import Registry
from wherry.engine.settings import Settings
from wherry.engine.storage import Storage
from wherry.engine.summaries import Lister
from wherry.engine.usage import Usage
from wherry.errors import WherryError
from wherry.images import ImageStore
from wherry.keeper.protocol import Message
from wherry.layers.overlay import OverlayMount
from wherry.linux.fd import Fd
from wherry.linux.files import keep_apart
from wherry.network.definition import mark_of
from wherry.network.networks import Networks

if TYPE_CHECKING:
    from wherry.engine.health import HealthWatch

__all__ = ["Engine"]

_log: Final = logging.getLogger(__name__)
_KEEPER_RETRIES: Final = 20


class Engine:
    """A container engine over one data root. To be made by `Engine.open`.

    :ivar settings: what it was told; a reload replaces it.
    """

    commits: Committer
    containers: Containers
    images: Images
    distribution: Distribution
    events: EventBus
    execs: Execs
    storage: Storage
    networks: NetworkCatalog

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events = EventBus()
        self._closing = False
        self._networks_ended = False
        self._early_exits: list[dict[str, Any]] | None = []  # told by a keeper whose processes are not adopted yet

    @classmethod
    async def open(cls, settings: Settings, keeper_ready: Callable[[], None] = lambda: None) -> Engine:
        """Build an engine, find or start its keeper, and bring the world in step with the database.

        :param keeper_ready: waits for a keeper that somebody is starting already.
        :raises CorruptData: the database or the image store is damaged.
        :raises SystemFault: the keeper does not start.
        """
        engine = cls(settings)
        for path in (
            settings.data_root / "containers",
            settings.exec_root / "containers",
            settings.exec_root / "rootfs",
        ):
            path.mkdir(mode=0o711, parents=True, exist_ok=True)
        with Fd(os.open(settings.data_root / "containers", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            keep_apart(directory)
        empty_directory(settings.data_root / "tmp")
        engine._build()
        processes, _ = await asyncio.gather(engine._greet_keeper(keeper_ready), engine.images.reconcile())
        await engine._reconcile(processes)
        engine._begin_networks()
        return engine

    def _build(self) -> None:
        settings = self.settings
        self._database = Database(settings.data_root / "wherry.db")
        self._registry = Registry(self._database, settings.data_root, settings.exec_root)
        self._registry.load()
        store = ImageStore(settings.data_root)
        self.images = Images(store, self._registry, self.events)
        self.distribution = Distribution(store, settings, self.events)
        self._link = KeeperLink(settings.exec_root, self._keeper_said, self._keeper_lost)
        about_networks = network_settings(settings)
        self._networks = Networks.open(about_networks)
        self._networking = Networking(self._networks, self._registry, self.events, settings.networks)
        self.networks = NetworkCatalog(
            self._networks, self._networking, self._registry, self.events, mark_of(about_networks)
        )
        self._launcher = Launcher(settings, self._registry, self._link, self._overlay, self._networking)
        for container in self._registry:
            self._launcher.feed(container)
        self._lifecycle = Lifecycle(self._registry, self._launcher, self.events, settings.data_root / "tmp")
        self.execs = Execs(settings, self._registry, self._link, self._launcher, self._lifecycle)
        self._lifecycle.on_start = self._container_started
        self._lifecycle.on_exit = self._container_exited
        self._lifecycle.on_removal = self.images.release
        self.commits = Committer(self._registry, self._lifecycle, self.images)
        accounts = Accounts(settings.data_root, store, self._registry)
        self.storage = Storage(store, self._registry, accounts, self.distribution.refetcher())
        self._usage = Usage(self.images, self._registry, settings.data_root)
        self.containers = Containers(
            registry=self._registry,
            lifecycle=self._lifecycle,
            launcher=self._launcher,
            images=self.images,
            creator=Creator(lambda: self.settings, self._registry, store.claim, self._prepare, self._networking),
            lister=Lister(self._registry, self.images.id_of, self.images.names_of, self._usage.of_container),
            metrics=Metrics(self._launcher),
            explainer=Explainer(self._registry, self._launcher, self.images, settings),
            usage=self._usage,
            networking=self._networking,
        )
        self._reconciler = Reconciler(
            self._registry,
            self._launcher,
            self._lifecycle,
            self._networking,
            data_root=settings.data_root,
            exec_root=settings.exec_root,
        )

    def _begin_networks(self) -> None:
        """Let the kernel become what the tables say, in the background; who has places is known now."""
        self._networks.start()
        self._lifecycle.run(self._networking.resume([c for c in self._registry if c.state.is_alive]))

    def _overlay(self, container: Container) -> list[OverlayMount]:
        return self.images.overlay(container)

    def _prepare(self, container: Container) -> None:
        """Make a new container's writable layer."""
        self.images.overlay(container)
        self._launcher.feed(container)

    # --- the keeper -------------------------------------------------------------------------------

    async def _greet_keeper(self, ready: Callable[[], None]) -> list[dict[str, Any]]:
        """Connect to the keeper, started or upgraded if need be; returns the processes that it knows."""
        await asyncio.to_thread(ready)
        hello = await self._link.connect()
        if hello.fields["version"] != __version__:
            _log.info("upgrading the keeper version=%s", hello.fields["version"])
            await self._link.request("upgrade")
        processes: list[dict[str, Any]] = hello.fields["processes"]
        return processes

    async def _reconcile(self, processes: list[dict[str, Any]]) -> None:
        """Adopt what the keeper runs; exits that it told meanwhile come after that."""
        ended = frozenset(fields["key"] for fields in self._early_exits or [])
        await self._reconciler.reconcile(processes, ended)
        for container in self._registry:
            if container.state.is_alive and container.config.healthcheck is not None:
                self._health.resume(container)
        early, self._early_exits = self._early_exits or [], None
        for fields in early:
            self._process_exited(fields)

    def _keeper_said(self, message: Message) -> None:
        event, key = message.fields["event"], message.fields.get("key", "")
        container = self._registry.find(key)
        if event == "grew" and container is not None and container.feed is not None:
            container.feed.has_grown()
        elif event == "exited" and self._early_exits is not None:
            self._early_exits.append(message.fields)
        elif event == "exited":
            self._process_exited(message.fields)
        elif event == "process":
            self._found_running(container, message)

    @cached_property
    def _health(self) -> HealthWatch:
        """Made when the first container with a check starts: most engines have none, and start sooner."""
        from wherry.engine.health import HealthWatch  # noqa: PLC0415

        return HealthWatch(self.execs, self._registry.save_state, self._lifecycle.tell)

    def _container_started(self, container: Container) -> None:
        if container.config.healthcheck is not None:
            self._health.started(container)

    def _container_exited(self, container: Container) -> None:
        if container.state.health is not None:
            self._health.ended(container)
        self.execs.container_exited(container)

    def _process_exited(self, fields: dict[str, Any]) -> None:
        container = self._registry.find(fields["key"])
        if container is not None:
            self._lifecycle.exited(container, fields)
        elif fields["kind"] == "exec":
            self._lifecycle.run(self.execs.exited(fields["key"], fields["status"]))
        else:
            self._lifecycle.run(self._launcher.forget(fields["key"]))

    @staticmethod
    def _found_running(container: Container | None, message: Message) -> None:
        """After ``hello``: the descriptors of a process that was running before this daemon was."""
        if container is None:
            for fd in message.fds:
                Fd(fd).close()
        else:
            Launcher.take_descriptors(container, message)

    def _keeper_lost(self) -> None:
        if not self._closing:
            _log.error("the keeper has ended; starting another one")
            self._lifecycle.run(self._replace_keeper())

    async def _replace_keeper(self) -> None:
        """Start another keeper and hand it what this process holds of each container."""
        self._early_exits = []
        for attempt in range(_KEEPER_RETRIES):
            try:
                hello = await self._link.connect()
                break
            except (WherryError, OSError) as exc:
                _log.warning("cannot start a keeper attempt=%d error=%s", attempt + 1, exc)
                await asyncio.sleep(min(0.05 * 2**attempt, 5))
        else:
            _log.critical("no keeper can be started; containers run on without one")
            return
        for container in self._registry:
            if container.pidfd is not None and container.state.is_alive:
                await self._hand_over(container)
        await self._reconcile(hello.fields["processes"])

    async def _hand_over(self, container: Container) -> None:
        assert container.pidfd is not None
        fds = [container.pidfd.fileno()]
        if container.terminal is not None:
            fds.append(container.terminal.fileno())
        try:
            await self._link.request(
                "adopt", fds, key=container.id, container=container.id, kind="container",
                terminal=container.has_terminal, stdin=bool(container.config.open_stdin),
                log=self._launcher.log_fields(container),
            )  # fmt: skip
        except WherryError as exc:
            _log.warning("the new keeper did not take a container container=%s error=%s", container.id, exc)

    # --- what the API asks of the engine as a whole -----------------------------------------------

    def info(self) -> dict[str, Any]:
        """What ``docker info`` shows; the body of SystemInfo."""
        return information(self.settings, self._registry, self.images, self.networks)

    def version(self) -> dict[str, Any]:
        """What ``docker version`` shows of the server; the body of SystemVersion."""
        return version()

    async def disk_usage(self) -> dict[str, Any]:
        """What ``docker system df`` shows; the body of SystemDataUsage."""
        return await self._usage.report(self.containers)

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let go of everything. Containers and the keeper go on."""
        self._closing = True
        if "_health" in self.__dict__:
            self._health.close()
        await self.distribution.close()
        await self._lifecycle.close()
        self._networking.close()
        if not self._networks_ended:
            await self._networks.close()
        self._link.close()
        self._database.close()
        self.images.store.close()

    async def shutdown(self, *, kill: bool) -> Sequence[str]:
        """End the engine; with `kill` every container ends first, the keeper too, and nothing is left in the kernel.

        Containers get their stop signal and the settings' shutdown timeout, as at ``docker stop``.

        :returns: what is left in the kernel all the same, and why, in sentences.
        """
        left: Sequence[str] = ()
        if kill:
            alive = [c for c in self._registry if c.state.is_alive or c.restart is not None]
            timeout = self.settings.shutdown_timeout
            await asyncio.gather(*(self._lifecycle.stop(c, None, timeout) for c in alive), return_exceptions=True)
            await self._lifecycle.settle()
            self._closing = True
            await self._link.end()
            left = await self._networks.shutdown()
            self._networks_ended = True
            remove_empty_cgroup(self._launcher.cgroup_parent)
            for name in ("containers", "rootfs"):
                files.remove_tree(self.settings.exec_root / name)
        await self.close()
        return left
