"""The pull-through cache: repositories of an upstream registry.

A tag is believed for a while, then asked for again; when the upstream does not answer, what it said last is still
good. What is in the storage is under the same records as what is pushed elsewhere, and collected like it. Blobs are
fetched by `wherry.registry.server.proxy.fetch`.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from yarl import URL

from wherry.distribution.client.credentials import Credentials
from wherry.distribution.client.endpoints import Endpoint, endpoints
from wherry.distribution.client.errors import Transient
from wherry.distribution.client.http import Http
from wherry.distribution.client.repository import Repository
from wherry.distribution.client.settings import RegistrySettings
from wherry.errors import Forbidden, InvalidInput, NotFound, Unauthenticated, Unavailable, WherryError
from wherry.oci.digest import Digest
from wherry.oci.manifest import parse_manifest_or_index
from wherry.registry.server import routes
from wherry.registry.server.catalog import Catalog, StoredManifest
from wherry.registry.server.errors import Refusal
from wherry.registry.server.proxy.fetch import CachedBlob, Fetches
from wherry.registry.server.ranges import parts
from wherry.registry.server.settings import seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from wherry.registry.server.call import Call
    from wherry.registry.server.metrics import Metrics
    from wherry.registry.server.sessions import Sessions
    from wherry.registry.server.settings import Proxy

__all__ = ["Cache"]

_log = logging.getLogger(__name__)
_MAX_REMEMBERED: Final = 10_000
Answer = TypeVar("Answer")


class Cache:
    """Repositories of an upstream.

    :param settings: where that is, and how to log in.
    :raises InvalidInput: the settings can't be used.
    """

    def __init__(self, settings: Proxy, catalog: Catalog, sessions: Sessions, metrics: Metrics | None) -> None:
        self._catalog = catalog
        self._ttl = seconds(settings.ttl)
        self._settings = RegistrySettings(insecure=_insecure(settings.upstream))
        self._endpoint = _endpoint(settings.upstream, self._settings)
        self._credentials = _credentials(settings)
        self._http = Http(self._settings.timing)
        self._repositories: dict[str, Repository] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._metrics = metrics
        self._fetches = Fetches(catalog, sessions, self._repository)

    async def close(self) -> None:
        """Stop fetching, and close all connections."""
        await self._fetches.close()
        await self._http.close()

    # -- manifests ----------------------------------------------------------------------------------------------------

    async def manifest(self, name: str, what: str) -> StoredManifest:
        """A manifest: from here if that will do, else from the upstream, else from here all the same.

        :raises Refusal: there is none.
        """
        if ":" in what:
            return await self._by_digest(name, routes.digest(what))
        if not routes.is_tag(what):
            raise Refusal("MANIFEST_UNKNOWN", "manifest unknown", {"tag": what[:128]})
        asked = self._asked.get((name, what))
        if asked is not None and time.monotonic() - asked < self._ttl:
            return await self._by_digest(name, await self._catalog.resolve(name, what))
        try:
            digest = await self._current(name, what)
        except WherryError as error:
            return await self._stale(name, what, error)
        if len(self._asked) >= _MAX_REMEMBERED:
            self._asked.clear()
        self._asked[name, what] = time.monotonic()
        return await self._by_digest(name, digest)

    async def _current(self, name: str, tag: str) -> Digest:
        """The digest of a tag at the upstream; the manifest is cached.

        :raises NotFound: there is no such tag.
        """
        found = await _answered(self._repository(name).head_manifest(tag))
        if found is None:
            raise NotFound("manifest unknown")
        digest = found[1]
        await self._by_digest(name, digest)
        if await self._known(name, tag) != digest:
            await self._catalog.put_tag(name, tag, digest)
        return digest

    async def _known(self, name: str, tag: str) -> Digest | None:
        try:
            return await self._catalog.resolve(name, tag)
        except Refusal:
            return None

    async def _by_digest(self, name: str, digest: Digest) -> StoredManifest:
        try:
            return await self._catalog.manifest(name, digest)
        except Refusal as unknown:
            try:
                fetched = await _answered(self._repository(name).manifest(digest))
            except (NotFound, Forbidden, Unauthenticated):
                raise unknown from None
        document = StoredManifest(digest, fetched.media_type, fetched.data)
        await self._catalog.put_manifest(name, document, parse_manifest_or_index(document.data))
        return document

    async def _stale(self, name: str, tag: str, error: WherryError) -> StoredManifest:
        """The cached manifest of a tag, unless the upstream says that the tag is gone."""
        if isinstance(error, NotFound | Forbidden | Unauthenticated):
            raise Refusal("MANIFEST_UNKNOWN", "manifest unknown", {"tag": tag}) from error
        digest = await self._known(name, tag)
        if digest is None:
            raise error
        _log.warning("upstream unreachable, serving cached tag %s:%s: %s", name, tag, error)
        return await self._catalog.manifest(name, digest)

    # -- blobs --------------------------------------------------------------------------------------------------------

    async def has_blob(self, name: str, digest: Digest) -> bool:
        """Whether a blob is here already."""
        try:
            await self._catalog.blob_size(name, digest)
        except Refusal:
            return False
        if self._metrics:
            self._metrics.add("cache_hits")
        return True

    async def blob_size(self, name: str, digest: Digest) -> int:
        """How many bytes a blob has.

        :raises Refusal: there is none.
        """
        try:
            return await self._catalog.blob_size(name, digest)
        except Refusal as unknown:
            size = await _answered(self._repository(name).size_of(digest))
            if size is None:
                raise unknown from None
            return size

    async def stream(self, call: Call, digest: Digest, headers: dict[str, str]) -> web.StreamResponse:
        """Give a blob while it arrives.

        Who asks for a part gets the whole, as a server may answer (RFC 9110, section 14.2): it has to arrive anyway.
        """
        if self._metrics:
            self._metrics.add("cache_misses")
        fetch = await self._fetches.of(call.name, digest, await self.blob_size(call.name, digest))
        parts(call.header("Range"), fetch.size)
        return CachedBlob(headers, fetch, self._catalog)

    # -- lists --------------------------------------------------------------------------------------------------------

    async def tags(self, name: str) -> list[str]:
        """The upstream's tags; those that are here when it does not answer."""
        try:
            found = await _answered(self._repository(name).tags())
        except NotFound as error:
            raise Refusal("NAME_UNKNOWN", "repository name not known to registry", {"name": name}) from error
        except WherryError as error:
            _log.warning("upstream unreachable, listing cached tags of %s: %s", name, error)
            return await self._catalog.tags(name)
        return sorted(found, key=lambda tag: (tag.lower(), tag))

    async def referrers(
        self, name: str, subject: Digest, *, kind: str = "", last: str = "", count: int = 1000
    ) -> tuple[list[bytes], str]:
        """The upstream's referrers of a manifest; see `Catalog.referrers`."""
        try:
            index = await _answered(self._repository(name).referrers(subject))
            listed: list[Any] = msgspec.json.decode(index.data).get("manifests", [])
        except NotFound:
            return [], ""
        except (WherryError, msgspec.MsgspecError) as error:
            _log.warning("upstream unreachable, listing cached referrers of %s: %s", name, error)
            return await self._catalog.referrers(name, subject, kind=kind, last=last, count=count)
        known = {str(one["digest"]): one for one in listed if isinstance(one, dict) and "digest" in one}
        later = [
            digest for digest in sorted(known) if digest > last and kind in ("", known[digest].get("artifactType"))
        ]
        page = later[:count]
        return [msgspec.json.encode(known[digest]) for digest in page], page[-1] if len(later) > count else ""

    def _repository(self, name: str) -> Repository:
        if len(self._repositories) >= _MAX_REMEMBERED:
            self._repositories.clear()
        if name not in self._repositories:
            self._repositories[name] = Repository(self._http, self._endpoint, self._credentials, name)
        return self._repositories[name]


async def _answered(answer: Awaitable[Answer]) -> Answer:
    """A response of the upstream; transient errors are final here, as a client waits.

    :raises Unavailable: there is none for now.
    """
    try:
        return await answer
    except Transient as passing:
        raise Unavailable(f"the upstream does not answer: {passing.error.message}") from passing


def _insecure(upstream: str) -> tuple[str, ...]:
    url = URL(upstream)
    return (url.authority,) if url.scheme == "http" else ()


def _endpoint(upstream: str, settings: RegistrySettings) -> Endpoint:
    url = URL(upstream)
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"invalid upstream {upstream!r}", hint="https://containers.example")
    found = [one for one in endpoints(url.authority, settings)[-1] if one.url.scheme == url.scheme]
    return Endpoint(url.with_path(url.path.rstrip("/")), found[0].tls if found else None, url.scheme == "http")


def _credentials(settings: Proxy) -> Credentials:
    if not settings.password_file:
        return Credentials(username=settings.username)
    try:
        password = Path(settings.password_file).read_text().rstrip("\n")
    except OSError as error:
        raise InvalidInput(f"cannot read '{settings.password_file}'", cause=str(error.strerror).lower()) from error
    return Credentials(username=settings.username, password=password)
