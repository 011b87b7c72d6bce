"""Products of builds for tests of exporters, without a builder: layers are archives, clients take what is sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from wherry.build.exporters.contract import Product
from wherry.build.exporters.exporters import Exporters
from wherry.build.model.progress import Progress
from wherry.build.model.request import BuildRequest, Export, FrontResult, Ref
from wherry.build.model.session import NoSession
from wherry.build.model.snapshot import Snapshot, SnapshotLayer
from wherry.build.snapshots.mounts import mount_snapshot
from wherry.errors import NotFound
from wherry.images.image import Image
from wherry.images.reference_counts import Lease
from wherry.images.store import ImageStore
from wherry.linux.fd import Fd
from wherry.oci.digest import Digest, chain_id_of
from wherry.oci.media_types import OCI_LAYER

HOUR = 3600 * 1_000_000_000
#: When the first layer of a test is made, in nanoseconds: 2023-11-14T22:13:20Z.
BEGIN = 1_700_000_000 * 1_000_000_000


@dataclass(frozen=True)
class Blob:
    """A layer as a blob."""

    diff_id: Digest
    chain_id: Digest
    digest: Digest
    size: int
    media_type: str
    created: int


class ArchiveLayers:
    """Snapshots whose layers were made of archives; an hour lies between one layer and the next."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._archives: dict[int, bytes] = {}

    def snapshot(self, *archives: bytes) -> Snapshot:
        """A snapshot, bottom first."""
        found = Snapshot()
        for archive in archives:
            tree, _ = self._store.layers.unpack(io.BytesIO(archive), found.lower)
            number = 1000 + len(self._archives)
            self._archives[number] = archive
            found = found.with_layer(SnapshotLayer(number, str(tree.rename(tree.with_name(f"{number}")))))
        return found

    async def blobs(self, snapshot: Snapshot, lease: Lease) -> Sequence[Blob]:
        """Their blobs; the layers are unpacked once more, under their chain IDs."""
        found: list[Blob] = []
        for layer in snapshot.layers:
            data = self._archives[layer.number]
            diff_id = Digest.from_bytes(data)
            chain_id = chain_id_of([*(blob.diff_id for blob in found), diff_id])
            lease.blob(diff_id)
            lease.layer(chain_id)
            self._store.content.put(data)
            parent = found[-1].chain_id if found else None
            self._store.layers.ensure(partial(self._store.content.open, diff_id), diff_id, parent)
            created = BEGIN + (layer.number - 1000) * HOUR
            found.append(Blob(diff_id, chain_id, diff_id, len(data), OCI_LAYER, created))
        return found


def config_of(history: Sequence[dict[str, Any]] = (), **fields: Any) -> bytes:
    """A configuration as a frontend gives it: without layers."""
    return json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "history": list(history), **fields,
    }).encode()  # fmt: skip


def ran(command: str, **fields: Any) -> dict[str, Any]:
    """A step in the history."""
    return {"created_by": f"RUN /bin/sh -c {command} # buildkit", "comment": "buildkit.dockerfile.v0", **fields}


class TakingSession(NoSession):
    """A client that takes what it is sent."""

    id = "session"

    def __init__(self, directory: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.trees: list[tuple[str, int | None, dict[str, bytes]]] = []
        self.stores: dict[str, dict[Digest, bytes]] = {}

    async def send_file(self, exporter: str, attributes: dict[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Keep it in memory."""
        self.files[exporter] = b"".join([piece async for piece in pieces])
        self.attributes[exporter] = attributes

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Keep its regular files in memory."""
        found = await asyncio.to_thread(_files_of, root)
        self.trees.append((prefix, modified, found))

    def content(self, store: str) -> StoreInMemory:
        """A store, made when it is asked for."""
        return StoreInMemory(self.stores.setdefault(store, {}))


def _files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@dataclass
class StoreInMemory:
    """A store of blobs of the client's."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)

    async def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has."""
        return len(self.blobs[digest]) if digest in self.blobs else None

    async def read(self, digest: Digest) -> AsyncIterator[bytes]:
        """A blob in pieces."""
        if digest not in self.blobs:
            raise NotFound(f"no such blob: {digest}")
        yield self.blobs[digest]

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Keep a blob."""
        data = b"".join([piece async for piece in pieces])
        assert len(data) == size
        digest.verify(data)
        self.blobs[digest] = data


def product(
    snapshots: dict[str, Snapshot],
    config: bytes | dict[str, bytes] = b"",
    *,
    base_config: bytes = b"",
    metadata: dict[str, bytes] | None = None,
    options: dict[str, str] | None = None,
    session: Any = None,
    events: list[Progress] | None = None,
    **fields: Any,
) -> Product:
    """A finished build of these snapshots, with one configuration for all platforms or one for each."""
    configs = config if isinstance(config, dict) else dict.fromkeys(snapshots, config)
    refs = {key: Ref(edge=None, config=configs[key], base_config=base_config) for key in snapshots}
    seen = events if events is not None else []
    return Product(
        request=BuildRequest(ref="build", options=options or {}),
        result=FrontResult(refs=refs, metadata=metadata or {}),
        snapshots=snapshots,
        session=session or TakingSession(),
        progress=seen.append,
        vertex=Digest.from_bytes(b"exporter"),
        started=BEGIN,
        **fields,
    )


class ExportBench:
    """An image store, and an exporter on it."""

    def __init__(self, root: Path) -> None:
        self.store = ImageStore(root)
        self.layers = ArchiveLayers(self.store)
        self.events: list[Progress] = []
        self.tags: list[tuple[str, str]] = []
        self.pushed: list[Any] = []

    def export(self, made: Product, **attributes: str) -> dict[str, str]:
        """Export a product as an image."""
        return self.export_with(made, attributes)

    def export_with(self, made: Product, attributes: dict[str, str], kind: str = "moby") -> dict[str, str]:
        """Export a product."""

        async def run() -> dict[str, str]:
            exporters = Exporters(
                self.store, layers=self.layers, mount=self._mount, registries=self, tagged=self._tagged
            )
            export = Export(kind, attributes)
            try:
                return await exporters.of(export).export(made, export)
            finally:
                exporters.close()

        return asyncio.run(run())

    def _mount(self, snapshot: Snapshot) -> Fd:
        return mount_snapshot(snapshot, str(self.store.layers.root / "0"))

    def _tagged(self, identifier: str, name: str) -> None:
        self.tags.append((identifier, name))

    async def open(self, reference: Any, *rest: Any, **options: Any) -> Any:
        """A repository that notes what is pushed to it."""
        return _Remote(self.pushed, str(reference), options)

    def image(self, name: str) -> Image:
        """An image of the store's."""
        return self.store.resolve(name)

    def document(self, name: str) -> dict[str, Any]:
        """Its configuration."""
        found: dict[str, Any] = json.loads(self.store.content.read(self.image(name).id))
        return found


class _Remote:
    def __init__(self, pushed: list[Any], name: str, options: dict[str, Any]) -> None:
        self._pushed, self._name, self._options = pushed, name, options

    async def push(self, blobs: Any, documents: Any, tag: str) -> None:
        self._pushed.append((self._name, tag, self._options, [*blobs], [*documents]))
