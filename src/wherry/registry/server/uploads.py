"""``/v2/<name>/blobs/uploads/``: specification, "Pushing blobs" - in one piece, in chunks, or by mounting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.errors import Conflict, NotFound
from wherry.registry.server import answers, names
from wherry.registry.server.ranges import chunk_range
from wherry.registry.server.refusal import Refusal
from wherry.registry.storage.contract import key_of_blob

if TYPE_CHECKING:
    from aiohttp import web

    from wherry.oci.digest import Digest
    from wherry.registry.server.call import Call
    from wherry.registry.server.registry import Registry

__all__ = ["cancel", "chunk", "finish", "start", "status"]


async def start(registry: Registry, call: Call) -> web.StreamResponse:
    """Begin an upload; or take the whole blob; or mount it from where it is already."""
    if "mount" in call.query and await _mount(registry, call, digest := names.digest(call.query["mount"])):
        return _created(call, digest)
    await registry.quotas.require(call.name, call.length or 0)
    if "digest" in call.query:
        wanted = names.digest(call.query["digest"])
        session = await registry.sessions.begin(call.name)
        return await _complete(registry, call, session, 0, wanted)
    return _progress(call, await registry.sessions.begin(call.name), 0, 202)


async def _mount(registry: Registry, call: Call, digest: Digest) -> bool:
    """Link a blob of another repository, when whoever asks may pull it from there.

    Without ``from`` any repository would do (specification 1.1, "automatic content discovery"). That tells whoever asks
    that somebody has these bytes, so it is done only where everybody may read everything anyway.
    """
    source = call.query.get("from", "")
    try:
        if source and call.may(names.repository(source), "pull"):
            size = await registry.catalog.blob_size(source, digest)
        elif not source and registry.open_to_all:
            size = (await registry.catalog.storage.stat(key_of_blob(digest))).size
        else:
            return False
        await registry.quotas.require(call.name, size)
        await registry.catalog.link(call.name, digest, size)
    except Refusal as refusal:
        if refusal.code == "DENIED":
            raise
        return False
    except NotFound:
        return False
    registry.quotas.add(call.name, size)
    registry.events.note("mount", call, digest, size, "application/octet-stream", source=source)
    return True


async def chunk(registry: Registry, call: Call) -> web.StreamResponse:
    """Append to an upload."""
    session = call.target.what
    size = await registry.sessions.size(call.name, session)
    _check_chunk(call, session, size)
    await registry.quotas.require(call.name, size + (call.length or 0))
    size = await _append(registry, call, session, size)
    return _progress(call, session, size, 202)


async def finish(registry: Registry, call: Call) -> web.StreamResponse:
    """Append the last chunk, if there is one, and make the upload a blob."""
    session = call.target.what
    size = await registry.sessions.size(call.name, session)
    if "digest" not in call.query:
        raise Refusal("DIGEST_INVALID", "the digest is missing")
    digest = names.digest(call.query["digest"])
    _check_chunk(call, session, size)
    await registry.quotas.require(call.name, size + (call.length or 0))
    return await _complete(registry, call, session, size, digest)


async def status(registry: Registry, call: Call) -> web.StreamResponse:
    """Say how far an upload is."""
    size = await registry.sessions.size(call.name, call.target.what)
    return _progress(call, call.target.what, size, 204)


async def cancel(registry: Registry, call: Call) -> web.StreamResponse:
    """Forget an upload."""
    await registry.sessions.size(call.name, call.target.what)
    await registry.sessions.cancel(call.target.what)
    return answers.empty(204, {})


def _check_chunk(call: Call, session: str, size: int) -> None:
    """See that a chunk continues the upload, and is as long as it says.

    :raises Refusal: it does not (416, with what the client needs to go on), or is not.
    """
    told = chunk_range(call.header("Content-Range"))
    if told is None:
        return
    if told.start != size:
        raise Refusal(
            "RANGE_INVALID",
            "the chunk does not continue the upload",
            {"size": size},
            headers=_where(call, session, size),
        )
    if call.length is not None and call.length != told.length:
        raise Refusal("SIZE_INVALID", "Content-Length is not what Content-Range says")


async def _append(registry: Registry, call: Call, session: str, size: int, algorithm: str = "sha256") -> int:
    limit = _room(registry, size)
    try:
        return await registry.sessions.append(session, size, call.body(limit), algorithm)
    except Conflict as error:
        raise Refusal("BLOB_UPLOAD_INVALID", str(error), status=409) from error


def _room(registry: Registry, size: int) -> int:
    """How many bytes more an upload may get; 0 is any number."""
    if not registry.max_upload:
        return 0
    if size >= registry.max_upload:
        raise Refusal("SIZE_INVALID", f"more than the {registry.max_upload} bytes that are allowed", status=413)
    return registry.max_upload - size


async def _complete(registry: Registry, call: Call, session: str, size: int, digest: Digest) -> web.StreamResponse:
    if call.request.body_exists:
        size = await _append(registry, call, session, size, digest.algorithm)
    found = await registry.sessions.digest(session, size, digest.algorithm)
    if found != digest:
        await registry.sessions.cancel(session)
        raise Refusal("DIGEST_INVALID", "provided digest did not match the content", {"digest": digest})
    await registry.quotas.require(call.name, size)
    await registry.sessions.finish(session, key_of_blob(digest))
    await registry.catalog.link(call.name, digest, size)
    registry.quotas.add(call.name, size)
    registry.events.note("push", call, digest, size, "application/octet-stream")
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


def _progress(call: Call, session: str, size: int, code: int) -> web.StreamResponse:
    return answers.empty(code, _where(call, session, size))
