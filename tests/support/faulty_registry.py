"""A registry for tests that tells the truth, until it is told to lie: one function sees each request first."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.archives import Layout, digest

Lie = Callable[[web.Request, "Liar"], Awaitable[web.StreamResponse | None]]
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Liar:
    """What it has, and what it was asked.

    :ivar lie: answers instead of the truth, unless it gives None.
    :ivar asked: ``"GET /v2/app/blobs/sha256:..."``, in order.
    """

    layout: Layout = field(default_factory=Layout)
    tags: dict[str, str] = field(default_factory=dict)
    lie: Lie | None = None
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    sessions: Iterator[int] = field(default_factory=itertools.count)
    port: int = 0
    address: str = "127.0.0.1"

    @property
    def host(self) -> str:
        """Its domain."""
        return f"{self.address}:{self.port}"

    def image(self, layers: list[bytes], tag: str = "1", **fields: Any) -> dict[str, Any]:
        """Have an image under a tag, and say its manifest's descriptor."""
        described = self.layout.image(layers, **fields)
        self.tags[tag] = described["digest"]
        return described

    def count(self, words: str) -> int:
        """How many requests have these words in them."""
        return sum(words in line for line in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Lie, or tell the truth."""
        self.asked.append(f"{request.method} {request.path_qs}")
        self.headers.append(dict(request.headers))
        if self.lie is not None and (lie := await self.lie(request, self)) is not None:
            return lie
        return await self.truth(request)

    async def truth(self, request: web.Request) -> web.StreamResponse:
        """What an honest registry says."""
        parts = request.path.split("/")
        if request.path == "/v2/":
            return web.json_response({})
        if "uploads" in parts:
            return await self._upload(request)
        if "tags" in parts:
            return web.json_response({"name": "app", "tags": sorted(self.tags)})
        kind, name = parts[-2], parts[-1]
        if request.method == "PUT" and kind == "manifests":
            data = await request.read()
            self.layout.blobs[digest(data)] = data
            self.tags[name] = digest(data)
            return web.Response(status=201, headers={"Docker-Content-Digest": digest(data)})
        data = self.layout.blobs.get(self.tags.get(name, name) if kind == "manifests" else name)
        if kind not in ("manifests", "blobs"):
            data = None  # an older registry, without referrers, search and catalogue
        if data is None:
            code = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
            return web.json_response(
                {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}, status=404
            )
        return ranged(request, data, kind == "manifests")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        session = request.path.rpartition("/")[2]
        if request.method == "POST":
            session = f"s{next(self.sessions)}"  # of its own: an upload that has ended is not another one's
            self.uploads[session] = bytearray()
        if session not in self.uploads:
            return web.json_response({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}, status=404)
        got = self.uploads[session]
        if request.method in ("PATCH", "PUT"):
            async for chunk in request.content.iter_any():
                got += chunk
        if request.method == "PUT":
            data = bytes(self.uploads.pop(session))
            if digest(data) != request.query["digest"]:
                return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
            self.layout.blobs[digest(data)] = data
            return web.Response(status=201)
        headers = {"Location": f"/v2/app/blobs/uploads/{session}", "Range": f"0-{max(0, len(got) - 1)}"}
        return web.Response(status=204 if request.method == "GET" else 202, headers=headers)


def ranged(request: web.Request, data: bytes, is_manifest: bool = False) -> web.Response:
    """Bytes, or the range of them that was asked for."""
    headers = {"Content-Type": "application/octet-stream"}
    if is_manifest:
        kind = json.loads(data).get("mediaType") or MANIFEST
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest(data)}
    start = request.http_range.start or 0
    if not start:
        return web.Response(body=data, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return web.Response(status=206, body=data[start:], headers=headers)


@asynccontextmanager
async def serving(liar: Liar | None = None, address: str = "127.0.0.1") -> AsyncIterator[Liar]:
    """A registry on a free port of an address of this machine's own."""
    liar = liar or Liar()
    liar.address = address
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", liar.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, address, 0)
    await site.start()
    liar.port = runner.addresses[0][1]
    try:
        yield liar
    finally:
        await runner.cleanup()
