"""The builder as those see it who stand outside: the API. `builder.Builder` is the one implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from wherry.build.model.container import BuildContainer, ContainerRequest, FileInfo
from wherry.build.model.graph import Edge
from wherry.build.model.progress import Progress, WarningProgress
from wherry.build.model.request import BuildRequest, FrontResult
from wherry.build.model.session import BuildSession
from wherry.oci.digest import Digest

__all__ = ["BuildRecord", "BuildService", "CacheRecord", "FileInfo", "PruneOptions", "ResolvedImage", "RunningBuild"]


class ResolvedImage(Struct, frozen=True):
    """An image that a name means: the manifest's digest, the whole name, the configuration as JSON."""

    digest: Digest
    name: str
    config: bytes


class RunningBuild(Protocol):
    """One build, from its beginning to its end; everything raises `Conflict` once that is over."""

    @property
    def ref(self) -> str:
        """The build's ID."""
        ...

    async def solve(
        self,
        frontend: str,
        options: Mapping[str, str],
        inputs: Mapping[str, Edge] | None = None,
        definition: Edge | None = None,
    ) -> FrontResult:
        """Ask a frontend (``dockerfile.v0``; empty: none, for a definition). Runs only what the frontend has to read.

        :raises DockerfileError: the Dockerfile is wrong.
        :raises WherryError: a base image, a context or an option is.
        """
        ...

    async def evaluate(self, edge: Edge) -> None:
        """Run what gives an edge."""
        ...

    async def read_file(self, edge: Edge | None, path: str, offset: int = 0, length: int = -1) -> bytes:
        """A file's content, of a result that is run for it if need be.

        :raises NotFound: there is no such file.
        """
        ...

    async def stat_file(self, edge: Edge | None, path: str) -> FileInfo:
        """One file.

        :raises NotFound: there is no such file.
        """
        ...

    async def read_directory(self, edge: Edge | None, path: str, pattern: str = "") -> list[FileInfo]:
        """The entries of a directory whose names fit a pattern of Go's ``filepath.Match``.

        :raises NotFound: there is no such directory.
        """
        ...

    async def resolve_image(self, reference: str, platform: str = "", mode: str = "") -> ResolvedImage:
        """What an image's name means; mode ``pull``, ``local``, or the default, as in BuildKit.

        :raises NotFound: there is no such image.
        """
        ...

    async def container(self, request: ContainerRequest) -> BuildContainer:
        """Make a container, in which nothing runs yet; it ends with the build.

        :raises Forbidden: the build may not do that.
        :raises VertexFailed: what gives one of its mounts failed.
        """
        ...

    def warn(self, warning: WarningProgress) -> None:
        """Show a warning."""
        ...

    async def finish(self, result: FrontResult) -> dict[str, str]:
        """Run the rest, export, and end the build; returns the exporters' answer, in BuildKit's names.

        :raises VertexFailed: a step failed.
        """
        ...

    async def fail(self, error: Exception) -> None:
        """End the build without a result."""
        ...


class BuildRecord(Struct, frozen=True, kw_only=True):
    """A build of the past, or of now. Times in nanoseconds since the epoch.

    :param internal: a question to the frontend, say, which is in no list of builds.
    """

    ref: str
    frontend: str = ""
    options: dict[str, str] = {}
    created: int = 0
    completed: int | None = None
    error: str = ""
    exporter_response: dict[str, str] = {}
    steps: int = 0
    cached: int = 0
    completed_steps: int = 0
    warnings: int = 0
    pinned: bool = False
    generation: int = 1
    internal: bool = False


class CacheRecord(Struct, frozen=True, kw_only=True):
    """One entry of the build cache. Size in bytes; times in nanoseconds since the epoch.

    :param kind: ``regular``, ``source.local``, ``source.git.checkout``, ``exec.cachemount``, ``frontend``,
        ``internal``.
    """

    id: str
    kind: str = "regular"
    parents: tuple[str, ...] = ()
    description: str = ""
    mutable: bool = False
    in_use: bool = False
    shared: bool = False
    size: int = 0
    created: int = 0
    last_used: int | None = None
    usage_count: int = 0


class PruneOptions(Struct, frozen=True, kw_only=True):
    """What to prune. Sizes in bytes, 0: no such bound; `keep_duration` in nanoseconds."""

    all: bool = False
    filters: tuple[str, ...] = ()
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


class BuildService(Protocol):
    """The builder."""

    async def ready(self) -> None:
        """Open the builder, unless it is open: all else comes after that.

        :raises Unavailable: the daemon ends.
        """
        ...

    def attach(self, session: BuildSession) -> None:
        """A client's session is there from now on; builds may wait for it."""
        ...

    async def detach(self, identifier: str) -> None:
        """A session has ended: its builds are cancelled; returns when nothing of them is left."""
        ...

    def begin(self, request: BuildRequest) -> RunningBuild:
        """Begin a build.

        :raises Conflict: there is one with that ID.
        """
        ...

    async def build(self, request: BuildRequest) -> dict[str, str]:
        """A whole build: begin, solve, finish. Being cancelled ends it."""
        ...

    def running(self, ref: str) -> RunningBuild:
        """A build that is under way.

        :raises NotFound: there is none.
        """
        ...

    async def cancel(self, ref: str) -> None:
        """End a build. Does nothing where there is none."""
        ...

    def progress(self, ref: str) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning, and on until it ends; waits a while for one that is to come.

        :raises NotFound: there is no such build.
        """
        ...

    def log(self, ref: str, *, follow: bool = False) -> AsyncIterator[Progress]:
        """Everything of a build from its beginning to what there is now; no build waits for who reads this.

        :param follow: go on until the build ends.
        :raises NotFound: there is no such build.
        """
        ...

    def records(self) -> Sequence[BuildRecord]:
        """The builds of the past that are remembered, and those of now, the oldest first."""
        ...

    def watch_records(self) -> AsyncIterator[BuildRecord]:
        """Each change of a record, from now on."""
        ...

    async def update_record(self, ref: str, *, pinned: bool | None = None, delete: bool = False) -> None:
        """Keep a record, or forget it.

        :raises NotFound: there is no such record.
        """
        ...

    async def disk_usage(self, filters: Sequence[str] = ()) -> list[CacheRecord]:
        """The entries of the cache that fit one of some filters, in containerd's syntax."""
        ...

    def prune(self, options: PruneOptions) -> AsyncIterator[CacheRecord]:
        """Remove entries that are not in use, the least recently used first; yields each one that went."""
        ...
