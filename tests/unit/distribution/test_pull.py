"""Pulling from registries that tell the truth, that break, and that lie. Any user can run these."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support import needs
from support.archives import Layout, digest, directory, member, tar
from support.faulty_registry import INDEX, Liar, Lie, ranged, serving
from wherry.distribution.client.credentials import ANONYMOUS, Credentials
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.distribution.transfer.transfers import Transfers
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, Forbidden, InvalidInput, NotFound, TooLarge, Unsupported, WherryError
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("etc/motd", b"hello")])
NOISE = random.Random(1).randbytes(3 << 20)
BIG = tar([member("noise", NOISE)])
HASTY = Timing(connect=2, silence=1.0, document=2, window=0.3, slowest=2000, pause=0.01, longest_pause=0.5)
AMD64 = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    async with serving() as registry:
        yield registry


def transfers(store: ImageStore, **options: Any) -> Transfers:
    return Transfers(store, RegistrySettings(timing=HASTY, **options))


async def pull(
    store: ImageStore,
    registry: Liar,
    tag: str = "1",
    *,
    mine: Credentials = ANONYMOUS,
    platform: Platform | None = AMD64,
    **options: Any,
) -> list[dict[str, Any]]:
    """Pull one image, and see that nothing unfinished is left lying about."""
    made = transfers(store, **options)
    try:
        reference = Reference.parse(f"{registry.host}/app{'@' if ':' in tag else ':'}{tag}")
        async with aclosing(made.pull(reference, platform, mine)) as steps:
            return [step async for step in steps]
    finally:
        await made.close()
        assert os.listdir(store.content.root.parent / "tmp") == []


def blob_of(liar: Liar, layer: bytes) -> tuple[str, bytes]:
    """A layer's blob and its digest, as the registry has it."""
    data = gzip.compress(layer, mtime=0)
    return digest(data), data


def partials(store: ImageStore) -> dict[str, int]:
    return {str(name): size for name, size in store.partials.walk()}


def tidy(store: ImageStore) -> None:
    """Remove what a daemon removes at its start (the built-in image, which is made then as well, takes root)."""
    store.partials.expire()
    store.references.delete_all_unreferenced()


# --- what goes well -------------------------------------------------------------------------------


async def test_an_image_comes_whole_and_is_told_of_in_dockers_words(store: ImageStore, liar: Liar) -> None:
    described = liar.image([BASE, TOP])
    steps = await pull(store, liar)
    image = store.resolve(f"{liar.host}/app:1")
    assert image.manifest_digest == described["digest"]
    assert [name.familiar for name in image.names] == [f"{liar.host}/app:1", f"{liar.host}/app@{described['digest']}"]
    assert steps[0] == {"status": "Pulling from app", "id": "1"}
    assert steps[-2:] == [
        {"status": f"Digest: {described['digest']}"},
        {"status": f"Status: Downloaded newer image for {liar.host}/app:1"},
    ]
    name = blob_of(liar, BASE)[0].removeprefix("sha256:")[:12]
    said = [step["status"] for step in steps if step.get("id") == name]
    assert [one for one in said if one not in ("Downloading", "Extracting", "Waiting")] == [
        "Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete",
    ]  # fmt: skip
    assert partials(store) == {}


async def test_pulling_again_moves_nothing(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, TOP])
    await pull(store, liar)
    liar.asked.clear()
    steps = await pull(store, liar)
    assert steps[-1]["status"] == f"Status: Image is up to date for {liar.host}/app:1"
    assert liar.count("/blobs/") == 0


def cut(path: Path) -> None:
    """What a power cut does to a file whose bytes had not reached the disk."""
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, Path.unlink])
@pytest.mark.parametrize("which", ["layer", "config", "manifest"])
async def test_pulling_again_brings_back_the_blob_that_was_lost(
    store: ImageStore, liar: Liar, which: str, harm: Callable[[Path], None]
) -> None:
    liar.image([BASE, TOP])
    await pull(store, liar)
    image = store.resolve(f"{liar.host}/app:1")
    manifest = image.manifest
    lost = {"layer": manifest.layers[1], "config": manifest.config}.get(which)
    path = store.content.path(lost.digest if lost else image.manifest_digest)
    whole = path.read_bytes()
    path.chmod(0o600)
    harm(path)
    liar.asked.clear()
    await pull(store, liar)
    assert path.read_bytes() == whole
    assert store.is_whole(image.id)
    assert liar.count("/blobs/") == (0 if which == "manifest" else 1)
    assert partials(store) == {}
    await pull(store, liar)
    assert liar.count("/blobs/") == (0 if which == "manifest" else 1)


async def test_a_layer_that_the_disk_damaged_is_fetched_again_when_it_is_unpacked(
    store: ImageStore, liar: Liar
) -> None:
    liar.image([BASE], tag="base")
    await pull(store, liar, "base")
    image = store.resolve(f"{liar.host}/app:base")
    path = store.content.path(image.manifest.layers[0].digest)
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(bytes(byte ^ 1 for byte in whole))
    with store.lease() as lease:  # as if another image, that shares the blob, had been there before
        lease.blob(image.manifest.layers[0].digest)
        store.remove(f"{liar.host}/app:base", in_use=lambda _: ())
        liar.asked.clear()
        await pull(store, liar, "base")
    assert path.read_bytes() == whole
    assert liar.count(f"/blobs/{image.manifest.layers[0].digest}") == 1


async def test_only_the_layers_that_are_missing_are_fetched(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE], tag="base")
    await pull(store, liar, "base")
    liar.image([BASE, TOP], tag="more")
    steps = await pull(store, liar, "more")
    name = blob_of(liar, BASE)[0]
    assert liar.count(f"/blobs/{name}") == 1
    assert {"status": "Already exists", "progressDetail": {}, "id": name[7:19]} in steps


async def test_of_an_index_the_platforms_image_comes_and_the_index_is_kept(store: ImageStore, liar: Liar) -> None:
    arm = liar.layout.image([TOP], architecture="arm64")
    amd = liar.layout.image([BASE], architecture="amd64")
    inner = liar.layout.nested([arm, amd])
    top = liar.layout.nested([inner])
    liar.tags["1"] = top["digest"]
    await pull(store, liar, platform=Platform("linux", "arm64"))
    image = store.resolve(f"{liar.host}/app:1")
    assert image.architecture == "arm64"
    assert store.content.read(Digest(top["digest"])) == liar.layout.blobs[top["digest"]]
    tidy(store)
    assert Digest(top["digest"]) in store.content
    assert store.resolve(f"{liar.host}/app@{top['digest']}").id == image.id


async def test_all_tags_of_a_repository(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE], tag="a")
    liar.image([TOP], tag="b")
    made = transfers(store)
    async with aclosing(made.pull(Reference.parse(f"{liar.host}/app"), AMD64, ANONYMOUS)) as steps:
        assert [step["id"] async for step in steps if step["status"].startswith("Pulling from")] == ["a", "b"]
    await made.close()
    assert store.resolve(f"{liar.host}/app:b")


async def test_two_who_pull_the_same_share_one_download(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, BIG])
    made = transfers(store)

    async def one() -> list[str]:
        async with aclosing(made.pull(Reference.parse(f"{liar.host}/app:1"), AMD64, ANONYMOUS)) as steps:
            return [step["status"] async for step in steps]

    both = await asyncio.gather(one(), one())
    await made.close()
    assert all(said[-1].startswith("Status:") for said in both)
    assert liar.count(f"/blobs/{blob_of(liar, BIG)[0]}") == 1


@pytest.mark.slow
@needs.need("root")  # whiteouts are devices
async def test_many_layers_unpacked_at_once_lose_no_whiteout(store: ImageStore, liar: Liar) -> None:
    layers = [BASE]
    for number in range(12):
        layers.append(tar([member(f"a/b/{number}/file", b"%d" % number), member("bin/.wh.sh")]))
        layers.append(tar([member("bin/sh", b"%d" % number), member(f"a/b/{number}/.wh.file")]))
    liar.image(layers)
    await pull(store, liar, max_downloads=8)
    by_pull = [store.layers.path(layer) for layer in store.resolve(f"{liar.host}/app:1").layers]
    assert len(by_pull) == 25
    for number in range(12):
        assert not (by_pull[2 + 2 * number] / f"a/b/{number}/file").is_file()  # a whiteout is a device, or absent
        assert (by_pull[2 + 2 * number] / "bin/sh").read_bytes() == b"%d" % number


async def test_a_layer_that_occurs_twice_is_fetched_once(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, TOP, TOP, BASE, TOP])
    await pull(store, liar)
    assert len(store.resolve(f"{liar.host}/app:1").layers) == 5
    assert liar.count(f"/blobs/{blob_of(liar, TOP)[0]}") == 1


# --- what breaks ----------------------------------------------------------------------------------


def broken_after(size: int, times: int = 1) -> Any:
    """Give so many bytes of each big blob and cut the connection, some times."""
    left = [times]

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        data = liar.layout.blobs.get(request.path.rpartition("/")[2], b"")
        if request.method != "GET" or "/blobs/" not in request.path or len(data) < 1 << 20 or left[0] == 0:
            return None
        left[0] -= 1
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(data) - start
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        await response.write(data[start : start + size])
        assert request.transport
        request.transport.close()
        return response

    return lie


async def test_a_broken_download_goes_on_where_it_broke(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, BIG])
    liar.lie = broken_after(300_000, times=4)
    await pull(store, liar)
    ranges = [head["Range"] for head in liar.headers if "Range" in head]
    assert len(ranges) == 4
    assert [int(one[6:-1]) for one in ranges] == sorted({int(one[6:-1]) for one in ranges})
    assert store.resolve(f"{liar.host}/app:1")


def cutting(phase: str, *, late: bool) -> Lie:
    """Breaks the connection of the first request whose line ends so, before or in the middle of the answer."""
    cut: list[str] = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if cut or phase not in f"{request.method} {request.path}":
            return None
        cut.append(phase)
        if late:
            whole = await liar.truth(request)
            body = whole.body if isinstance(whole, web.Response) and isinstance(whole.body, bytes) else b"{}"
            headers = {"Content-Length": str(len(body)), "Content-Type": whole.content_type}
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
        assert request.transport
        request.transport.close()
        return web.Response()

    return lie


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "phase", ["GET /v2/app/manifests/1", "GET /v2/app/manifests/sha256", "config", "layer", "/token"]
)
async def test_a_connection_that_is_cut_is_made_again_whatever_it_was_for(
    store: ImageStore, liar: Liar, phase: str, late: bool
) -> None:
    described = liar.image([BIG])
    manifest = json.loads(liar.layout.blobs[described["digest"]])
    index = liar.layout.nested([described])
    liar.tags["1"] = index["digest"]
    blobs = {"config": manifest["config"]["digest"], "layer": manifest["layers"][0]["digest"]}
    cut = cutting(f"GET /v2/app/blobs/{blobs[phase]}" if phase in blobs else phase, late=late)

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if (answer := await cut(request, liar)) is not None:
            return answer
        if request.path == "/token":
            return web.json_response({"token": "t0ken"})
        if phase != "/token" or request.headers.get("Authorization") == "Bearer t0ken":
            return None
        said = f'Bearer realm="http://{liar.host}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": said})

    liar.lie = lie
    await pull(store, liar)
    assert store.resolve(f"{liar.host}/app:1").manifest_digest == described["digest"]
    assert partials(store) == {}


async def test_what_came_before_a_failure_is_not_fetched_again(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, BIG])
    liar.lie = broken_after(1_500_000, times=1)
    with pytest.raises(WherryError, match=r"unexpected EOF|connection broke"):
        await pull(store, liar, max_attempts=1)
    name = blob_of(liar, BIG)[0]
    there = partials(store)[name]
    assert there > 0
    with pytest.raises(NotFound):
        store.resolve(f"{liar.host}/app:1")
    liar.headers.clear()
    tidy(store)
    await pull(store, liar)
    assert [head["Range"] for head in liar.headers if "Range" in head] == [f"bytes={there}-"]
    assert partials(store) == {}


async def test_a_registry_without_ranges_gives_everything_again(store: ImageStore, liar: Liar) -> None:
    liar.image([BIG])
    first = broken_after(400_000, times=1)

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if (answer := await first(request, liar)) is not None:
            return answer
        name = request.path.rpartition("/")[2]
        return web.Response(body=liar.layout.blobs[name]) if "/blobs/" in request.path else None

    liar.lie = lie
    await pull(store, liar)
    assert store.resolve(f"{liar.host}/app:1")


@pytest.mark.parametrize("damage", ["zeros", "other bytes", "too long"])
def test_a_damaged_partial_download_is_fetched_anew(tmp_path: Path, damage: str) -> None:
    async def run() -> None:
        store = ImageStore(tmp_path / "data")
        async with serving() as liar:
            liar.image([BASE, BIG])
            name, data = blob_of(liar, BIG)
            bad = {"zeros": bytes(100_000), "other bytes": b"x" * len(data), "too long": bytes(len(data) + 5)}[damage]
            store.partials.path(Digest(name)).write_bytes(bad)
            await pull(store, liar)
            assert store.resolve(f"{liar.host}/app:1")
            assert store.content.read(Digest(name), 1 << 30) == data
        store.close()

    asyncio.run(run())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_registry_is_asked_again(store: ImageStore, liar: Liar, status: int) -> None:
    liar.image([BASE])
    seen: dict[str, int] = {}

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        seen[request.path] = seen.get(request.path, 0) + 1
        if request.path == "/v2/" or seen[request.path] > 2:
            return None
        return web.Response(status=status, headers={"Retry-After": "0"})

    liar.lie = lie
    await pull(store, liar)
    assert set(seen.values()) == {1, 3}


async def test_a_registry_that_stays_busy_is_given_up_with_its_own_words(store: ImageStore, liar: Liar) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        body = {"errors": [{"code": "TOOMANYREQUESTS", "message": "come back tomorrow"}]}
        return web.json_response(body, status=429, headers={"Retry-After": "86400"}) if "app" in request.path else None

    liar.lie = lie
    with pytest.raises(WherryError, match="toomanyrequests: come back tomorrow"):
        await pull(store, liar)
    assert liar.count("manifests") == 1  # nobody waits until tomorrow


async def test_nobody_listening_is_said_at_once(store: ImageStore) -> None:
    async with serving() as liar:
        pass
    with pytest.raises(WherryError, match=r'Get "http://127.0.0.1:\d+/v2/": dial tcp .* connection refused'):
        await pull(store, liar)


async def test_a_pull_that_is_given_up_leaves_its_bytes_and_nothing_else(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, BIG])
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        data = liar.layout.blobs.get(request.path.rpartition("/")[2], b"")
        if "/blobs/" not in request.path or len(data) < 1 << 20 or "Range" in request.headers:
            return None
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 1 << 20])
        arrived.set()
        await go_on.wait()
        return response

    liar.lie = lie
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    made = transfers(store)
    task = asyncio.create_task(_read(made, liar))
    await arrived.wait()
    task.cancel()
    await asyncio.wait({task})
    await made.close()
    go_on.set()
    del made, task
    gc.collect()
    assert complaints == []  # nothing for the daemon's log
    assert blob_of(liar, BIG)[0] in partials(store)
    tidy(store)
    assert [image for image in store.list() if not image.built_in] == []
    assert os.listdir(store.content.root.parent / "tmp") == []
    await pull(store, liar)


async def _read(made: Transfers, liar: Liar) -> None:
    async with aclosing(made.pull(Reference.parse(f"{liar.host}/app:1"), AMD64, ANONYMOUS)) as steps:
        async for _ in steps:
            pass


async def test_an_image_that_is_removed_meanwhile_takes_no_layer_of_a_pull_away(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE], tag="base")
    await pull(store, liar, "base")
    liar.image([BASE, BIG])
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if len(liar.layout.blobs.get(request.path.rpartition("/")[2], b"")) > 1 << 20:
            arrived.set()
            await go_on.wait()
        return None

    liar.lie = lie
    made = transfers(store)
    task = asyncio.create_task(_read(made, liar))
    await arrived.wait()
    await asyncio.to_thread(store.remove, f"{liar.host}/app:base", in_use=lambda _: ())
    go_on.set()
    await task
    await made.close()
    image = store.resolve(f"{liar.host}/app:1")
    assert all(store.layers.path(layer).is_dir() for layer in image.layers)
    assert all(layer.digest in store.content for layer in image.manifest.layers)
    assert liar.count(f"/blobs/{blob_of(liar, BASE)[0]}") == 1


# --- what lies ------------------------------------------------------------------------------------


async def test_a_layer_that_is_something_else_is_refused(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE, TOP])
    name, data = blob_of(liar, TOP)
    liar.layout.blobs[name] = data[:-9] + bytes(9)
    with pytest.raises(CorruptData, match=f"filesystem layer verification failed for digest {name}"):
        await pull(store, liar)
    assert name not in partials(store)
    assert Digest(name) not in store.content
    with pytest.raises(NotFound):
        store.resolve(f"{liar.host}/app:1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + b"!", "has 4+ bytes|bytes, not|more than"),
        (lambda data: data[:-1], "bytes, not|unexpected EOF"),
    ],
    ids=["longer", "shorter"],
)
async def test_a_layer_of_another_length_is_refused(store: ImageStore, liar: Liar, change: Any, words: str) -> None:
    liar.image([TOP])
    name, data = blob_of(liar, TOP)
    liar.layout.blobs[name] = change(data)
    with pytest.raises(CorruptData, match=words):
        await pull(store, liar)


async def test_an_endless_layer_is_cut_off_where_it_should_end(store: ImageStore, liar: Liar) -> None:
    liar.image([TOP])
    name, data = blob_of(liar, TOP)

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if name not in request.path:
            return None
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(data)
        while request.transport and not request.transport.is_closing():
            await response.write(bytes(65536))
        return response

    liar.lie = lie
    with pytest.raises(CorruptData, match="more than the"):
        await pull(store, liar)


@pytest.mark.slow
async def test_a_layer_that_drips_is_given_up(store: ImageStore, liar: Liar) -> None:
    liar.image([BIG])

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        data = liar.layout.blobs.get(request.path.rpartition("/")[2], b"")
        if len(data) < 1 << 20:
            return None
        response = web.StreamResponse(status=206 if request.http_range.start else 200)
        start = request.http_range.start or 0
        response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        await response.prepare(request)
        for at in range(start, start + 40):
            await response.write(data[at : at + 1])
            await asyncio.sleep(0.02)
        return response

    liar.lie = lie
    with pytest.raises(WherryError, match=r"no more than .* bytes a second|unexpected EOF"):
        await pull(store, liar, max_attempts=2)


async def test_a_manifest_without_end_is_not_read_to_its_end(store: ImageStore, liar: Liar) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if "manifests" not in request.path:
            return None
        response = web.StreamResponse(headers={"Content-Type": INDEX})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while request.transport and not request.transport.is_closing():
            await response.write(b" " * 65536)
        return response

    liar.lie = lie
    with pytest.raises(TooLarge, match="more than the 4194304 bytes allowed"):
        await pull(store, liar)


async def test_a_manifest_that_announces_too_much_is_not_read(store: ImageStore, liar: Liar) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        return web.Response(body=bytes(5 << 20)) if "manifests" in request.path else None

    liar.lie = lie
    with pytest.raises(TooLarge, match="5242880 bytes, where 4194304 are allowed"):
        await pull(store, liar)


async def test_a_digest_that_does_not_match_fails_the_pull(store: ImageStore, liar: Liar) -> None:
    good, other = liar.image([BASE]), liar.image([TOP])
    liar.layout.blobs[good["digest"]] = liar.layout.blobs[other["digest"]]
    with pytest.raises(CorruptData, match=f"manifest verification failed for digest {good['digest']}"):
        await pull(store, liar, good["digest"])


async def test_a_registry_that_calls_its_manifest_something_else_is_refused(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if "manifests" not in request.path:
            return None
        answer = ranged(request, liar.layout.blobs[liar.tags["1"]], True)
        answer.headers["Docker-Content-Digest"] = "sha256:" + "0" * 64
        return answer

    liar.lie = lie
    with pytest.raises(CorruptData, match="the registry calls the manifest"):
        await pull(store, liar)


async def test_schema_1_is_refused_in_a_sentence(store: ImageStore, liar: Liar) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        return web.Response(body=b"{}", content_type=kind) if "manifests" in request.path else None

    liar.lie = lie
    with pytest.raises(Unsupported, match="schema version 1"):
        await pull(store, liar)


async def test_an_artifact_is_no_image(store: ImageStore, liar: Liar) -> None:
    head = liar.layout.blob(b"{}", "application/vnd.example.thing+json")
    manifest = {"schemaVersion": 2, "config": head, "layers": []}
    liar.tags["1"] = liar.layout.blob(json.dumps(manifest).encode(), "")["digest"]
    with pytest.raises(Unsupported, match=r"is no container image, but a 'application/vnd\.example\.thing"):
        await pull(store, liar)


def _deep(layout: Layout) -> str:
    described = layout.image([BASE])
    for _ in range(8):
        described = layout.nested([described])
    return str(described["digest"])


def _wide(layout: Layout) -> str:
    return str(layout.nested([layout.image([BASE])] * 20_001)["digest"])


@pytest.mark.parametrize("bomb", [_deep, _wide], ids=["deep", "wide"])
async def test_an_index_that_is_a_bomb_does_not_go_off(store: ImageStore, liar: Liar, bomb: Any) -> None:
    liar.tags["1"] = bomb(liar.layout)
    with pytest.raises(TooLarge):
        await pull(store, liar)
    assert liar.count("manifests") < 8


async def test_no_platform_that_suits_names_those_that_are_there(store: ImageStore, liar: Liar) -> None:
    liar.tags["1"] = liar.layout.nested([liar.layout.image([BASE])])["digest"]
    with pytest.raises(NotFound, match=r"no matching manifest for linux/s390x .*linux/amd64"):
        await pull(store, liar, platform=Platform("linux", "s390x"))


async def test_a_platform_that_a_single_image_does_not_have(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])
    with pytest.raises(NotFound, match="wanted linux/arm64, actual: linux/amd64"):
        await pull(store, liar, platform=Platform("linux", "arm64"))


async def test_a_manifest_and_a_configuration_that_disagree(store: ImageStore, liar: Liar) -> None:
    described = liar.image([BASE, TOP])
    manifest = json.loads(liar.layout.blobs[described["digest"]])
    manifest["layers"].pop()
    liar.tags["1"] = liar.layout.blob(json.dumps(manifest).encode(), "")["digest"]
    with pytest.raises(InvalidInput, match="layers length mismatch: expected 2, got 1"):
        await pull(store, liar)


async def test_a_layer_of_an_impossible_size(store: ImageStore, liar: Liar) -> None:
    described = liar.image([BASE])
    manifest = json.loads(liar.layout.blobs[described["digest"]])
    for size, refusal in ((-1, InvalidInput), (1 << 60, TooLarge), (1 << 63, InvalidInput), (10**400, InvalidInput)):
        manifest["layers"][0]["size"] = size
        liar.tags["1"] = liar.layout.blob(json.dumps(manifest).encode(), "")["digest"]
        with pytest.raises(refusal):
            await pull(store, liar)


# --- credentials ----------------------------------------------------------------------------------


async def test_credentials_do_not_follow_a_redirection_to_another_host(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])
    async with serving(Liar(layout=liar.layout)) as elsewhere:

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            if "/blobs/" in request.path:
                raise web.HTTPTemporaryRedirect(f"http://localhost:{elsewhere.port}{request.path}")
            return None

        liar.lie = lie
        await pull(store, liar, mine=Credentials("me", "secret"))
        assert elsewhere.count("/blobs/") == 2
        assert all("Authorization" not in head for head in elsewhere.headers)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "", "gopher:x"])
async def test_a_redirection_to_no_place_for_a_blob_is_refused(store: ImageStore, liar: Liar, target: str) -> None:
    liar.image([BASE])

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        return web.Response(status=307, headers={"Location": target}) if "/blobs/" in request.path else None

    liar.lie = lie
    with pytest.raises(InvalidInput, match="redirect"):
        await pull(store, liar)


async def test_a_token_is_fetched_where_the_registry_says(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])
    asked = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if request.path == "/token":
            asked.append((dict(request.query), request.headers.get("Authorization", "")))
            return web.json_response({"access_token": "t0ken", "expires_in": 1})
        if request.headers.get("Authorization") == "Bearer t0ken":
            return None
        said = f'Bearer realm="http://{liar.host}/token",service="reg",scope="repository:app:pull"'
        return web.json_response({}, status=401, headers={"WWW-Authenticate": said})

    liar.lie = lie
    await pull(store, liar)
    assert asked == [({"scope": "repository:app:pull", "service": "reg"}, "")]
    await pull(store, liar, mine=Credentials("me", "secret"))
    assert asked[1][0]["account"] == "me"
    assert asked[1][1].startswith("Basic ")


async def test_an_identity_token_is_exchanged(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])
    forms = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if request.path == "/token":
            forms.append((request.method, dict(await request.post())))
            return web.json_response({"token": "t0ken"})
        if request.headers.get("Authorization") == "Bearer t0ken":
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{liar.host}/token"'})

    liar.lie = lie
    await pull(store, liar, mine=Credentials(identity_token="id"))
    method, form = forms[0]
    assert (method, form["grant_type"], form["refresh_token"]) == ("POST", "refresh_token", "id")


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        ('Basic realm="x"', "no basic auth credentials"),
        ('Bearer realm="nonsense"', "invalid token realm"),
        ("Bearer", "invalid token realm"),
        ("Negotiate", "unauthorized"),
    ],
)
async def test_a_challenge_that_cannot_be_met(store: ImageStore, liar: Liar, challenge: str, words: str) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": challenge}) if request.path != "/v2/" else None

    liar.lie = lie
    with pytest.raises((NotFound, Forbidden, InvalidInput), match=words):
        await pull(store, liar)


async def test_a_repository_that_is_denied_is_said_in_dockers_words(store: ImageStore, liar: Liar) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        body = {"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}
        return web.json_response(body, status=403) if "app" in request.path else None

    liar.lie = lie
    words = r"pull access denied for .*/app, repository does not exist or may require 'docker login': denied: requested"
    with pytest.raises(NotFound, match=words):
        await pull(store, liar)


async def test_a_token_that_does_not_suffice_is_a_denial_even_where_the_answer_has_no_body(
    store: ImageStore, liar: Liar
) -> None:
    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if request.path == "/token":
            return web.json_response({"token": "t"})
        realm = f'Bearer realm="http://{liar.host}/token",service="s"'
        error = ',error="insufficient_scope"' if "Authorization" in request.headers else ""
        return web.Response(status=401, headers={"WWW-Authenticate": realm + error})

    liar.lie = lie
    with pytest.raises(NotFound, match=r"pull access denied for .*/app, .*: denied: requested access"):
        await pull(store, liar)


async def test_what_is_not_there_is_said_in_dockers_words(store: ImageStore, liar: Liar) -> None:
    with pytest.raises(NotFound, match=r"manifest for 127.*/app:nope not found: manifest unknown: manifest unknown"):
        await pull(store, liar, "nope")


# --- mirrors --------------------------------------------------------------------------------------


async def test_a_mirror_is_asked_first_and_gets_no_credentials(store: ImageStore, liar: Liar) -> None:
    liar.image([BASE])
    made = transfers(store, mirrors=("http://127.0.0.1:1", f"http://{liar.host}"))
    reference = Reference.parse("library/app:1")
    async with aclosing(made.pull(reference, AMD64, Credentials("me", "secret"))) as steps:
        said = [step["status"] async for step in steps]
    await made.close()
    assert said[-1] == "Status: Downloaded newer image for app:1"
    assert all("Authorization" not in head for head in liar.headers)
