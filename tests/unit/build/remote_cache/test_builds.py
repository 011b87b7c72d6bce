"""Builds that import what others have exported. Any user can run these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.build_fakes import Workshop, copy, image, logs, run, states, write
from support.cache_shelf import Shelf
from wherry.build.model.graph import Edge
from wherry.build.model.progress import Progress
from wherry.build.model.request import CacheOptions, CacheTarget, Export
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
