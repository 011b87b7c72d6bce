"""Answers of the Engine API about the whole engine: SystemVersion, SystemInfo, SystemDataUsage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from wherry.docker.container_answers import ContainerSummary
from wherry.docker.image_answers import ImageSummary
from wherry.docker.volumes import VolumeView

__all__ = [
    "AddressPool",
    "Commit",
    "Component",
    "DiskUsage",
    "FirewallBackend",
    "Index",
    "Plugins",
    "ProductName",
    "RegistryConfig",
    "Runtime",
    "Swarm",
    "SystemInfo",
    "SystemVersion",
    "UsageCount",
]


class ProductName(Struct, rename="pascal"):
    """The ``Platform`` of a SystemVersion."""

    name: str


class Component(Struct, rename="pascal", kw_only=True):
    """One of the ``Components`` of a SystemVersion."""

    name: str
    version: str
    details: Mapping[str, str]


class SystemVersion(Struct, rename="pascal", kw_only=True):
    """The body of SystemVersion."""

    platform: ProductName
    components: list[Component]
    version: str
    api_version: str
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str = ""
    go_version: str
    os: str = "linux"
    arch: str
    kernel_version: str
    build_time: str = ""


class Plugins(Struct, rename="pascal", kw_only=True):
    """Drivers by kind."""

    volume: list[str]
    network: list[str]
    authorization: None = None
    log: list[str]


class Index(Struct, rename="pascal", kw_only=True):
    """One registry that the daemon was told of."""

    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(Struct, rename="pascal", kw_only=True):
    """``RegistryConfig`` of a SystemInfo; its first two members are of API versions before 1.49."""

    allow_nondistributable_artifacts_cidrs: list[str] = field(
        default_factory=list, name="AllowNondistributableArtifactsCIDRs"
    )
    allow_nondistributable_artifacts_hostnames: list[str] = field(default_factory=list)
    insecure_registry_cidrs: list[str] = field(name="InsecureRegistryCIDRs")
    index_configs: dict[str, Index]
    mirrors: list[str]


class Runtime(Struct):
    """An OCI runtime that can be chosen."""

    path: str


class Commit(Struct, rename="pascal"):
    """The version of a program that Docker runs beside itself; wherry has none."""

    id: str = field(default="", name="ID")
    expected: str = ""


class AddressPool(Struct, rename="pascal", kw_only=True):
    """Where the subnets of networks come from that have none of their own."""

    base: str
    size: int


class FirewallBackend(Struct, rename="pascal"):
    """What filters packets."""

    driver: str


class Swarm(Struct, rename="pascal", kw_only=True):
    """The ``Swarm`` of an engine that is in none."""

    node_id: str = field(default="", name="NodeID")
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: None = None


class DiscoveredDevice(Struct, rename="pascal", kw_only=True):
    """A device that containers can have by its name."""

    source: str
    id: str = field(name="ID")


class SystemInfo(Struct, rename="pascal", kw_only=True):
    """The body of SystemInfo."""

    id: str = field(name="ID")
    name: str
    server_version: str
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str = "overlay2"
    driver_status: list[list[str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool = field(name="CPUShares")
    cpu_set: bool = field(name="CPUSet")
    pids_limit: bool
    oom_kill_disable: bool
    ipv4_forwarding: bool = field(name="IPv4Forwarding")
    bridge_nf_iptables: bool = False
    bridge_nf_ip6tables: bool = field(default=False, name="BridgeNfIp6tables")
    debug: bool
    n_fd: int = field(name="NFd")
    n_goroutines: int = field(default=1, name="NGoroutines")
    system_time: str
    logging_driver: str
    cgroup_driver: str = "cgroupfs"
    cgroup_version: str
    n_events_listener: int = field(default=0, name="NEventsListener")
    kernel_version: str
    operating_system: str
    os_version: str = field(name="OSVersion")
    os_type: str = field(default="linux", name="OSType")
    architecture: str
    index_server_address: str = "https://index.docker.io/v1/"
    registry_config: RegistryConfig
    ncpu: int = field(name="NCPU")
    mem_total: int
    generic_resources: None = None
    docker_root_dir: str
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    labels: list[str]
    experimental_build: bool = False
    live_restore_enabled: bool = True
    runtimes: dict[str, Runtime]
    default_runtime: str
    init_binary: str
    isolation: str = ""
    containerd_commit: Commit = field(default_factory=Commit)
    runc_commit: Commit = field(default_factory=Commit)
    init_commit: Commit = field(default_factory=Commit)
    security_options: list[str]
    product_license: str
    warnings: list[str] | None
    default_address_pools: list[AddressPool]
    cdi_spec_dirs: list[str] = field(default_factory=list, name="CDISpecDirs")
    discovered_devices: list[DiscoveredDevice] = field(default_factory=list)
    firewall_backend: FirewallBackend
    swarm: Swarm = field(default_factory=Swarm)


class UsageCount(Struct, rename="pascal", kw_only=True):
    """What one kind of object takes up; sizes in bytes."""

    active_count: int = 0
    total_count: int = 0
    total_size: int = 0
    reclaimable: int = 0


class BuildCacheEntry(Struct, rename="pascal", kw_only=True):
    """One entry of the build cache."""

    id: str = field(name="ID")
    parents: list[str] | None = None
    type: str
    description: str
    in_use: bool
    shared: bool
    size: int
    created_at: str
    last_used_at: str | None = None
    usage_count: int


class DiskUsage(Struct, rename="pascal", kw_only=True):
    """The body of SystemDataUsage with the members of all API versions."""

    layers_size: int
    blobs_size: int
    images: Sequence[ImageSummary]
    containers: Sequence[ContainerSummary]
    volumes: list[VolumeView] = field(default_factory=list)
    build_cache: list[BuildCacheEntry] = field(default_factory=list)
    image_usage: UsageCount
    container_usage: UsageCount
    volume_usage: UsageCount = field(default_factory=UsageCount)
    build_cache_usage: UsageCount = field(default_factory=UsageCount)
