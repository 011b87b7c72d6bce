"""``/v2/<name>/manifests/<reference>``: specification, "Pulling manifests", "Pushing Manifests", "Deleting"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from wherry.errors import InvalidInput
from wherry.oci import media_types
from wherry.oci.digest import Digest
from wherry.oci.manifest import Index, Manifest, parse_manifest_or_index
from wherry.registry.server import answers, routes
from wherry.registry.server.catalog import StoredManifest, in_turns, references
from wherry.registry.server.errors import Refusal
from wherry.registry.server.ranges import same

if TYPE_CHECKING:
    from wherry.registry.server.call import Call
    from wherry.registry.server.registry import Registry

__all__ = ["delete", "find", "get", "parse", "put"]

_KNOWN: Final = media_types.MANIFESTS | media_types.INDEXES


async def get(registry: Registry, call: Call) -> web.StreamResponse:
    """GET or HEAD of a manifest."""
    document = await find(registry, call)
    headers = {
        "Content-Type": document.media_type,
        "Docker-Content-Digest": str.__str__(document.digest),
        "ETag": f'"{document.digest}"',
    }
    if same(call.header("If-None-Match"), document.digest):
        return answers.empty(304, headers)
    if call.method == "HEAD":
        return answers.empty(200, {**headers, "Content-Length": str(len(document.data))})
    registry.events.note("pull", call, document.digest, len(document.data), document.media_type)
    return web.Response(body=document.data, headers={**answers.VERSION, **headers})


async def find(registry: Registry, call: Call) -> StoredManifest:
    """The manifest that a request names, from here or from the upstream.

    :raises Refusal: there is none.
    """
    if registry.cache is not None:
        return await registry.cache.manifest(call.name, call.target.what)
    return await registry.catalog.manifest(call.name, await _digest(registry, call))


async def _digest(registry: Registry, call: Call) -> Digest:
    what = call.target.what
    if ":" in what:
        return routes.digest(what)
    if not routes.is_tag(what):
        raise Refusal("MANIFEST_UNKNOWN", "manifest unknown", {"tag": what[:128]})
    return await registry.catalog.resolve(call.name, what)


async def put(registry: Registry, call: Call) -> web.StreamResponse:
    """Store a manifest, under a tag, or under its digest with any number of tags (specification, draft of 1.2)."""
    what = call.target.what
    expected = routes.digest(what) if ":" in what else None
    tags = _tags(call, what, expected)
    data = await call.document(registry.max_manifest)
    document = StoredManifest(_verified(data, expected), _media_type(call), data)
    parsed = parse(document)
    await require_parts(registry, call.name, parsed)
    async with registry.quotas.taking(call.name, await _growth(registry, call.name, document)):
        await registry.catalog.put_manifest(call.name, document, parsed)
        await registry.catalog.keep_blobs(call.name, references(parsed)[0])
    for tag in tags:
        await registry.catalog.put_tag(call.name, tag, document.digest)
    for tag in tags or [""]:
        registry.events.note("push", call, document.digest, len(data), document.media_type, tag=tag)
    headers = {
        "Location": f"/v2/{call.name}/manifests/{what}",
        "Docker-Content-Digest": str.__str__(document.digest),
    }
    if parsed.subject is not None:
        headers["OCI-Subject"] = str.__str__(parsed.subject.digest)
    answer = answers.empty(201, headers)
    for tag in tags if expected else ():
        answer.headers.add("OCI-Tag", tag)
    return answer


def _tags(call: Call, what: str, expected: Digest | None) -> list[str]:
    """The tags that a manifest is pushed with.

    :raises Refusal: one is none, or there are several places that say them.
    """
    asked = list(dict.fromkeys(call.values.get("tag", [])))
    if expected is None and asked:
        raise Refusal("TAG_INVALID", "further tags go with a digest only", {"tag": asked[0][:128]})
    tags = asked if expected else [what]
    for tag in tags:
        if not routes.is_tag(tag):
            raise Refusal("TAG_INVALID", "invalid tag", {"tag": tag[:128]})
    return tags


async def _growth(registry: Registry, name: str, document: StoredManifest) -> int:
    """By how many bytes a repository grows with a manifest."""
    return 0 if await registry.catalog.has_manifest(name, document.digest) else len(document.data)


def _verified(data: bytes, expected: Digest | None) -> Digest:
    found = Digest.from_bytes(data, expected.algorithm if expected else "sha256")
    if expected is not None and found != expected:
        raise Refusal("DIGEST_INVALID", "provided digest did not match the content", {"digest": expected})
    return found


def _media_type(call: Call) -> str:
    media_type = (call.header("Content-Type") or "").partition(";")[0].strip().lower()
    if media_type not in _KNOWN:
        detail = {"mediaType": media_type[:128]}
        hint = " (schema 1 is not supported)" if "manifest.v1" in media_type else ""
        raise Refusal("MANIFEST_INVALID", f"unsupported manifest media type{hint}", detail)
    return media_type


def parse(document: StoredManifest) -> Manifest | Index:
    """Parse a manifest and check its media type.

    :raises Refusal: it is not.
    """
    try:
        parsed = parse_manifest_or_index(document.data)
    except InvalidInput as error:
        raise Refusal("MANIFEST_INVALID", str(error)) from error
    if parsed.schema_version != 2:
        raise Refusal("MANIFEST_INVALID", "the manifest does not say schemaVersion 2")
    indexed = document.media_type in media_types.INDEXES
    if isinstance(parsed, Index) != indexed or (parsed.media_type and parsed.media_type != document.media_type):
        detail = {"Content-Type": document.media_type, "mediaType": parsed.media_type}
        raise Refusal("MANIFEST_INVALID", "the manifest is not of the media type that was said", detail)
    return parsed


async def require_parts(registry: Registry, name: str, parsed: Manifest | Index) -> None:
    """Check that everything a manifest refers to is in the repository.

    :raises Refusal: something is not.
    """
    blobs, manifests = references(parsed)
    async for digest in in_turns(blobs):
        try:
            await registry.catalog.blob_size(name, digest)
            await registry.catalog.keep_young(name, digest)
        except Refusal:
            raise Refusal("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", {"digest": digest}) from None
    async for digest in in_turns([] if registry.sparse_indexes else manifests):
        if not await registry.catalog.lists_manifest(name, digest):
            raise Refusal("MANIFEST_BLOB_UNKNOWN", "manifest unknown to registry", {"digest": digest})


async def delete(registry: Registry, call: Call) -> web.StreamResponse:
    """Remove a manifest with its tags, or a tag alone."""
    what = call.target.what
    if ":" in what:
        digest = routes.digest(what)
        await registry.catalog.delete_manifest(call.name, digest)
    else:
        digest = await registry.catalog.delete_tag(call.name, what)
    registry.events.note("delete", call, digest, tag="" if ":" in what else what)
    return answers.empty(202, {})
