"""Requests of the Engine API about containers: configuration, host configuration, exec.

The names on the wire are the API's (``Engine API, ContainerCreate``); every field may be missing or null, as clients
send both. Nothing is decided here: `wherry.engine.create.validate` checks, `wherry.engine.spec.build` translates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from msgspec import Struct, field

from wherry.docker.networks import EndpointSettings, PortMap

__all__ = [
    "EMPTY_STRUCT",
    "BlkioRate",
    "BlkioWeightDevice",
    "ContainerConfig",
    "CreateRequest",
    "Device",
    "DeviceRequest",
    "ExecConfig",
    "Healthcheck",
    "HostConfig",
    "IntegerRange",
    "LogConfig",
    "Mount",
    "MountBindOptions",
    "MountImageOptions",
    "MountTmpfsOptions",
    "MountVolumeDriver",
    "MountVolumeOptions",
    "NetworkingConfig",
    "RestartPolicy",
    "Set",
    "Uint",
    "Ulimit",
]


@dataclass(frozen=True, slots=True)
class IntegerRange:
    """The range of a number, where it is not an ``int64``, and its name in Go, which stands in errors."""

    name: str
    low: int
    high: int


EMPTY_STRUCT: Final = "struct {}"  #: the type in Go of the values of a map that is used as a set

Uint16 = Annotated[int, IntegerRange("uint16", 0, (1 << 16) - 1)]
Uint32 = Annotated[int, IntegerRange("uint32", 0, (1 << 32) - 1)]
Uint64 = Annotated[int, IntegerRange("uint64", 0, (1 << 64) - 1)]
Uint = Annotated[int, IntegerRange("uint", 0, (1 << 64) - 1)]
Set = dict[str, Annotated[Any, EMPTY_STRUCT]]


class Healthcheck(Struct, rename="pascal", omit_defaults=True):
    """A health check: a command, and durations in nanoseconds."""

    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    retries: int | None = None
    start_period: int | None = None
    start_interval: int | None = None


class ContainerConfig(Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """What is portable about a container: the part that an image can carry as well."""

    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: Set | None = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool | None = None
    image: str | None = None
    volumes: Set | None = None
    working_dir: str | None = None
    entrypoint: list[str] | str | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None


class Ulimit(Struct, rename="pascal"):
    """A resource limit; ``soft`` and ``hard`` in the units of ``setrlimit(2)``, -1 for none."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class Device(Struct, rename="pascal"):
    """A device of the host that the container gets."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(Struct, rename="pascal"):
    """A request to a device driver (GPUs)."""

    driver: str | None = None
    count: int | None = None
    device_ids: list[str] | None = field(default=None, name="DeviceIDs")
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class BlkioWeightDevice(Struct, rename="pascal"):
    """A relative weight of block I/O on one device."""

    path: str = ""
    weight: Uint16 = 0


class BlkioRate(Struct, rename="pascal"):
    """A limit on one device, in bytes or operations a second."""

    path: str = ""
    rate: Uint64 = 0


class LogConfig(Struct, rename="pascal"):
    """Where output goes."""

    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicy(Struct, rename="pascal"):
    """What happens when the container exits."""

    name: str = ""
    maximum_retry_count: int = 0


class MountBindOptions(Struct, rename="pascal", omit_defaults=True):
    """Options of a bind mount."""

    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None


class MountTmpfsOptions(Struct, rename="pascal", omit_defaults=True):
    """Options of a tmpfs: its size in bytes, its mode as a number, more as name-value lists."""

    size_bytes: int | None = None
    mode: Uint32 | None = None
    options: list[list[str]] | None = None


class MountVolumeDriver(Struct, rename="pascal", omit_defaults=True):
    """The driver of a volume that a mount makes."""

    name: str | None = None
    options: dict[str, str] | None = None


class MountVolumeOptions(Struct, rename="pascal", omit_defaults=True):
    """Options of a volume mount."""

    no_copy: bool | None = None
    labels: dict[str, str] | None = None
    driver_config: MountVolumeDriver | None = None
    subpath: str | None = None


class MountImageOptions(Struct, rename="pascal", omit_defaults=True):
    """Options of a mount of an image."""

    subpath: str | None = None


class Mount(Struct, rename="pascal", omit_defaults=True):
    """One ``--mount``."""

    type: str = "bind"
    source: str | None = None
    target: str | None = None
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: MountBindOptions | None = None
    tmpfs_options: MountTmpfsOptions | None = None
    volume_options: MountVolumeOptions | None = None
    image_options: MountImageOptions | None = None


class HostConfig(Struct, rename="pascal", kw_only=True, frozen=True, omit_defaults=True):
    """What depends on this host: limits, mounts, namespaces, security."""

    # limits
    cpu_shares: int | None = None
    memory: int | None = None
    nano_cpus: int | None = None
    cgroup_parent: str | None = None
    blkio_weight: Uint16 | None = None
    blkio_weight_device: list[BlkioWeightDevice] | None = None
    blkio_device_read_bps: list[BlkioRate] | None = None
    blkio_device_write_bps: list[BlkioRate] | None = None
    blkio_device_read_iops: list[BlkioRate] | None = field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[BlkioRate] | None = field(default=None, name="BlkioDeviceWriteIOps")
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    cpu_count: int | None = None  # this and the next three mean something to Windows only
    cpu_percent: int | None = None
    io_maximum_iops: Uint64 | None = field(default=None, name="IOMaximumIOps")
    io_maximum_bandwidth: Uint64 | None = field(default=None, name="IOMaximumBandwidth")
    devices: list[Device] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    # the rest
    binds: list[str] | None = None
    container_id_file: str | None = field(default=None, name="ContainerIDFile")
    log_config: LogConfig | None = None
    network_mode: str | None = None
    port_bindings: PortMap | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: list[str] | None = None
    mounts: list[Mount] | None = None
    console_size: tuple[Uint, Uint] | None = None
    annotations: dict[str, str] | None = None
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: list[str] | None = None
    oom_score_adj: int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str | None = field(default=None, name="UTSMode")
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: dict[str, str] | None = None
    runtime: str | None = None
    isolation: str | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class NetworkingConfig(Struct, rename="pascal"):
    """The networks to join, by name."""

    endpoints_config: dict[str, EndpointSettings | None] | None = None


class CreateRequest(ContainerConfig, rename="pascal", kw_only=True, frozen=True):
    """The body of ContainerCreate: the configuration with two more members."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class ExecConfig(Struct, rename="pascal", kw_only=True):
    """The body of ContainerExec."""

    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    console_size: tuple[Uint, Uint] | None = None
    detach_keys: str | None = None
    tty: bool | None = None
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    privileged: bool | None = None
    user: str | None = None
    working_dir: str | None = None
