"""The composition root: builds every part of an engine and passes it what it needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wherry.database.disk_reserve import Reserve
from wherry.docker.system import DiskUsage, SystemInfo, SystemVersion
from wherry.engine.archive.archives import Archives
from wherry.engine.archive.views import Views
from wherry.engine.build.running import RunningSteps
from wherry.engine.builds import BuilderParts, Builds
from wherry.engine.container import directories
from wherry.engine.container.database import ContainerDatabase
from wherry.engine.container.events import ContainerEvents
from wherry.engine.container.store import ContainerStore
from wherry.engine.containers import Containers
from wherry.engine.create.create import CreateService
from wherry.engine.create.writable_layers import WritableLayers
from wherry.engine.delivery.deliveries import Deliveries
from wherry.engine.disk.check import DiskChecks
from wherry.engine.disk.ledger import Ledger
from wherry.engine.disk.usage import Usage
from wherry.engine.events import EventBus
from wherry.engine.images.commit import CommitService
from wherry.engine.images.images import Images
from wherry.engine.images.transfers import Distribution
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.keeper.firewall_custody import KeeperCustody
from wherry.engine.lifecycle.checkpoint_artifacts import CheckpointArtifacts
from wherry.engine.lifecycle.checkpoints import Checkpoints
from wherry.engine.lifecycle.copies import Copies
from wherry.engine.lifecycle.exec import Execs
from wherry.engine.lifecycle.lifecycle import Lifecycle
from wherry.engine.lifecycle.start import Starter
from wherry.engine.lifecycle.tasks import BackgroundTasks
from wherry.engine.lifecycle.trash import Trash
from wherry.engine.lifecycle.watches import Watches
from wherry.engine.network.attachments import Attachments
from wherry.engine.network.connect import Connector
from wherry.engine.network.endpoint_effects import EndpointEffects
from wherry.engine.network.networks import Networks
from wherry.engine.network.settings import network_settings
from wherry.engine.recovery.catch_up import CatchUp
from wherry.engine.recovery.keeper_supervisor import KeeperSupervisor
from wherry.engine.recovery.reconcile import Reconciler, remove_empty_cgroup
from wherry.engine.settings import Settings
from wherry.engine.streams.log_compression import LogCompression
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.views.explain import ExplainService
from wherry.engine.views.info import devices_of, information, version
from wherry.engine.views.list import ListService
from wherry.engine.views.system_df import disk_usage
from wherry.engine.volumes.artifacts import VolumeArtifacts
from wherry.engine.volumes.container_volumes import ContainerVolumes
from wherry.engine.volumes.copies import VolumeCopies
from wherry.engine.volumes.holding import VolumeHolder
from wherry.engine.volumes.usage import VolumeUsers
from wherry.engine.volumes.volumes import Volumes
from wherry.images.store import ImageStore
from wherry.layers.projects import Projects
from wherry.linux.fd import Fd
from wherry.linux.files import keep_apart
from wherry.network.controller import Controller
from wherry.network.database import NetworkDatabase
from wherry.network.definition import alias_of
from wherry.volumes.drivers import Drivers
from wherry.volumes.local import LocalDriver
from wherry.volumes.local_mounts import LocalMounts
from wherry.volumes.plugin import Plugins
from wherry.volumes.size import size_of_tree
from wherry.volumes.snapshots import Snapshots
from wherry.volumes.store import VolumeStore

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.build.model.service import CacheRecord
    from wherry.engine.build.executor import StepExecutor
    from wherry.engine.container.container import Container

__all__ = ["Engine"]


class Engine:
    """A container engine over one data root. To be made by `Engine.open`.

    :ivar settings: those of its start; of these, `reload` changes the labels and debug, which only `info` shows.
    """

    archives: Archives
    builds: Builds
    checkpoints: Checkpoints
    checkpoint_artifacts: CheckpointArtifacts
    commits: CommitService
    containers: Containers
    images: Images
    distribution: Distribution
    events: EventBus
    execs: Execs
    storage: DiskChecks
    networks: Networks
    volumes: Volumes
    volume_artifacts: VolumeArtifacts
    volume_copies: VolumeCopies

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events = EventBus()
        self._networks_ended = False

    @classmethod
    async def open(cls, settings: Settings, keeper_ready: Callable[[], None] = lambda: None) -> Engine:
        """Build an engine, find or start its keeper, and reconcile what runs with the database.

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
        engine._build()
        engine._layers.check_default()
        processes, _ = await asyncio.gather(engine._supervisor.greet(keeper_ready), engine.images.reconcile())
        await engine._supervisor.reconcile(processes)
        await engine._deliveries.resume(engine._store)
        engine._compression.resume(engine._store)
        await engine.volume_copies.recover()
        engine._begin_networks()
        engine._lifecycle.daemon_started()
        engine._trash.sweep()
        engine._layers.sweep(engine._store.has_row)
        if engine.builds.has_unfinished():
            engine._tasks.start(engine.builds.ready(), "open the builder")
        return engine

    def _build(self) -> None:
        settings, database_path = self.settings, self.settings.data_root / "wherry.db"
        self._reserve = Reserve(settings.data_root / "reserve")
        self._database = ContainerDatabase(database_path, self._reserve)
        network_tables = NetworkDatabase(database_path, self._reserve)
        self._catch_up = CatchUp([self._database.flush, network_tables.flush, self._flush_volumes], self._reserve)
        self._database.when_behind(self._catch_up.begin)
        network_tables.when_behind(self._catch_up.begin)
        self._keeper = KeeperConnection(settings.exec_root)
        self._store = ContainerStore(self._database, settings.data_root, settings.exec_root, self._keeper.try_request)
        self._store.load()
        self._trash = Trash(settings.data_root / "tmp", self._reserve)
        self._trash.restore(settings.data_root / "containers", self._store.has_row)
        images = ImageStore(settings.data_root, reserve=self._reserve)
        self.images = Images(images, self._store, self.events)
        projects = Projects(self._database.connection, settings.data_root / "containers")
        self._layers = WritableLayers(projects, self.images.overlay, settings.storage_size)
        self.distribution = Distribution(images, settings, self.events)
        self._build_networks(network_tables)
        self._build_volumes(database_path)
        self._build_lifecycle()
        self._build_volume_copies()
        ledger = Ledger(settings.data_root, images, self._store, self._volume_store.find)
        self.storage = DiskChecks(images, self._store, ledger, self.distribution.refetcher())
        self._build_containers()
        self.builds = Builds(
            BuilderParts(
                settings=settings, reserve=self._reserve, images=images, distribution=self.distribution,
                executor=lambda: self.steps, tagged=self.images.was_tagged, pruned=self._cache_was_pruned,
            )
        )  # fmt: skip

    async def _deposit(self) -> None:
        """Give a new keeper what it has to hold for this daemon."""
        await self._controller.deposit_firewall()
        await self._local_mounts.deposit()

    def _flush_volumes(self) -> bool:
        return self._volume_store.flush()

    def _build_networks(self, tables: NetworkDatabase) -> None:
        settings = network_settings(self.settings)
        self._controller = Controller.open(settings, KeeperCustody(self._keeper, "nftables"), tables)
        self._effects = EndpointEffects(self._controller, self._store, self.events, self.settings.networks)
        self._connector = Connector(self._controller, self._store, self._effects)
        self._attachments = Attachments(
            self._controller, self._store, self._effects, self._connector, self.settings.networks
        )
        self.networks = Networks(
            self._controller, self._connector, self._effects, self._store, self.events, table=alias_of(settings)
        )

    def _build_volumes(self, database_path: Path) -> None:
        self._volume_store = VolumeStore(database_path, self._reserve)
        self._volume_store.when_behind(self._catch_up.begin)
        users, root = VolumeUsers(self._store), self.settings.data_root / "volumes"
        custody, place = KeeperCustody(self._keeper, "volumes"), self.settings.exec_root / "rootfs"
        self._local_mounts = LocalMounts(place, call_bounded, custody, users.mounted)
        projects = Projects(self._volume_store.database, root)
        local = LocalDriver(root, self._local_mounts, projects, self._trash.begin)
        plugins = Plugins()
        drivers = Drivers(local, plugins.find, plugins.names)
        self.volumes = Volumes(self._volume_store, drivers, users, self.events, size_of_tree)
        self.volumes.open()
        self._container_volumes = ContainerVolumes(self.volumes, self.events, self._store.note_definition)

    def _build_volume_copies(self) -> None:
        loop = asyncio.get_running_loop()
        snapshots = Snapshots(
            self.settings.data_root / "snapshots", lambda path: loop.call_soon_threadsafe(self._trash.begin, path)
        )
        snapshots.recover()
        holder = VolumeHolder(self.volumes, snapshots, self._store, self._lifecycle)
        self.volume_copies = VolumeCopies(self.volumes, snapshots, holder, self._store, self.events)
        self.volume_artifacts = VolumeArtifacts(self.volume_copies, self.distribution, self.events)

    def _build_lifecycle(self) -> None:
        settings, store, keeper = self.settings, self._store, self._keeper
        self._tasks, self._container_events = BackgroundTasks(), ContainerEvents(self.events)
        self._deliveries, self._compression = Deliveries(), LogCompression()
        self._starter = Starter(
            settings, store, keeper, self.images.overlay, self._attachments, effects=self._effects,
            volumes=self._container_volumes, deliveries=self._deliveries, compression=self._compression,
            image_layers=self.images.layers_to_mount,
        )  # fmt: skip
        self.execs = Execs(settings, store, keeper, self._starter, self._container_events)
        self._running_steps = RunningSteps(settings.exec_root / "containers", keeper, self._tasks)
        self._steps: StepExecutor | None = None
        self._watches = Watches(
            store, self._container_events, self.execs, self._starter.cgroup_path,
            release_image=self._was_removed, finish_log=self._deliveries.finish,
        )  # fmt: skip
        copies = Copies()
        self._lifecycle = Lifecycle(
            containers=store, starter=self._starter, keeper=keeper, events=self._container_events,
            listener=self._watches, trash=self._trash, tasks=self._tasks, volumes=self._container_volumes,
            copies=copies,
        )  # fmt: skip
        self.checkpoints = Checkpoints(store, self._starter, self._container_events)
        self.checkpoint_artifacts = CheckpointArtifacts(self.checkpoints, self.distribution)
        self.archives = Archives(store, self._container_events, Views(self._starter, self._lifecycle, copies))
        self._reconciler = Reconciler(
            store,
            self._starter,
            keeper,
            self._lifecycle,
            self._attachments,
            steps=self._running_steps,
            data_root=settings.data_root,
            exec_root=settings.exec_root,
        )
        self._supervisor = KeeperSupervisor(
            keeper=keeper, containers=store, starter=self._starter, lifecycle=self._lifecycle, execs=self.execs,
            steps=self._running_steps,            watches=self._watches, reconciler=self._reconciler, tasks=self._tasks,
            deposit_firewall=self._deposit,
        )  # fmt: skip

    def _build_containers(self) -> None:
        settings, store = self.settings, self._store
        self.commits = CommitService(store, self._container_events, self._lifecycle, self.images)
        self.containers = Containers(
            store=store,
            events=self._container_events,
            lifecycle=self._lifecycle,
            starter=self._starter,
            images=self.images,
            create_service=CreateService(
                settings,
                store,
                self.images.store.pin,
                self._layers,
                self._attachments,
                for_platform=self.images.for_platform,
                volumes=self._container_volumes,
            ),
            list_service=ListService(store, self.images.id_of, self.images.names_of),
            explain_service=ExplainService(store, self.images, settings),
            usage=Usage(self.images),
            effects=self._effects,
            connector=self._connector,
        )

    async def _was_removed(self, container: Container) -> None:
        self._layers.removed(container)
        await self.images.release(container)

    def _begin_networks(self) -> None:
        """Let the kernel become what the tables say, in the background; who has endpoints is known now."""
        self._controller.start()
        running = [container for container in self._store if container.state.is_alive]
        self._tasks.start(self._attachments.resume(running), "resume networks")

    @property
    def steps(self) -> StepExecutor:
        """Runs the steps of builds; made at the first one."""
        if self._steps is None:
            from wherry.engine.build.executor import StepExecutor  # noqa: PLC0415 - only where something is built

            self._steps = StepExecutor(
                settings=self.settings, running=self._running_steps, keeper=self._keeper, starter=self._starter,
                attachments=self._attachments, effects=self._effects, tasks=BackgroundTasks(),
            )  # fmt: skip
        return self._steps

    def reload(self, settings: Settings) -> None:
        """Take over what may change while the engine runs: labels and debug. All else stays as it was at the start."""
        self.settings = replace(self.settings, labels=settings.labels, debug=settings.debug)

    # --- what the API asks of the engine as a whole -----------------------------------------------

    async def whole_info(self) -> SystemInfo:
        """What ``docker info`` shows; the body of SystemInfo."""
        return self.info(await asyncio.to_thread(devices_of, self.settings))

    async def device_names(self) -> list[str]:
        """The whole names of devices that there are, for containers and for the steps of builds."""
        return (await asyncio.to_thread(devices_of, self.settings))[0]

    def info(self, named: tuple[list[str], list[str]] = ([], [])) -> SystemInfo:
        """The same without the devices that have names, of which there may be many files."""
        return information(self.settings, self._store, self.images, self.networks, self.volumes, named=named)

    def statuses(self) -> list[str]:
        """The state of each container."""
        return [container.state.status for container in self._store]

    def event_figures(self) -> tuple[int, int]:
        """How many events there were since the start, and how many clients follow them."""
        return self.events.published, self.events.subscribers

    def health_figures(self) -> tuple[int, int]:
        """How many health checks there were since the start, and how many of them could not be run."""
        return self._watches.health_figures()

    def version(self) -> SystemVersion:
        """What ``docker version`` shows of the server; the body of SystemVersion."""
        return version()

    async def disk_usage(self) -> DiskUsage:
        """What ``docker system df`` shows; the body of SystemDataUsage."""
        containers = await self.containers.list(all=True, limit=0, size=True, filters={})
        images = await asyncio.to_thread(self.images.disk_usage)
        return disk_usage(images, containers, await self._build_cache(), await self.volumes.disk_usage())

    def _cache_was_pruned(self, reclaimed: int) -> None:
        self.events.publish("builder", "prune", "", {"reclaimed": str(reclaimed)})

    async def _build_cache(self) -> Sequence[CacheRecord]:
        if not self.builds.has_cache():
            return ()
        await self.builds.ready()
        return await self.builds.disk_usage()

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let go of everything. Containers and the keeper go on; steps of builds end."""
        await self._end_builds()
        await asyncio.to_thread(self.volume_copies.close)
        self._supervisor.close()
        self._watches.close()
        self.containers.sampler.close()
        await self.distribution.close()
        await self._lifecycle.close()
        await self._deliveries.close()
        await self._compression.close()
        self._effects.close()
        if not self._networks_ended:
            await self._controller.close()
        if not self._networks_ended:
            await self._keeper.release()
        self._keeper.close()
        self._catch_up.close()
        self._volume_store.close()
        self._database.close()
        self.images.store.close()

    async def _end_builds(self) -> None:
        await self.builds.close()
        if self._steps is not None:
            await self._steps.close()

    async def shutdown(self, *, kill: bool) -> Sequence[str]:
        """End the engine; with `kill` every container ends first, the keeper too, and nothing is left in the kernel.

        Containers get their stop signal and the settings' shutdown timeout, as at ``docker stop``.

        :returns: what is left in the kernel all the same, and why, in sentences.
        """
        left: Sequence[str] = ()
        if kill:
            await self._end_builds()
            await self._lifecycle.stop_all(self.settings.shutdown_timeout)
            self._supervisor.close()
            await asyncio.to_thread(self._reconciler.end_left_alone)
            await self._keeper.end()
            left = await self._controller.shutdown()
            self._networks_ended = True
            remove_empty_cgroup(self._starter.cgroup_parent)
            for name in ("containers", "rootfs", "build"):
                directories.remove_tree(self.settings.exec_root / name)
        await self.close()
        return left
