"""The Open Container Initiative's runtime specification, its Linux part, as values.

The names are the specification's, in Python's spelling; :func:`decode` and :func:`encode` use the specification's own.
What is absent in the JSON is ``None`` or empty here, and is absent again when encoded. Properties that are not known
are ignored, as the specification asks ("extensibility").

Source: https://github.com/opencontainers/runtime-spec, ``config.md`` and ``config-linux.md``, version 1.3.
Whether a value makes sense is not decided here, see :mod:`wherry.runtime.compile.spec`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

from wherry.errors import InvalidInput

__all__ = [
    "VERSION",
    "BlockIO",
    "BlockIODevice",
    "Box",
    "CPUAffinity",
    "Capabilities",
    "Cpu",
    "Device",
    "DeviceCgroup",
    "Hook",
    "Hooks",
    "HugepageLimit",
    "IDMapping",
    "IOPriority",
    "IntelRdt",
    "InterfacePriority",
    "Linux",
    "Memory",
    "MemoryPolicy",
    "Mount",
    "Namespace",
    "NetDevice",
    "Network",
    "Personality",
    "Pids",
    "Process",
    "Rdma",
    "Resources",
    "Rlimit",
    "Root",
    "Scheduler",
    "Seccomp",
    "SeccompArgument",
    "SeccompSyscall",
    "Spec",
    "TimeOffset",
    "User",
    "decode",
    "decode_process",
    "encode",
]

#: The version of the specification that these types follow.
VERSION: Final = "1.3.0"

NamespaceType = Literal["mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"]


class _Value(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of all values: immutable, ``snake_case`` here and ``camelCase`` in JSON."""


class IDMapping(_Value, frozen=True):
    """A range of user or group IDs: the container's, the host's, and how many."""

    container_id: int = field(name="containerID")
    host_id: int = field(name="hostID")
    size: int


class Mount(_Value, frozen=True):
    """One mount in the container, in mount(8)'s words."""

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class Root(_Value, frozen=True):
    """Where the container's root is, or is to be mounted, on the host."""

    path: str
    readonly: bool = False


class Box(_Value, frozen=True):
    """A terminal's size in characters."""

    height: int
    width: int


class User(_Value, frozen=True):
    """The user of the process.

    :param username: ``name``, ``uid``, ``name:group`` ...: looked up in the container's own files; it has the
        precedence over the numbers. (The specification knows the field for Windows only.)
    """

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""


class Capabilities(_Value, frozen=True):
    """The five sets of capabilities(7)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(_Value, frozen=True):
    """A resource limit, see setrlimit(2); 2**64-1 is none."""

    type: str
    soft: int
    hard: int


class IOPriority(_Value, frozen=True):
    """See ioprio_set(2)."""

    class_: str = field(name="class")
    priority: int = 0


class Scheduler(_Value, frozen=True):
    """See sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class CPUAffinity(_Value, frozen=True):
    """On which processors an exec begins and goes on, as lists: ``"0-3,7"``."""

    initial: str = ""
    final: str = ""


class Process(_Value, frozen=True):
    """The program and all that it is born with."""

    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = field(default_factory=User)
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IOPriority | None = field(default=None, name="ioPriority")
    exec_cpu_affinity: CPUAffinity | None = field(default=None, name="execCPUAffinity")


class Hook(_Value, frozen=True):
    """A program of the host's to be run at one point of a container's life; ``timeout`` in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(_Value, frozen=True):
    """The programs to be run, by point in the container's life."""

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Device(_Value, frozen=True):
    """A device node to be made."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int = 0
    gid: int = 0


class NetDevice(_Value, frozen=True):
    """A network device to be moved into the container, and its name there."""

    name: str = ""


class Namespace(_Value, frozen=True):
    """A namespace: a new one, or the one at a path."""

    type: NamespaceType
    path: str = ""


class DeviceCgroup(_Value, frozen=True):
    """One rule of which devices may be used; -1 or nothing is every number."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(_Value, frozen=True):
    """Limits on memory, in bytes; -1 is none."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = field(default=None, name="kernelTCP")
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(_Value, frozen=True):
    """Limits on processors; periods, quotas and bursts in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(_Value, frozen=True):
    """How many processes and threads there may be; 0 or less is no limit."""

    limit: int


class BlockIODevice(_Value, frozen=True):
    """A limit on one disk: a weight, or a rate in bytes or operations a second."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None
    rate: int | None = None


class BlockIO(_Value, frozen=True):
    """Limits on disks."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[BlockIODevice, ...] = ()
    throttle_read_bps_device: tuple[BlockIODevice, ...] = ()
    throttle_write_bps_device: tuple[BlockIODevice, ...] = ()
    throttle_read_iops_device: tuple[BlockIODevice, ...] = field(default=(), name="throttleReadIOPSDevice")
    throttle_write_iops_device: tuple[BlockIODevice, ...] = field(default=(), name="throttleWriteIOPSDevice")


class HugepageLimit(_Value, frozen=True):
    """How many bytes of huge pages of one size (``"2MB"``) may be used."""

    page_size: str
    limit: int


class InterfacePriority(_Value, frozen=True):
    """The priority of traffic through one interface."""

    name: str
    priority: int


class Network(_Value, frozen=True):
    """Marks for traffic control."""

    class_id: int | None = field(default=None, name="classID")
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(_Value, frozen=True):
    """Limits on one RDMA device."""

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(_Value, frozen=True):
    """Limits of the container's cgroup."""

    unified: dict[str, str] = {}
    devices: tuple[DeviceCgroup, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = field(default=None, name="blockIO")
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: dict[str, Rdma] = {}


class SeccompArgument(_Value, frozen=True):
    """A condition on one argument of a system call."""

    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscall(_Value, frozen=True):
    """A seccomp rule: an action for some system calls."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArgument, ...] = ()


class Seccomp(_Value, frozen=True):
    """A filter of system calls; ``keeps_projects`` is wherry's own: no file may change its quotas' project."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompSyscall, ...] = ()
    keeps_projects: bool = field(default=False, name="org.wherry.keepsProjects")


class IntelRdt(_Value, frozen=True):
    """Shares of cache and memory bandwidth."""

    clos_id: str = field(default="", name="closID")
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = field(default="", name="l3CacheSchema")
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(_Value, frozen=True):
    """From which memory nodes memory comes; see set_mempolicy(2)."""

    mode: str = ""
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Personality(_Value, frozen=True):
    """See personality(2)."""

    domain: str = ""
    flags: tuple[str, ...] = ()


class TimeOffset(_Value, frozen=True):
    """How far a clock of a new time namespace is off."""

    secs: int = 0
    nanosecs: int = 0


class Linux(_Value, frozen=True):
    """The Linux-specific part."""

    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: dict[str, TimeOffset] = {}
    devices: tuple[Device, ...] = ()
    net_devices: dict[str, NetDevice] = {}
    cgroups_path: str = ""
    resources: Resources | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    sysctl: dict[str, str] = {}
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: Personality | None = None


class Spec(_Value, frozen=True):
    """A container: the content of ``config.json``."""

    oci_version: str = VERSION
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


_decoder: Final = msgspec.json.Decoder(Spec)
_encoder: Final = msgspec.json.Encoder()


def decode(text: bytes | str) -> Spec:
    """Read a ``config.json``.

    :raises InvalidInput: it is not JSON, or a property has a wrong type; the message says where.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("not a runtime specification", cause=str(error)) from error


def decode_process(text: bytes | str) -> Process:
    """Read a process alone, as ``exec --process`` gets it.

    :raises InvalidInput: as :func:`decode` does.
    """
    try:
        return msgspec.json.decode(text, type=Process)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("not a process of a runtime specification", cause=str(error)) from error


def encode(spec: Spec) -> bytes:
    """Write a ``config.json``."""
    # The version is required, even when it is the default that omit_defaults leaves out.
    plain: dict[str, Any] = {"ociVersion": spec.oci_version, **msgspec.to_builtins(spec)}
    return _encoder.encode(plain)
