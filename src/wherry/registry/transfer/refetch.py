"""One blob fetched again from where it was seen: for what a disk has lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from wherry.errors import NotFound, WherryError
from wherry.images import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.reference import Reference
from wherry.registry.client.credentials import ANONYMOUS
from wherry.registry.client.repeat import repeated
from wherry.registry.client.repository import Repository
from wherry.registry.client.settings import RegistrySettings
from wherry.registry.transfer.places import Reach

__all__ = ["refetch"]

_PIECE = 1 << 20


async def refetch(store: ImageStore, reach: Reach, settings: RegistrySettings, digest: Digest) -> None:
    """Fetch a blob into the content store, from the first repository that still has it, without credentials.

    :raises NotFound: no repository is known to have had it.
    :raises WherryError: the last repository's reason not to give it.
    """
    failure: WherryError = NotFound(f"it is not known where the blob {digest} came from")
    for name in _repositories(store, digest):
        reference = Reference.parse(name)
        try:
            for source in await reach.readable(reference.domain, reference.path, ANONYMOUS):
                await repeated(partial(_fetch, store, source, digest), settings)
                return
        except WherryError as exc:
            failure = exc
    raise failure


def _repositories(store: ImageStore, digest: Digest) -> Sequence[str]:
    """Where a blob was seen; configurations and manifests were where the layers beside them were."""
    names = list(store.origins.repositories(digest))
    for image in store.list():
        named = [name for name in image.names if name.digest is not None]
        blobs = {image.id, image.manifest_digest, *(layer.digest for layer in image.manifest.layers)}
        if digest in blobs | {name.digest for name in named}:
            names += [name.name for name in named]
    return list(dict.fromkeys(names))


async def _fetch(store: ImageStore, source: Repository, digest: Digest) -> None:
    try:
        await _blob(store, source, digest)
    except NotFound:  # manifests and indexes are not among a repository's blobs
        document = await source.document(str(digest))
        await asyncio.to_thread(store.content.ingest, [document.data], digest=digest)


async def _blob(store: ImageStore, source: Repository, digest: Digest) -> None:
    async with source.blob(digest) as response:
        with store.content.stage(digest.algorithm) as staged:
            async for piece in response.content.iter_chunked(_PIECE):
                await asyncio.to_thread(staged.write, piece)
            await asyncio.to_thread(staged.commit, digest)
