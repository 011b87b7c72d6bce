"""Cache that goes elsewhere and comes from there, with image stores on both sides. Any user can run these."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.archives import member, tar
from support.build_products import ExportBench, TakingSession, config_of, product, ran
from support.cache_shelf import Shelf
from wherry.build.cache.remote import CacheEntry
from wherry.build.model.progress import Progress, VertexProgress
from wherry.build.model.request import CacheTarget
from wherry.build.model.snapshot import EMPTY, Snapshot, SnapshotLayer
from wherry.build.remote_cache.config import found_in, record_digest
from wherry.build.remote_cache.exports import CacheExporter, inline_cache, selected
from wherry.build.remote_cache.imports import CacheImporter, Imports, wanted_imports
from wherry.build.remote_cache.mounts import MountContents
from wherry.content.threads import Worker
from wherry.errors import CorruptData, InvalidInput, NotFound, OutOfSpace, WherryError
from wherry.images.reference_counts import Lease
from wherry.oci.digest import Digest
from wherry.oci.manifest import Descriptor

ONE = tar([member("one", b"1")])
TWO = tar([member("two", b"22")])
NOTHING = bytes(1024)
VERTEX = Digest.from_bytes(b"export")


class NoMounts(MountContents):
    """A builder without cache mounts."""

    def __init__(self) -> None:
        """Without anything to find them with."""


def key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class MadeSnapshots:
    """Snapshots of an image store's layers, that count who holds them."""

    def __init__(self, bench: ExportBench) -> None:
        self._bench = bench
        self._leases: list[Lease] = []
        self.held: list[int] = []
        self.made: list[int] = []
        self.most = 99

    def from_layers(self, layers: Any) -> Snapshot:
        root = self._bench.store.layers.root
        self._leases.append(self._bench.store.lease())
        self._leases[-1].layer(*(one.chain_id for one, _ in layers))
        found = Snapshot(tuple(SnapshotLayer(one.number, str(root / str(one.number))) for one, _ in layers))
        self.hold(found)
        return found

    def draft(self, parent: Snapshot = EMPTY) -> Any:
        return parent

    def commit(self, draft: Any) -> Snapshot:
        if len(self.made) >= self.most:
            raise OutOfSpace("no space left on device")
        found = self._bench.layers.snapshot(NOTHING)
        self.made += [layer.number for layer in found.layers]
        return found

    def remove(self, numbers: Iterable[int]) -> int:
        self.made = [number for number in self.made if number not in set(numbers)]
        return 0

    def hold(self, snapshot: Snapshot) -> None:
        self.held += [layer.number for layer in snapshot.layers]

    def release(self, snapshot: Snapshot) -> None:
        for layer in snapshot.layers:
            self.held.remove(layer.number)
        while self._leases:
            self._leases.pop().__exit__(None, None, None)


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[tuple[ExportBench, ExportBench]]:
    made = ExportBench(tmp_path / "here"), ExportBench(tmp_path / "there")
    yield made
    for bench in made:
        bench.store.close()


def entries_of(snapshot: Snapshot) -> list[CacheEntry]:
    """An entry for each layer, as of a chain of steps."""
    return [
        CacheEntry(
            identity=key(f"step {count}"), output=0, snapshot=Snapshot(snapshot.layers[:count]),
            fast_keys=[key(f"fast {count}")],
        )
        for count in range(1, len(snapshot.layers) + 1)
    ]  # fmt: skip


def working(work: Callable[[Worker], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        worker = Worker()
        try:
            return await work(worker)
        finally:
            worker.close()

    return asyncio.run(run())


def export(
    bench: ExportBench, shelf: Shelf, entries: list[CacheEntry], target: CacheTarget, session: Any = None
) -> dict[str, str]:
    shelf.store = bench.store

    async def work(worker: Worker) -> dict[str, str]:
        exporter = CacheExporter(bench.store, bench.layers, shelf, worker, NoMounts())
        imports = Imports(bench.store, MadeSnapshots(bench), worker)
        there = session or TakingSession()
        return await exporter.export(target, entries, imports, session=there, progress=lambda _: None, vertex=VERTEX)

    found: dict[str, str] = working(work)
    assert [*bench.store.content.walk()] == []
    return found


def imported(
    bench: ExportBench,
    shelf: Shelf,
    targets: list[CacheTarget],
    use: Callable[[Imports], Awaitable[Any]],
    *,
    session: Any = None,
    events: list[Progress] | None = None,
    snapshots: MadeSnapshots | None = None,
) -> Any:
    shelf.store = bench.store
    snapshots = snapshots or MadeSnapshots(bench)

    async def work(worker: Worker) -> Any:
        importer = CacheImporter(bench.store, snapshots, shelf, worker)
        seen = events if events is not None else []
        imports = importer.imports()
        await importer.open(imports, targets, session or TakingSession(), seen.append)
        return await use(imports)

    found = working(work)
    assert snapshots.held == []
    assert list((bench.store.content.root.parent / "tmp").glob("blob-*")) == []
    return found


async def files(imports: Imports, identity: str) -> list[list[str]]:
    async with imports.load(identity, 0) as snapshot:
        return await asyncio.to_thread(lambda: [sorted(os.listdir(layer.path)) for layer in snapshot.layers])


REGISTRY = CacheTarget("registry", {"ref": "registry.example/cache:1", "mode": "max"})


@pytest.mark.parametrize("attributes", [{}, {"image-manifest": "false"}, {"oci-mediatypes": "false"},
                                        {"compression": "zstd"}, {"compression": "uncompressed"}])  # fmt: skip
def test_what_one_builder_exports_another_one_imports(
    benches: tuple[ExportBench, ExportBench], attributes: dict[str, str]
) -> None:
    here, there = benches
    shelf = Shelf()
    target = CacheTarget("registry", {**REGISTRY.attributes, **attributes})
    answer = export(here, shelf, entries_of(here.layers.snapshot(ONE, NOTHING, TWO)), target)
    assert json.loads(answer["cache.manifest"])["digest"] in shelf.blobs

    async def use(imports: Imports) -> None:
        identity = imports.identity_of(key("fast 3"))
        assert identity == key("step 3")
        assert imports.find(identity, [0]) is not None
        assert imports.find(identity, [0, 1]) is None
        assert imports.find(key("step 9"), [0]) is None
        assert imports.identity_of(key("nothing")) is None
        assert await files(imports, identity) == [["one"], [], ["two"]]

    imported(there, shelf, [REGISTRY], use)


def test_what_is_believed_of_one_cache_is_believed_of_no_other(benches: tuple[ExportBench, ExportBench]) -> None:
    here, there = benches
    shelf = Shelf()
    for tag, contents in (("1", [ONE]), ("2", [ONE]), ("3", [TWO])):
        target = CacheTarget("registry", {**REGISTRY.attributes, "ref": f"registry.example/cache:{tag}"})
        export(here, shelf, entries_of(here.layers.snapshot(*contents)), target)

    def under(ref: str, **attributes: str) -> str:
        async def use(imports: Imports) -> str | None:
            return imports.find(key("step 1"), [0])

        target = CacheTarget("registry", {"ref": f"registry.example/{ref}", **attributes})
        found: str = imported(there, shelf, [target], use)
        return found

    first = under("cache:1")
    assert first == under("cache:1")
    others = [under("cache:2"), under("other:1"), under("cache:1", **{"registry.insecure": "true"})]
    shelf.tags["1"] = shelf.tags["3"]  # other layers, by the same name
    assert len({first, *others, under("cache:1")}) == 5


def test_a_clients_directory_takes_and_gives_cache(benches: tuple[ExportBench, ExportBench]) -> None:
    here, there = benches
    session = TakingSession()
    to = CacheTarget("local", {"dest": "cache", "mode": "max"})
    answer = export(here, Shelf(), entries_of(here.layers.snapshot(ONE, TWO)), to, session)
    digest = json.loads(answer["cache.manifest"])["digest"]
    target = CacheTarget("local", {"src": "cache", "digest": digest})

    async def use(imports: Imports) -> None:
        assert await files(imports, key("step 2")) == [["one"], ["two"]]

    imported(there, Shelf(), [target], use, session=session)


def test_the_cache_in_an_image_is_found_by_the_images_name(benches: tuple[ExportBench, ExportBench]) -> None:
    here, there = benches
    snapshot = here.layers.snapshot(ONE, NOTHING, TWO)
    other = here.layers.snapshot(TWO)
    entries = [*entries_of(snapshot), CacheEntry(identity=key("other"), output=0, snapshot=other)]
    made = product(
        {"": snapshot}, config_of([ran("a"), ran("b"), ran("c")]), inline_cache=partial(inline_cache, entries)
    )
    here.export_with(made, {"name": "app", "compression": "gzip"})
    image = here.image("app")
    records = json.loads(base64.b64decode(here.document("app")["moby.buildkit.cache.v0"]))
    assert {one["digest"] for one in records if one.get("layers")} == {f"sha256:{key(f'step {n}')}" for n in (1, 2, 3)}
    shelf = Shelf()
    shelf.blobs = {str(digest): here.store.content.path(digest).read_bytes() for digest, _ in here.store.content.walk()}
    shelf.tags = {"latest": shelf.blobs[image.manifest_digest]}

    async def use(imports: Imports) -> None:
        assert await files(imports, key("step 3")) == [["one"], [], ["two"]]
        assert imports.find(key("other"), [0]) is None

    imported(there, shelf, [CacheTarget("registry", {"ref": "app"})], use)


def test_a_squashed_image_has_no_cache_in_it(benches: tuple[ExportBench, ExportBench]) -> None:
    here, _ = benches
    snapshot = here.layers.snapshot(ONE, TWO)
    made = product({"": snapshot}, config_of(), inline_cache=partial(inline_cache, entries_of(snapshot)))
    here.export_with(made, {"name": "app", "layers": "none"})
    assert "moby.buildkit.cache.v0" not in here.document("app")


def test_the_smaller_mode_takes_what_the_result_has(benches: tuple[ExportBench, ExportBench]) -> None:
    here, _ = benches
    snapshot, other = here.layers.snapshot(ONE, TWO), here.layers.snapshot(TWO)
    entries = [*entries_of(snapshot), CacheEntry(identity=key("other"), output=0, snapshot=other)]
    least = CacheTarget("registry", {"ref": "cache"})
    assert [one.identity for one in selected(least, entries, [snapshot])] == [key("step 1"), key("step 2")]
    assert selected(REGISTRY, entries, [snapshot]) == entries
    with pytest.raises(InvalidInput, match="invalid mode"):
        selected(CacheTarget("registry", {"mode": "mid"}), entries, [snapshot])


def test_an_export_is_the_same_each_time(benches: tuple[ExportBench, ExportBench]) -> None:
    here, _ = benches
    entries = entries_of(here.layers.snapshot(ONE, TWO))
    assert export(here, Shelf(), entries, REGISTRY) == export(here, Shelf(), entries[::-1], REGISTRY)


def test_a_registry_that_lies_about_a_layer_is_found_out(benches: tuple[ExportBench, ExportBench]) -> None:
    here, there = benches
    shelf = Shelf()
    export(here, shelf, entries_of(here.layers.snapshot(ONE)), REGISTRY)
    [layer] = json.loads(shelf.tags["1"])["layers"]
    kept = shelf.blobs[layer["digest"]]

    async def use(imports: Imports, kind: type[WherryError]) -> None:
        with pytest.raises(kind):
            await files(imports, key("step 1"))

    shelf.blobs[layer["digest"]] = kept[:-1] + b"?"
    imported(there, shelf, [REGISTRY], lambda imports: use(imports, CorruptData))
    del shelf.blobs[layer["digest"]]
    imported(there, shelf, [REGISTRY], lambda imports: use(imports, NotFound))
    shelf.blobs[layer["digest"]] = kept
    config = json.loads(shelf.tags["1"])["config"]
    other = shelf.blobs[config["digest"]].replace(Digest.from_bytes(ONE).encode(), Digest.from_bytes(TWO).encode())
    lying = json.loads(shelf.tags["1"])
    lying["config"] |= {"digest": str(Digest.from_bytes(other)), "size": len(other)}
    lying["layers"][0]["annotations"] = {}
    shelf.blobs[lying["config"]["digest"]], shelf.tags["1"] = other, json.dumps(lying).encode()
    imported(there, shelf, [REGISTRY], lambda imports: use(imports, CorruptData))
    assert [*there.store.layers] == []
    assert [*there.store.content.walk()] == []


def test_layers_of_steps_that_changed_nothing_go_where_there_is_no_room_for_all(
    benches: tuple[ExportBench, ExportBench],
) -> None:
    here, there = benches
    shelf, snapshots = Shelf(), MadeSnapshots(there)
    snapshots.most = 1
    export(here, shelf, entries_of(here.layers.snapshot(ONE, NOTHING, NOTHING, TWO)), REGISTRY)

    async def use(imports: Imports) -> None:
        with pytest.raises(OutOfSpace):
            await files(imports, key("step 4"))

    imported(there, shelf, [REGISTRY], use, snapshots=snapshots)
    assert snapshots.made == []


@pytest.mark.parametrize("top", [b"", b"{}", b'{"schemaVersion":2,"manifests":[]}', b"[" * 10_000])
def test_a_cache_that_cannot_be_read_is_shown_and_left_out(
    benches: tuple[ExportBench, ExportBench], top: bytes
) -> None:
    shelf = Shelf()
    shelf.tags["1"] = top
    events: list[Progress] = []

    async def use(imports: Imports) -> None:
        assert not imports

    imported(benches[0], shelf, [REGISTRY, CacheTarget("gha", {})], use, events=events)
    [first, second] = [one for one in events if isinstance(one, VertexProgress) and one.completed]
    assert first.name == "importing cache manifest from registry.example/cache:1"
    assert "unknown cache importer: gha" in second.error


def test_results_that_others_begin_with_are_found_in_one_walk(
    benches: tuple[ExportBench, ExportBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = benches
    shelf = Shelf()
    entries = entries_of(here.layers.snapshot(ONE, NOTHING, TWO))
    other = CacheEntry(identity=key("other"), output=0, snapshot=here.layers.snapshot(TWO))
    export(here, shelf, [*entries, other], REGISTRY)

    async def use(imports: Imports) -> None:
        count, chain = 0, imports.chain

        def note(identity: str, output: int) -> Any:
            nonlocal count
            count += 1
            return chain(identity, output)

        monkeypatch.setattr(imports, "chain", note)
        step = [(key(f"step {number}"), 0) for number in range(5)]
        parts, wholes = [step[1], step[2], (key("other"), 0), step[4]], [(key("other"), 0), step[3]]
        assert imports.beginnings(parts, wholes) == {step[1]: (1, 1), step[2]: (1, 2), (key("other"), 0): (0, 1)}
        assert count == len(parts) + len(wholes)

    imported(there, shelf, [REGISTRY], use)


def test_configurations_are_read_in_threads_and_have_bounds(
    benches: tuple[ExportBench, ExportBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = benches
    shelf = Shelf()
    export(here, shelf, entries_of(here.layers.snapshot(ONE, TWO)), REGISTRY)
    threads: list[threading.Thread] = []

    def note(*given: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return found_in(*given, **options)

    async def use(imports: Imports) -> str | None:
        return imports.find(key("step 1"), [0])

    monkeypatch.setattr("wherry.build.remote_cache.imports.found_in", note)
    assert imported(there, shelf, [REGISTRY], use) is not None
    assert threads
    assert threading.main_thread() not in threads
    events: list[Progress] = []
    monkeypatch.setattr("wherry.build.remote_cache.imports._MOST", 2)
    assert imported(there, shelf, [REGISTRY], use, events=events) is None
    assert any("too large" in event.error for event in events if isinstance(event, VertexProgress))
    monkeypatch.setattr("wherry.build.remote_cache.config._MOST_LAYERS", 2)
    with pytest.raises(InvalidInput, match="too many layers"):
        found_in(b'{"records": [{"wherry.chain": [-1, -1]}, {"wherry.chain": [-1]}]}', {})


def test_odd_records_are_passed_over() -> None:
    blob = Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.from_bytes(ONE), len(ONE))
    config = {
        "layers": [
            {"blob": str(blob.digest), "parent": -1, "annotations": {"diffID": str(blob.digest)}},
            {"blob": "nonsense"}, {"blob": str(Digest.from_bytes(b"gone"))}, {"blob": str(blob.digest)},
        ],
        "records": [
            {"digest": "sha256:a", "wherry.chain": [0]}, {"digest": "sha256:a", "wherry.chain": [0, 0]},
            {"digest": "sha256:b", "wherry.chain": [1]}, {"digest": "sha256:c", "wherry.chain": [2]},
            {"digest": "sha256:d", "wherry.chain": [7]}, {"digest": "sha256:e", "wherry.chain": [-2]},
            {"digest": "sha256:f", "wherry.chain": [0] * 501}, {"digest": "sha256:g", "wherry.chain": [3]},
            {"digest": "sha256:h", "layers": [{"layer": 0, "createdAt": "2024-01-01T00:00:00Z"}]},
            {"digest": "sha256:i", "inputs": [[{"link": 0}]]},
            {"digest": "sha256:j", "inputs": [[{"selector": "wherry.key", "link": 99}]]},
            {"digest": "sha256:k", "inputs": [[{"selector": "wherry.key", "link": 10}]]},
            {"digest": "sha256:l", "inputs": []},
        ],
    }  # fmt: skip
    found = found_in(json.dumps(config).encode(), {blob.digest: blob})
    assert set(found.results) == {"sha256:a"}
    assert found.keys == {"k": "j"}


def test_results_of_other_outputs_have_names_of_their_own() -> None:
    assert record_digest(key("a"), 0) == f"sha256:{key('a')}"
    assert record_digest(key("a"), 1) != record_digest(key("a"), 2)


def test_caches_are_wanted_by_a_request_and_by_an_option_each_once() -> None:
    option = json.dumps([{"Type": "registry", "Attrs": REGISTRY.attributes}, {"Type": "local", "Attrs": {"src": "x"}}])
    assert wanted_imports([REGISTRY], {"cache-imports": option}) == [REGISTRY, CacheTarget("local", {"src": "x"})]
    with pytest.raises(InvalidInput, match="cache-imports"):
        wanted_imports([], {"cache-imports": "{"})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (CacheTarget("s3", {}), "unknown cache exporter"),
        (CacheTarget("local", {}), "requires dest"),
        (CacheTarget("registry", {"ref": "UP"}), "lowercase"),
        (CacheTarget("registry", {"ref": "a", "image-manifest": "1", "oci-mediatypes": "0"}), "OCI mediatypes"),
    ],
)
def test_targets_that_make_no_sense_are_refused(
    benches: tuple[ExportBench, ExportBench], target: CacheTarget, words: str
) -> None:
    here, _ = benches
    with pytest.raises(InvalidInput, match=words):
        export(here, Shelf(), entries_of(here.layers.snapshot(ONE)), target)
