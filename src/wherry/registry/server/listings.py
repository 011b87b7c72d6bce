"""Lists: tags, referrers, the catalogue (specification, "Listing Tags", "Listing Referrers"), and ``/v2/`` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import msgspec

from wherry.oci.media_types import OCI_INDEX
from wherry.registry.server import answers, names
from wherry.registry.server.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from wherry.registry.server.call import Call
    from wherry.registry.server.registry import Registry

__all__ = ["base", "catalog", "referrers", "tags"]

Item = TypeVar("Item")


async def base(registry: Registry, call: Call) -> web.StreamResponse:
    """Say that this is a registry."""
    return answers.json({})


async def tags(registry: Registry, call: Call) -> web.StreamResponse:
    """The tags of a repository."""
    if registry.cache is not None:
        found = await registry.cache.tags(call.name)
    else:
        await registry.catalog.require_repository(call.name)
        found = await registry.catalog.tags(call.name)
    last = call.query.get("last", "")
    later = [tag for tag in found if (tag.lower(), tag) > (last.lower(), last)]
    page, headers = _page(later, call, _count(registry, call), lambda tag: tag)
    return answers.json({"name": call.name, "tags": page}, headers)


async def catalog(registry: Registry, call: Call) -> web.StreamResponse:
    """The repositories."""
    last = call.query.get("last", "")
    found = sorted([name async for name in registry.catalog.repositories() if name > last])
    page, headers = _page(found, call, _count(registry, call), lambda name: name)
    return answers.json({"repositories": page}, headers)


async def referrers(registry: Registry, call: Call) -> web.StreamResponse:
    """What refers to a manifest; an empty list for one that nothing refers to, or that is not there."""
    subject = names.digest(call.target.what)
    if registry.cache is not None:
        found = await registry.cache.referrers(call.name, subject)
    else:
        found = await registry.catalog.referrers(call.name, subject)
    described = sorted((msgspec.json.decode(data) for data in found), key=_digest_of)
    headers = {}
    kind = call.query.get("artifactType")
    if kind:
        described = [entry for entry in described if entry.get("artifactType") == kind]
        headers["OCI-Filters-Applied"] = "artifactType"
    later = [entry for entry in described if _digest_of(entry) > call.query.get("last", "")]
    page, link = _page(later, call, _count(registry, call), _digest_of)
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page}
    return answers.json(document, {**headers, **link}, OCI_INDEX)


def _digest_of(entry: dict[str, str]) -> str:
    return entry["digest"]


def _count(registry: Registry, call: Call) -> int:
    """How many entries a page has; the client may say less than we would, and zero."""
    text = call.query.get("n")
    if text is None:
        return registry.page
    if not text.isascii() or not text.isdigit():
        raise Refusal("PAGINATION_NUMBER_INVALID", "invalid number of results requested", {"n": text[:32]})
    return min(int(text[:9]), registry.page)


def _page(found: list[Item], call: Call, count: int, name: Callable[[Item], str]) -> tuple[list[Item], dict[str, str]]:
    """The first page, and the header that leads to the next one."""
    page = found[:count]
    if len(found) <= count or not page:
        return page, {}
    path = call.request.path
    query = urlencode({**call.query, "n": count, "last": name(page[-1])})
    return page, {"Link": f'<{path}?{query}>; rel="next"'}
