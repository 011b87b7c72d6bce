"""``/v2/<name>/blobs/<digest>``: specification, "Pulling blobs", "Deleting Blobs"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.registry.server import answers, names
from wherry.registry.server.ranges import part, same
from wherry.registry.server.refusal import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from wherry.oci.digest import Digest
    from wherry.registry.server.call import Call
    from wherry.registry.server.registry import Registry

__all__ = ["delete", "get", "head"]


def _headers(digest: Digest) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "max-age=31536000",
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": str.__str__(digest),
        "ETag": f'"{digest}"',
    }


async def head(registry: Registry, call: Call) -> web.StreamResponse:
    """Say whether a blob is there. Who pushes asks this, so it also takes the blob from an engine beside us."""
    digest = names.digest(call.target.what)
    size = await _size(registry, call, digest)
    await registry.catalog.keep_young(call.name, digest)
    if same(call.header("If-None-Match"), digest):
        return answers.empty(304, _headers(digest))
    return answers.empty(200, {**_headers(digest), "Content-Length": str(size)})


async def _size(registry: Registry, call: Call, digest: Digest) -> int:
    if registry.cache is not None:
        return await registry.cache.blob_size(call.name, digest)
    try:
        return await registry.catalog.blob_size(call.name, digest)
    except Refusal:
        adopted = await registry.catalog.adopt(call.name, digest) if call.may(call.name, "push") else None
        if adopted is None:
            raise
        return adopted


async def get(registry: Registry, call: Call) -> web.StreamResponse:
    """Give a blob, or a part of it."""
    digest = names.digest(call.target.what)
    if registry.cache is not None and not await registry.cache.has_blob(call.name, digest):
        return await registry.cache.stream(call, digest, _headers(digest))
    size = await registry.catalog.blob_size(call.name, digest)
    headers = _headers(digest)
    if same(call.header("If-None-Match"), digest):
        return answers.empty(304, headers)
    condition = call.header("If-Range")
    wanted = part(call.header("Range"), size) if condition is None or same(condition, digest) else None
    start, length = wanted or (0, size)
    content = await registry.catalog.open_blob(call.name, digest, start, length)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    else:
        registry.events.note("pull", call, digest, size, "application/octet-stream")
    return answers.ContentResponse(206 if wanted else 200, headers, content)


async def delete(registry: Registry, call: Call) -> web.StreamResponse:
    """Take a blob from the repository."""
    digest = names.digest(call.target.what)
    await registry.catalog.delete_blob(call.name, digest)
    registry.events.note("delete", call, digest)
    return answers.empty(202, {"Docker-Content-Digest": str.__str__(digest)})
