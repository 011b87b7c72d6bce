"""Images of a client's OCI layout as sources."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.archives import config, digest, member, tar
from support.build_sources import ClientSession, request_for
from wherry.build.model.session import ClientContent
from wherry.build.sources.image import ImageSource
from wherry.build.sources.oci_layout import OciLayoutSource
from wherry.errors import CorruptData, InvalidInput, NotFound, TooLarge
from wherry.images.store import ImageStore
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
LAYER = tar([member("file", b"1")])
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"


class Layout(ClientSession):
    """A client with a layout: an index of one image for one platform."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, bytes] = {}
        self.asked_stores: list[str] = []
        data = config([LAYER])
        described = {"config": self._add(data, CONFIG), "layers": [self._add(LAYER, TAR)]}
        manifest = self._add(json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **described}).encode(), MANIFEST)
        manifest["platform"] = {"os": "linux", "architecture": "amd64"}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}
        self.top = self._add(json.dumps(index).encode(), INDEX)["digest"]

    def _add(self, data: bytes, kind: str) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def content(self, store: str) -> ClientContent:
        self.asked_stores.append(store)
        return self

    async def size(self, digest: Digest) -> int | None:
        return len(self.blobs[digest])

    async def read(self, digest: Digest) -> AsyncIterator[bytes]:
        if digest not in self.blobs:
            raise NotFound(f"no blob {digest}")
        data = self.blobs[digest]
        yield data[:10]
        yield data[10:]

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        raise NotImplementedError


class NoRegistry:
    """Nobody asks it."""

    resolve: Any = None
    fetch: Any = None


@pytest.fixture
def source(tmp_path: Path) -> Iterator[OciLayoutSource]:
    store = ImageStore(tmp_path / "data")
    yield OciLayoutSource(store, ImageSource(store, NoRegistry()))
    assert not os.listdir(tmp_path / "data" / "tmp")
    store.close()


async def use(
    source: OciLayoutSource, layout: Layout, platform: Platform = AMD, **attributes: str
) -> tuple[str, list[str]]:
    identifier = f"oci-layout://docker.io/library/x@{layout.top}"
    fetch = source.open(request_for(identifier, layout, platform=platform, **{"oci__store": "mine", **attributes}))
    try:
        key, snapshot = await fetch.key(), await fetch.snapshot()
        return key.key, [name for layer in snapshot.layers for name in os.listdir(layer.path)]
    finally:
        await fetch.close()


async def test_a_clients_image_is_fetched_once_and_becomes_one_of_this_machine(source: OciLayoutSource) -> None:
    layout = Layout()
    first, files = await use(source, layout)
    assert files == ["file"]
    assert set(layout.asked_stores) == {"oci:mine"}
    assert [image.repo_tags for image in source.store.list()] == [[]]
    del layout.blobs[digest(LAYER)]
    assert await use(source, layout) == (first, ["file"])


async def test_a_name_is_resolved_to_its_configuration(source: OciLayoutSource) -> None:
    layout = Layout()
    found = await source.resolve(f"oci-layout://mine@{layout.top}", AMD, layout)
    assert (found.digest, found.config) == (layout.top, config([LAYER]))
    assert layout.asked_stores[0] == "oci:mine"


async def test_nothing_is_believed(source: OciLayoutSource) -> None:
    for data, change in (
        (LAYER, LAYER[:-1] + b"x"),
        (LAYER, LAYER + b"x"),
        (LAYER, LAYER[:-1]),
        (config([LAYER]), b"{}"),
    ):
        layout = Layout()
        layout.blobs[digest(data)] = change
        with pytest.raises(CorruptData):
            await use(source, layout)
    layout = Layout()
    layout.blobs[layout.top] = b"{}"
    with pytest.raises(CorruptData):
        await use(source, layout)
    layout.blobs[layout.top] = bytes(5 << 20)
    with pytest.raises(TooLarge):
        await use(source, layout)
    assert source.store.list() == []
    assert not list(source.store.layers)


async def test_what_the_layout_lacks_is_told_of(source: OciLayoutSource) -> None:
    layout = Layout()
    with pytest.raises(NotFound, match="no matching manifest for linux/arm64"):
        await use(source, layout, ARM)
    del layout.blobs[digest(LAYER)]
    with pytest.raises(NotFound, match="no blob"):
        await use(source, layout)
    with pytest.raises(InvalidInput, match="has no digest"):
        source.open(request_for("oci-layout://x"))
