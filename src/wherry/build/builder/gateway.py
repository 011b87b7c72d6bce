"""What the front asks a build: `front.gateway.Gateway`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from wherry.build.model.graph import Edge
from wherry.build.model.progress import WarningProgress
from wherry.build.model.request import BuildRequest
from wherry.build.model.service import ResolvedImage
from wherry.build.model.snapshot import Snapshot
from wherry.build.solver.contract import Files
from wherry.oci.platform import Platform

__all__ = ["Asked", "Gateway"]

T = TypeVar("T")


class Asked(Protocol):
    """The build."""

    @property
    def request(self) -> BuildRequest:
        """What it was asked for."""
        ...

    @property
    def files(self) -> Files:
        """Reads files."""
        ...

    async def snapshot(self, edge: Edge | None) -> Snapshot:
        """What an edge gives."""
        ...

    async def resolve(self, reference: str, platform: Platform | None, mode: str, name: str) -> ResolvedImage:
        """What an image's name means."""
        ...

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the front's work in a thread, one at a time."""
        ...

    def warn(self, warning: WarningProgress) -> None:
        """Show a warning."""
        ...


class Gateway:
    """Answers the front's questions.

    :param build: of which the front makes the graph.
    """

    def __init__(self, build: Asked) -> None:
        self._build = build

    @property
    def session(self) -> str:
        """The ID of the client's session; empty: there is none."""
        return self._build.request.session

    @property
    def build_platform(self) -> Platform:
        """The platform of this machine."""
        return Platform.host()

    async def resolve_image(
        self, reference: str, *, platform: Platform, mode: str = "default", name: str = "", store: str = ""
    ) -> ResolvedImage:
        """What an image's name means.

        :raises NotFound: there is no such image.
        """
        wanted = f"oci-layout://{store}@{reference.rpartition('@')[2]}" if store else reference
        return await self._build.resolve(wanted, platform, mode, name)

    async def read_file(self, edge: Edge, path: str, *, limit: int) -> bytes:
        """At most `limit` bytes of a file, from its beginning.

        :raises NotFound: there is no such file.
        """
        return await self._build.files.read(await self._build.snapshot(edge), path, 0, limit)

    async def modified(self, edge: Edge) -> int:
        """The time of the newest file at the top of what an edge gives, in nanoseconds; 0: there is none."""
        found = await self._build.files.list_directory(await self._build.snapshot(edge), "/", "")
        return max((info.modified for info in found), default=0)

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Do work whose length the client decides: in a thread, one at a time for each build, few for all of them."""
        return await self._build.in_thread(work, *arguments)

    def warn(self, warning: WarningProgress) -> None:
        """Show a warning."""
        self._build.warn(warning)
