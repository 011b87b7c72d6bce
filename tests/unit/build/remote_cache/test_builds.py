"""Builds that import what others have exported. Any user can run these."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.build_fakes import Workshop, copy, image, logs, request, run, states, write
from support.cache_shelf import Shelf
from wherry.build.cache.remote import imported_identity
from wherry.build.model.graph import Edge
from wherry.build.model.progress import Progress, WarningProgress
from wherry.build.model.request import CacheOptions, CacheTarget, Export, FrontResult, Ref
from wherry.build.model.service import PruneOptions
from wherry.build.model.snapshot import Snapshot
from wherry.errors import NotFound
from wherry.oci.digest import Digest

ATTRIBUTES = {"ref": "registry.example/cache:1"}
TO = CacheOptions(exports=(CacheTarget("registry", {**ATTRIBUTES, "mode": "max"}),))
FROM = CacheOptions(imports=(CacheTarget("registry", ATTRIBUTES),))


def two_stages(last: str = "last") -> Edge:
    """A stage that is built, and another one that copies from it."""
    built = run(image("base"), "make")
    return run(copy(run(image("base"), "true"), built, "/", "/built"), last)


async def exported(root: Path, shelf: Shelf, edge: Edge, cache: CacheOptions = TO) -> dict[str, Digest]:
    """Build on one machine, and export; the layers' numbers are of no use to others."""
    async with Workshop(root, registries=shelf) as shop:
        shelf.store = shop.world.images
        shop.sources.images["base"] = {"file": b"1"}
        await shop.build(edge, cache=cache)
    return {}


async def built(shop: Workshop, shelf: Shelf, edge: Edge, cache: CacheOptions = FROM) -> list[Progress]:
    shelf.store = shop.world.images
    shop.sources.images["base"] = {"file": b"1"}
    return await shop.build(edge, cache=cache, exports=(Export("moby"),))


def forget_layers(shelf: Shelf) -> None:
    """From now on the registry has the documents alone."""
    for digest in [digest for digest, data in shelf.blobs.items() if not data.startswith(b"{")]:
        del shelf.blobs[digest]


def files(shop: Workshop) -> dict[str, Any]:
    """The files of what was exported last, by their names."""
    found: dict[str, Any] = {}
    [snapshot] = shop.exporter.products[-1].snapshots.values()
    for layer in snapshot.layers:
        for path in Path(layer.path).rglob("*"):
            if path.is_file():
                found[str(path.relative_to(layer.path))] = path.read_bytes()
    return found


async def test_what_one_machine_has_built_another_one_takes_from_the_registry(tmp_path: Path) -> None:
    shelf = Shelf()
    await exported(tmp_path / "here", shelf, two_stages())
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        events = await built(shop, shelf, two_stages())
        assert shop.executor.ran == {}
        assert states(events)["RUN last"].cached
        assert "file" in files(shop)
        forget_layers(shelf)
        await built(shop, shelf, two_stages())
        assert shop.executor.ran == {}


async def test_what_is_not_there_is_built_upon_what_is(tmp_path: Path) -> None:
    shelf = Shelf()
    await exported(tmp_path / "here", shelf, two_stages())
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, two_stages("other"))
        assert shop.executor.ran == {"other": 1}


async def test_the_smaller_mode_has_no_stages_that_are_only_copied_from(tmp_path: Path) -> None:
    shelf = Shelf()
    least = CacheOptions(exports=(CacheTarget("registry", ATTRIBUTES),))
    await exported(tmp_path / "here", shelf, two_stages(), least)
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, two_stages())
        assert shop.executor.ran == {}
        await built(shop, shelf, run(run(image("base"), "make"), "more"))
        assert shop.executor.ran == {"make": 1, "more": 1}


async def test_what_was_imported_is_found_by_nobody_who_does_not_import_it(tmp_path: Path) -> None:
    shelf = Shelf()
    lie = run(run(image("base"), "one"), "two")
    async with Workshop(tmp_path / "liar", registries=shelf) as shop:
        shelf.store = shop.world.images
        shop.sources.images["base"] = {"file": b"1"}

        async def forge(step: Any, _: Any) -> None:
            write(step, "evil", "evil")

        shop.executor.commands["one"] = forge
        await shop.build(lie, cache=TO)
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, run(run(image("base"), "one"), "three"))
        assert shop.executor.ran == {"three": 1}
        assert "evil" in files(shop)
        await built(shop, shelf, run(run(image("base"), "one"), "three"), CacheOptions())
        assert shop.executor.ran == {"one": 1, "three": 2}
        assert "evil" not in files(shop)


async def test_a_registry_that_gives_nothing_costs_a_build_and_no_more(tmp_path: Path) -> None:
    shelf = Shelf()
    await exported(tmp_path / "here", shelf, two_stages())
    forget_layers(shelf)
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        events = await built(shop, shelf, two_stages())
        assert shop.executor.ran == {"make": 1, "true": 1, "last": 1}
        assert b"cannot use the imported cache" in logs(events)
        assert "evil" not in files(shop)


async def test_what_was_imported_is_exported_again_as_it_was(tmp_path: Path) -> None:
    shelf = Shelf()
    await exported(tmp_path / "here", shelf, two_stages())
    first = json.loads(shelf.tags["1"])
    both = CacheOptions(imports=FROM.imports, exports=TO.exports)
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, two_stages(), both)
    assert [layer["digest"] for layer in json.loads(shelf.tags["1"])["layers"]] == [
        layer["digest"] for layer in first["layers"]
    ]
    async with Workshop(tmp_path / "third", registries=shelf) as shop:
        await built(shop, shelf, two_stages())
        assert shop.executor.ran == {}


async def test_what_was_built_although_the_cache_had_it_is_found_as_well(tmp_path: Path) -> None:
    def stages(*, anew: bool) -> Edge:
        built = run(image("base"), "make", ignore_cache=anew)
        copied = copy(run(image("base"), "true", ignore_cache=anew), built, "/", "/built", ignore_cache=anew)
        return run(copied, "last", ignore_cache=anew)

    shelf = Shelf()
    await exported(tmp_path / "here", shelf, stages(anew=True))
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, stages(anew=False))
        assert shop.executor.ran == {}


async def test_without_the_stage_a_copy_from_it_is_found_by_its_content(tmp_path: Path) -> None:
    shelf = Shelf()
    least = CacheOptions(exports=(CacheTarget("registry", ATTRIBUTES),))
    built_stage = run(image("base"), "make")
    edge = run(copy(run(image("base"), "true"), built_stage, "/", "/built"), "last")
    await exported(tmp_path / "here", shelf, edge, least)
    config = json.loads(shelf.tags["1"])["config"]["digest"]
    records = json.loads(shelf.blobs[config])["records"]
    shelf_keys = [one for one in records if one.get("inputs")]
    assert len(shelf_keys) == 1  # of the copy: by the identities of its inputs; its content is its identity
    async with Workshop(tmp_path / "there", registries=shelf) as shop:
        await built(shop, shelf, edge)
        assert shop.executor.ran == {}


async def test_an_export_whose_errors_are_ignored_shows_them(tmp_path: Path) -> None:
    class Full(Shelf):
        async def push(self, *_: Any) -> None:
            raise NotFound("no such repository")

    ignoring = CacheOptions(exports=(CacheTarget("registry", {**ATTRIBUTES, "ignore-error": "true"}),))
    async with Workshop(tmp_path, registries=(shelf := Full())) as shop:
        events = await built(shop, shelf, run(image("base"), "make"), ignoring)
        [warning] = [event for event in events if isinstance(event, WarningProgress)]
        assert warning.short == "failed to export cache: no such repository"
        assert states(events)["exporting cache to registry"].digest == warning.vertex
        with pytest.raises(NotFound, match="no such repository"):
            await built(shop, shelf, run(image("base"), "make"), TO)


async def test_what_an_export_uses_is_given_back_although_the_build_goes_on(tmp_path: Path) -> None:
    async with Workshop(tmp_path, registries=Shelf()) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        below = run(image("base"), "below")
        above = run(below, "above")
        await shop.build(above)
        build = shop.builder.begin(request("b"))
        await build.evaluate(above)
        assert build._resolution is not None
        assert len(build._resolution.entries()) == 2
        await build.evaluate(below)
        await build.finish(FrontResult(refs={"": Ref(edge=above)}))
        assert not any(entry.in_use for entry in await shop.builder.disk_usage())


# --- what is believed -----------------------------------------------------------------------------


class Told:
    """What somebody says (`ImportedCache`), in words: results and keys.

    :ivar asked: the identities that were asked for.
    """

    def __init__(self, shop: Workshop, name: str) -> None:
        self.shop = shop
        self.name = name
        self.results: dict[str, dict[str, bytes]] = {}
        self.keys: dict[str, str] = {}
        self.asked: list[str] = []

    def __bool__(self) -> bool:
        return True

    def find(self, identity: str, _outputs: Sequence[int]) -> str | None:
        self.asked.append(identity)
        return imported_identity(self.name, identity) if identity in self.results else None

    def identity_of(self, fast_key: str) -> str | None:
        return self.keys.get(fast_key)

    def beginnings(self, *_: object) -> dict[tuple[str, int], tuple[int, int]]:
        return {}

    @asynccontextmanager
    async def load(self, identity: str, _output: int) -> AsyncIterator[Snapshot]:
        if not self.results[identity]:
            raise NotFound("blob unknown")
        snapshot = self.shop.world.layer(self.results[identity])
        self.shop.world.snapshots.hold(snapshot)
        yield snapshot
        self.shop.world.snapshots.release(snapshot)

    async def build(self, edge: Edge) -> dict[str, Any]:
        """Build what believes it; the files that come out."""

        async def nothing(*_: object, **__: object) -> None:
            pass

        remote: Any = self.shop.remote
        remote.imports, remote.open = lambda: self, nothing
        await self.shop.build(edge, exports=(Export("moby"),))
        return files(self.shop)


def identity_of(shop: Workshop, name: str) -> str:
    """Of the one result with a description."""
    shop.cache.records.flush()
    [found] = [record.identity for record in shop.cache.records.all() if record.description == name]
    return found


async def test_an_imported_key_leads_to_no_result_of_ones_own(tmp_path: Path) -> None:
    async with Workshop(tmp_path, registries=Shelf()) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        await shop.build(run(image("base"), "mine"))
        mine, told = identity_of(shop, "RUN mine"), Told(shop, "told")
        edge = run(image("base"), "theirs")
        await told.build(edge)
        theirs = next(one for one in told.asked if one != mine)
        _ = [entry async for entry in shop.builder.prune(PruneOptions(all=True))]
        shop.executor.ran.clear()
        await shop.build(run(image("base"), "mine"))
        told.keys, told.results = {theirs: mine}, {mine: {}}  # it cannot be fetched, so it is carried out
        await told.build(edge)
        assert shop.executor.ran == {"mine": 1, "theirs": 1}
        shop.builder._parts.solver.cache.records.flush()
        assert shop.cache.find(theirs) is None


async def test_what_one_registry_says_does_not_change_what_another_one_is_asked_for(tmp_path: Path) -> None:
    async with Workshop(tmp_path, registries=Shelf()) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        honest, liar = Told(shop, "honest"), Told(shop, "liar")
        stage = run(image("base"), "stage")
        edge = copy(None, stage, "/", "/x")
        await honest.build(edge)
        known, copied = honest.asked[:2]
        _ = [entry async for entry in shop.builder.prune(PruneOptions(all=True))]
        honest.results = {known: {"good": b"good"}}
        assert await honest.build(edge) == {"x/good": b"good"}
        _ = [entry async for entry in shop.builder.prune(PruneOptions(all=True))]
        liar.keys, liar.results = {known: known}, {known: {"evil": b"evil"}}
        assert await liar.build(edge) == {"x/evil": b"evil"}
        _ = [entry async for entry in shop.builder.prune(PruneOptions(all=True))]
        honest.results |= {one: {"x/evil": b"evil"} for one in liar.asked if one not in (known, copied)}
        assert await honest.build(edge) == {"x/good": b"good"}
