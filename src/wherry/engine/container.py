"""One container as the engine holds it: what it is, what state it is in, and who waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec import field as member

from wherry.engine.config import ContainerConfig, EndpointSettings, HostConfig
from wherry.engine.mounts import MountPoint
from wherry.engine.state import State

if TYPE_CHECKING:
    from wherry.engine.output import OutputFeed
    from wherry.linux.fd import Fd
    from wherry.network.model import Endpoint
    from wherry.oci.runtime_spec import Spec

__all__ = ["Container", "Definition"]


class Definition(Struct, kw_only=True):
    """What a container is: everything but its name and state. One row's ``definition`` column.

    :param image: the image as the user named it.
    :param image_id: the digest of its configuration.
    :param argv: entrypoint and command, put together.
    :param networks: those that it is on when it runs, by name, the one of its network mode first.
    """

    id: str
    created: str
    image: str
    image_id: str
    platform: str = "linux"
    argv: list[str]
    config: ContainerConfig
    host: HostConfig
    mounts: list[MountPoint]
    networks: dict[str, EndpointSettings] = member(default_factory=dict)


@dataclass(eq=False)
class Container:
    """A container: its definition, its state, and what exists of it only while the daemon runs."""

    name: str
    definition: Definition
    state: State
    directory: Path  #: under the data root: the writable layer and the log
    run_directory: Path  #: under the exec-root: FIFOs, generated files
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    pidfd: Fd | None = None  #: while it runs
    terminal: Fd | None = None  #: the pty's master, while it runs with a terminal
    root: Fd | None = None  #: the mount of its root, while it runs: so that its unmounting does not delay the exit
    held: dict[str, Fd] = field(default_factory=dict)  #: its FIFOs by name, while it runs without a terminal
    spec: Spec | None = None  #: by which it runs
    endpoints: dict[str, Endpoint] = field(default_factory=dict)  #: its places by networks' names, while it runs
    linked: list[str] = field(default_factory=list)  #: environment variables about what it links to, while it runs
    hosts: str = ""  #: what was written into its /etc/hosts, while it runs; empty: not known
    feed: OutputFeed | None = None  #: set by whoever builds it; follows its output
    exit_waiters: list[asyncio.Future[int]] = field(default_factory=list)  #: resolved at every exit
    removal_waiters: list[asyncio.Future[int]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    exec_ids: list[str] = field(default_factory=list)  #: execs that run, or were not started yet
    restart: asyncio.Task[None] | None = None  #: a restart that the policy asked for and that is waiting
    restart_delay: float = 0.0  #: seconds
    stopping: bool = False  #: stop was asked for, and its end will be told
    doomed: bool = False  #: stop, kill or rm was asked for: no restart policy applies to the coming exit

    @property
    def id(self) -> str:
        """Its ID, 64 hexadecimal digits."""
        return self.definition.id

    @property
    def config(self) -> ContainerConfig:
        """Its portable configuration, with the image's merged in."""
        return self.definition.config

    @property
    def host(self) -> HostConfig:
        """Its host-dependent configuration."""
        return self.definition.host

    @property
    def log_directory(self) -> Path:
        """Where its output is; for the log driver ``none`` a spool that goes when it exits."""
        driver = self.host.log_config.type if self.host.log_config else ""
        return (self.run_directory if driver == "none" else self.directory) / "logs"

    @property
    def has_terminal(self) -> bool:
        """Whether its standard streams are one pseudo-terminal."""
        return bool(self.config.tty)

    def encoded_state(self) -> bytes:
        """Its state for the database."""
        return msgspec.json.encode(self.state)

    def encoded_definition(self) -> bytes:
        """Its definition for the database."""
        return msgspec.json.encode(self.definition)
