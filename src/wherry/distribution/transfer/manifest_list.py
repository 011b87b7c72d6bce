"""An index of images that a registry has already becomes one more name there: ``docker manifest push``.

Nothing of it is on this machine: manifests are read from their repositories, blobs are taken over by the registry
itself, or passed on where it does not do that, and at last the index is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from wherry.distribution.client.repository import Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.client.settings import RegistrySettings
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor, DescriptorPlatform, Index, parse_manifest_or_index

__all__ = ["ListedManifest", "ManifestListPush", "check_registry"]

_PIECE: Final = 1 << 18
#: Opens a repository of the same registry for reading.
Open = Callable[[Reference], Awaitable[Repository]]


@dataclass(frozen=True, slots=True)
class ListedManifest:
    """One entry of an index that is to be made.

    :param reference: where it is, with its digest.
    :param platform: as the index is to have it.
    """

    reference: Reference
    platform: DescriptorPlatform


def check_registry(name: Reference, members: Sequence[ListedManifest]) -> None:
    """Check that all members are at the registry of the index.

    :raises InvalidInput: one is elsewhere, in the docker command's words.
    """
    for domain in (member.reference.domain for member in members):
        if domain != name.domain:
            what = "cannot use source images from a different registry than the target image"
            raise InvalidInput(f"{what}: {domain} != {name.domain}")


class ManifestListPush:
    """Makes one index.

    :param target: its repository, opened for writing.
    :param open_source: opens another one.
    """

    def __init__(self, target: Repository, open_source: Open, settings: RegistrySettings) -> None:
        self._target = target
        self._open = open_source
        self._settings = settings

    async def run(self, name: Reference, members: Sequence[ListedManifest]) -> Descriptor:
        """Bring all into the repository, and store the index under the name's tag.

        :raises InvalidInput: a member is no manifest of an image.
        :raises NotFound: there is none.
        """
        found = [await self._take_over(member) for member in members]
        is_oci = all(one.media_type == media_types.OCI_MANIFEST for one in found)
        kind = media_types.OCI_INDEX if is_oci else media_types.DOCKER_INDEX
        data = encode(Index(found, schema_version=2, media_type=kind))
        put = partial(self._target.put_manifest, name.tag or "latest", data, kind)
        return Descriptor(kind, await retry(put, self._settings), len(data))

    async def _take_over(self, member: ListedManifest) -> Descriptor:
        source, digest = await self._open(member.reference), member.reference.digest
        assert digest is not None
        document = await retry(partial(source.manifest, str(digest)), self._settings)
        manifest = parse_manifest_or_index(document.data)
        if isinstance(manifest, Index):
            raise InvalidInput(f"{member.reference.familiar} is a manifest list")
        if source.path != self._target.path:
            for blob in {one.digest: one for one in (manifest.config, *manifest.layers)}.values():
                await retry(partial(self._mount, source, blob), self._settings)
            put = partial(self._target.put_manifest, str(digest), document.data, document.media_type)
            await retry(put, self._settings)
        return Descriptor(document.media_type, digest, len(document.data), platform=member.platform)

    async def _mount(self, source: Repository, blob: Descriptor) -> None:
        """Have the registry take a blob over; one that cannot is given the bytes."""
        if await self._target.size_of(blob.digest) is not None:
            return
        upload = await self._target.begin_upload(blob.digest, source.path)
        if upload is not None:
            upload = await self._target.append(upload, 0, partial(_bytes_of, source, blob.digest), blob.size)
            await self._target.finish_upload(upload, blob.digest)


async def _bytes_of(source: Repository, digest: Digest) -> AsyncIterator[bytes]:
    async with source.blob(digest) as response:
        async for piece in response.content.iter_chunked(_PIECE):
            yield piece
