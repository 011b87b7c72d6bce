"""The answer behind ``wherry explain``, wherry's own: what isolates a container, what it sees, what holds it back."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType, field

from wherry.docker.networks import PortSummary

__all__ = [
    "CapabilitySets",
    "CopiedFile",
    "ExitView",
    "Explanation",
    "LimitView",
    "MountExplained",
    "NamespaceView",
    "NetworkExplained",
    "PlaceOnNetwork",
    "RootLayer",
    "SeccompView",
    "WritableLayer",
]


class NamespaceView(Struct, rename="pascal"):
    """One of the namespaces that a container is in, by its inode number (namespaces(7)), and who else is in it."""

    kind: str
    inode: int
    shared_with: list[str]


class MountExplained(Struct, rename="pascal", kw_only=True):
    """One mount that a container sees, and why it is there, in a sentence."""

    destination: str
    source: str
    type: str
    options: list[str]
    why: str


class RootLayer(Struct, rename="pascal", kw_only=True):
    """One read-only layer of its root.

    :ivar path: the directory of its files.
    :ivar shared_with: the names of other containers that use it.
    """

    chain_id: str = field(name="ChainID")
    diff_id: str = field(name="DiffID")
    size: int
    path: str
    shared_with: list[str] = field(default_factory=list)


class CopiedFile(Struct, rename="pascal"):
    """A file in the writable layer."""

    path: str
    bytes: int


class WritableLayer(Struct, rename="pascal", kw_only=True):
    """The writable layer, with its largest files."""

    path: str
    bytes: int
    files: int
    copied_up: list[CopiedFile]


class PlaceOnNetwork(Struct, rename="pascal", kw_only=True):
    """A running container's endpoint on a network."""

    network: str
    interface: str
    host_interface: str
    addresses: list[str]
    gateways: list[str]
    names: list[str]


class NetworkExplained(Struct, rename="pascal", kw_only=True):
    """Its networks, and its endpoints on them while it runs."""

    mode: str
    networks: list[str]
    places: list[PlaceOnNetwork]
    ports: list[PortSummary]


class LimitView(Struct, rename="pascal", kw_only=True):
    """One limit and what is used of it.

    :ivar limit: null where there is none.
    :ivar limited: left out for what can be limited.
    """

    name: str
    limit: float | None
    used: float
    unit: str | UnsetType = UNSET
    limited: bool | UnsetType = UNSET
    explanation: str | UnsetType = UNSET


class CapabilitySets(Struct, rename="pascal"):
    """The capabilities that it keeps, and those of the kernel's that it does not."""

    kept: list[str]
    dropped: list[str]


class SeccompView(Struct, rename="pascal"):
    """Its system call filter, and how many calls that allows."""

    mode: str
    profile: str
    allowed: int | None


class ExitView(Struct, rename="pascal", kw_only=True):
    """How it ended."""

    code: int
    oom_killed: bool = field(name="OOMKilled")
    error: str
    at: str


class Explanation(Struct, rename="pascal", kw_only=True):
    """All facts about a container; those that only a running one has are empty for others."""

    id: str
    name: str
    state: str
    pid: int
    namespaces: list[NamespaceView]
    mounts: list[MountExplained]
    layers: list[RootLayer]
    writable: WritableLayer
    network: NetworkExplained
    limits: list[LimitView]
    capabilities: CapabilitySets
    seccomp: SeccompView
    no_new_privileges: bool
    exit: ExitView | None
