"""Single blobs and documents between a registry and the content store. Any user can run these."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support.archives import member, tar
from support.faulty_registry import Liar, serving
from wherry.distribution.client.credentials import ANONYMOUS
from wherry.distribution.client.settings import RegistrySettings, Timing
from wherry.distribution.transfer.stored import StoredContent
from wherry.distribution.transfer.transfers import Transfers
from wherry.docker.reference import Reference
from wherry.errors import CorruptData, NotFound, TooLarge
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor
from wherry.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

LAYER = tar([member("file", b"1")])
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


@asynccontextmanager
async def opened(store: ImageStore, liar: Liar, *, writes: bool = False) -> AsyncIterator[StoredContent]:
    made = Transfers(store, RegistrySettings(timing=HASTY, max_attempts=2))
    try:
        messages: list[dict[str, Any]] = []
        name = Reference.parse(f"{liar.host}/app:1")
        yield await made.stored(name, ANONYMOUS, messages.append, insecure=True, writes=writes)
    finally:
        await made.close()


def put(store: ImageStore, data: bytes, kind: str) -> Descriptor:
    return Descriptor(kind, store.content.put(data), len(data))


async def test_blobs_and_documents_come_as_they_went(store: ImageStore, liar: Liar, tmp_path: Path) -> None:
    layer, config = put(store, LAYER, OCI_LAYER), put(store, b'{"os":"linux"}', OCI_CONFIG)
    described = [{"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in (config, layer)]
    text = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described[0], "layers": described[1:]})
    manifest = put(store, text.encode(), OCI_MANIFEST)
    async with opened(store, liar, writes=True) as there:
        await there.push([layer, config], [manifest], "1")
    other = ImageStore(tmp_path / "other")
    with other.lease() as lease:
        async with opened(other, liar) as there:
            found = await there.manifest("1")
            assert found.data == text.encode()
            lease.blob(layer.digest)
            await there.fetch(layer)
            assert await there.read(config) == b'{"os":"linux"}'
        assert other.content.read(layer.digest) == LAYER
    other.close()


async def test_what_has_no_tag_is_known_by_its_digest(store: ImageStore, liar: Liar) -> None:
    text = b'{"schemaVersion":2,"manifests":[]}'
    document = put(store, text, "application/vnd.oci.image.index.v1+json")
    async with opened(store, liar, writes=True) as there:
        await there.push([], [document], "")
        assert (await there.manifest(str(document.digest))).data == text
    assert not {"", "1", "latest"} & set(liar.tags)


@pytest.mark.parametrize("lie", [b"something else!", LAYER + b"more", LAYER[:-1]])
async def test_a_blob_that_is_another_does_not_come(store: ImageStore, liar: Liar, lie: bytes) -> None:
    async def tell(request: web.Request, _: Liar) -> web.StreamResponse | None:
        return web.Response(body=lie) if "/blobs/" in request.path else None

    liar.lie = tell
    wanted = Descriptor(OCI_LAYER, Digest.from_bytes(LAYER), len(LAYER))
    async with opened(store, liar) as there:
        with pytest.raises(CorruptData):
            await there.fetch(wanted)
        with pytest.raises((CorruptData, TooLarge)):
            await there.read(wanted)
    assert [*store.content.walk()] == []
    assert list((store.content.root.parent / "tmp").iterdir()) == []


async def test_what_is_not_there_is_not_found(store: ImageStore, liar: Liar) -> None:
    async with opened(store, liar) as there:
        with pytest.raises(NotFound):
            await there.manifest("none")
        with pytest.raises(NotFound):
            await there.fetch(Descriptor(OCI_LAYER, Digest.from_bytes(b"none"), 4))
