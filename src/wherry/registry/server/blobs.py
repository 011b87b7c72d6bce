"""``/v2/<name>/blobs/<digest>``: specification, "Pulling blobs", "Deleting Blobs"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.registry.server import answers, routes
from wherry.registry.server.errors import Refusal
from wherry.registry.server.multipart_ranges import Several
from wherry.registry.server.ranges import parts, same

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
    """HEAD of a blob. Pushes ask this, so it also links the blob from a local engine."""
    digest = routes.digest(call.target.what)
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
        adopted = await _adopt(registry, call, digest)
        if adopted is None:
            raise
        return adopted


async def _adopt(registry: Registry, call: Call, digest: Digest) -> int | None:
    """Link a blob of an engine beside us, if it is for this repository; its size, or None."""
    if registry.engine is None or not call.may(call.name, "push") or not await registry.engine.gives(call, digest):
        return None
    await registry.quotas.require(call.name, 0)
    size = await registry.catalog.adopt(digest)
    if size is not None:
        async with registry.quotas.taking(call.name, size):
            await registry.catalog.link(call.name, digest, size)
    return size


async def get(registry: Registry, call: Call) -> web.StreamResponse:
    """Give a blob, or a part of it."""
    digest = routes.digest(call.target.what)
    if registry.cache is not None and not await registry.cache.has_blob(call.name, digest):
        return await registry.cache.stream(call, digest, _headers(digest))
    size = await registry.catalog.blob_size(call.name, digest)
    headers = _headers(digest)
    if same(call.header("If-None-Match"), digest):
        return answers.empty(304, headers)
    condition = call.header("If-Range")
    wanted = parts(call.header("Range"), size) if condition is None or same(condition, digest) else []
    if not wanted:
        registry.events.note("pull", call, digest, size, "application/octet-stream")
        return answers.ContentResponse(200, headers, await registry.catalog.open_blob(digest, 0, size))
    if len(wanted) == 1:
        start, length = wanted[0]
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        return answers.ContentResponse(206, headers, await registry.catalog.open_blob(digest, start, length))
    several = Several(registry.catalog, digest, wanted, size)
    headers["Content-Type"] = several.content_type
    return answers.ContentResponse(206, headers, several)


async def delete(registry: Registry, call: Call) -> web.StreamResponse:
    """Take a blob from the repository."""
    digest = routes.digest(call.target.what)
    await registry.catalog.delete_blob(call.name, digest)
    registry.events.note("delete", call, digest)
    return answers.empty(202, {"Docker-Content-Digest": str.__str__(digest)})
