"""Verify a storage: read everything and compare it with its digest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wherry.errors import NotFound
from wherry.oci.digest import Digest
from wherry.registry.server import records
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wherry.registry.storage.contract import Storage

__all__ = ["check"]


async def check(storage: Storage) -> AsyncIterator[str]:
    """Give a sentence for everything that is damaged, and one for every repository that misses something."""
    damaged: set[str] = set()
    async for entry in storage.entries("blobs/"):
        digest = records.digest_of(entry)
        if digest is None:
            yield f"{entry.key}: no blob"
        elif await _digest(storage, digest) != digest:
            damaged.add(digest)
            yield f"{digest}: damaged, {entry.size} bytes"
    async for entry in storage.entries("repositories/"):
        problem = await _problem(storage, entry.key, damaged)
        if problem:
            yield f"{entry.key}: {problem}"


async def _digest(storage: Storage, digest: Digest) -> Digest | None:
    hasher = digest.hasher()
    try:
        content = await storage.open(key_of_blob(digest))
    except NotFound:
        return digest  # removed meanwhile
    try:
        async for piece in content.chunks():
            await asyncio.to_thread(hasher.update, piece)
    finally:
        await content.close()
    return Digest.from_hash(hasher)


async def _problem(storage: Storage, key: str, damaged: set[str]) -> str | None:
    """The problem of a repository's record of a blob or a manifest."""
    kind = next((kind for kind in ("/_blobs/", "/_manifests/") if kind in key), None)
    if kind is None:
        return None
    digest = ":".join(key.partition(kind)[2].split("/"))
    try:
        data = await storage.read(key)
        found = await storage.stat(key_of_blob(digest))
    except NotFound:
        return "its bytes are missing"
    record = records.read_record(data) if kind == "/_manifests/" else None
    size = record.size if record else int(data) if data.isdigit() else -1
    if digest in damaged:
        return "its bytes are damaged"
    return None if size == found.size else f"it has {found.size} bytes, not {size}"
