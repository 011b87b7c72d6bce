"""What an exporter gets, what it gives, and what it needs of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from wherry.build.model.progress import ProgressSink
from wherry.build.model.request import BuildRequest, Export, FrontResult
from wherry.build.model.session import BuildSession
from wherry.build.model.snapshot import Snapshot
from wherry.docker.reference import Reference
from wherry.images.reference_counts import Lease
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

__all__ = ["Exporter", "LayerBlob", "Layers", "Product", "Registries", "Remote"]


Scan = Callable[[str, Mapping[str, str], str], Awaitable[Sequence[bytes]]]


@dataclass(frozen=True, kw_only=True)
class Product:
    """A build's finished result.

    :param snapshots: by the keys of the result's refs.
    :param vertex: under which the exporter shows its progress.
    :param started: of the build; nanoseconds since the epoch.
    :param pins: by the digest of a source's vertex: the URI and the digest (``sha256:…``, ``sha1:…``) of each thing
        that was fetched for it, for the provenance.
    :param scan: runs an SBOM scanner, an image with its parameters, upon the result with a key; gives what it has
        written, file by file.
    :param extras: gives what a bill of materials is to list beside the result with a key, by name.
    :param inline_cache: makes the cache that goes into an image's configuration: called in a thread, with the layers
        of the image; None: there is none to go there.
    """

    request: BuildRequest
    result: FrontResult
    snapshots: Mapping[str, Snapshot]
    session: BuildSession
    progress: ProgressSink
    vertex: Digest
    started: int
    pins: Mapping[Digest, Sequence[tuple[str, str]]] = field(default_factory=dict)
    scan: Scan | None = None
    extras: Callable[[str], Awaitable[Mapping[str, Snapshot]]] | None = None
    inline_cache: Callable[[Snapshot], bytes | None] | None = None


class Exporter(Protocol):
    """Brings a product where it is wanted."""

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Export; returns what the client is told, in BuildKit's names: ``containerimage.digest``.

        :raises InvalidInput: an option makes no sense.
        """
        ...


class LayerBlob(Protocol):
    """One layer of a snapshot as a blob of the content store."""

    @property
    def diff_id(self) -> Digest:
        """Of the uncompressed archive."""
        ...

    @property
    def chain_id(self) -> Digest:
        """Of this layer and all below it."""
        ...

    @property
    def digest(self) -> Digest:
        """Of the blob."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        ...

    @property
    def media_type(self) -> str:
        """How the blob is compressed."""
        ...

    @property
    def created(self) -> int:
        """When the layer was made, in nanoseconds since the epoch; of a step's the same each time one asks."""
        ...


class Layers(Protocol):
    """Gives the blobs of snapshots."""

    async def blobs(self, snapshot: Snapshot, lease: Lease) -> Sequence[LayerBlob]:
        """The blobs of a snapshot's layers, one for each, bottom first.

        :param lease: keeps them, and the unpacked layers of their chain IDs.
        :raises OutOfSpace: the disk is full.
        """
        ...


class Remote(Protocol):
    """A repository of a registry, with a client's credentials."""

    async def manifest(self, reference: str) -> tuple[str, bytes]:
        """A manifest or an index by its tag or digest: media type and bytes, verified where it was a digest.

        :raises NotFound: there is none.
        """
        ...

    async def read(self, blob: Descriptor) -> bytes:
        """A blob that is a document, verified.

        :raises NotFound: there is none.
        :raises CorruptData: the registry lied.
        """
        ...

    async def fetch(self, blob: Descriptor) -> None:
        """Bring a blob into the content store, unless it is there; verified. The caller has leased it.

        :raises NotFound: there is none.
        :raises CorruptData: the registry lied.
        """
        ...

    async def push(self, blobs: Sequence[Descriptor], documents: Sequence[Descriptor], tag: str) -> None:
        """Send blobs of the content store that are not there, then documents, each after what it lists.

        :param tag: of the last document; empty: it is only known by its digest.
        """
        ...


class Registries(Protocol):
    """Registries, for a build. The engine implements it."""

    async def open(
        self,
        reference: Reference,
        session: BuildSession,
        progress: ProgressSink,
        vertex: Digest,
        *,
        insecure: bool = False,
        writes: bool = False,
    ) -> Remote:
        """Open a name's repository, with the credentials of the session's client.

        :param vertex: under which transfers are shown.
        :param insecure: whether plain HTTP, or a certificate that nobody vouches for, would do.
        :raises WherryError: it does not answer.
        """
        ...
