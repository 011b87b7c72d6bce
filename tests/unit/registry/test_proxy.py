"""The pull-through cache, with another registry of ours as its upstream."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, web

from support.registry_harness import MANIFEST, Lab, digest, registry


@contextlib.asynccontextmanager
async def cache(upstream: str, root: Path | None = None, **more: Any) -> AsyncIterator[Lab]:
    async with registry(root, proxy={"upstream": upstream, "ttl": "0"}, **more) as running:
        yield running


async def test_what_is_pulled_comes_from_the_upstream_once(tmp_path: Path) -> None:
    async with registry() as upstream:
        image = await upstream.push_image("team/app", "v1", layer=b"layer")
        async with cache(upstream.url, tmp_path) as lab:
            assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == image
            for _ in range(2):
                answer = await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'layer')}")
                assert (answer.status, answer.body) == (200, b"layer")
                await settled(lab)
            text = (await lab.ask("GET", "/metrics")).body.decode()
            assert "wherry_registry_cache_hits_total 1" in text
            assert "wherry_registry_cache_misses_total 1" in text
            assert (await lab.ask("GET", "/v2/team/app/tags/list")).json["tags"] == ["v1"]
            assert (await lab.ask("GET", f"/v2/team/app/referrers/{digest(image)}")).json["manifests"] == []


async def settled(lab: Lab) -> None:
    """Wait until nothing is being fetched."""
    fetches = lab.assembly.registry.cache._fetches._running  # type: ignore[union-attr]
    await asyncio.gather(*(fetch.task for fetch in list(fetches.values()) if fetch.task), return_exceptions=True)


async def test_when_the_upstream_is_down_what_was_pulled_is_still_there(tmp_path: Path) -> None:
    async with registry() as upstream:
        image = await upstream.push_image("team/app", "v1", layer=b"layer")
        await upstream.push_blob("team/app", b"never pulled")
        async with cache(upstream.url, tmp_path) as lab:
            await lab.ask("GET", "/v2/team/app/manifests/v1")
            await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'layer')}")
            await settled(lab)
    async with cache(upstream.url, tmp_path) as lab:  # the upstream's port is closed now
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == image
        assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'layer')}")).body == b"layer"
        assert (await lab.ask("GET", "/v2/team/app/tags/list")).json["tags"] == ["v1"]
        for lacking in (f"blobs/{digest(b'never pulled')}", "manifests/v2", f"manifests/{digest(b'no manifest')}"):
            answer = await lab.ask("GET", f"/v2/team/app/{lacking}")
            assert (answer.status, answer.code) == (503, "UNAVAILABLE")
            assert "the upstream does not answer" in answer.json["errors"][0]["message"]


async def test_a_tag_that_moves_is_followed(tmp_path: Path) -> None:
    async with registry() as upstream, cache(upstream.url, tmp_path) as lab:
        first = await upstream.push_image("team/app", "v1", layer=b"one")
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == first
        second = await upstream.push_image("team/app", "v1", layer=b"two")
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).body == second
        await upstream.ask("DELETE", "/v2/team/app/manifests/v1")
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).code == "MANIFEST_UNKNOWN"


async def test_what_is_not_there_is_not_found_and_nothing_can_be_pushed() -> None:
    async with registry() as upstream, cache(upstream.url) as lab:
        assert (await lab.ask("GET", "/v2/team/app/manifests/v1")).status == 404
        assert (await lab.ask("GET", f"/v2/team/app/manifests/{digest(b'x')}")).status == 404
        assert (await lab.ask("GET", f"/v2/team/app/blobs/{digest(b'x')}")).code == "BLOB_UNKNOWN"
        assert (await lab.push_blob("team/app", b"x")).status == 405


@pytest.mark.slow
async def test_many_at_once_cause_one_fetch_and_a_slow_one_stops_nobody() -> None:
    data = os.urandom(30_000_000)
    async with registry() as upstream, cache(upstream.url) as lab:
        await upstream.push_blob("team/app", data)
        path = f"/v2/team/app/blobs/{digest(data)}"
        async with lab.session.get(lab.url + path) as slow:
            answers = await asyncio.gather(*(lab.ask("GET", path) for _ in range(5)))
            assert all(answer.body == data for answer in answers)
            assert await slow.content.read() == data
        text = (await upstream.ask("GET", "/metrics")).body.decode()
        assert 'wherry_registry_requests_total{kind="blobs",method="GET",status="2xx"} 1' in text


async def test_a_client_that_leaves_does_not_stop_the_fetch() -> None:
    data = os.urandom(20_000_000)
    async with registry() as upstream, cache(upstream.url) as lab:
        await upstream.push_blob("team/app", data)
        path = f"/v2/team/app/blobs/{digest(data)}"
        async with lab.session.get(lab.url + path) as response:
            await response.content.readexactly(10)
            response.close()
        await settled(lab)
        assert await lab.assembly.registry.cache.has_blob("team/app", digest(data))  # type: ignore


class Lying:
    """A registry that gives a manifest, and blobs that break off or are something else."""

    def __init__(self, blob: bytes, *, cut: int = 0, wrong: bool = False) -> None:
        self.blob, self.cut, self.wrong = blob, cut, wrong
        self.asked: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if "/blobs/" not in request.path:
            return web.json_response({}, content_type=MANIFEST)
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(self.blob))})
        self.asked.append(request.headers.get("Range", ""))
        start = int(self.asked[-1][6:-1] or 0) if self.asked[-1] else 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(self.blob) - start
        await response.prepare(request)
        body = bytes(len(self.blob)) if self.wrong else self.blob
        end = start + self.cut if self.cut else len(body)
        await response.write(body[start:end])
        if end < len(body) and request.transport:
            request.transport.close()
        return response


@contextlib.asynccontextmanager
async def lying(behaviour: Lying) -> AsyncIterator[str]:
    http = web.Server(behaviour, access_log=None)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await http.shutdown(1)


@pytest.mark.slow
async def test_a_connection_that_breaks_is_gone_on_with() -> None:
    data = os.urandom(300_000)
    behaviour = Lying(data, cut=120_000)
    async with lying(behaviour) as url, cache(url) as lab:
        answer = await lab.ask("GET", f"/v2/team/app/blobs/{digest(data)}")
        assert answer.body == data
        assert behaviour.asked == ["", "bytes=120000-", "bytes=240000-"]


async def test_bytes_that_are_something_else_are_never_kept() -> None:
    data = os.urandom(300_000)
    async with lying(Lying(data, wrong=True)) as url, cache(url) as lab:
        with pytest.raises(ClientError):  # the connection breaks before the last bytes are given
            await lab.ask("GET", f"/v2/team/app/blobs/{digest(data)}")
        await settled(lab)
        assert not await lab.assembly.registry.cache.has_blob("team/app", digest(data))  # type: ignore


@pytest.mark.parametrize("upstream", ["registry.example.com", "ftp://x", ""])
async def test_an_upstream_that_is_none_is_refused(upstream: str) -> None:
    from wherry.errors import InvalidInput  # noqa: PLC0415 - only here

    with pytest.raises(InvalidInput):
        async with cache(upstream):
            pass
