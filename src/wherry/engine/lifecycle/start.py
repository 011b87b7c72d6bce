"""From a container to a running process: the specification, the plan, the keeper's launch."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from wherry.content.durable import disk_errors
from wherry.content.threads import in_thread
from wherry.docker.network_mode import joined_container
from wherry.engine.container import directories, etc_files
from wherry.engine.container.container import Container
from wherry.engine.container.store import ContainerStore
from wherry.engine.delivery.deliveries import Deliveries
from wherry.engine.keeper.connection import KeeperConnection
from wherry.engine.lifecycle import other_runtimes
from wherry.engine.lifecycle.restoring import addresses_of, has_again, restore_plan
from wherry.engine.log_drivers.config import effective_of
from wherry.engine.log_drivers.options import waits_when_full
from wherry.engine.log_drivers.table import driver_of
from wherry.engine.network.attachments import Attachments
from wherry.engine.network.endpoint_effects import EndpointEffects
from wherry.engine.network.requests import Addresses
from wherry.engine.settings import Settings
from wherry.engine.spec.build import build_spec
from wherry.engine.spec.bundle import manner_of
from wherry.engine.spec.cgroup_delegation import check_delegation
from wherry.engine.spec.context import SpecContext, cgroup_path
from wherry.engine.spec.host_sources import on_the_host
from wherry.engine.spec.mounts import check_shares_memory, file_mounts
from wherry.engine.spec.plan_templates import PlanTemplates
from wherry.engine.streams.log_compression import LogCompression
from wherry.engine.threads.bounded_call import call_bounded
from wherry.engine.volumes.container_volumes import ContainerVolumes
from wherry.errors import Conflict, Unsupported
from wherry.keeper.protocol import HOLDS, Message
from wherry.layers.overlay_paths import OverlayMount
from wherry.linux.fd import Fd
from wherry.linux.files import memfd
from wherry.oci.runtime_spec import Process, Root, Spec
from wherry.runtime.compile.other_runtime import Runtime
from wherry.runtime.compile.spec import compile_spec
from wherry.runtime.launch.borrow import borrowed
from wherry.runtime.plan import Plan

__all__ = ["Starter", "encoded_memfd", "plan_memfd"]

_NOT_RUNNING: Final = {
    "pid": "container {id} is not running",
    "ipc": "can't join IPC of container {id}: container {id} is not running",
    "network": "cannot join network of a non running container: {id}",
}  # Docker's words, by the kind of namespace that was to be joined


class Starter:
    """Starts containers through the keeper.

    :param overlay: the overlay mounts that are a container's root.
    :param attachments: creates and removes the endpoints of containers.
    :param effects: has the contents of their files in /etc.
    :param volumes: makes their volumes ready.
    :param deliveries: send their logs elsewhere.
    :param compression: compresses what is rotated of their logs.
    :param image_layers: the directories of an image, top first, by its ID.
    """

    def __init__(
        self,
        settings: Settings,
        containers: ContainerStore,
        keeper: KeeperConnection,
        overlay: Callable[[Container], list[OverlayMount]],
        attachments: Attachments,
        *,
        effects: EndpointEffects,
        volumes: ContainerVolumes,
        deliveries: Deliveries,
        compression: LogCompression,
        image_layers: Callable[[str], tuple[str, ...]] = lambda _: (),
    ) -> None:
        self._settings = settings
        self._containers = containers
        self._keeper = keeper
        self._overlay = overlay
        self._attachments = attachments
        self._effects = effects
        self._volumes = volumes
        self._deliveries = deliveries
        self._compression = compression
        self._image_layers = image_layers
        self._templates = PlanTemplates()

    @property
    def cgroup_parent(self) -> str:
        """The cgroup below which containers are that name no other."""
        return "/" + (self._settings.cgroup_parent or "wherry").strip("/")

    def cgroup_path(self, container: Container) -> str:
        """Where in the cgroup hierarchies a container is."""
        return cgroup_path(container, self._settings)

    async def reconciled(self) -> None:
        """Wait until it is known which containers run: a daemon that has just begun asks the keeper."""
        await self._keeper.reconciled.wait()

    async def start(self, container: Container, images: Path | None = None) -> int:
        """Start a container's process; returns its ID on the host. When it fails, `release` has to be called.

        :param images: of a checkpoint to be restored; None to begin at its beginning.
        :raises CommandNotFound: there is no such program in its root.
        :raises CommandNotExecutable: there is, and it cannot be executed.
        :raises InvalidInput: the configuration asks for what cannot be.
        :raises SystemFault: the machine refused, with the step that failed.
        """
        await self.reconciled()
        check_delegation(container.host)
        before = {} if images is None else await in_thread(addresses_of, images)
        network = await self._attach(container, before)
        with (
            await self._shared_memory(container) or nullcontext() as memory,
            await self._volumes.mount(container) as of,
        ):
            context = replace(await self._context(container, network, memory), volumes=of.sources)
            if images is None:
                plan = self._plan(container, context)
            else:
                plan = self._restored(container, context, images, connected=has_again(container, before)).encode()
            await self._deliveries.begin(container)
            message = await self._launch(container, plan)
        self._compression.watch(container)
        self.take_descriptors(container, message)
        self.hold_streams(container)
        pid: int = message.fields["pid"]
        return pid

    async def _attach(self, container: Container, before: Mapping[str, Addresses]) -> str | None:
        """Attach a container to its networks; the host name of one that it joins is its own from now on."""
        network, config = await self._attachments.attach(container, before)
        if config != container.config:
            container.definition.config = config
            self._containers.note_definition(container)
        return network

    async def _launch(self, container: Container, plan: bytes) -> Message:
        with encoded_memfd(container.id, plan) as descriptor:
            return await self._keeper.request(
                "launch",
                [descriptor.fileno()],
                key=container.id,
                container=container.id,
                kind="container",
                terminal=container.has_terminal,
                stdin=bool(container.config.open_stdin),
                size=_size(container),
                log=self.log_fields(container),
                **self.hold_field(container),
            )

    async def release(self, container: Container, *, ran: bool = False) -> None:
        """Take back what a container had on networks, and of volumes; its process is gone, or never was.

        :param ran: it was.
        """
        await self._attachments.release(container)
        await self._volumes.unmount(container, ran=ran)

    async def _shared_memory(self, container: Container) -> Fd | None:
        """The /dev/shm of the container whose IPC namespace this one joins, as a detached mount.

        :raises InvalidInput: that container shares it with nobody.
        """
        donor = joined_container(container.host.ipc_mode)
        if donor is None or any(point.target == "/dev/shm" for point in container.definition.mounts):
            return None
        other = self.joined("ipc", donor)
        check_shares_memory(other)
        if other.pidfd is None:
            raise Conflict(_NOT_RUNNING["ipc"].format(id=other.id))
        pidfd = other.pidfd.duplicate()  # the thread's own, for as long as that waits
        what = f"join the IPC of container {other.id}"
        return await call_bounded(what, lambda: borrowed(pidfd, "/dev/shm"), leaves_traces=True)

    async def _context(self, container: Container, network: str | None, memory: Fd | None) -> SpecContext:
        """Make the files that are going to be mounted in a container, and look at what else it names of the host.

        :raises SystemFault: they cannot be made.
        :raises InvalidInput: a device, or the propagation of a mount, is not what it takes it for.
        """
        with disk_errors("prepare the container's files"):
            directories.make_run_directory(container)
            await etc_files.make(container, self._effects.texts(container))
            overlay = self._overlay(container)
            devices = await on_the_host(container, self._settings.cdi_spec_dirs)
        shared = None if memory is None else f"/proc/{os.getpid()}/fd/{memory.fileno()}"
        return SpecContext(
            self._settings, overlay, self.joined, network, devices, shared,
            image_layers=self._image_layers, has_limited_volumes=self._volumes.has_limit(container),
        )  # fmt: skip

    @asynccontextmanager
    async def files_of(self, container: Container) -> AsyncIterator[Spec]:
        """The root of a container that does not run, as its start would put it together; good within the block.

        :raises InvalidInput: the propagation of a mount is not what it takes it for.
        :raises SystemFault: a directory that is to be bound cannot be made.
        """
        with disk_errors("prepare the container's files"):
            devices = await on_the_host(container, self._settings.cdi_spec_dirs)
            overlay = self._overlay(container)
        try:
            with await self._volumes.mount(container) as of:
                context = SpecContext(
                    self._settings,
                    overlay,
                    lambda _, ref: self._containers.get(ref),
                    devices=devices,
                    volumes=of.sources,
                    image_layers=self._image_layers,
                )
                root = Root(str(self._settings.exec_root / "rootfs"), readonly=bool(container.host.readonly_rootfs))
                yield Spec(root=root, mounts=file_mounts(container, context))
        finally:
            await self._volumes.unmount(container)

    def other_runtime(self, container: Container) -> Runtime | None:
        """The runtime of a container; None for wherry's own.

        :raises Unsupported: it is no longer among those that were added.
        """
        return other_runtimes.other_runtime(container, self._settings)

    def exec_plan(self, container: Container, process: Process, name: str, runtime: Runtime) -> Plan:
        """How another runtime executes a process in its container."""
        spec = self.spec_of(container)
        return other_runtimes.exec_plan(container, process, spec, runtime=runtime, settings=self._settings, name=name)

    def _plan(self, container: Container, context: SpecContext) -> bytes:
        container.spec = build_spec(container, context)
        other = other_runtimes.runtime_for(container, container.spec, self._settings)
        if other is not None:
            with disk_errors("make the container's bundle"):
                return other_runtimes.plan(container, container.spec, other, self._settings).encode()
        if container.spec.hooks is None:
            return self._templates.encoded(container.spec, container.id, context.network)
        with disk_errors("write what hooks get to know of the container"):
            manner = manner_of(container.spec, container.id, container.run_directory)
        return compile_spec(container.spec, container_id=container.id, manner=manner).encode()

    def _restored(self, container: Container, context: SpecContext, images: Path, *, connected: bool) -> Plan:
        container.spec = build_spec(container, context)
        if other_runtimes.runtime_for(container, container.spec, self._settings) is not None:
            raise Unsupported("only containers of the keeper's own have checkpoints", hint="no --runtime, no hooks")
        with disk_errors("prepare the restoration of a checkpoint"):
            console = other_runtimes.console(self._settings, container.id)
            return restore_plan(container, container.spec, images, console, connected=connected)

    def spec_of(self, container: Container) -> Spec:
        """The specification by which a container runs; built again when another daemon started it."""
        if container.spec is None:
            context = SpecContext(
                self._settings, self._overlay(container), self.joined,
                image_layers=self._image_layers, has_limited_volumes=self._volumes.has_limit(container),
            )  # fmt: skip
            container.spec = build_spec(container, context)
        return container.spec

    def joined(self, kind: str, ref: str) -> Container:
        """The container whose namespace is to be joined.

        :raises NotFound: there is none.
        :raises Conflict: it does not run.
        """
        other = self._containers.get(ref)
        if not other.state.is_alive:
            raise Conflict(_NOT_RUNNING[kind].format(id=other.id))
        return other

    @staticmethod
    def take_descriptors(container: Container, message: Message) -> None:
        """Keep the pidfd and, of a container with a terminal, the master; both came from the keeper.

        The mount of the root comes last, at a start only. What the keeper does not have stays as it is: after its
        predecessor's death, this process may hold the only descriptor of a terminal.
        """
        owned = [Fd(fd) for fd in message.fds]
        if message.fields.get("root"):
            container.root = owned.pop()
        if owned:
            container.pidfd = owned[0]
        if len(owned) > 1:
            container.terminal = owned[1]

    @staticmethod
    def hold_streams(container: Container) -> None:
        """Keep the container's FIFOs open, without ever reading: what is in them survives the keeper's death.

        A FIFO that nobody has open loses what it holds; and a process whose input has no writer sees its end.
        """
        if container.has_terminal:
            return
        for name, access in (("stdout", os.O_RDONLY), ("stderr", os.O_RDONLY), ("stdin", os.O_WRONLY)):
            with suppress(OSError):  # no such FIFO: standard input is not open, or is closed already; or it has exited
                flags = access | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
                container.fifos[name] = Fd(os.open(container.run_directory / name, flags))

    def log_fields(self, container: Container) -> dict[str, Any]:
        """Where and how the keeper writes the log."""
        bounds = driver_of(container.host.log_config).bounds(self._log_options(container))
        return {
            "dir": str(container.log_directory),
            "max_size": bounds.max_size,
            "max_files": bounds.max_files,
            "blocking": bounds.blocking,
        }

    def waits_for_clients(self, container: Container) -> bool:
        """Whether it waits, when its log is at its bound, for attached clients that are behind."""
        return waits_when_full(self._log_options(container))

    def _log_options(self, container: Container) -> dict[str, str]:
        return effective_of(container.host.log_config)

    def hold_field(self, container: Container) -> dict[str, int | None]:
        """What is held of its log for attached clients, as a field of a request; an old keeper knows no such thing."""
        return {"hold": container.log.say_held()} if self._keeper.protocol >= HOLDS else {}

    async def close_stdin(self, container: Container) -> None:
        """Let the container's process see the end of its input."""
        held = container.fifos.pop("stdin", None)
        if held is not None:
            held.close()
        await self._keeper.try_request("close-stdin", key=container.id)


def plan_memfd(name: str, plan: Plan) -> Fd:
    """A plan in a sealed memfd, as it travels to the keeper."""
    return encoded_memfd(name, plan.encode())


def encoded_memfd(name: str, encoded: bytes) -> Fd:
    """The same for a plan's bytes."""
    return memfd(f"plan-{name[:12]}", encoded)


def _size(container: Container) -> list[int] | None:
    size = container.host.console_size
    return list(size) if container.has_terminal and size and all(size) else None
