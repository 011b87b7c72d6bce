"""``/v2/<name>/blobs/uploads/``: specification, "Pushing blobs" - in one piece, in chunks, or by mounting."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import NotFound
from wherry.registry.server import answers, routes
from wherry.registry.server.errors import Refusal
from wherry.registry.server.ranges import chunk_range
from wherry.registry.server.sessions import refused
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import web

    from wherry.oci.digest import Digest
    from wherry.registry.server.call import Call
    from wherry.registry.server.registry import Registry
    from wherry.registry.storage.contract import Progress

__all__ = ["cancel", "chunk", "finish", "start", "status"]


async def start(registry: Registry, call: Call) -> web.StreamResponse:
    """Begin an upload; or take the whole blob; or mount it from where it is already."""
    if "mount" in call.query and await _mount(registry, call, digest := routes.digest(call.query["mount"])):
        return _created(call, digest)
    await registry.quotas.require(call.name, call.length or 0)
    wanted = routes.digest(call.query["digest"]) if "digest" in call.query else None
    session = await registry.sessions.begin(call.name)
    at = await registry.sessions.progress(call.name, session)
    if wanted is None:
        return _progress(call, session, at, 202)
    try:
        return await _complete(registry, call, session, at, wanted)
    except BaseException:
        await _forget(registry, call.name, session)  # nobody was told its name, so nobody can go on with it
        raise


async def _mount(registry: Registry, call: Call, digest: Digest) -> bool:
    """Mount a blob of another repository, if the caller may pull from there.

    Without ``from`` any repository would do (specification 1.1, "automatic content discovery"). That tells whoever asks
    that somebody has these bytes, so it is done only where everybody may read everything anyway.
    """
    source = call.query.get("from", "")
    try:
        if source and call.may(routes.repository(source), "pull"):
            size = await registry.catalog.blob_size(source, digest)
        elif not source and registry.open_to_all:
            size = (await registry.catalog.storage.stat(key_of_blob(digest))).size
        else:
            return False
        await _link(registry, call.name, digest, size)
    except Refusal as refusal:
        if refusal.code == "DENIED":
            raise
        return False
    except NotFound:
        return False
    registry.events.note("mount", call, digest, size, "application/octet-stream", source=source)
    return True


async def _link(registry: Registry, name: str, digest: Digest, size: int) -> None:
    """Give a repository a blob, if its quota has room for it."""
    if await registry.catalog.has_blob(name, digest):
        await registry.catalog.link(name, digest, size)
        return
    async with registry.quotas.taking(name, size):
        await registry.catalog.link(name, digest, size)


async def chunk(registry: Registry, call: Call) -> web.StreamResponse:
    """Append to an upload."""
    session = call.target.what
    at = await registry.sessions.progress(call.name, session)
    _check_chunk(call, session, at.size)
    await registry.quotas.require(call.name, call.length or 0)
    at = await _append(registry, call, session, at)
    return _progress(call, session, at, 202)


async def finish(registry: Registry, call: Call) -> web.StreamResponse:
    """Append the last chunk, if there is one, and make the upload a blob."""
    session = call.target.what
    at = await registry.sessions.progress(call.name, session)
    if "digest" not in call.query:
        raise Refusal("DIGEST_INVALID", "the digest is missing")
    digest = routes.digest(call.query["digest"])
    _check_chunk(call, session, at.size)
    await registry.quotas.require(call.name, call.length or 0)
    return await _complete(registry, call, session, at, digest)


async def status(registry: Registry, call: Call) -> web.StreamResponse:
    """Say how far an upload is."""
    at = await registry.sessions.progress(call.name, call.target.what)
    return _progress(call, call.target.what, at, 204)


async def cancel(registry: Registry, call: Call) -> web.StreamResponse:
    """Forget an upload."""
    await registry.sessions.progress(call.name, call.target.what)
    await _forget(registry, call.name, call.target.what)
    return answers.empty(204, {})


async def _forget(registry: Registry, name: str, session: str) -> None:
    """Cancel an upload; the quota has its bytes back."""
    with contextlib.suppress(Refusal):
        size = (await registry.sessions.progress(name, session)).size
        await registry.sessions.cancel(session)
        registry.quotas.give_back(name, size)


def _check_chunk(call: Call, session: str, size: int) -> None:
    """See that a chunk continues the upload, and is as long as it says.

    :raises Refusal: it does not (416, with what the client needs to go on), or is not.
    """
    announced = chunk_range(call.header("Content-Range"))
    if announced is None:
        return
    if announced.start != size:
        raise Refusal(
            "RANGE_INVALID",
            "the chunk does not continue the upload",
            {"size": size},
            headers=_where(call, session, size),
        )
    if call.length is not None and call.length != announced.length:
        raise Refusal("SIZE_INVALID", "Content-Length is not what Content-Range says")


async def _append(registry: Registry, call: Call, session: str, at: Progress, algorithm: str = "sha256") -> Progress:
    """Append the body. Every byte counts for the quota as it arrives, and as long as the upload is there."""
    limit = _room(registry, at.size)
    try:
        with registry.quotas.growing(call.name, session, at.size) as take, refused(session):
            return await registry.sessions.append(session, at, _counted(call.body(limit), take), algorithm)
    except Refusal as refusal:
        if refusal.code == "DENIED":  # there is no going on, so its bytes need not be kept for a day
            await _forget(registry, call.name, session)
        raise


async def _counted(pieces: AsyncIterator[bytes], take: Callable[[int], Awaitable[None]]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        await take(len(piece))
        yield piece


def _room(registry: Registry, size: int) -> int:
    """How many bytes more an upload may get; 0 is any number."""
    if not registry.max_upload:
        return 0
    if size >= registry.max_upload:
        raise Refusal("SIZE_INVALID", f"more than the {registry.max_upload} bytes that are allowed", status=413)
    return registry.max_upload - size


async def _complete(registry: Registry, call: Call, session: str, at: Progress, digest: Digest) -> web.StreamResponse:
    if call.request.body_exists:
        at = await _append(registry, call, session, at, digest.algorithm)
    with refused(session):
        found, at = await registry.sessions.digest(session, at, digest.algorithm)
        if found != digest:
            await _forget(registry, call.name, session)
            raise Refusal("DIGEST_INVALID", "provided digest did not match the content", {"digest": digest})
        await registry.quotas.require(call.name, 0)
        is_known = await registry.catalog.has_blob(call.name, digest)
        await registry.sessions.finish(session, key_of_blob(digest), at)
    if is_known:
        registry.quotas.give_back(call.name, at.size)
    await registry.catalog.link(call.name, digest, at.size)
    registry.events.note("push", call, digest, at.size, "application/octet-stream")
    return _created(call, digest)


def _created(call: Call, digest: Digest) -> web.StreamResponse:
    where = {"Location": f"/v2/{call.name}/blobs/{digest}", "Docker-Content-Digest": str.__str__(digest)}
    return answers.empty(201, where)


def _where(call: Call, session: str, size: int) -> dict[str, str]:
    return {
        "Location": f"/v2/{call.name}/blobs/uploads/{session}",
        "Range": f"0-{max(0, size - 1)}",
        "Docker-Upload-UUID": session,
    }


def _progress(call: Call, session: str, at: Progress, code: int) -> web.StreamResponse:
    return answers.empty(code, _where(call, session, at.size))
