"""The exporter of the engine's own images (``moby``, ``image``): at once, as their layers are here already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from wherry.build.exporters.assembly import Assembler, Assembly, Attester, BuiltImage
from wherry.build.exporters.contract import Product, Registries
from wherry.build.exporters.documents import answer_of
from wherry.build.exporters.options import ImageOptions, image_options
from wherry.build.exporters.steps import step
from wherry.build.model.request import Export
from wherry.content.threads import Check
from wherry.distribution.transfer.lease import with_lease
from wherry.docker.reference import Reference
from wherry.images.reference_counts import Lease
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.platform import Platform

__all__ = ["ImageExporter"]

Tagged = Callable[[str, str], None]


class ImageExporter:
    """Makes images of the engine's, and pushes them. To be used on one event loop.

    :param tagged: told of each name that an image gets: the image's ID, and the name as people write it.
    """

    def __init__(self, assembler: Assembler, registries: Registries, statements: Attester, tagged: Tagged) -> None:
        self._assembler = assembler
        self._store = assembler.store
        self._worker = assembler.worker
        self._registries = registries
        self._statements = statements
        self._tagged = tagged

    async def export(self, product: Product, export: Export) -> dict[str, str]:
        """Make the image, name it, push it.

        :raises InvalidInput: an option makes no sense.
        :raises WherryError: the registry does not take it; then the image is here nevertheless.
        """
        options = image_options(export.attributes, product.result.metadata)
        statements = self._statements(product, options.names, inline=options.inline_attestations)
        async with with_lease(self._store) as lease:
            assembly = await self._assembler.assemble(product, options, lease, statements)
            image = _chosen(assembly.images)
            if options.store:
                await self._register(product, options, assembly, image, lease)
            if options.push:
                for name in options.names:
                    await self._push(product, options, assembly, name)
        answer = answer_of(assembly.top, image.config.descriptor.digest)
        if options.names:
            answer["image.name"] = ",".join(map(str, options.names))
        return answer

    async def _register(
        self, product: Product, options: ImageOptions, assembly: Assembly, image: BuiltImage, lease: Lease
    ) -> None:
        """The image's row is the point of no return; it is complete before."""
        await self._worker.run(partial(self._unpack, image, lease))
        names = [] if options.push_by_digest else options.names
        identifier = image.config.descriptor.digest
        shown = ", ".join(name.familiar for name in names) or identifier.short
        with step(product, f"naming to {shown}"):
            await self._worker.run(lambda _: self._name(options, assembly, image, names))
        for name in names:
            self._tagged(str.__str__(identifier), name.familiar)

    def _name(self, options: ImageOptions, assembly: Assembly, image: BuiltImage, names: Sequence[Reference]) -> None:
        identifier, manifest = image.config.descriptor.digest, image.manifest.descriptor.digest
        also = [one.digest for one in [*assembly.blobs, *assembly.documents]]
        index = assembly.index.descriptor.digest if assembly.index else None
        self._store.register(identifier, manifest, names, also, index)
        if options.push or options.name_canonical:  # a registry knows it by its digest, too
            digest = assembly.top.digest
            canonical = {Reference(name.domain, name.path, None, digest) for name in options.names}
            self._store.register(identifier, manifest, sorted(canonical, key=str), also)

    def _unpack(self, image: BuiltImage, lease: Lease, check: Check) -> None:
        """Unpack what an option has changed; the other layers are there."""
        chain_id: Digest | None = None
        lease.layer(*chain_ids_of(image.diff_ids))
        for blob, diff_id in zip(image.layers, image.diff_ids, strict=True):
            check()
            open_blob = partial(self._store.content.open, blob.digest)
            chain_id = self._store.layers.ensure(open_blob, diff_id, chain_id).chain_id

    async def _push(self, product: Product, options: ImageOptions, assembly: Assembly, name: Reference) -> None:
        with step(product, f"pushing {name.familiar}"):
            remote = await self._registries.open(
                name, product.session, product.progress, product.vertex, insecure=options.insecure, writes=True
            )
            await remote.push(assembly.blobs, assembly.documents, "" if options.push_by_digest else name.tag or "")


def _chosen(images: Sequence[BuiltImage]) -> BuiltImage:
    """Of an image for several platforms the one that is unpacked: what suits this machine best, or else the first."""
    return images[Platform.host().best_of(image.platform for image in images) or 0]
