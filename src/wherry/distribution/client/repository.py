"""One repository at one endpoint: its documents, blobs, tags, uploads (OCI distribution specification, spec.md).

Methods make one attempt each and raise `errors.Transient` where another may help; callers know what to repeat, and do
it by `retry`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from wherry.content.store import MAX_DOCUMENT
from wherry.distribution.client.challenge import parse
from wherry.distribution.client.credentials import Credentials
from wherry.distribution.client.endpoints import Endpoint
from wherry.distribution.client.http import Body, Http, Request, failure, read_bounded
from wherry.distribution.client.tokens import Authorizer
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge, Unauthenticated, Unsupported
from wherry.oci import media_types
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Index

__all__ = ["ACCEPTED", "RemoteManifest", "Repository", "Upload"]

#: What we can read, as an ``Accept`` header. Schema 1 is not in it: a registry that has nothing else says so.
ACCEPTED: Final = ", ".join(
    (media_types.OCI_INDEX, media_types.OCI_MANIFEST, media_types.DOCKER_INDEX, media_types.DOCKER_MANIFEST)
)
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"
_MAX_TAGS: Final = 100_000
_MAX_PAGES: Final = 1000
_SIZE: Final = re.compile("[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """A manifest or an index, as the bytes that its digest names."""

    data: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Upload:
    """A blob that is being sent: where to go on."""

    location: URL


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


_NOTHING: Final = encode(Index([], schema_version=2, media_type=media_types.OCI_INDEX))


class Repository:
    """A repository's documents and blobs.

    :param path: ``library/busybox``.
    :param writes: whether the token is to allow pushing.
    """

    def __init__(
        self, http: Http, endpoint: Endpoint, credentials: Credentials, path: str, *, writes: bool = False
    ) -> None:
        self.endpoint: Final = endpoint
        self.path: Final = path
        self.authorizer: Final = Authorizer(http, endpoint, credentials)
        self._http = http
        self._scopes = [f"repository:{path}:{'pull,push' if writes else 'pull'}"] if path else []

    # --- reading ----------------------------------------------------------------------------------

    async def ping(self, *, offline: bool = False) -> None:
        """Ask whether there is a registry, and whether it takes our credentials.

        :param offline: ask for an identity token on the way.
        """
        request = self._request("GET", "/v2/")
        async with self._exchange(request, offline=offline) as response:
            if response.status != 200:
                raise await failure(response, request)

    async def greet(self) -> None:
        """Check that something answers HTTP at the address, and note its challenge; tokens are fetched when needed.

        :raises Transient: nothing does.
        """
        request = self._request("GET", "/v2/")
        async with self._http.send(request, self.endpoint) as response:
            self.authorizer.greeted(parse(response.headers.getall("WWW-Authenticate", [])))

    async def manifest(self, reference: str, accept: str = ACCEPTED) -> RemoteManifest:
        """Fetch a manifest or an index; its digest is computed here, not believed.

        :param reference: a tag or a digest.
        :raises CorruptData: it is not what its digest, or the registry's own header, says.
        :raises Unsupported: it is of schema 1.
        """
        request = self._request("GET", f"/v2/{self.path}/manifests/{reference}", {"Accept": accept})
        async with self._exchange(request) as response:
            if response.status != 200:
                raise await failure(response, request)
            media_type = response.content_type
            if media_type.startswith(_SCHEMA_1):
                raise _schema_1(self.path, reference)
            data = await read_bounded(response, MAX_DOCUMENT, f"the manifest of {self.path}")
            return RemoteManifest(data, media_type, _identify(data, reference, response.headers))

    async def head_manifest(self, reference: str) -> tuple[str, Digest, int] | None:
        """Media type, digest and size of a manifest, without its bytes; None where there is none."""
        request = self._request("HEAD", f"/v2/{self.path}/manifests/{reference}", {"Accept": ACCEPTED})
        async with self._exchange(request) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise await failure(response, request)
            digest = response.headers.get("Docker-Content-Digest", "")
            return (response.content_type, Digest(digest), response.content_length or 0) if digest else None

    async def size_of(self, digest: Digest) -> int | None:
        """How many bytes a blob has there; None where there is none."""
        request = self._request("HEAD", f"/v2/{self.path}/blobs/{digest}")
        async with self._exchange(request) as response:
            if response.status == 404:
                return None
            if response.status != 200:
                raise await failure(response, request)
            return response.content_length or 0

    @asynccontextmanager
    async def blob(self, digest: Digest, offset: int = 0) -> AsyncIterator[aiohttp.ClientResponse]:
        """A blob's bytes from an offset on, with status 206; or all of them with 200 if the registry can't do that."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = self._request("GET", f"/v2/{self.path}/blobs/{digest}", headers, quick=False)
        async with self._exchange(request) as response:
            if response.status == 416:
                raise CorruptData(f"the registry has fewer bytes of {digest} than it gave before")
            if response.status not in (200, 206):
                raise await failure(response, request)
            yield response

    async def read_blob(self, digest: Digest, size: int) -> bytes:
        """A blob that is a document, verified.

        :raises TooLarge: no document is that large.
        :raises CorruptData: it is not what its digest, or its descriptor, says.
        """
        if not 0 <= size <= MAX_DOCUMENT:
            raise TooLarge(f"blob {digest} has {size} bytes, where {MAX_DOCUMENT} are allowed for a document")
        request = self._request("GET", f"/v2/{self.path}/blobs/{digest}")
        async with self._exchange(request) as response:
            if response.status != 200:
                raise await failure(response, request)
            data = await read_bounded(response, size, f"blob {digest}")
        digest.verify(data)
        return data

    async def tags(self) -> list[str]:
        """All tags, from all pages."""
        url: URL | None = self._url(f"/v2/{self.path}/tags/list")
        found: list[str] = []
        for _ in range(_MAX_PAGES):
            if url is None or len(found) > _MAX_TAGS:
                break
            page, url = await self._page(url, _Tags)
            found += page.tags or []
        return found

    async def referrers(self, digest: Digest, artifact_type: str = "") -> RemoteManifest:
        """The index of a manifest's referrers: signatures, attestations, bills of materials.

        Where the registry has no such list, its fallback is read, the tag ``sha256-<hex>``; or there are none.

        :param artifact_type: which kind; all when empty.
        """
        path = f"/v2/{self.path}/referrers/{digest}"
        query = {"artifactType": artifact_type} if artifact_type else {}
        request = self._request("GET", path, {"Accept": media_types.OCI_INDEX}, query=query)
        async with self._exchange(request) as response:
            if response.status == 200:
                data = await read_bounded(response, MAX_DOCUMENT, "the list of referrers")
                return RemoteManifest(data, media_types.OCI_INDEX, Digest.from_bytes(data))
            if response.status != 404:
                raise await failure(response, request)
        try:
            return await self.manifest(f"{digest.algorithm}-{digest.hex}"[:128])
        except NotFound:  # nothing refers to it
            return RemoteManifest(_NOTHING, media_types.OCI_INDEX, Digest.from_bytes(_NOTHING))

    async def get_json(self, path: str, kind: type[Any], query: Mapping[str, str] | None = None) -> Any:
        """Any other document of the registry's, ``/v1/search``, decoded."""
        request = self._request("GET", path, {"Accept": "application/json"}, query=query)
        async with self._exchange(request) as response:
            if response.status != 200:
                raise await failure(response, request)
            data = await read_bounded(response, MAX_DOCUMENT, "the registry's answer")
        return _decode(data, kind)

    # --- writing ----------------------------------------------------------------------------------

    async def begin_upload(self, mount: Digest | None = None, source: str = "") -> Upload | None:
        """Begin to send a blob; None when the registry took it from another of its repositories instead.

        :param mount: what to take.
        :param source: the repository to take it from.
        """
        query = {"mount": str(mount), "from": source} if mount else {}
        more = [f"repository:{source}:pull"] if mount else []
        request = self._request("POST", f"/v2/{self.path}/blobs/uploads/", {"Content-Length": "0"}, query=query)
        async with self._exchange(request, more_scopes=more) as response:
            if response.status == 201 and mount:
                return None
            if response.status != 202:
                raise await failure(response, request)
            return Upload(self._location(response))

    async def append(self, upload: Upload, offset: int, body: Body, size: int | None) -> Upload:
        """Send bytes of a blob from an offset on.

        :param size: how many, when that is known.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if size is not None:
            headers |= {"Content-Length": str(size), "Content-Range": f"{offset}-{offset + size - 1}"}
        request = Request("PATCH", upload.location, headers, body, quick=False)
        async with self._exchange(request) as response:
            if response.status not in (202, 204):
                raise await failure(response, request)
            return Upload(self._location(response))

    async def position(self, upload: Upload) -> tuple[Upload, int]:
        """Ask how many bytes of an unfinished upload have arrived."""
        request = Request("GET", upload.location, {})
        async with self._exchange(request) as response:
            if response.status != 204:
                raise await failure(response, request)
            last = response.headers.get("Range", "0-0").removeprefix("bytes=").rpartition("-")[2]
            arrived = int(last) + 1 if _SIZE.fullmatch(last) and last != "0" else 0
            return Upload(self._location(response) if "Location" in response.headers else upload.location), arrived

    async def finish_upload(self, upload: Upload, digest: Digest, body: bytes = b"") -> None:
        """Say which blob it was; the registry verifies that.

        :param body: the blob's bytes, or its last ones.
        """
        url = upload.location.update_query({"digest": str(digest)})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        request = Request("PUT", url, headers, body, quick=False)
        async with self._exchange(request) as response:
            if response.status != 201:
                raise await failure(response, request)

    async def put_manifest(self, reference: str, data: bytes, media_type: str) -> Digest:
        """Store a manifest or an index under a tag or its digest.

        :raises CorruptData: the registry stored something else.
        """
        path = f"/v2/{self.path}/manifests/{reference}"
        request = self._request("PUT", path, {"Content-Type": media_type}, body=data)
        mine = Digest.from_bytes(data)
        async with self._exchange(request) as response:
            if response.status not in (200, 201, 202):
                raise await failure(response, request)
            theirs = response.headers.get("Docker-Content-Digest", str(mine))
        if theirs.startswith(f"{mine.algorithm}:") and theirs != mine:
            raise CorruptData(f"the registry stored the manifest as {theirs[:80]}, not {mine}")
        return mine

    # --- inside -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _exchange(
        self, request: Request, *, more_scopes: Iterable[str] = (), offline: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; answer a challenge and send it once more. Credentials go to the endpoint only."""
        scopes = [*self._scopes, *more_scopes]
        ours = request.url.origin() == self.endpoint.url.origin()
        for last in (False, True):
            headers = {**request.headers, **(self.authorizer.header(scopes) if ours else {})}
            sent = Request(request.method, request.url, headers, request.body, request.quick)
            async with self._http.send(sent, self.endpoint) as response:
                if response.status != 401 or last or not ours:
                    yield response
                    return
                challenges = parse(response.headers.getall("WWW-Authenticate", []))
            await self.authorizer.answer(challenges, scopes, offline=offline)
        raise Unauthenticated("unauthorized: authentication required")

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        quick: bool = True,
    ) -> Request:
        url = self._url(path)
        return Request(method, url.with_query(query) if query else url, headers or {}, body, quick)

    def _url(self, path: str) -> URL:
        base = self.endpoint.url
        return base.with_path(base.path.rstrip("/") + path)

    def _location(self, response: aiohttp.ClientResponse) -> URL:
        """Where an upload goes on. A plain address after TLS would give the blob, and our token, to anyone."""
        url = response.url.join(URL(response.headers.get("Location", ""), encoded=True))
        if "Location" not in response.headers or url.scheme not in ("http", "https"):
            raise InvalidInput("the registry does not say where the upload goes on")
        if url.scheme != self.endpoint.url.scheme and url.host == self.endpoint.url.host:
            # Behind a proxy that ends TLS, registries know themselves by the wrong scheme; Docker corrects it as well.
            url = url.with_scheme(self.endpoint.url.scheme).with_port(self.endpoint.url.port)
        if self.endpoint.url.scheme == "https" and url.scheme != "https":
            raise InvalidInput("the registry wants the upload to go on in plain text", hint="refused")
        return url

    async def _page(self, url: URL, kind: type[Any]) -> tuple[Any, URL | None]:
        request = Request("GET", url, {"Accept": "application/json"})
        async with self._exchange(request) as response:
            if response.status != 200:
                raise await failure(response, request)
            data = await read_bounded(response, MAX_DOCUMENT, "the registry's list")
            link = next((str(one["url"]) for one in response.links.values() if one.get("rel") == "next"), None)
        following = url.join(URL(link, encoded=True)) if link else None
        if following is not None and following.origin() != url.origin():
            raise InvalidInput("the registry's list goes on at another registry", hint="refused")
        return _decode(data, kind), following


def _decode(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as exc:
        raise InvalidInput("the registry's answer is not to be understood", cause=str(exc)) from exc


def _identify(data: bytes, reference: str, headers: Mapping[str, str]) -> Digest:
    """Compute a manifest's digest and compare it with the reference and the registry's header."""
    claimed = headers.get("Docker-Content-Digest", "")
    if ":" in reference:
        wanted = Digest(reference)
        found = Digest.from_bytes(data, wanted.algorithm)
        if found != wanted:
            raise CorruptData(f"manifest verification failed for digest {wanted}", cause=f"it has digest {found}")
        return wanted
    found = Digest.from_bytes(data)
    if claimed.startswith("sha256:") and claimed != found:
        raise CorruptData(f"the registry calls the manifest {claimed[:80]}", cause=f"it has digest {found}")
    return found


def _schema_1(path: str, reference: str) -> Unsupported:
    return Unsupported(
        f"{path}:{reference} is a Docker image manifest of schema version 1, which is no longer supported",
        hint="push the image again with a newer program",
    )
