"""Images as sources: ``docker-image://``.

An image of this machine is taken where it is for the platform; a registry is asked where there is none, or always
with the mode ``pull``. What comes from a registry becomes an image of this machine, as with ``docker pull``. So does,
without a name, what an image's index has for another platform than the one that is unpacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from wherry.build.model.progress import ProgressSink
from wherry.build.model.service import ResolvedImage
from wherry.build.model.session import BuildSession, Credentials
from wherry.build.model.snapshot import Snapshot, SnapshotLayer
from wherry.build.sources.contract import Fetch, SourceKey, SourceRequest
from wherry.build.sources.local_images import LocalImages
from wherry.build.sources.transfers import Transfers
from wherry.content.threads import in_thread
from wherry.docker.progress import ProgressMessage
from wherry.docker.reference import Reference
from wherry.errors import (
    CorruptData,
    Forbidden,
    InvalidInput,
    NotFound,
    SystemFault,
    TooLarge,
    Unavailable,
    Unsupported,
    WherryError,
)
from wherry.images.image import Image
from wherry.images.store import ImageStore
from wherry.layers.store import Layer
from wherry.oci.digest import Digest, chain_ids_of
from wherry.oci.image_config import parse_config
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.images.indexes import Part

__all__ = ["ImageSource", "Registry", "RemoteImage", "chain_ids", "layer_limit"]

SCHEME: Final = "docker-image"
PULL: Final = "pull"
_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"  # as BuildKit asks a client for its credentials
_KINDS: Final = (NotFound, Unsupported, InvalidInput, Forbidden, TooLarge, Unavailable)
_REMEMBERED: Final = 1000  # names
_ATTEMPTS: Final = 3  # somebody may remove an image again and again


class RemoteImage(NamedTuple):
    """What a registry says of a name.

    :param digest: the name's: of an index, or of a manifest.
    :param manifest: of the image for the platform; and its ID and configuration.
    """

    digest: Digest
    manifest: Digest
    id: Digest
    config: bytes


class LocalImage(NamedTuple):
    """What a name means on this machine.

    :param digest: that the name is pinned to.
    :param id: of the image for the platform.
    :param chain: the chain IDs of its layers, bottom first.
    :param image: None where it is not unpacked.
    :param part: what to unpack: of an index.
    """

    digest: Digest
    id: Digest
    chain: list[Digest]
    image: Image | None
    part: Part | None = None


class Registry(Protocol):
    """Registries, as this file needs them; `engine.images.transfers.Distribution` is one."""

    async def resolve(self, reference: Reference, platform: Platform, credentials: Credentials | None) -> RemoteImage:
        """Ask what a name means, without fetching layers.

        :raises NotFound: there is no such image.
        """
        ...

    def fetch(
        self, reference: Reference, platform: Platform, credentials: Credentials | None
    ) -> AsyncGenerator[ProgressMessage, None]:
        """Pull an image and yield dockerd's messages; to be closed."""
        ...


class ImageSource:
    """Opens images.

    :param registry: asked for what is not here.
    """

    def __init__(self, store: ImageStore, registry: Registry) -> None:
        self._store = store
        self._local = LocalImages(store)
        self._registry = registry
        self._resolved: dict[Reference, Digest] = {}  # names that a registry was asked for

    def open(self, request: SourceRequest) -> Fetch:
        """Begin.

        :raises InvalidInput: it is no image's name, or an attribute makes no sense.
        """
        reference = _reference(request.op.identifier.partition("://")[2])
        attributes = request.op.attributes
        expected = attributes.get("image.checksum")
        if expected and reference.digest not in (None, Digest(expected)):
            raise InvalidInput(f"image digest {reference.digest} does not match the checksum {expected}")
        if expected:
            reference = Reference(reference.domain, reference.path, reference.tag, Digest(expected))
        return _ImageFetch(self, request, reference, layer_limit(attributes.get("image.layerlimit", "")))

    async def resolve(
        self, reference: str, platform: Platform | None, mode: str, session: BuildSession, progress: ProgressSink
    ) -> ResolvedImage:
        """What an image's name means; see `Sources.resolve_image`."""
        name, wanted = _reference(reference), platform or Platform.host()
        if here := await self.local(name, wanted, mode):
            config = await asyncio.to_thread(self._store.content.read, here.id)
            return ResolvedImage(here.digest, str(name), config)
        found = await self.remote(name, wanted, session)
        if name.digest is None:
            self._resolved[name] = found.digest
            if len(self._resolved) > _REMEMBERED:
                del self._resolved[next(iter(self._resolved))]
        return ResolvedImage(found.digest, str(name), found.config)

    async def local(self, reference: Reference, platform: Platform, mode: str) -> LocalImage | None:
        """The image of this machine that is to be used. A digest means the same image everywhere."""
        if mode == PULL and reference.digest is None:
            return None
        image = self._local.find(reference, platform)
        if image is None or image.platform.normalised() != platform.normalised():
            with suppress(NotFound):  # it is removed in this moment
                if found := await in_thread(self._part, reference, platform):
                    return found
        if image is None:
            return None
        chain = [layer.chain_id for layer in image.layers]
        return LocalImage(self._local.digest_of(image, reference), image.id, chain, image)

    def _part(self, reference: Reference, platform: Platform) -> LocalImage | None:
        """What an index has for a platform; in a thread."""
        found = self._local.part(reference, platform)
        if found is None or found[1].manifest is None:
            return None
        named, part = found
        identifier = found[1].manifest.config.digest
        chain = chain_ids(self._store.content.read(identifier))
        digest = self._local.digest_of(named, reference)
        return LocalImage(digest, identifier, chain, self._local.by_id(identifier), part)

    async def remote(self, reference: Reference, platform: Platform, session: BuildSession) -> RemoteImage:
        """What a registry says.

        :raises WherryError: nothing good; BuildKit's words, with the registry's.
        """
        try:
            return await self._registry.resolve(reference, platform, await _credentials(reference, session))
        except WherryError as exc:
            kind = next((one for one in _KINDS if isinstance(exc, one)), SystemFault)
            raise kind(f"failed to resolve source metadata for {reference}: {exc}") from exc

    def image(self, identifier: Digest) -> Image | None:
        """An image by its ID."""
        return self._local.by_id(identifier)

    async def pull(self, reference: Reference, platform: Platform, request: SourceRequest) -> None:
        """Make an image one of this machine's."""
        credentials = await _credentials(reference, request.session)
        shown = Transfers(request.vertex, request.progress)
        async with aclosing(self._registry.fetch(reference, platform, credentials)) as messages:
            async for message in messages:
                shown.take(message)

    async def unpacked(self, part: Part) -> Image | None:
        """A part of an index as an image of this machine; None where it has gone."""
        return await in_thread(self._store.variants.unpack, part)

    async def name(self, image: Image, pinned: Reference) -> None:
        """Give an image of a registry the tag by which it was asked for, as ``docker pull`` does.

        :param pinned: with the digest that the tag was resolved to.
        """
        tagged = Reference(pinned.domain, pinned.path, pinned.tag)
        if pinned.digest and self._resolved.get(tagged) == pinned.digest and tagged not in image.names:
            by_digest = Reference(pinned.domain, pinned.path, None, pinned.digest)
            text = str(by_digest) if by_digest in image.names else str(image.id)
            await in_thread(self._store.tag, text, str(tagged))

    async def held(self, image: Image, stack: AsyncExitStack) -> bool:
        """Keep an image's layers until the stack is left; False where the image went meanwhile."""
        lease = self._store.lease()
        stack.push_async_callback(in_thread, lease.__exit__, None, None, None)
        lease.layer(*(layer.chain_id for layer in image.layers))
        return all(layer.chain_id in self._store.layers for layer in image.layers)

    def layer(self, layer: Layer) -> SnapshotLayer:
        """A layer as a part of a snapshot."""
        return SnapshotLayer(layer.number, str(self._store.layers.path(layer)))


class _ImageFetch:
    def __init__(self, source: ImageSource, request: SourceRequest, reference: Reference, limit: int | None) -> None:
        self._source = source
        self._request = request
        self._reference = reference
        self._platform = request.platform or Platform.host()
        self._limit = limit
        self._image: Image | None = None
        self._part: Part | None = None
        self._remote: RemoteImage | None = None
        self._top: list[Digest] = []  # the chain ID of what is wanted, as the key says; empty: no layers
        self._stack = AsyncExitStack()

    async def key(self) -> SourceKey:
        """What is unpacked: two images with the same layers are the same files."""
        mode = self._request.op.attributes.get("image.resolvemode", "")
        here = await self._source.local(self._reference, self._platform, mode)
        if here is not None:
            digest, chain, self._image, self._part = here.digest, here.chain, here.image, here.part
        else:
            self._remote = await self._source.remote(self._reference, self._platform, self._request.session)
            self._image = self._source.image(self._remote.id)
            digest, chain = self._remote.digest, chain_ids(self._remote.config)
        self._top = chain[: self._limit][-1:]
        return SourceKey(
            key=f"image {self._top[0] if self._top else 'without layers'}",
            description=f"pulled from {_pinned(self._reference, digest)}",
            pins=((_uri(self._reference, self._platform), str(digest)),),
        )

    async def snapshot(self) -> Snapshot:
        """Its layers, which stay until `close`.

        :raises CorruptData: a registry gives others than it said, when it was asked for the key: whoever has the same
            key would get them.
        """
        for _ in range(_ATTEMPTS):
            image = self._image or await self._brought()
            if [layer.chain_id for layer in image.layers[: self._limit]][-1:] != self._top:
                raise CorruptData(f"{self._reference.familiar} has changed since its registry was asked about it")
            if await self._source.held(image, self._stack):
                if self._part is None and _runs_here(self._platform) and _runs_here(image.platform):
                    await self._source.name(image, self._reference)
                return Snapshot(tuple(self._source.layer(one) for one in image.layers[: self._limit]))
            self._image = None
        raise NotFound(f"{self._reference.familiar} is removed again and again while it is to be used")

    async def _brought(self) -> Image:
        if self._part is not None and (image := await self._source.unpacked(self._part)):
            return image
        return await self._pulled()

    async def _pulled(self) -> Image:
        found = self._remote or await self._source.remote(self._reference, self._platform, self._request.session)
        name, platform = self._reference, self._platform
        if found.manifest == found.digest:  # there is no choice
            platform = _platform_of(found.config) or platform
        if not _runs_here(platform):  # the name shall not lead to what cannot run here
            name = Reference(name.domain, name.path, None, found.manifest)
        await self._source.pull(name, platform, self._request)
        image = self._source.image(found.id)
        if image is None:
            raise NotFound(f"{self._reference.familiar} was pulled, and is another image by now, or removed")
        return image

    async def close(self) -> None:
        """Let go of the layers."""
        await self._stack.aclose()


def chain_ids(config: bytes) -> list[Digest]:
    """The chain IDs of an image's layers, bottom first, by its configuration."""
    diff_ids = parse_config(config).rootfs.diff_ids
    return chain_ids_of(diff_ids)


def _platform_of(config: bytes) -> Platform | None:
    """What an image says that it is for; old ones say nothing."""
    document = parse_config(config)
    if not document.architecture:
        return None
    return Platform(document.os or "linux", document.architecture, document.variant)


def _runs_here(platform: Platform) -> bool:
    return not platform.architecture or platform.normalised() == Platform.host()


async def _credentials(reference: Reference, session: BuildSession) -> Credentials | None:
    return await session.credentials(_HUB_HOST if reference.domain == _HUB else reference.domain)


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text).with_default_tag()
    except WherryError as exc:
        raise InvalidInput(f"could not parse reference {text!r}", cause=str(exc)) from exc


def layer_limit(text: str) -> int | None:
    """How many layers are wanted; None: all.

    :raises InvalidInput: it is no number.
    """
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text[:9]) < 10_000:
        raise InvalidInput(f"invalid layer limit {text!r}")
    return int(text)


def _pinned(reference: Reference, digest: Digest) -> str:
    return str(reference) if reference.digest else f"{reference}@{digest}"


def _uri(reference: Reference, platform: Platform) -> str:
    """A package URL, as provenance has them."""
    version = reference.tag or ""
    shown = f"pkg:docker/{reference.familiar_name}" + (f"@{version}" if version else "")
    return f"{shown}?platform={str(platform).replace('/', '%2F')}"
