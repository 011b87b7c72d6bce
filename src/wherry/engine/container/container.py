"""One container as the engine holds it: what it is, what state it is in, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import Struct, structs
from msgspec import field as member

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import EndpointSettings
from wherry.engine.container.mount_point import MountPoint
from wherry.engine.container.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from wherry.engine.container.log import ContainerLog
    from wherry.linux.fd import Fd
    from wherry.network.model import Endpoint
    from wherry.oci.runtime_spec import Spec

__all__ = ["Container", "Definition", "Home", "OwnHome"]


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


class Home(Protocol):
    """Where the files of containers are, and their output: one for all that the engine knows."""

    def directory_of(self, container: Container) -> Path:
        """Return its directory under the data root: the writable layer, the log, its files in /etc."""

    def run_directory_of(self, container: Container) -> Path:
        """Return its directory under the exec root: FIFOs."""

    def log_of(self, container: Container) -> ContainerLog:
        """Return a new object that reads its output."""


@dataclass(frozen=True, slots=True)
class OwnHome:
    """The home of one container alone."""

    directory: Path
    run_directory: Path
    log: ContainerLog

    def directory_of(self, _container: Container) -> Path:
        """Return the directory under the data root."""
        return self.directory

    def run_directory_of(self, _container: Container) -> Path:
        """Return the directory under the exec root."""
        return self.run_directory

    def log_of(self, _container: Container) -> ContainerLog:
        """Return what reads its output."""
        return self.log


_ASKED_FOR: Final[Mapping[str, Callable[[], object]]] = {
    "lock": asyncio.Lock,
    "fifos": dict,
    "endpoints": dict,
    "link_env": list,
    "etc": asyncio.Lock,
    "exit_waiters": list,
    "removal_waiters": list,
    "started": asyncio.Event,
    "unneeded": asyncio.Event,
    "exec_ids": list,
}
"""Members that are made when they are first asked for."""


@dataclass(eq=False, slots=True, repr=False)
class Container:
    """A container: its definition, its state, and what exists of it only while the daemon runs.

    There are thousands that only lie there. So locks, events, lists and the like are made when they are first asked
    for; of an asyncio.Event alone there would be three, of 0.8 KB each.
    """

    name: str
    definition: Definition
    state: State
    home: Home
    log: ContainerLog = field(init=False)  #: its output
    lock: asyncio.Lock = field(init=False)
    pidfd: Fd | None = None  #: while it runs
    terminal: Fd | None = None  #: the pty's master, while it runs with a terminal
    root: Fd | None = None  #: the mount of its root, while it runs: so that its unmounting does not delay the exit
    fifos: dict[str, Fd] = field(init=False)  #: its FIFOs by name, while it runs without a terminal
    spec: Spec | None = None  #: by which it runs
    endpoints: dict[str, Endpoint] = field(init=False)  #: by networks' names, while it runs
    link_env: list[str] = field(init=False)  #: environment variables about what it links to, while it runs
    etc: asyncio.Lock = field(init=False)  #: held by who writes its /etc/hosts and /etc/resolv.conf
    hosts_written: str = ""  #: what was written into its /etc/hosts, while it runs; empty: not known
    oom_kills: int = 0  #: the OOM kills of this run that were published
    exit_waiters: list[asyncio.Future[int]] = field(init=False)  #: resolved at every exit
    removal_waiters: list[asyncio.Future[int]] = field(init=False)
    started: asyncio.Event = field(init=False)
    unneeded: asyncio.Event = field(init=False)  #: nobody will ask for it any more, once it ended
    exec_ids: list[str] = field(init=False)  #: execs that run, or were not started yet
    restart: asyncio.Task[None] | None = None  #: a restart that the policy asked for and that is waiting
    restart_delay: float = 0.0  #: seconds
    stop_requested: bool = False  #: by ``stop``: the event of that name follows its exit
    has_remains: bool = False  #: its last run has left a cgroup and files in the exec root, and the keeper knows of it
    comes_back: bool = False  #: it is being stopped to be started again: that is no end, for ``--rm``
    end_requested: bool = False  #: by ``stop``, ``kill`` or ``rm``: no restart policy applies to the coming exit

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Make a member that is asked for for the first time."""
            if name != "log" and name not in _ASKED_FOR:
                raise AttributeError(f"a container has no '{name}'")
            value = self.home.log_of(self) if name == "log" else _ASKED_FOR[name]()
            setattr(self, name, value)
            return value

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
    def directory(self) -> Path:
        """Its directory under the data root: the writable layer, the log, its files in /etc."""
        return self.home.directory_of(self)

    @property
    def run_directory(self) -> Path:
        """Its directory under the exec root: FIFOs."""
        return self.home.run_directory_of(self)

    @property
    def log_directory(self) -> Path:
        """Where its output is; for the log driver ``none`` a spool that goes when it exits."""
        return self.log.directory

    @property
    def log_file(self) -> Path:
        """Where its output is as Docker's lines of JSON, if that was asked for."""
        return self.directory / f"{self.id}-json.log"

    @property
    def has_terminal(self) -> bool:
        """Whether its standard streams are one pseudo-terminal."""
        return bool(self.config.tty)

    # --- networks: written here, as the rooms above only say what is so ---------------------------

    def set_memberships(self, networks: dict[str, EndpointSettings]) -> None:
        """These are the networks that it is on when it runs, by name."""
        self.definition.networks = networks

    def set_membership(self, network: str, settings: EndpointSettings) -> None:
        """It is on a network when it runs, with these settings."""
        self.definition.networks[network] = settings

    def drop_membership(self, network: str) -> None:
        """It is on a network no more."""
        del self.definition.networks[network]

    def set_endpoint(self, network: str, endpoint: Endpoint) -> None:
        """It has this endpoint on a network while it runs."""
        self.endpoints[network] = endpoint

    def drop_endpoint(self, network: str) -> None:
        """It has no endpoint on a network any more."""
        del self.endpoints[network]

    def drop_endpoints(self) -> None:
        """It has no endpoints any more."""
        self.endpoints.clear()

    def set_link_env(self, variables: list[str]) -> None:
        """These environment variables tell what it links to."""
        self.link_env = variables

    def set_mount_source(self, point: MountPoint, source: str) -> None:
        """A volume is somewhere else than it was."""
        points = self.definition.mounts
        self.definition.mounts = [structs.replace(one, source=source) if one is point else one for one in points]

    def set_hosts_written(self, text: str) -> None:
        """This was written into its /etc/hosts; empty: not known."""
        self.hosts_written = text

    # --- those who wait for it --------------------------------------------------------------------

    def wake_exit_waiters(self) -> None:
        """Tell those who wait for its exit how it exited."""
        _resolve(self.exit_waiters, self.state.exit_code)

    def wake_removal_waiters(self) -> None:
        """Tell those who wait for its removal that it is removed, and how it had exited."""
        _resolve(self.removal_waiters, self.state.exit_code)

    def exit_code(self) -> asyncio.Future[int]:
        """A future of the exit code of the run that is under way, or comes next."""
        return _waiter(self.exit_waiters)

    def removal(self) -> asyncio.Future[int]:
        """A future that is done when it is removed."""
        return _waiter(self.removal_waiters)

    def close_descriptors(self) -> None:
        """It has exited: its pidfd, terminal and FIFOs are of no use any more."""
        for descriptor in (self.pidfd, self.terminal, *self.fifos.values()):
            if descriptor is not None:
                descriptor.close()
        self.pidfd = self.terminal = None
        self.fifos.clear()

    def encoded_state(self) -> bytes:
        """Its state for the database."""
        return msgspec.json.encode(self.state)

    def encoded_definition(self) -> bytes:
        """Its definition for the database."""
        return msgspec.json.encode(self.definition)


def _waiter(waiters: list[asyncio.Future[int]]) -> asyncio.Future[int]:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiters.append(future)
    return future


def _resolve(waiters: list[asyncio.Future[int]], code: int) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(code)
    waiters.clear()
