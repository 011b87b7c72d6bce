"""The ``Config`` and ``HostConfig`` of ContainerInspect: what was asked for, and what holds where nothing was.

A default is what Docker shows for a member that a request did not set: a zero or empty value, null, or, with ``UNSET``,
nothing at all. The members and their order are those of the requests (`wherry.docker.container_requests`), which a
test keeps so.
"""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec import UNSET, Struct, UnsetType, field

from wherry.docker.container_requests import (
    BlkioRate,
    BlkioWeightDevice,
    Device,
    DeviceRequest,
    Healthcheck,
    LogConfig,
    Mount,
    RestartPolicy,
    Set,
    Ulimit,
)

__all__ = ["ConfigView", "HostConfigView", "PortBindingView", "completed"]


class ConfigView(Struct, rename="pascal", kw_only=True, frozen=True):
    """What is portable about a container, its image's defaults included."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Set | UnsetType = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] = []
    cmd: list[str] | str | None = None
    healthcheck: Healthcheck | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str
    volumes: Set | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool | UnsetType = UNSET
    mac_address: str | UnsetType = UNSET
    on_build: list[str] | None = None
    labels: dict[str, str] = {}
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType = UNSET  #: 0 was asked for, and is shown
    shell: list[str] | UnsetType = UNSET


class PortBindingView(Struct, rename="pascal", kw_only=True, frozen=True):
    """Where a port is published, as it was asked for; empty for any."""

    host_ip: str = ""
    host_port: str = ""


class HostConfigView(Struct, rename="pascal", kw_only=True, frozen=True):
    """What depends on this host: limits, mounts, namespaces, security. Units are those of the request."""

    # limits
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[BlkioWeightDevice] = []
    blkio_device_read_bps: list[BlkioRate] = []
    blkio_device_write_bps: list[BlkioRate] = []
    blkio_device_read_iops: list[BlkioRate] = field(default=[], name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[BlkioRate] = field(default=[], name="BlkioDeviceWriteIOps")
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = field(default=0, name="IOMaximumBandwidth")
    devices: list[Device] = []
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | UnsetType = UNSET
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    # the rest
    binds: list[str] | None = None
    container_id_file: str = field(default="", name="ContainerIDFile")
    log_config: LogConfig | None = None
    network_mode: str = ""
    port_bindings: dict[str, list[PortBindingView]]
    restart_policy: RestartPolicy
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    mounts: list[Mount] | UnsetType = UNSET
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | UnsetType = UNSET
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str = ""
    dns: list[str] = []
    dns_options: list[str] = []
    dns_search: list[str] = []
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None  #: ``/db:/web/alias``
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | UnsetType = UNSET
    tmpfs: dict[str, str] | UnsetType = UNSET
    uts_mode: str = field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | UnsetType = UNSET
    runtime: str = ""
    isolation: str = ""
    masked_paths: list[str]
    readonly_paths: list[str]
    init: bool | UnsetType = UNSET


View = TypeVar("View", ConfigView, HostConfigView)


def completed(view: type[View], asked: Struct, **resolved: Any) -> View:
    """Return what was asked for as an answer, in which defaults stand where nothing was.

    :param resolved: members that are not as they were asked for.
    """
    given = {name: value for name in asked.__struct_fields__ if (value := getattr(asked, name)) is not None}
    return view(**{**given, **resolved})
