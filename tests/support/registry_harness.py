"""A registry in this process, on loopback, and the few things that tests do with one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from wherry.registry.server.composition import Assembly, assemble
from wherry.registry.server.metrics import Metrics
from wherry.registry.server.settings import load

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def descriptor(data: bytes, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


class Who(NamedTuple):
    """Somebody with a password."""

    login: str
    password: str

    def header(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{self.login}:{self.password}".encode()).decode()}


class Answer:
    """A status, headers, and a body that was read."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's code of an error."""
        return str(self.json["errors"][0]["code"])


class Lab:
    """A running registry, and a client of it."""

    def __init__(self, url: str, session: aiohttp.ClientSession, assembly: Assembly) -> None:
        self.url = url
        self.session = session
        self.assembly = assembly

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        if isinstance(more.get("data"), bytes):
            more["data"] = io.BytesIO(more["data"])  # what aiohttp wants of long bodies
        who: Who | None = more.pop("auth", None)
        if who is not None:
            more["headers"] = {**more.get("headers", {}), **who.header()}
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, allow_redirects=False, **more) as response:
            return Answer(response, await response.read())

    async def push_blob(self, name: str, data: bytes, algorithm: str = "sha256", **more: Any) -> Answer:
        return await self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest(data, algorithm)}", data=data, **more)

    async def put_manifest(
        self, name: str, reference: str, document: dict[str, Any] | bytes, media_type: str = MANIFEST, **more: Any
    ) -> Answer:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Content-Type": media_type, **more.pop("headers", {})}
        return await self.ask("PUT", f"/v2/{name}/manifests/{reference}", data=data, headers=headers, **more)

    async def push_image(self, name: str, tag: str, layer: bytes = b"layer", **more: Any) -> bytes:
        """Push a small image. :returns: its manifest."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": tag}).encode()
        for blob in (config, layer):
            assert (await self.push_blob(name, blob)).status == 201
        data = json.dumps(manifest(config, layer, **more)).encode()
        answer = await self.put_manifest(name, tag, data)
        assert answer.status == 201, answer.body
        return data


def manifest(config: bytes, *layers: bytes, **more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, CONFIG),
        "layers": [descriptor(layer) for layer in layers],
        **more,
    }


@contextlib.asynccontextmanager
async def registry(root: Path | None = None, **told: Any) -> AsyncIterator[Lab]:
    """Run a registry, in `root` or in memory; further settings as the TOML file has them."""
    place: dict[str, Any] = {"root": str(root)} if root else {}
    if root is None and "storage" not in told:
        place["storage"] = {"type": "memory"}
    assembly = await assemble(load(None, {**place, **told}), Metrics())
    http = web.Server(assembly.app, access_log=None)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with aiohttp.ClientSession() as session:
            yield Lab(f"http://127.0.0.1:{port}", session, assembly)
    finally:
        server.close()
        await http.shutdown(1)
        await assembly.close()
