"""Fetch a damaged or lost blob again from a repository in which it was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from wherry.content.threads import in_thread
from wherry.distribution.client.credentials import ANONYMOUS
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.retry import retry
from wherry.distribution.client.settings import RegistrySettings
from wherry.distribution.transfer.resolver import Resolver
from wherry.docker.reference import Reference
from wherry.errors import NotFound, WherryError
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest

__all__ = ["refetch"]

_PIECE = 1 << 20


async def refetch(store: ImageStore, resolver: Resolver, settings: RegistrySettings, digest: Digest) -> None:
    """Fetch a blob into the content store, from the first repository that still has it, without credentials.

    :raises NotFound: no repository is known to have had it.
    :raises WherryError: the last repository's reason not to give it.
    """
    failure: WherryError = NotFound(f"it is not known where the blob {digest} came from")
    for name in _repositories(store, digest):
        reference = Reference.parse(name)
        try:
            for source in await resolver.sources(reference.domain, reference.path, ANONYMOUS):
                await retry(partial(_fetch, store, source, digest), settings)
                return
        except WherryError as exc:
            failure = exc
    raise failure


def _repositories(store: ImageStore, digest: Digest) -> Sequence[str]:
    """Where a blob was seen; configurations and manifests were where the layers beside them were."""
    names = list(store.blob_sources.repositories(digest))
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
        document = await source.manifest(str(digest))
        await asyncio.to_thread(store.content.ingest, [document.data], digest=digest)


async def _blob(store: ImageStore, source: Repository, digest: Digest) -> None:
    async with source.blob(digest) as response:
        with store.content.stage(digest.algorithm) as staged:
            async for piece in response.content.iter_chunked(_PIECE):
                await in_thread(staged.write, piece)
            await in_thread(staged.commit, digest)
