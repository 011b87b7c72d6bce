"""The graph of a build: operations, and the edges between them; BuildKit's LLB in values of our own.

Glossary (BuildKit ``solver/pb/ops.proto``): a *vertex* is an operation with its inputs; it has one or more *outputs*,
each a file system (a snapshot); an *edge* means one output of one vertex. A vertex's digest covers its operation, its
platform and its inputs, all the way down, and nothing else: two clients that ask for the same thing have the same
digest.

Digests are computed when a vertex is made, from those of its inputs: nothing here walks a graph, however deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from wherry.build.model.network import NetworkMode, StepNetwork
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = [
    "NO_INPUT", "NO_OUTPUT", "Bind", "BuildMount", "Cache", "CacheSharing", "Chown", "Copy", "DiffOp", "Edge", "ExecOp",
    "FileAction", "FileOp", "HostDirectory", "HostEntry", "MakeDirectory", "MakeFile", "MergeOp", "Metadata",
    "NetworkMode", "Op", "Owner", "Remove", "Secret", "SecretEnv", "SecurityMode", "SourceOp", "SourceRange", "Ssh",
    "Symlink", "Tmpfs", "Ulimit", "Vertex", "topological",
]  # fmt: skip

NO_INPUT: Final = -1
"""An input that is none: an empty directory, LLB's scratch."""
NO_OUTPUT: Final = -1
"""A result that nobody asks for."""


# --- sources --------------------------------------------------------------------------------------


class SourceOp(Struct, frozen=True, tag="source"):
    """A file system from elsewhere.

    :param identifier: ``docker-image://``, ``local://NAME``, ``git://``, ``https://``, ``oci-layout://`` and so on.
    :param attributes: of the kind of source, in BuildKit's names (``solver/pb/attr.go``): ``local.includepattern``.
    """

    identifier: str
    attributes: dict[str, str] = {}


# --- exec -----------------------------------------------------------------------------------------


class SecurityMode(StrEnum):
    """How much a step may do."""

    SANDBOX = "sandbox"
    INSECURE = "insecure"


class CacheSharing(StrEnum):
    """What happens when several steps use a cache mount at the same time."""

    SHARED = "shared"
    PRIVATE = "private"
    LOCKED = "locked"


class Bind(Struct, frozen=True, tag="bind"):
    """A mount of an input, or of an empty directory; the root file system is one, too."""


class Cache(Struct, frozen=True, tag="cache"):
    """A directory that outlives the build; an input is its first content."""

    id: str
    sharing: CacheSharing = CacheSharing.SHARED


class Tmpfs(Struct, frozen=True, tag="tmpfs"):
    """Memory. `size` in bytes, 0: no limit of its own."""

    size: int = 0


class Secret(Struct, frozen=True, tag="secret"):
    """A file with a secret of the client's."""

    id: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o400
    optional: bool = False


class Ssh(Struct, frozen=True, tag="ssh"):
    """A socket to an SSH agent of the client's."""

    id: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o600
    optional: bool = False


class HostDirectory(Struct, frozen=True, tag="host"):
    """A directory or a file of this machine, by its absolute path; no client's definition has any.

    What is in it is not part of the cache key, as with cache mounts; the path is.
    """

    source: str


class BuildMount(Struct, frozen=True):
    """A mount of an exec operation; the one at ``/`` is its root file system.

    :param kind: what it is.
    :param target: where, in the container.
    :param input: the number of the vertex's input that is mounted, or `NO_INPUT`.
    :param selector: which path of the input.
    :param output: the number of the vertex's output that it becomes, or `NO_OUTPUT`.
    :param content_key: whether the cache key covers the content of what is mounted (where it is read-only and no
        output), or its origin.
    """

    target: str
    kind: Bind | Cache | Tmpfs | Secret | Ssh | HostDirectory = Bind()
    input: int = NO_INPUT
    selector: str = ""
    output: int = NO_OUTPUT
    readonly: bool = False
    content_key: bool = True


class SecretEnv(Struct, frozen=True):
    """An environment variable whose value is a secret of the client's."""

    id: str
    name: str
    optional: bool = False


class HostEntry(Struct, frozen=True):
    """A line of /etc/hosts."""

    host: str
    ip: str


class Ulimit(Struct, frozen=True):
    """A resource limit."""

    name: str
    soft: int
    hard: int


class ExecOp(Struct, frozen=True, tag="exec"):
    """A command in a container: RUN.

    :param env: ``NAME=value``, in order.
    :param user: as in ``docker run --user``.
    :param proxy_env: of the proxies, not part of the digest.
    :param network: as `StepNetwork` reads it; however it was written, it is kept in the one way that that has.
    :param valid_exit_codes: those that are a success; empty: only 0.
    :param devices: names of CDI devices; one that may be absent ends in ``?``.
    """

    args: tuple[str, ...]
    mounts: tuple[BuildMount, ...]
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    hostname: str = ""
    network: str = NetworkMode.DEFAULT
    security: SecurityMode = SecurityMode.SANDBOX
    secret_env: tuple[SecretEnv, ...] = ()
    extra_hosts: tuple[HostEntry, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""
    shm_size: int = 0
    proxy_env: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    valid_exit_codes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Write the network in its one way: keys and entitlements must not depend on spellings."""
        msgspec.structs.force_setattr(self, "network", str(StepNetwork.parse(self.network)))


# --- files ----------------------------------------------------------------------------------------


class Owner(Struct, frozen=True):
    """A user or a group: a number, or a name to be looked up in the /etc/passwd or /etc/group of an input.

    :param input: of the action, where the name is looked up.
    """

    id: int | None = None
    name: str = ""
    input: int = NO_INPUT


class Chown(Struct, frozen=True):
    """Whom what is made shall belong to; None: as it is, or root where it is new."""

    user: Owner | None = None
    group: Owner | None = None


class Copy(Struct, frozen=True, tag="copy"):
    """Copy from the action's secondary input to its first (BuildKit: FileActionCopy).

    :param mode: permission bits to set; -1: as they are.
    :param mode_text: a symbolic mode (``u=rwX,go=rX``), over `mode`.
    :param timestamp: nanoseconds since the epoch for everything that is copied; -1: as they are.
    :param include: patterns of what is copied, below the source; empty: all.
    :param parents: the source's path is kept below the destination (``--parents``), from its ``/./`` on.
    :param always_replace: replace what is there although it is of another kind (``--link``).
    """

    source: str
    destination: str
    chown: Chown | None = None
    mode: int = -1
    mode_text: str = ""
    follow_symlink: bool = False
    contents_only: bool = False
    unpack_archive: bool = False
    create_destination: bool = True
    allow_wildcard: bool = True
    allow_empty_wildcard: bool = False
    timestamp: int = -1
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    parents: bool = False
    always_replace: bool = False


class MakeFile(Struct, frozen=True, tag="mkfile"):
    """Write a file, replacing one that is there."""

    path: str
    mode: int
    data: bytes
    chown: Chown | None = None
    timestamp: int = -1


class MakeDirectory(Struct, frozen=True, tag="mkdir"):
    """Make a directory."""

    path: str
    mode: int
    parents: bool = False
    chown: Chown | None = None
    timestamp: int = -1


class Remove(Struct, frozen=True, tag="rm"):
    """Remove a path, and all below it."""

    path: str
    allow_not_found: bool = False
    allow_wildcard: bool = False


class Symlink(Struct, frozen=True, tag="symlink"):
    """Make a symbolic link at `path` that says `target`."""

    path: str
    target: str
    chown: Chown | None = None
    timestamp: int = -1


class FileAction(Struct, frozen=True):
    """One step of a file operation.

    Inputs are numbered: those of the vertex first, then the results of the operation's actions, in their order.

    :param input: what it begins from, or `NO_INPUT`.
    :param secondary: the other one: what is copied from.
    :param output: the number of the vertex's output that the result becomes, or `NO_OUTPUT`.
    """

    action: Copy | MakeFile | MakeDirectory | Remove | Symlink
    input: int = NO_INPUT
    secondary: int = NO_INPUT
    output: int = NO_OUTPUT


class FileOp(Struct, frozen=True, tag="file"):
    """Changes to files that need no container: COPY, ADD, WORKDIR."""

    actions: tuple[FileAction, ...]


class MergeOp(Struct, frozen=True, tag="merge"):
    """The layers of several snapshots upon each other, the first one lowest.

    :param inputs: numbers of the vertex's inputs, or `NO_INPUT`.
    """

    inputs: tuple[int, ...]


class DiffOp(Struct, frozen=True, tag="diff"):
    """What has to be laid on `lower` to have `upper`."""

    lower: int
    upper: int


Op = SourceOp | ExecOp | FileOp | MergeOp | DiffOp


# --- the graph ------------------------------------------------------------------------------------


class SourceRange(Struct, frozen=True):
    """A part of a Dockerfile: lines from 1, characters from 0; the end's character is the one behind."""

    start_line: int
    start_character: int
    end_line: int
    end_character: int


class Metadata(Struct, frozen=True):
    """What belongs to a vertex and does not change what it does.

    :param name: for people: ``[stage-1 2/4] RUN make``.
    :param group: a progress group, to show several vertices as one: its ID and name, weak or not.
    :param file: the name of the file that it was written in, and where there.
    """

    name: str = ""
    ignore_cache: bool = False
    group: tuple[str, str, bool] | None = None
    file: str = ""
    ranges: tuple[SourceRange, ...] = ()
    description: dict[str, str] = {}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Vertex:
    """An operation with its inputs. To be made by `Vertex.of`.

    :param platform: the one that it runs on, or is for; None where that makes no difference.
    """

    op: Op
    inputs: tuple[Edge, ...]
    platform: Platform | None
    metadata: Metadata
    digest: Digest

    @classmethod
    def of(
        cls,
        op: Op,
        inputs: Iterable[Edge] = (),
        *,
        platform: Platform | None = None,
        metadata: Metadata | None = None,
    ) -> Vertex:
        """Make a vertex, and compute its digest."""
        edges = tuple(inputs)
        covered = (
            _without_what_does_not_count(op),
            str(platform) if platform else None,
            [(str(edge.vertex.digest), edge.output) for edge in edges],
        )
        digest = Digest.from_bytes(msgspec.json.encode(covered, order="sorted"))
        return cls(op, edges, platform, metadata or Metadata(), digest)

    def output(self, number: int = 0) -> Edge:
        """One of its outputs."""
        return Edge(self, number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vertex) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{type(self.op).__name__} {self.digest.short} {self.metadata.name!r}>"


@dataclass(frozen=True, slots=True)
class Edge:
    """One output of a vertex."""

    vertex: Vertex
    output: int = field(default=0)


def _without_what_does_not_count(op: Op) -> Op:
    """Proxies and limits are how a step runs, not what it does (BuildKit leaves them out, too)."""
    if isinstance(op, ExecOp):
        return msgspec.structs.replace(op, proxy_env=(), ulimits=(), cgroup_parent="", shm_size=0)
    return op


def topological(ends: Iterable[Edge]) -> Iterator[Vertex]:
    """All vertices that some edges need, each once, inputs before those that need them; no recursion."""
    seen: set[Digest] = set()
    for end in ends:
        stack: list[tuple[Vertex, Iterator[Edge]]] = []
        if end.vertex.digest not in seen:
            seen.add(end.vertex.digest)
            stack.append((end.vertex, iter(end.vertex.inputs)))
        while stack:
            vertex, pending = stack[-1]
            edge = next(pending, None)
            if edge is None:
                stack.pop()
                yield vertex
            elif edge.vertex.digest not in seen:
                seen.add(edge.vertex.digest)
                stack.append((edge.vertex, iter(edge.vertex.inputs)))
