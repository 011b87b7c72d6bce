"""The exporters of image archives (``oci``, ``docker``): sent to the client as one file, or blob by blob.

An OCI archive is an OCI layout; a Docker archive is one as well, with the file that ``docker load`` looks for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from wherry.build.exporters.assembly import Assembler, Assembly, Attester
from wherry.build.exporters.contract import Product
from wherry.build.exporters.documents import answer_of
from wherry.build.exporters.options import image_options
from wherry.build.exporters.steps import step
from wherry.build.model.request import Export
from wherry.content.store import ContentStore
from wherry.content.thread_stream import pieces_of
from wherry.distribution.transfer.lease import with_lease
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.save import blob_path, write_blob, write_directory, write_document
from wherry.layers.compression import Compression
from wherry.layers.tar import writer
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, Index
from wherry.oci.media_types import OCI_INDEX

__all__ = ["ArchiveExporter", "stored_pieces"]

_PIECE: Final = 1 << 20
#: The name by which a client knows the directory that it wants an image in.
_DIRECTORY: Final = "export"


class ArchiveExporter:
    """Sends images to the client. To be used on one event loop.

    :param docker: whether it is a Docker archive.
    """

    def __init__(self, assembler: Assembler, statements: Attester, *, docker: bool) -> None:
        self._assembler = assembler
        self._content = assembler.store.content
        self._statements = statements
        self._is_docker = docker

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Make the image, and send it.

        :raises InvalidInput: an option makes no sense.
        :raises NotFound: the client takes no files.
        """
        if self._is_docker and len(product.result.refs) > 1:
            raise InvalidInput("docker exporter does not currently support exporting manifest lists")
        options = image_options(export.attributes, product.result.metadata, compression=Compression.GZIP)
        inline = "attestation-inline" in export.attributes and options.inline_attestations
        async with with_lease(self._assembler.store) as lease:
            assembly = await self._assembler.assemble(
                product, options, lease, self._statements(product, options.names, inline=inline)
            )
            answer = answer_of(assembly.top, assembly.images[0].config.descriptor.digest)
            if options.names:
                answer["image.name"] = ",".join(map(str, options.names))
            if options.tar:
                await self._send_archive(product, export, assembly, options.names, answer)
            else:
                await self._send_blobs(product, assembly)
        return answer

    async def _send_archive(
        self, product: Product, export: Export, assembly: Assembly, names: Sequence[Reference], answer: dict[str, str]
    ) -> None:
        def write(sink: Callable[[bytes], object]) -> None:
            self._write(sink, assembly, names)

        with step(product, "sending tarball"):
            async with aclosing(pieces_of(write)) as pieces:
                await product.session.send_file(export.number, answer, pieces)

    def _write(self, write: Callable[[bytes], object], assembly: Assembly, names: Sequence[Reference]) -> None:
        """Write the archive; in a thread of its own."""
        write_directory(write, "blobs")
        write_directory(write, "blobs/sha256")
        write_document(write, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        write_document(write, "index.json", Index(_listed(assembly.top, names), schema_version=2, media_type=OCI_INDEX))
        if self._is_docker:
            write_document(write, "manifest.json", [_of_docker(assembly, names)])
        for one in dict.fromkeys(one.digest for one in [*assembly.blobs, *assembly.documents]):
            write_blob(write, self._content, one)
        write(writer.END)

    async def _send_blobs(self, product: Product, assembly: Assembly) -> None:
        store = product.session.content(_DIRECTORY)
        with step(product, "sending blobs"):
            for one in [*assembly.blobs, *assembly.documents]:
                async with aclosing(stored_pieces(self._content, one.digest)) as pieces:
                    await store.write(one.digest, one.size, pieces)


async def stored_pieces(content: ContentStore, digest: Digest) -> AsyncGenerator[bytes, None]:
    """A blob's bytes, read in threads.

    :raises NotFound: there is no such blob.
    """
    file = await asyncio.to_thread(content.open, digest)
    position = 0
    try:
        while piece := await asyncio.to_thread(os.pread, file.fileno(), _PIECE, position):
            position += len(piece)
            yield piece
    finally:
        file.close()


def _listed(top: Descriptor, names: Sequence[Reference]) -> list[Descriptor]:
    """An image as ``index.json`` lists it: once for each name, or once without."""
    notes = [
        {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag or ""} for name in names
    ]
    return [msgspec.structs.replace(top, annotations={**(top.annotations or {}), **note}) for note in notes] or [top]


def _of_docker(assembly: Assembly, names: Sequence[Reference]) -> dict[str, object]:
    [image] = assembly.images
    return {
        "Config": blob_path(image.config.descriptor.digest),
        "RepoTags": [name.familiar for name in names] or None,
        "Layers": [blob_path(layer.digest) for layer in image.layers],
    }
