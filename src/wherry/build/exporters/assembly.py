"""The assembly of an image: a product's snapshots become layers, configurations, manifests and an index, all stored.

Nothing here names an image or sends it anywhere: the exporters do that, with what is assembled and leased.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from msgspec import Struct

from wherry.build.exporters.contract import Layers, Product
from wherry.build.exporters.documents import Document, attestation, config_document, index, manifest, platform_json
from wherry.build.exporters.image_config import BuiltLayer, base_of, complete
from wherry.build.exporters.layer_blobs import LayerForms
from wherry.build.exporters.layer_shape import ImageLayer, first_squashed, shaped
from wherry.build.exporters.options import ImageOptions, epoch_of
from wherry.build.exporters.steps import step
from wherry.build.model.request import Ref
from wherry.build.model.snapshot import Snapshot
from wherry.content.threads import Check, Worker
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.images.reference_counts import Lease
from wherry.images.store import ImageStore
from wherry.oci.codec import decode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.platform import Platform

__all__ = ["Assembler", "Assembly", "Attester", "BuiltImage", "Statements", "platform_of"]

#: Gives the statements about an image: the type of each one's predicate, and its JSON.
Statements = Callable[["BuiltImage"], Awaitable[Sequence[tuple[str, bytes]]]]


class Attester(Protocol):
    """Knows what is to be stated about a product."""

    def __call__(self, product: Product, names: Sequence[Reference], *, inline: bool) -> Statements | None:
        """How to make the statements about each image; None: nothing is to be said.

        :param names: the image's.
        :param inline: whether those are wanted that are only for images with nothing else beside them.
        :raises InvalidInput: what the client wants stated makes no sense.
        """
        ...


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """The image for one platform.

    :param key: of the ref.
    :param layers: as the manifest lists them; those of steps that changed nothing are left out.
    """

    key: str
    platform: Platform
    diff_ids: tuple[Digest, ...]
    layers: tuple[Descriptor, ...]
    config: Document
    manifest: Document


@dataclass(frozen=True, slots=True)
class Assembly:
    """All of an export.

    :param attached: manifests of statements, and the blobs of each.
    :param index: lists all manifests; None: there is one, and nothing beside it.
    """

    images: tuple[BuiltImage, ...]
    attached: tuple[tuple[Document, Sequence[Document]], ...]
    index: Document | None

    @property
    def top(self) -> Descriptor:
        """What the client is told of."""
        return (self.index or self.images[0].manifest).descriptor

    @property
    def documents(self) -> list[Descriptor]:
        """Manifests, and the index last."""
        found = [image.manifest for image in self.images] + [document for document, _ in self.attached]
        return [one.descriptor for one in [*found, *([self.index] if self.index else [])]]

    @property
    def blobs(self) -> list[Descriptor]:
        """What the manifests list, each once."""
        found = [one for image in self.images for one in (*image.layers, image.config.descriptor)]
        found += [blob.descriptor for _, blobs in self.attached for blob in blobs]
        return list({one.digest: one for one in found}.values())


class Assembler:
    """Assembles images. To be used on one event loop.

    :param layers: gives snapshots' blobs.
    """

    def __init__(self, store: ImageStore, layers: Layers, worker: Worker) -> None:
        self.store: Final = store
        self.layers: Final = layers
        self.worker: Final = worker

    async def assemble(
        self, product: Product, options: ImageOptions, lease: Lease, statements: Statements | None = None
    ) -> Assembly:
        """Make all of an image, stored and leased.

        :param statements: None: nothing is said about it.
        :raises InvalidInput: an option, or the configuration, makes no sense.
        :raises OutOfSpace: the disk is full.
        """
        refs = product.result.refs
        if not refs:
            raise InvalidInput("the build has no result to make an image of")
        self._check(product, options, attests=statements is not None)
        images = []
        with step(product, "exporting layers"):
            for key, ref in refs.items():
                images.append(await self._image(product, options, lease, key, ref))
        attached = []
        for image in images if statements else ():
            assert statements is not None
            found = await statements(image)
            if found:
                attached.append(attestation(image.manifest.descriptor, found, artifact=options.oci_artifact))
        top = self._index(options, images, attached) if attached or "" not in refs else None
        if top is None and (options.annotations.index or options.annotations.index_descriptor):
            raise InvalidInput("index annotations not supported for single platform export")
        assembly = Assembly(tuple(images), tuple(attached), top)
        await self.worker.run(partial(self._write, assembly, lease))
        for document in assembly.documents:
            with step(product, f"exporting manifest {document.digest}"):
                pass
        return assembly

    @staticmethod
    def _check(product: Product, options: ImageOptions, *, attests: bool) -> None:
        if attests and not options.oci_types:
            raise InvalidInput('cannot export attestations with "oci-mediatypes=false"')
        refs = product.result.refs
        known = {str(Platform.parse(key)) if key else str(platform_of(key, ref)) for key, ref in refs.items()}
        for platform in options.annotations.platforms - known:
            raise InvalidInput(f"invalid annotation: no platform {platform} found in source")

    @staticmethod
    def _index(
        options: ImageOptions, images: Sequence[BuiltImage], attached: Sequence[tuple[Document, Sequence[Document]]]
    ) -> Document:
        listed = [image.manifest.descriptor for image in images] + [document.descriptor for document, _ in attached]
        found = index(listed, options.annotations.index, oci=options.oci_types)
        return found.listed(annotations=options.annotations.index_descriptor)

    def _write(self, assembly: Assembly, lease: Lease, check: Check) -> None:
        """Store all documents; the layers are there."""
        documents = [one for image in assembly.images for one in (image.config, image.manifest)]
        documents += [one for document, blobs in assembly.attached for one in (*blobs, document)]
        documents += [assembly.index] if assembly.index else []
        lease.blob(*(one.descriptor.digest for one in documents))
        for one in documents:
            check()
            self.store.content.put(one.data)

    # --- one platform -----------------------------------------------------------------------------

    async def _image(self, product: Product, options: ImageOptions, lease: Lease, key: str, ref: Ref) -> BuiltImage:
        platform, base = platform_of(key, ref), base_of(ref.base_config)
        snapshot = product.snapshots.get(key, Snapshot())
        epoch = options.epoch if options.epoch is not None else epoch_of({}, product.result.metadata, key)
        kept = await self.worker.run(lambda _: _kept(snapshot, len(base.diff_ids)))
        whole = Snapshot(tuple(snapshot.layers[number] for number in kept))
        blobs = await self.layers.blobs(whole, lease)
        of_base = base.layers_in([blob.diff_id for blob in blobs])
        full = [
            ImageLayer(blob.diff_id, Descriptor(blob.media_type, blob.digest, blob.size), layer.path, number < of_base)
            for number, (blob, layer) in enumerate(zip(blobs, whole.layers, strict=True))
        ]

        def work(check: Check) -> list[ImageLayer]:
            forms = LayerForms(self.store.content, self.store.blob_sources, lease, check)
            return shaped(full, options, epoch, forms)

        layers = await self.worker.run(work)
        descriptors = tuple(layer.blob for layer in layers)
        cache = await self._inline_cache(product, whole, full, layers)
        created = {number: blob.created for number, blob in list(zip(kept, blobs, strict=True))[of_base:]}
        present = kept[: first_squashed(options.layers, full)] + kept[-1:]
        ids = dict(zip(dict.fromkeys(present), (layer.diff_id for layer in layers), strict=True))
        steps = [BuiltLayer(ids.get(number), created.get(number)) for number in range(len(snapshot.layers))]
        data = complete(ref.config, steps, base=base, platform=platform, epoch=epoch, inline_cache=cache)
        config = config_document(data, oci=options.oci_types)
        name = str(platform.normalised())
        found = manifest(config, descriptors, options.annotations.of_manifest(name), oci=options.oci_types)
        listed = found.listed(annotations=options.annotations.of_descriptor(name), platform=platform_json(platform))
        diff_ids = tuple(layer.diff_id for layer in layers)
        return BuiltImage(key, platform, diff_ids, descriptors, config, listed)

    async def _inline_cache(
        self, product: Product, snapshot: Snapshot, full: Sequence[ImageLayer], layers: Sequence[ImageLayer]
    ) -> bytes | None:
        """The cache that goes into the configuration, where the image has the layers that the cache knows."""
        make = product.inline_cache
        if make is None or [layer.diff_id for layer in full] != [layer.diff_id for layer in layers]:
            return None
        return await self.worker.run(lambda _: make(snapshot))


def _kept(snapshot: Snapshot, of_base: int) -> list[int]:
    """The numbers of the layers that are more than nothing; the base image's stay in any case."""
    return [number for number, layer in enumerate(snapshot.layers) if number < of_base or not _is_empty(layer.path)]


def _is_empty(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def platform_of(key: str, ref: Ref) -> Platform:
    """What a ref's image runs on: as its key says, or its configuration, or else as this machine does.

    :raises InvalidInput: the configuration is none.
    """
    if key:
        return Platform.parse(key)
    found = decode(ref.config, _Platform, "image configuration") if ref.config else _Platform()
    if not found.os or not found.architecture:
        return Platform.host()
    return Platform(found.os, found.architecture, found.variant)


class _Platform(Struct):
    """The part of an image's configuration that says what it runs on."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
