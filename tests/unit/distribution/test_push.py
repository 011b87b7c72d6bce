"""Pushing: what is sent, what is not, and what happens when a registry breaks. Any user can run these."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from msgspec import to_builtins

from support.archives import Layout, digest, directory, docker_archive, member, named, tar
from support.faulty_registry import MANIFEST, Liar, serving
from wherry.distribution.client.credentials import ANONYMOUS, Credentials
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.distribution.transfer.transfers import Transfers
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, NotFound, OutOfSpace, WherryError
from wherry.images.store import ImageStore
from wherry.oci.platform import Platform

BASE = tar([directory("bin"), member("bin/sh", b"#!" * 500, mode=0o755)])
TOP = tar([member("etc/motd", b"hello")])
BIG = tar([member("noise", random.Random(2).randbytes(3 << 20)), member("text", b"so it goes " * 200_000)])
HASTY = Timing(connect=2, silence=1.0, document=2, pause=0.01, longest_pause=0.5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    async with serving() as registry:
        yield registry


async def push(
    store: ImageStore, name: str, mine: Credentials = ANONYMOUS, platform: Platform | None = None
) -> list[dict[str, Any]]:
    made = Transfers(store, RegistrySettings(timing=HASTY))
    try:
        async with aclosing(made.push(Reference.parse(name), mine, platform)) as steps:
            return [step async for step in steps]
    finally:
        await made.close()
        assert list((store.content.root.parent / "tmp").iterdir()) == []


def plain(store: ImageStore, name: str, *layers: bytes) -> None:
    """Have an image whose layers are kept uncompressed."""
    list(store.load(io.BytesIO(docker_archive([*layers], [name]))))


async def test_a_plain_layer_is_compressed_and_the_same_bytes_come_of_it_every_time(
    store: ImageStore, liar: Liar, tmp_path: Path
) -> None:
    plain(store, f"{liar.host}/app:1", BASE, BIG)
    steps = await push(store, f"{liar.host}/app:1")
    manifest = json.loads(liar.layout.blobs[liar.tags["1"]])
    packed = [liar.layout.blobs[layer["digest"]] for layer in manifest["layers"]]
    assert [gzip.decompress(blob) for blob in packed] == [BASE, BIG]
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert steps[0] == {"status": f"The push refers to repository [{liar.host}/app]"}
    assert steps[-1]["aux"] == {"Tag": "1", "Digest": liar.tags["1"], "Size": len(liar.layout.blobs[liar.tags["1"]])}
    other = ImageStore(tmp_path / "other")
    plain(other, f"{liar.host}/app:2", BASE, BIG)
    await push(other, f"{liar.host}/app:2")
    other.close()
    assert liar.tags["2"] == liar.tags["1"]


async def test_what_is_kept_compressed_is_sent_as_it_is(store: ImageStore, liar: Liar) -> None:
    layout = Layout()
    described = layout.image([BASE, BIG], annotations={"org.opencontainers.image.ref.name": f"{liar.host}/app:1"})
    layout.index = [described]
    list(store.load(io.BytesIO(layout.archive()), ["linux/amd64"]))
    await push(store, f"{liar.host}/app:1")
    assert liar.tags["1"] == described["digest"]
    assert f"{liar.host}/app@{described['digest']}" in store.resolve(f"{liar.host}/app:1").repo_digests


async def test_pushing_again_sends_nothing(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BASE, BIG)
    await push(store, f"{liar.host}/app:1")
    liar.asked.clear()
    steps = await push(store, f"{liar.host}/app:1")
    assert liar.count("POST") == liar.count("PATCH") == 0
    assert sum(step.get("status") == "Layer already exists" for step in steps) == 2


async def test_a_blob_in_another_repository_is_mounted(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BASE)
    await push(store, f"{liar.host}/app:1")
    store.tag(f"{liar.host}/app:1", f"{liar.host}/other:1")

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if request.method == "HEAD" and "/other/blobs/" in request.path:
            return web.Response(status=404)
        return web.Response(status=201) if request.query.get("from") == "app" else None

    liar.lie = lie
    steps = await push(store, f"{liar.host}/other:1")
    assert any(step.get("status") == "Mounted from app" for step in steps)
    assert liar.count("PATCH") == 1  # the first push's


async def test_an_upload_that_breaks_goes_on_where_it_broke(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BIG)
    offsets = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if request.method != "PATCH" or len(offsets) == 3:
            return None
        got = liar.uploads[request.path.rpartition("/")[2]]
        offsets.append(len(got))
        got += await request.content.readexactly(700_000)
        assert request.transport
        request.transport.close()
        return web.Response()

    liar.lie = lie
    await push(store, f"{liar.host}/app:1")
    assert offsets == [0, 700_000, 1_400_000]
    assert liar.count("PATCH") == 4


@pytest.mark.parametrize("phase", ["HEAD /v2/app/blobs", "POST", "PATCH", "PUT /v2/app/blobs", "PUT /v2/app/manifests"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_connection_that_is_cut_is_made_again_whatever_it_was_for(
    store: ImageStore, liar: Liar, phase: str, late: bool
) -> None:
    plain(store, f"{liar.host}/app:1", BASE, BIG)
    cut: list[str] = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if cut or not f"{request.method} {request.path}".startswith(phase):
            return None
        cut.append(request.path)
        if late:  # the registry has done it, but its answer is lost
            await liar.truth(request)
        assert request.transport
        request.transport.close()
        return web.Response()

    liar.lie = lie
    steps = await push(store, f"{liar.host}/app:1")
    assert cut
    assert liar.tags["1"] == told(steps, "Tag")["Digest"]
    manifest = json.loads(liar.layout.blobs[liar.tags["1"]])
    assert all(one["digest"] in liar.layout.blobs for one in [manifest["config"], *manifest["layers"]])


async def test_a_full_disk_fails_the_push_and_leaves_nothing_of_it(
    store: ImageStore, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(store, f"{liar.host}/app:1", BASE, BIG)
    write = os.write

    def full(fd: int, data: Any) -> int:
        if "/tmp/blob-" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    monkeypatch.setattr("wherry.content.durable.os.write", full)
    with pytest.raises(OutOfSpace, match="no space left on device"):
        await push(store, f"{liar.host}/app:1")
    monkeypatch.undo()
    assert liar.tags == {}
    await push(store, f"{liar.host}/app:1")
    assert liar.tags["1"]


async def test_an_upload_that_the_registry_forgot_begins_anew(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BIG)
    forgotten = []

    async def lie(request: web.Request, liar: Liar) -> web.StreamResponse | None:
        if request.method != "PATCH" or forgotten:
            return None
        forgotten.append(liar.uploads.pop(request.path.rpartition("/")[2]))
        assert request.transport
        request.transport.close()
        return web.Response()

    liar.lie = lie
    await push(store, f"{liar.host}/app:1")
    assert liar.tags["1"]


async def test_a_registry_that_stores_another_manifest_is_not_believed(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BASE)

    async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
        if request.method == "PUT" and "manifests" in request.path:
            return web.Response(status=201, headers={"Docker-Content-Digest": digest(b"else")})
        return None

    liar.lie = lie
    with pytest.raises(WherryError, match="the registry stored the manifest as"):
        await push(store, f"{liar.host}/app:1")


async def test_an_upload_that_is_to_go_on_elsewhere_gets_no_token(store: ImageStore, liar: Liar) -> None:
    plain(store, f"{liar.host}/app:1", BASE)
    async with serving(Liar(layout=liar.layout)) as elsewhere:

        async def lie(request: web.Request, _: Liar) -> web.StreamResponse | None:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            if request.method == "POST":
                elsewhere.uploads["s"] = bytearray()
                place = f"http://127.0.0.1:{elsewhere.port}/v2/app/blobs/uploads/s"
                return web.Response(status=202, headers={"Location": place})
            return None

        liar.lie = lie
        await push(store, f"{liar.host}/app:1", Credentials("me", "secret"))
        assert elsewhere.headers
        assert all("Authorization" not in head for head in elsewhere.headers)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("nosuch", NotFound, "An image does not exist locally with the tag: {host}/nosuch"),
        ("app:other", NotFound, "tag does not exist: {host}/app:other"),
        ("app@sha256:" + "0" * 64, InvalidInput, "cannot push a digest reference"),
    ],
)
async def test_what_cannot_be_pushed_is_said_in_dockers_words(
    store: ImageStore, liar: Liar, name: str, kind: type[WherryError], words: str
) -> None:
    plain(store, f"{liar.host}/app:1", BASE)
    with pytest.raises(kind, match=words.format(host=liar.host)):
        await push(store, f"{liar.host}/{name}")


# --- what came by an index ------------------------------------------------------------------------


def family(name: str) -> tuple[Layout, dict[str, Any]]:
    """An archive of an image for two platforms, with a statement about one of them. :returns: also its index."""
    layout = Layout()
    parts = [layout.image([BASE]), layout.image([BASE, BIG], architecture="arm64")]
    statement = layout.blob(b'{"predicate": 1}', "application/vnd.in-toto+json")
    config = layout.blob(b'{"os": "unknown"}', "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement]}
    notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": parts[0]["digest"]}
    parts.append(layout.blob(json.dumps(document).encode(), MANIFEST, annotations=notes))
    index = layout.nested(parts, annotations=named(name))
    layout.index.append(index)
    return layout, index


def told(steps: list[dict[str, Any]], word: str) -> dict[str, Any]:
    """The note of a push that has some word."""
    [found] = [step["aux"] for step in steps if word in step.get("aux", {})]
    return dict(found)


async def test_what_came_by_an_index_goes_as_that_index_when_all_of_it_is_here(store: ImageStore, liar: Liar) -> None:
    name = f"{liar.host}/app:1"
    layout, index = family(name)
    list(store.load(io.BytesIO(layout.archive())))
    assert to_builtins(store.inspect(name))["Descriptor"]["digest"] == index["digest"]
    listed = to_builtins(store.inspect(name, manifests=True))["Manifests"]
    assert [(one["Kind"], one["Available"]) for one in listed] == [
        ("image", True), ("image", True), ("attestation", True),
    ]  # fmt: skip
    store.tag(name, f"{liar.host}/app:also")
    for tag in ("1", "also"):
        steps = await push(store, f"{liar.host}/app:{tag}")
        assert told(steps, "Tag") == {"Tag": tag, "Digest": index["digest"], "Size": index["size"]}
        assert liar.tags[tag] == index["digest"]
    assert liar.layout.blobs == layout.blobs
    assert f"{liar.host}/app@{index['digest']}" in store.inspect(name).repo_digests


async def test_what_was_saved_is_the_same_index_again(store: ImageStore, liar: Liar, tmp_path: Path) -> None:
    name = f"{liar.host}/app:1"
    layout, index = family(name)
    list(store.load(io.BytesIO(layout.archive())))
    saved = io.BytesIO()
    store.save([name], saved.write)
    other = ImageStore(tmp_path / "other")
    saved.seek(0)
    list(other.load(saved))
    assert told(await push(other, name), "Tag")["Digest"] == index["digest"]
    other.remove(name, in_use=lambda _: ())
    assert list(other.content.walk()) == []
    other.close()


async def test_of_an_index_that_is_here_in_part_the_manifest_goes_and_that_is_said(
    store: ImageStore, liar: Liar
) -> None:
    name = f"{liar.host}/app:1"
    layout, index = family(name)
    list(store.load(io.BytesIO(layout.archive()), ["linux/amd64"]))
    steps = await push(store, name)
    note = told(steps, "manifestPushedInsteadOfIndex")
    assert note["originalIndex"]["digest"] == index["digest"]
    assert liar.tags["1"] == note["selectedManifest"]["digest"] == store.resolve(name).manifest_digest
    assert set(liar.layout.blobs) < set(layout.blobs)


async def test_of_an_index_one_platform_can_be_pushed(store: ImageStore, liar: Liar) -> None:
    name = f"{liar.host}/app:1"
    layout, _ = family(name)
    list(store.load(io.BytesIO(layout.archive())))
    parts = layout.blobs[to_builtins(store.inspect(name))["Descriptor"]["digest"]]
    digests = [one["digest"] for one in json.loads(parts)["manifests"]]
    for number, platform in enumerate(("linux/amd64", "linux/arm64")):
        steps = await push(store, name, platform=Platform.parse(platform))
        assert liar.tags["1"] == told(steps, "Tag")["Digest"] == digests[number]
    with pytest.raises(NotFound, match=r"does not provide the specified platform \(linux/s390x\)"):
        await push(store, name, platform=Platform.parse("linux/s390x"))


async def test_an_image_that_came_by_no_index_is_pushed_for_its_own_platform_only(
    store: ImageStore, liar: Liar
) -> None:
    plain(store, f"{liar.host}/app:1", BASE)
    await push(store, f"{liar.host}/app:1", platform=Platform.parse("linux/amd64"))
    with pytest.raises(NotFound, match="does not provide the specified platform"):
        await push(store, f"{liar.host}/app:1", platform=Platform.parse("linux/arm64"))


async def test_two_names_of_one_image_keep_the_index_that_each_came_by(store: ImageStore, liar: Liar) -> None:
    layout = Layout()
    shared = layout.image([BASE])
    indexes = {}
    for tag, other in (("1", BIG), ("2", TOP)):
        parts = [shared, layout.image([other], architecture="arm64")]
        indexes[tag] = layout.nested(parts, annotations=named(f"{liar.host}/app:{tag}"))
        layout.index.append(indexes[tag])
    list(store.load(io.BytesIO(layout.archive())))
    for tag in ("1", "2"):
        assert told(await push(store, f"{liar.host}/app:{tag}"), "Tag")["Digest"] == indexes[tag]["digest"]
