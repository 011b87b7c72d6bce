"""Cache mounts go with the cache, where both sides say so. Any user can run these."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.build_fakes import Workshop, image, logs, make_file, run
from support.cache_shelf import Shelf
from wherry.build.cache.mounts import MOUNT_KIND, CacheMount
from wherry.build.model.graph import BuildMount, Cache, CacheSharing, Edge
from wherry.build.model.progress import Progress
from wherry.build.model.request import CacheOptions, CacheTarget
from wherry.build.remote_cache.mounts import MountContents
from wherry.distribution.transfer.lease import with_lease
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

PLACE = {"ref": "registry.example/cache:1"}
WITH = {**PLACE, "mounts": "true"}
MOUNT = BuildMount("/cache", Cache("mine"))


def options(*, take: dict[str, str] | None = None, give: dict[str, str] | None = None) -> CacheOptions:
    return CacheOptions(
        imports=(CacheTarget("registry", take),) if take else (),
        exports=(CacheTarget("registry", {**give, "mode": "max"}),) if give else (),
    )


@asynccontextmanager
async def machine(root: Path, shelf: Shelf) -> AsyncIterator[Workshop]:
    """A machine, with an image."""
    async with Workshop(root, registries=shelf) as shop:
        shelf.store = shop.world.images
        shop.sources.images["base"] = {"file": b"1"}
        yield shop


def cache_of(step: Any) -> Path:
    return Path(step.mounts[0].source)


def fills(shop: Workshop, command: str, text: str = "compiled") -> None:
    """The command writes into its first mount."""

    async def play(step: Any, _: Any) -> None:
        (cache_of(step) / "object").write_text(text)

    shop.executor.commands[command] = play


def found(shop: Workshop, command: str) -> dict[str, str]:
    """Has the command look at its first mount."""
    seen: dict[str, str] = {}

    async def play(step: Any, _: Any) -> None:
        for path in cache_of(step).iterdir():
            seen[path.name] = path.read_text()

    shop.executor.commands[command] = play
    return seen


async def export(root: Path, shelf: Shelf, edge: Edge, give: dict[str, str] = WITH) -> list[Progress]:
    """Run a step on a machine, and export."""
    async with machine(root, shelf) as shop:
        fills(shop, "make")
        events = await shop.build(edge, cache=options(give=give))
        assert shop.drafts() == []
        return events


def step(command: str, mount: BuildMount = MOUNT, *inputs: Edge) -> Edge:
    return run(image("base"), command, mount, inputs=inputs)


async def test_another_machine_goes_on_with_what_the_first_has_put_into_a_cache_mount(tmp_path: Path) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"))
    async with machine(tmp_path / "there", shelf) as shop:
        seen = found(shop, "make again")
        await shop.build(step("make again"), cache=options(take=WITH))
        assert seen == {"object": "compiled"}


async def test_a_cache_mount_that_begins_with_files_is_known_elsewhere_as_well(tmp_path: Path) -> None:
    shelf, mount, first = Shelf(), BuildMount("/cache", Cache("mine"), input=1), make_file("/first", b"1")
    await export(tmp_path / "here", shelf, step("make", mount, first))
    async with machine(tmp_path / "there", shelf) as shop:
        seen = found(shop, "make again")
        await shop.build(step("make again", mount, first), cache=options(take=WITH))
        assert seen == {"first": "1", "object": "compiled"}
        seen = found(shop, "another")
        await shop.build(step("another", mount, make_file("/first", b"2")), cache=options(take=WITH))
        assert seen == {"first": "2"}


@pytest.mark.parametrize(("give", "take"), [(WITH, PLACE), (PLACE, WITH)])
async def test_both_have_to_say_so(tmp_path: Path, give: dict[str, str], take: dict[str, str]) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"), give)
    async with machine(tmp_path / "there", shelf) as shop:
        seen = found(shop, "make again")
        await shop.build(step("make again"), cache=options(take=take))
        assert seen == {}


async def test_what_is_here_is_not_overwritten(tmp_path: Path) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"))
    async with machine(tmp_path / "there", shelf) as shop:
        fills(shop, "own", "own")
        await shop.build(step("own"))
        seen = found(shop, "make again")
        await shop.build(step("make again"), cache=options(take=WITH))
        assert seen == {"object": "own"}


async def test_what_no_step_needed_goes_on_as_it_came(tmp_path: Path) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"))
    async with machine(tmp_path / "there", shelf) as shop:
        await shop.build(step("make"), cache=options(take=WITH, give={**WITH, "ref": "registry.example/other:2"}))
        assert shop.executor.ran == {}
        assert not shop.cache.directories.paths(MOUNT_KIND)
    async with machine(tmp_path / "third", shelf) as shop:
        seen = found(shop, "make again")
        taken = {**WITH, "ref": "registry.example/other:2"}
        await shop.build(step("make again"), cache=options(take=taken))
        assert seen == {"object": "compiled"}


async def test_a_registry_that_lies_costs_what_it_promised_and_no_more(tmp_path: Path) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"))
    for digest in [digest for digest, data in shelf.blobs.items() if not data.startswith(b"{")]:
        shelf.blobs[digest] = b"something else"
    async with machine(tmp_path / "there", shelf) as shop:
        seen = found(shop, "make again")
        events = await shop.build(step("make again"), cache=options(take=WITH))
        assert seen == {}
        assert b"cannot import the cache mount mine" in logs(events)


async def test_a_configuration_may_name_layers_that_it_has_not(tmp_path: Path) -> None:
    shelf = Shelf()
    await export(tmp_path / "here", shelf, step("make"))
    manifest = json.loads(shelf.tags["1"])
    config = json.loads(shelf.blobs[manifest["config"]["digest"]])
    [mount] = config["wherry.mounts"]
    assert mount["key"].startswith("mine ")
    config["wherry.mounts"] = [{"key": mount["key"], "layer": number} for number in (-1, 10**6)]
    data = json.dumps(config).encode()
    manifest["config"] |= {"digest": str(Digest.from_bytes(data)), "size": len(data)}
    shelf.blobs[Digest.from_bytes(data)] = data
    shelf.tags["1"] = json.dumps(manifest).encode()
    async with machine(tmp_path / "there", shelf) as shop:
        seen = found(shop, "make again")
        await shop.build(step("make again"), cache=options(take=WITH))
        assert seen == {}


async def test_an_export_leaves_no_layer_of_its_own(tmp_path: Path) -> None:
    shelf = Shelf()
    async with machine(tmp_path / "here", shelf) as shop:
        fills(shop, "make")
        await shop.build(step("make"))
        before = shop.layer_directories()
        await shop.build(step("make"), cache=options(give=WITH))
        assert shop.executor.ran == {"make": 1}
        shop.world.snapshots.wait_for_removals()
        assert shop.layer_directories() == before
        assert json.loads(shelf.blobs[json.loads(shelf.tags["1"])["config"]["digest"]])["wherry.mounts"]


async def test_one_that_is_in_use_all_the_time_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    async with Workshop(tmp_path, registries=Shelf()) as shop:
        directories = shop.cache.directories
        held = await directories.acquire(MOUNT_KIND, "mine linux", "mine", sharing=CacheSharing.SHARED)
        assert shop.remote is not None
        contents: MountContents = shop.remote.mounts
        contents.patience = 0.01
        said: list[str] = []
        mount = CacheMount("mine", "mine linux", "mine linux")
        async with with_lease(shop.world.images) as lease:
            assert await contents.blobs([mount], lease, said.append) == {}
        assert said == ["the cache mount mine is not exported: steps use it all the time"]
        held.release()


async def test_an_image_has_no_cache_mounts_in_it(tmp_path: Path) -> None:
    async with machine(tmp_path, Shelf()) as shop:
        inline = CacheOptions(exports=(CacheTarget("inline", {"mounts": "true"}),))
        with pytest.raises(InvalidInput, match="cannot be in an image"):
            await shop.build(step("make"), cache=inline, exports=(shop.export,))
