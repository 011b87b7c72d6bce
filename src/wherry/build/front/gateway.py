"""What the front asks for while it makes a graph. The solver implements it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from wherry.build.model.graph import Edge
from wherry.build.model.progress import WarningProgress
from wherry.build.model.service import ResolvedImage
from wherry.oci.platform import Platform

__all__ = ["Gateway"]

T = TypeVar("T")


class Gateway(Protocol):
    """Answers the front's questions. Whatever raises here ends the front's work."""

    @property
    def session(self) -> str:
        """The ID of the client's session; empty: there is none."""
        ...

    @property
    def build_platform(self) -> Platform:
        """The platform of this machine: ``BUILDPLATFORM``."""
        ...

    async def resolve_image(
        self, reference: str, *, platform: Platform, mode: str = "default", name: str = "", store: str = ""
    ) -> ResolvedImage:
        """What an image's name means.

        :param mode: ``default``, ``pull`` or ``local``, as `image.resolvemode` in BuildKit.
        :param name: of the vertex under which this is shown: ``[internal] load metadata for ...``.
        :param store: of an image in an OCI layout of the client's: the layout's ID; empty: from a registry.
        :raises NotFound: there is no such image.
        """
        ...

    async def read_file(self, edge: Edge, path: str, *, limit: int) -> bytes:
        """At most `limit` bytes of a file, from its beginning; runs what gives the edge, and its progress is shown.

        :raises NotFound: there is no such file.
        """
        ...

    async def modified(self, edge: Edge) -> int:
        """The time of the newest file at the top of what an edge gives, in nanoseconds; 0: there is none.

        Runs what gives the edge, and its progress is shown.
        """
        ...

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Do work whose length the client decides: in a thread, one at a time for each build, few for all of them.

        It has ended when this returns, also when this is cancelled.
        """
        ...

    def warn(self, warning: WarningProgress) -> None:
        """Show a warning."""
        ...
