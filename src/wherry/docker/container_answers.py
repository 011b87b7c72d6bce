"""Answers of the Engine API about containers: ContainerInspect, ContainerSummary, ContainerTop and others."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType, field

from wherry.docker.configuration_answers import ConfigView, HostConfigView
from wherry.docker.networks import EndpointView, NetworkSettings, PortSummary

__all__ = [
    "ContainerInspect",
    "ContainerState",
    "ContainerSummary",
    "ContainerTop",
    "ContainersDeleted",
    "ExecInspect",
    "ExecProcess",
    "FilesystemChange",
    "GraphDriver",
    "Health",
    "HealthReport",
    "HealthStatus",
    "MountView",
    "SummaryHealth",
    "SummaryHostConfig",
    "SummaryNetworks",
    "WaitStatus",
]


class HealthStatus(StrEnum):
    """Whether a container works, as its check says; the values are those of the Engine API."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class HealthReport(Struct, rename="pascal", kw_only=True, frozen=True):
    """How one check ended; the API's ``HealthcheckResult``."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(Struct, rename="pascal", kw_only=True):
    """The results of a container's health check so far; the API's ``Health``."""

    status: HealthStatus = HealthStatus.STARTING
    failing_streak: int = 0
    log: list[HealthReport] = field(default_factory=list)


class ContainerState(Struct, rename="pascal", kw_only=True):
    """The ``State`` of a container.

    :ivar health: left out for a container without a health check.
    """

    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = field(name="OOMKilled")
    dead: bool
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str
    health: Health | UnsetType = UNSET


class MountView(Struct, rename="pascal", kw_only=True):
    """One of a container's ``Mounts``; only volumes have a name and a driver."""

    type: str
    name: str | UnsetType = UNSET
    source: str
    destination: str
    driver: str | UnsetType = UNSET
    mode: str
    rw: bool = field(name="RW")
    propagation: str


class GraphDriver(Struct, rename="pascal", kw_only=True):
    """Where the layers of a container are."""

    name: str
    data: dict[str, str]


class ContainerInspect(Struct, rename="pascal", kw_only=True):
    """The body of ContainerInspect.

    :ivar host_config: what was asked for, completed with what holds.
    :ivar size_rw: bytes in the writable layer; left out unless they were asked for.
    :ivar size_root_fs: bytes in all of the root; likewise.
    """

    id: str
    created: str
    path: str
    args: list[str]
    state: ContainerState
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str = "overlay2"
    platform: str = "linux"
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = field(name="ExecIDs")
    host_config: HostConfigView
    graph_driver: GraphDriver
    mounts: list[MountView]
    config: ConfigView
    network_settings: NetworkSettings
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET


class SummaryHostConfig(Struct, rename="pascal", kw_only=True, gc=False):
    """The ``HostConfig`` of a ContainerSummary."""

    network_mode: str
    annotations: dict[str, str] | UnsetType


class SummaryNetworks(Struct, rename="pascal", kw_only=True, gc=False):
    """The ``NetworkSettings`` of a ContainerSummary."""

    networks: dict[str, EndpointView]


class SummaryHealth(Struct, rename="pascal", kw_only=True, gc=False):
    """The ``Health`` of a ContainerSummary."""

    status: str
    failing_streak: int


class ContainerSummary(Struct, rename="pascal", kw_only=True, gc=False):
    """One container in the body of ContainerList; sizes as in `ContainerInspect`.

    Of thousands the garbage collector need not look at each, again and again, while the list is made.
    """

    id: str
    names: list[str]
    image: str
    image_id: str = field(name="ImageID")
    command: str
    created: int
    ports: list[PortSummary]
    labels: Mapping[str, str]
    state: str
    status: str
    host_config: SummaryHostConfig
    network_settings: SummaryNetworks
    mounts: list[MountView]
    health: SummaryHealth | UnsetType
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET


class ContainerTop(Struct, rename="pascal", kw_only=True):
    """The body of ContainerTop."""

    titles: list[str]
    processes: list[list[str]]


class FilesystemChange(Struct, rename="pascal"):
    """An element of the body of ContainerChanges.

    :ivar kind: 0 modified, 1 added, 2 deleted.
    """

    path: str
    kind: int


class WaitStatus(Struct, rename="pascal"):
    """The body of ContainerWait."""

    status_code: int


class ContainersDeleted(Struct, rename="pascal", kw_only=True):
    """The body of ContainerPrune."""

    containers_deleted: list[str] | None
    space_reclaimed: int


class ExecProcess(Struct, kw_only=True):
    """What an exec runs; the names of its members are in small letters."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | UnsetType = UNSET


class ExecInspect(Struct, rename="pascal", kw_only=True):
    """The body of ExecInspect."""

    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ExecProcess
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str
    pid: int
