"""Volumes as artifacts to registries and back: what breaks, lies, is there already. Any user can run these."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support.faulty_registry import Liar, serving
from wherry.distribution.client.credentials import ANONYMOUS
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.distribution.transfer.artifacts import Choose, Parcel, Take
from wherry.distribution.transfer.transfers import Transfers
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, NotFound, OutOfSpace, WherryError
from wherry.images.store import ImageStore
from wherry.layers.source import Reader
from wherry.oci.codec import encode
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.volumes.artifact import ARTIFACT_TYPE, CONTENT_TYPE, describe, packed_of

CONTENT = random.Random(1).randbytes(300_000) + bytes(3 << 20)
HASTY = Timing(connect=2, silence=1.0, document=2, pause=0.01, longest_pause=0.5)
CREATED = "2026-01-02T03:04:05Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    opened = ImageStore(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    async with serving() as registry:
        yield registry


@asynccontextmanager
async def transfers(store: ImageStore) -> AsyncIterator[Transfers]:
    made = Transfers(store, RegistrySettings(timing=HASTY, max_attempts=2))
    try:
        yield made
    finally:
        await made.close()
        assert os.listdir(store.content.root.parent / "tmp") == []


async def content(data: bytes = CONTENT, piece: int = 70_000) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def push(store: ImageStore, liar: Liar, tag: str = "1", piece: int = 70_000) -> list[dict[str, Any]]:
    parcel = Parcel("data@one", partial(content, piece=piece), partial(describe, "data", "one", CREATED))
    async with transfers(store) as made:
        pushed = made.push_artifact(Reference.parse(f"{liar.host}/app:{tag}"), ANONYMOUS, parcel)
        async with aclosing(pushed) as messages:
            return [message async for message in messages]


async def pull(store: ImageStore, liar: Liar) -> tuple[bytes, list[dict[str, Any]]]:
    """What comes, and what is told of it."""
    found = bytearray()

    async def take(stream: Reader) -> None:
        while piece := await asyncio.to_thread(stream.read, 100_000):
            found.extend(piece)

    async with transfers(store) as made:
        pulled = made.pull_artifact(Reference.parse(f"{liar.host}/app:1"), ANONYMOUS, choosing(take))
        async with aclosing(pulled) as messages:
            told = [message async for message in messages]
    return bytes(found), told


def choosing(take: Take) -> Choose:
    def choose(document: bytes) -> tuple[Descriptor, int, Take]:
        packed = packed_of(document, "app:1")
        return packed.blob, packed.size or 0, take

    return choose


def blob_of(liar: Liar) -> Descriptor:
    return packed_of(liar.layout.blobs[liar.tags["1"]], "app:1").blob


def partials(store: ImageStore) -> list[str]:
    return os.listdir(store.partials.root)


async def test_what_is_pushed_is_an_artifact_of_the_oci_and_comes_back(store: ImageStore, liar: Liar) -> None:
    told = await push(store, liar)
    assert told[-1]["aux"]["Digest"] == liar.tags["1"]
    document = json.loads(liar.layout.blobs[liar.tags["1"]])
    [layer] = document.pop("layers")
    assert document == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30=",
        },
        "annotations": {
            "org.opencontainers.image.created": CREATED,
            "org.wherry.volume.name": "data",
            "org.wherry.volume.snapshot": "one",
        },
    }
    assert layer["mediaType"] == CONTENT_TYPE
    assert layer["annotations"] == {
        "org.opencontainers.image.title": "data-one.tar.gz", "org.wherry.volume.size": str(len(CONTENT)),
    }  # fmt: skip
    found, told = await pull(store, liar)
    assert gzip.decompress(found) == CONTENT
    assert told[0] == {"status": "Pulling from app", "id": "1"}
    assert told[-1] == {"status": f"Digest: {liar.tags['1']}"}
    assert [*store.content.walk()] == []
    assert partials(store) == []


async def test_the_same_bytes_are_sent_once_however_they_come(store: ImageStore, liar: Liar) -> None:
    await push(store, liar)
    sent = liar.count("PATCH")
    told = await push(store, liar, "2", piece=1 << 20)
    assert {"status": "Layer already exists", "progressDetail": {}, "id": "data@one"} in told
    assert (liar.count("PATCH"), liar.tags["2"]) == (sent, liar.tags["1"])


async def test_who_may_not_push_is_told_before_anything_is_packed(store: ImageStore, liar: Liar) -> None:
    async def refuse(request: web.Request, _: Liar) -> web.StreamResponse | None:
        denied = {"errors": [{"code": "DENIED", "message": "not yours"}]}
        return web.json_response(denied, status=403) if request.method == "POST" else None

    async def never() -> AsyncGenerator[bytes, None]:
        raise AssertionError("it was packed")
        yield b""

    liar.lie = refuse
    async with transfers(store) as made:
        parcel = Parcel("data", never, partial(describe, "data", "", CREATED))
        messages = made.push_artifact(Reference.parse(f"{liar.host}/app:1"), ANONYMOUS, parcel)
        with pytest.raises(WherryError, match="not yours"):
            _ = [message async for message in messages]


async def test_bytes_that_cannot_be_had_make_no_artifact(store: ImageStore, liar: Liar) -> None:
    async def half() -> AsyncGenerator[bytes, None]:
        yield CONTENT
        raise NotFound("it is gone")

    async with transfers(store) as made:
        parcel = Parcel("data", half, partial(describe, "data", "", CREATED))
        messages = made.push_artifact(Reference.parse(f"{liar.host}/app:1"), ANONYMOUS, parcel)
        with pytest.raises(NotFound, match="it is gone"):
            _ = [message async for message in messages]
    assert liar.tags == {}
    assert [*store.content.walk()] == []


async def test_what_was_fetched_before_is_used_if_it_is_sound(store: ImageStore, liar: Liar) -> None:
    await push(store, liar)
    blob = blob_of(liar)
    data = liar.layout.blobs[blob.digest]
    store.partials.path(blob.digest).write_bytes(data[:1000])
    assert (await pull(store, liar))[0] == data
    assert [head["Range"] for head in liar.headers if "Range" in head] == ["bytes=1000-"]
    store.partials.path(blob.digest).write_bytes(bytes(1000))  # what a power cut leaves
    assert (await pull(store, liar))[0] == data
    assert partials(store) == []


@pytest.mark.parametrize("change", [lambda data: bytes(len(data)), lambda data: data + b"x", lambda data: data[:-1]])
async def test_other_bytes_are_given_to_nobody(store: ImageStore, liar: Liar, change: Any) -> None:
    await push(store, liar)
    blob = blob_of(liar)
    liar.layout.blobs[blob.digest] = change(liar.layout.blobs[blob.digest])
    with pytest.raises(CorruptData):
        await pull(store, liar)
    assert not [name for name in partials(store) if store.partials.path(blob.digest).stat().st_size]


async def test_there_has_to_be_room_for_what_it_says_it_becomes(store: ImageStore, liar: Liar) -> None:
    data = gzip.compress(CONTENT)
    digest = Digest.from_bytes(data)
    liar.layout.blobs[digest] = data
    for packed in ((digest, 1 << 60, 1), (digest, len(data), 10**15 - 1)):
        text = encode(describe("data", "", CREATED, packed))
        liar.layout.blobs[Digest.from_bytes(text)] = text
        liar.tags["1"] = Digest.from_bytes(text)
        with pytest.raises(OutOfSpace, match="bytes are wanted, and the disk has"):
            await pull(store, liar)
    assert liar.count("/blobs/") == 0


async def test_who_leaves_ends_the_work_and_the_next_one_goes_on_from_there(store: ImageStore, liar: Liar) -> None:
    await push(store, liar)
    blob = blob_of(liar)
    ended: list[bool] = []

    async def take(stream: Reader) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(BaseException):  # noqa: B017, PT011 - whatever it is, a thread that reads is told
                stream.read(1)
            ended.append(True)

    async with transfers(store) as made:
        messages = made.pull_artifact(Reference.parse(f"{liar.host}/app:1"), ANONYMOUS, choosing(take))
        async with aclosing(messages):
            async for message in messages:
                if message["status"] == "Extracting":
                    break
    assert ended == [True]
    assert store.partials.path(blob.digest).read_bytes() == liar.layout.blobs[blob.digest]
    fetched = liar.count(f"GET /v2/app/blobs/{blob.digest}")
    assert (await pull(store, liar))[0] == liar.layout.blobs[blob.digest]
    assert liar.count(f"GET /v2/app/blobs/{blob.digest}") == fetched


async def test_an_archive_that_nobody_wants_is_not_kept(store: ImageStore, liar: Liar) -> None:
    await push(store, liar)

    async def take(stream: Reader) -> None:
        raise CorruptData("it is no archive")

    async with transfers(store) as made:
        messages = made.pull_artifact(Reference.parse(f"{liar.host}/app:1"), ANONYMOUS, choosing(take))
        with pytest.raises(CorruptData, match="it is no archive"):
            _ = [message async for message in messages]
    assert partials(store) == []
