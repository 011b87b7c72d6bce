"""Lists: tags, referrers, the catalogue (specification, "Listing Tags", "Listing Referrers"), and ``/v2/`` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import msgspec

from wherry.oci.media_types import OCI_INDEX
from wherry.registry.server import answers, routes
from wherry.registry.server.errors import Refusal

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
    last, count = call.query.get("last", ""), _count(registry, call)
    found: list[str] = []
    async for name in registry.catalog.repositories():
        if name > last:
            found.append(name)
        if len(found) > 2 * count + 1000:
            found = sorted(found)[: count + 1]
    page, headers = _page(sorted(found), call, count, lambda name: name)
    return answers.json({"repositories": page}, headers)


async def referrers(registry: Registry, call: Call) -> web.StreamResponse:
    """The referrers of a manifest; empty for an unknown manifest as well.

    A page ends where it has as many entries as were asked for, or where many bytes were looked at for it; so one may
    have fewer, or none, and lead to another all the same (specification, "Listing Referrers": ``Link``).
    """
    subject = routes.digest(call.target.what)
    kind, last = call.query.get("artifactType", ""), call.query.get("last", "")
    if last:
        routes.digest(last)
    count = _count(registry, call)
    found: list[bytes] = []
    then = ""
    if registry.cache is not None and count:
        found, then = await registry.cache.referrers(call.name, subject, kind=kind, last=last, count=count)
    elif count:
        found, then = await registry.catalog.referrers(call.name, subject, kind=kind, last=last, count=count)
    headers = {"OCI-Filters-Applied": "artifactType"} if kind else {}
    if then:
        headers["Link"] = _link(call, count, then)
    listed = [msgspec.Raw(data) for data in found]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
    return answers.json(document, headers, OCI_INDEX)


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
    return page, {"Link": _link(call, count, name(page[-1]))}


def _link(call: Call, count: int, last: str) -> str:
    """The ``Link`` header to the next page (RFC 8288)."""
    query = urlencode({**call.query, "n": count, "last": last})
    return f'<{call.request.path}?{query}>; rel="next"'
