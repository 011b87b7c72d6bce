"""A gateway of the Dockerfile frontend that knows some images and files, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from wherry.build.front.dockerfile import solve
from wherry.build.model.graph import Edge, FileOp, SourceOp, Vertex, topological
from wherry.build.model.progress import WarningProgress
from wherry.build.model.request import FrontResult
from wherry.build.model.service import ResolvedImage
from wherry.content.threads import in_thread
from wherry.docker.reference import Reference
from wherry.errors import NotFound
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

__all__ = ["AMD64", "FakeGateway", "config", "digest_of", "history", "image_config", "solved", "steps"]

T = TypeVar("T")
AMD64 = Platform("linux", "amd64")


def digest_of(name: str) -> Digest:
    """The digest of an image's manifest here."""
    return Digest.from_bytes(name.encode())


def image_config(platform: Platform = AMD64, **config: Any) -> bytes:
    """An image's configuration with one layer; `config` is the part about containers."""
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": "2024-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD rootfs.tar /"}],
    }
    if platform.variant:
        document["variant"] = platform.variant
    return msgspec.json.encode(document)


class FakeGateway:
    """Answers from dictionaries.

    :ivar images: configurations by whole names (``docker.io/library/busybox:latest``), all platforms alike.
    :ivar files: contents by the identifier of a source and a path: ``("local://dockerfile", "Dockerfile")``.
    :ivar reads: what was read: the source's operation and the path.
    :ivar times: of sources, by their identifiers, in nanoseconds.
    :ivar resolved: the names of images that were asked for, with platform, mode and store.
    """

    def __init__(
        self,
        dockerfile: str | bytes = b"",
        *,
        images: Mapping[str, bytes] | None = None,
        files: Mapping[tuple[str, str], bytes] | None = None,
        build_platform: Platform = AMD64,
        session: str = "session-1",
    ) -> None:
        text = dockerfile if isinstance(dockerfile, bytes) else dockerfile.encode()
        self.images = {"docker.io/library/busybox:latest": image_config(Env=["PATH=/bin"], Cmd=["sh"])}
        self.images.update(images or {})
        self.files = {("local://dockerfile", "Dockerfile"): text, **(files or {})}
        self.build_platform = build_platform
        self.session = session
        self.warnings: list[WarningProgress] = []
        self.reads: list[tuple[SourceOp, str]] = []
        self.resolved: list[tuple[str, str, str, str]] = []
        self.titles: list[str] = []
        self.times: dict[str, int] = {}

    async def resolve_image(
        self, reference: str, *, platform: Platform, mode: str = "default", name: str = "", store: str = ""
    ) -> ResolvedImage:
        """An image of `images`."""
        self.resolved.append((reference, str(platform), mode, store))
        self.titles.append(name)
        key = str(Reference.parse(reference).with_default_tag())
        if key not in self.images:
            raise NotFound(f"failed to resolve source metadata for {key}: {key}: not found")
        return ResolvedImage(digest_of(key), key, self.images[key])

    async def read_file(self, edge: Edge, path: str, *, limit: int) -> bytes:
        """A file of `files`; what was copied out of a source has its files."""
        vertex = edge.vertex
        while isinstance(vertex.op, FileOp):
            vertex = vertex.inputs[0].vertex
        assert isinstance(vertex.op, SourceOp)
        self.reads.append((vertex.op, path))
        content = self.files.get((vertex.op.identifier, path))
        if content is None:
            raise NotFound(f"open {path}: no such file or directory")
        return content[:limit]

    async def modified(self, edge: Edge) -> int:
        """A time of `times`; of one that is not there, 0."""
        assert isinstance(edge.vertex.op, SourceOp)
        return self.times.get(edge.vertex.op.identifier, 0)

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Do it in a thread of anybody's."""
        return await in_thread(work, *arguments)

    def warn(self, warning: WarningProgress) -> None:
        """Remember a warning."""
        self.warnings.append(warning)


async def solved(
    dockerfile: str | bytes,
    options: Mapping[str, str] | None = None,
    *,
    gateway: FakeGateway | None = None,
    inputs: Mapping[str, Edge] | None = None,
) -> FrontResult:
    """What the frontend makes of a Dockerfile."""
    return await solve(options or {}, inputs or {}, gateway or FakeGateway(dockerfile))


def steps(result: FrontResult, platform: str = "") -> dict[str, Vertex]:
    """The vertices that a result needs, by their names, inputs first."""
    edge = result.refs[platform].edge
    return {vertex.metadata.name: vertex for vertex in topological([edge] if edge is not None else [])}


def config(result: FrontResult, platform: str = "") -> dict[str, Any]:
    """The image's configuration."""
    found: dict[str, Any] = msgspec.json.decode(result.refs[platform].config)
    return found


def history(result: FrontResult, platform: str = "") -> list[str]:
    """What the image's history says was done."""
    return [entry["created_by"] for entry in config(result, platform)["history"]]
