"""From a container to a running process: the specification, the plan, the keeper's launch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from wherry.engine import files
from wherry.engine.container import Container
from wherry.engine.keeper_link import KeeperLink
from wherry.engine.networking import Networking
from wherry.engine.output import OutputFeed
from wherry.engine.registry import Registry
from wherry.engine.settings import Settings
from wherry.engine.spec import Surroundings, build_spec, cgroup_path
from wherry.errors import Conflict, OutOfSpace, SystemFault, WherryError
from wherry.keeper.protocol import Message
from wherry.layers.overlay import OverlayMount
from wherry.linux.fd import Fd
from wherry.linux.files import memfd
from wherry.oci.runtime_spec import Spec
from wherry.runtime.compile import compile_spec
from wherry.runtime.plan import Plan

__all__ = ["Launcher", "plan_memfd"]

_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MAX_SIZE: Final = 20 << 20
_MAX_FILES: Final = 5
_SPOOL_SIZE: Final = 1 << 20  # with the log driver ``none``: what an attached client may lag behind
_SPOOL_FILES: Final = 2

_NOT_RUNNING: Final = {
    "pid": "container {id} is not running",
    "ipc": "can't join IPC of container {id}: container {id} is not running",
    "network": "cannot join network of a non running container: {id}",
}  # Docker's words, by the kind of namespace that was to be joined


class Launcher:
    """Starts containers through the keeper, and keeps their output feeds.

    :param overlay: the overlay mounts that are a container's root.
    :param networking: gives containers their places on networks.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        link: KeeperLink,
        overlay: Callable[[Container], list[OverlayMount]],
        networking: Networking,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._link = link
        self._overlay = overlay
        self._networking = networking

    @property
    def cgroup_parent(self) -> str:
        """The cgroup below which containers are that name no other."""
        return "/" + (self._settings.cgroup_parent or "wherry").strip("/")

    def cgroup_path(self, container: Container) -> str:
        """Where in the cgroup hierarchies a container is."""
        return cgroup_path(container, self._settings)

    async def launch(self, container: Container) -> int:
        """Start a container's process; returns its ID on the host. When it fails, `release` has to be called.

        :raises CommandNotFound: there is no such program in its root.
        :raises CommandNotExecutable: there is, and it cannot be executed.
        :raises InvalidInput: the configuration asks for what cannot be.
        :raises SystemFault: the machine refused, with the step that failed.
        """
        plan = self._plan(container, await self._networking.attach(container))
        with plan_memfd(container.id, plan) as descriptor:
            message = await self._link.request(
                "launch",
                [descriptor.fileno()],
                key=container.id,
                container=container.id,
                kind="container",
                terminal=container.has_terminal,
                stdin=bool(container.config.open_stdin),
                size=_size(container),
                log=self.log_fields(container),
            )
        self.take_descriptors(container, message)
        self.hold_streams(container)
        pid: int = message.fields["pid"]
        return pid

    async def release(self, container: Container) -> None:
        """Take back what a container had on networks; its process is gone, or never was."""
        await self._networking.release(container)

    def _plan(self, container: Container, network: str | None) -> Plan:
        try:
            files.make_run_directory(container, self._networking.texts(container))
            _make_sources(container)
            around = Surroundings(self._settings, self._overlay(container), self._joined, network)
        except OSError as exc:
            kind = OutOfSpace if exc.errno in (28, 122) else SystemFault
            raise kind("cannot prepare the container's files", cause=str(exc)) from exc
        container.spec = msgspec.convert(build_spec(container, around), Spec)
        return compile_spec(container.spec, container_id=container.id)

    def spec_of(self, container: Container) -> Spec:
        """The specification by which a container runs; built again when another daemon started it."""
        if container.spec is None:
            around = Surroundings(self._settings, self._overlay(container), self._joined)
            container.spec = msgspec.convert(build_spec(container, around), Spec)
        return container.spec

    def _joined(self, kind: str, ref: str) -> Container:
        other = self._registry.get(ref)
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
                container.held[name] = Fd(os.open(container.run_directory / name, flags))

    def log_fields(self, container: Container) -> dict[str, Any]:
        """Where and how the keeper writes the log."""
        chosen = container.host.log_config
        options = {**self._settings.log_options, **((chosen.config or {}) if chosen else {})}
        spool = chosen is not None and chosen.type == "none"
        return {
            "dir": str(container.log_directory),
            "max_size": _SPOOL_SIZE if spool else _bytes(options.get("max-size", ""), _MAX_SIZE),
            "max_files": _SPOOL_FILES if spool else int(options.get("max-file", _MAX_FILES)),
            "blocking": not spool and options.get("mode", "blocking") == "blocking",
        }

    # --- output feeds -----------------------------------------------------------------------------

    def feed(self, container: Container) -> OutputFeed:
        """The container's output feed, made when it is asked for first."""
        if container.feed is None:
            container.feed = OutputFeed(
                container.log_directory,
                lambda: self._tell("watch", container.id),
                lambda: self._tell("unwatch", container.id),
            )
        return container.feed

    async def _tell(self, op: str, key: str) -> None:
        """Ask for something that may come too late: the process may be gone, and then nothing is lost."""
        try:
            await self._link.request(op, key=key)
        except WherryError:
            return

    async def close_stdin(self, container: Container) -> None:
        """Let the container's process see the end of its input."""
        held = container.held.pop("stdin", None)
        if held is not None:
            held.close()
        await self._tell("close-stdin", container.id)

    async def forget(self, key: str) -> None:
        """The keeper need not remember an exit any longer."""
        await self._tell("forget", key)

    @staticmethod
    def forget_feed(container: Container) -> None:
        """The container is being removed: who follows its output has seen all."""
        if container.feed is not None:
            container.feed.has_finished()


def plan_memfd(name: str, plan: Plan) -> Fd:
    """A plan in a sealed memfd, as it travels to the keeper."""
    return memfd(f"plan-{name[:12]}", plan.encode())


def _size(container: Container) -> list[int] | None:
    size = container.host.console_size
    return list(size) if container.has_terminal and size and all(size) else None


def _bytes(text: str, default: int) -> int | None:
    """A size as ``10m``; ``-1`` is no limit."""
    if text == "-1":
        return None
    match = re.fullmatch(r"(?i)(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text)
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()]) if match else default


def _make_sources(container: Container) -> None:
    """Make the host's directories that ``-v`` names and that are not there, as Docker does."""
    for point in container.definition.mounts:
        if point.create_source and not os.path.lexists(point.source):
            Path(point.source).mkdir(mode=0o755, parents=True, exist_ok=True)
