"""Records stay as long as their layers, across restarts and kills; what is in use never goes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, copy, local, make_file, run
from wherry.build.cache.policy import BuilderSettings, CacheLimits, Disk, Space, keep_bytes, parse_settings
from wherry.build.model.graph import BuildMount, Cache, CacheSharing
from wherry.build.model.service import CacheRecord, PruneOptions
from wherry.build.model.snapshot import Snapshot
from wherry.errors import InvalidInput, OutOfSpace


async def pruned(shop: Workshop, **options: object) -> list[CacheRecord]:
    return [one async for one in shop.builder.prune(PruneOptions(**options))]  # type: ignore[arg-type]


def names(records: list[CacheRecord]) -> list[str]:
    return sorted(one.description for one in records)


async def test_records_outlive_a_restart(tmp_path: Path) -> None:
    edge = run(make_file("/a", b"1"), "make")
    async with Workshop(tmp_path) as shop:
        await shop.build(edge)
        before = await shop.builder.disk_usage()
    async with Workshop(tmp_path) as shop:
        await shop.build(edge)
        assert not shop.executor.ran
        assert [one.id for one in await shop.builder.disk_usage()] == [one.id for one in before]


@pytest.mark.parametrize("moment", ["before the rows", "after the rows"])
async def test_after_a_kill_there_are_records_with_layers_only_and_layers_with_records_only(
    tmp_path: Path, moment: str
) -> None:
    edge = run(make_file("/a", b"1"), "make")
    shop = Workshop(tmp_path)
    shop.make()
    await shop.builder.start()
    if moment == "before the rows":
        shop.cache.records.flush = lambda: None  # type: ignore[method-assign]
        shop.cache._write_soon = lambda: None  # type: ignore[method-assign]
    await shop.build(edge)
    if moment == "after the rows":
        shop.cache.records.flush()
    shop.end()  # nothing is written that a process which is killed would not have written
    async with Workshop(tmp_path) as again:
        records = again.cache.records.all()
        layers = {str(number) for record in records for number in record.layers}
        assert again.layer_directories() == layers
        assert len(records) == (0 if moment == "before the rows" else 2)
        await again.build(edge)
        assert again.executor.ran["make"] == (1 if moment == "before the rows" else 0)


async def test_a_record_whose_layer_has_gone_is_forgotten(tmp_path: Path) -> None:
    edge = run(run(make_file("/a", b"1"), "one"), "two")
    async with Workshop(tmp_path) as shop:
        await shop.build(edge)
        top = max(shop.layer_directories(), key=int)
        os.rename(shop.world.images.layers.root / top, tmp_path / "gone")
    async with Workshop(tmp_path) as shop:
        assert names(await shop.builder.disk_usage()) == ["RUN one", "mkfile /a"]
        await shop.build(edge)
        assert shop.executor.ran == {"two": 1}


async def test_what_others_lie_upon_goes_after_them(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        await shop.build(run(run(make_file("/a", b"1"), "one"), "two"))
        [two] = [one for one in await shop.builder.disk_usage() if one.description == "RUN two"]
        [one] = [one for one in await shop.builder.disk_usage() if one.description == "RUN one"]
        assert two.parents == (one.id,)
        assert await pruned(shop, filters=(f"id=={one.id}",)) == []
        gone = await pruned(shop)
        assert [record.description for record in gone] == ["RUN two", "RUN one", "mkfile /a"]
        assert shop.layer_directories() == set()


async def test_what_a_build_uses_does_not_go(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        base = make_file("/a", b"1")

        async def prune_meanwhile(*_: object) -> None:
            assert "mkfile /a" not in names(await pruned(shop, all=True))
            assert all(entry.in_use for entry in await shop.builder.disk_usage() if entry.description == "mkfile /a")

        shop.executor.commands["make"] = prune_meanwhile
        await shop.build(run(base, "make"))
        assert "mkfile /a" in names(await pruned(shop, all=True))


@pytest.mark.parametrize("kind", ["a result", "a cache mount"])
async def test_what_cannot_be_removed_is_there_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with Workshop(tmp_path) as shop:
        edge = run(None, "make", BuildMount("/c", Cache("c")))
        await shop.build(edge)
        if kind == "a cache mount":
            await pruned(shop, filters=("type==regular",))

        def full(*_: object) -> None:
            raise OutOfSpace("no space left on device")

        before = await shop.builder.disk_usage()
        with monkeypatch.context() as patch:
            patch.setattr(shop.world.database, "write", full)
            for _ in range(2):
                with pytest.raises(OutOfSpace):
                    await pruned(shop, all=True)
        assert await shop.builder.disk_usage() == before
        await shop.build(edge)
        assert shop.executor.ran["make"] == (1 if kind == "a result" else 2)
        gone = await pruned(shop, all=True)
        assert {one.id for one in before} <= {one.id for one in gone}
        assert shop.layer_directories() == set()
        assert os.listdir(tmp_path / "build" / "directories") == []


async def test_all_results_are_released_although_one_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workshop(tmp_path) as shop:
        held = [shop.cache.add(f"{number}", shop.world.layer({"a": b"1"})) for number in range(3)]
        release = shop.world.snapshots.release

        def full(snapshot: Snapshot) -> None:
            release(snapshot)
            raise OutOfSpace("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(shop.world.snapshots, "release", full)
            await shop.cache.release(held)
        assert not any(shop.world.snapshots.in_use(layer.number) for one in held for layer in one.snapshot.layers)


async def test_who_does_not_take_what_went_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        for number in range(3):
            await shop.build(make_file(f"/{number}", b"1"))
        slow = shop.builder.prune(PruneOptions(filters=("description==mkfile /0",)))
        first = await anext(slow)
        rest = await asyncio.wait_for(pruned(shop, all=True), 60)
        assert (first.description, names(rest)) == ("mkfile /0", ["mkfile /1", "mkfile /2"])
        assert [one async for one in slow] == []


async def test_a_layer_that_a_new_result_has_stays_when_the_old_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Workshop(tmp_path) as shop:
        snapshot = shop.world.layer({"file": b"1"})
        await shop.cache.release([shop.cache.add("old", snapshot)])
        delete, loop = shop.cache.records.delete, asyncio.get_running_loop()

        def add_meanwhile(identifiers: list[str]) -> None:
            delete(identifiers)

            async def add() -> None:
                await shop.cache.release([shop.cache.add("new", snapshot)])

            asyncio.run_coroutine_threadsafe(add(), loop).result(60)

        monkeypatch.setattr(shop.cache.records, "delete", add_meanwhile)
        assert len(await pruned(shop, all=True)) == 1
        monkeypatch.undo()
        held = shop.cache.find("new")
        assert held is not None
        await shop.cache.release([held])
        assert len(shop.layer_directories()) == 1


async def test_a_removed_image_takes_no_layer_from_the_cache_nor_the_reverse(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        made = shop.world.image("base:1", {"file": b"1"})
        snapshot = shop.world.snapshots.from_image(made)
        shop.cache.keep(snapshot)
        held = shop.cache.add("identity", snapshot, description="pulled")
        shop.world.snapshots.release(snapshot)
        await shop.cache.release([held])
        [entry] = await shop.builder.disk_usage()
        assert entry.shared
        assert await pruned(shop) == []  # an image has it: nothing would be gained
        list(shop.world.images.remove("base:1", in_use=lambda _: []))
        found = shop.cache.find("identity")
        assert found is not None
        assert _bytes_of(found.snapshot.layers[0].path, "file") == b"1"
        await shop.cache.release([found])
        assert names(await pruned(shop)) == ["pulled"]
        assert shop.layer_directories() == set()


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        (("type==regular",), ["RUN make", "mkfile /a"]),
        (("type==exec.cachemount",), ["cached mount /c from exec /bin/sh -c make with id 'c'"]),
        (("mutable",), ["cached mount /c from exec /bin/sh -c make with id 'c'"]),
        (("immutable", "nothing"), ["RUN make", "mkfile /a"]),
        (("description~=^RUN",), ["RUN make"]),
        (('description=="RUN make"', "type==none"), ["RUN make"]),
        (("inuse",), []),
        (("shared",), []),
        (("private,type!=regular",), ["cached mount /c from exec /bin/sh -c make with id 'c'"]),
    ],
)
async def test_filters(tmp_path: Path, filters: tuple[str, ...], gone: list[str]) -> None:
    async with Workshop(tmp_path) as shop:
        await shop.build(run(make_file("/a", b"1"), "make", BuildMount("/c", Cache("c"))))
        assert names(await pruned(shop, filters=filters)) == gone


async def test_what_was_used_a_short_while_ago_stays(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        await shop.build(make_file("/a", b"1"))
        assert await pruned(shop, keep_duration=3600 * 10**9) == []
        assert len(await pruned(shop, keep_duration=1)) == 1


@pytest.mark.parametrize("text", ["a b", "==", "id~=[", "x" * 20_000])
async def test_wrong_filters_are_refused(tmp_path: Path, text: str) -> None:
    async with Workshop(tmp_path) as shop:
        with pytest.raises(InvalidInput):
            await pruned(shop, filters=(text,))


# --- limits ---------------------------------------------------------------------------------------


async def test_the_least_recently_used_goes_first_until_the_limit_holds(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        for name in "abc":
            await shop.build(make_file(f"/{name}", b"x" * 1000))
        await shop.build(make_file("/a", b"x" * 1000))
        assert [one.description for one in await pruned(shop, max_used_space=2000)] == ["mkfile /b"]


async def test_limits_hold_after_a_build(tmp_path: Path) -> None:
    limits = CacheLimits(max_used=Space(3000), reserved=Space(1))
    async with Workshop(tmp_path, BuilderSettings(limits=limits, collect_after=0)) as shop:
        for number in range(6):
            await shop.build(make_file(f"/{number}", b"x" * 1000))
        await shop.builder.collected()
        assert sum(one.size for one in await shop.builder.disk_usage()) <= 3000


@pytest.mark.parametrize(
    ("options", "free", "keep"),
    [
        (PruneOptions(), 0, None),
        (PruneOptions(max_used_space=50), 500, 50),
        (PruneOptions(max_used_space=50, reserved_space=70), 500, 70),
        (PruneOptions(reserved_space=30), 500, 30),
        (PruneOptions(min_free_space=500), 500, 100),
        (PruneOptions(min_free_space=520), 500, 80),
        (PruneOptions(min_free_space=900, reserved_space=20), 500, 20),
        (PruneOptions(min_free_space=520, max_used_space=90), 500, 80),
    ],
)
def test_to_how_much_the_cache_shrinks(options: PruneOptions, free: int, keep: int | None) -> None:
    assert keep_bytes(100, Disk(1000, free), options) == keep


def test_the_settings_of_docker() -> None:
    settings = parse_settings(
        {
            "gc": {
                "enabled": True,
                "defaultKeepStorage": "20GB",
                "policy": [
                    {"keepStorage": "1GB", "filter": ["unused-for=48h", "type=regular"]},
                    {"all": True, "maxUsedSpace": "50%", "keepDuration": "24h"},
                ],
            },
            "entitlements": {"security-insecure": True, "network-host": False},
        }
    )
    assert settings.entitlements == {"security.insecure", "device"}
    first, second = settings.limits.policies(Disk(100 << 30, 1))
    assert first.reserved_space == 1 << 30
    assert first.keep_duration == 48 * 3600 * 10**9
    assert first.filters == ("type==regular",)
    assert second.all
    assert second.max_used_space == 51 * 10**9


def test_without_settings_the_defaults_are_buildkits() -> None:
    policies = parse_settings(None).limits.policies(Disk(1000 << 30, 500 << 30))
    assert len(policies) == 4
    assert policies[0].max_used_space == 512 * 10**6
    assert (policies[2].reserved_space, policies[2].max_used_space) == (10 * 10**9, 100 * 10**9)
    assert policies[3].all
    assert parse_settings({"gc": {"enabled": False}}).limits.policies(Disk(1, 1)) == []


@pytest.mark.parametrize("given", [1, {"gc": []}, {"gc": {"x": 1}}, {"gc": {"defaultKeepStorage": "x"}}, {"y": 1}])
def test_wrong_settings_are_refused(given: object) -> None:
    with pytest.raises(InvalidInput):
        parse_settings(given)


# --- directories ----------------------------------------------------------------------------------


async def test_a_cache_mount_outlives_builds_and_restarts(tmp_path: Path) -> None:
    seen: list[str] = []

    async def use(step: object, _output: object) -> None:
        [mount] = step.mounts  # type: ignore[attr-defined]
        seen.append(mount.source)

    for number in range(2):
        async with Workshop(tmp_path) as shop:
            shop.executor.commands["make"] = use
            edge = run(make_file("/a", b"%d" % number), "make", BuildMount("/c", Cache("c")))
            await shop.build(edge)
    assert seen[0] == seen[1]


async def test_the_first_content_of_a_cache_mount_is_its_input(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        found: list[bytes] = []

        async def look(step: object, _output: object) -> None:
            [mount] = step.mounts  # type: ignore[attr-defined]
            found.append(_bytes_of(mount.source, "first"))

        shop.executor.commands["make"] = look
        mount = BuildMount("/c", Cache("c"), input=1)
        await shop.build(run(make_file("/a", b"1"), "make", mount, inputs=[make_file("/first", b"content")]))
        assert found == [b"content"]


async def test_a_cache_mount_that_a_kill_left_half_full_is_not_there_afterwards(tmp_path: Path) -> None:
    async def fill(path: Path) -> None:
        _write(path, "half")
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    async with Workshop(tmp_path) as shop:
        filling = asyncio.create_task(shop.cache.directories.acquire("exec.cachemount", "a", "a", fill=fill))
        await begun.wait()
        async with Workshop(tmp_path) as after:  # as if the first one had been killed
            assert after.cache.directories.rows() == []
            kept = await after.cache.directories.acquire("exec.cachemount", "a", "a")
            assert kept.is_new
            assert os.listdir(kept.path) == []
            kept.release()
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling


def _write(directory: Path, name: str) -> None:
    (directory / name).write_text(name)


def _bytes_of(directory: str, name: str) -> bytes:
    return Path(directory, name).read_bytes()


async def test_of_a_private_directory_each_user_has_one_and_a_locked_one_is_waited_for(tmp_path: Path) -> None:

    async with Workshop(tmp_path) as shop:
        directories = shop.cache.directories
        kind = "exec.cachemount"
        first = await directories.acquire(kind, "a", "a", sharing=CacheSharing.PRIVATE)
        second = await directories.acquire(kind, "a", "a", sharing=CacheSharing.PRIVATE)
        assert first.path != second.path
        locked = await directories.acquire(kind, "b", "b", sharing=CacheSharing.LOCKED)
        waits = asyncio.Event()
        waiting = asyncio.create_task(directories.acquire(kind, "b", "b", sharing=CacheSharing.LOCKED, waits=waits.set))
        await waits.wait()
        cancelled = asyncio.create_task(directories.acquire(kind, "b", "b", sharing=CacheSharing.SHARED))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert await pruned(shop, all=True) == []
        locked.release()
        got = await waiting
        assert got.path == locked.path
        for one in (first, second, got):
            one.release()
        assert len(await pruned(shop, all=True)) == 3
        assert os.listdir(tmp_path / "build" / "directories") == []


async def test_directories_of_clients_are_no_records(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.builder.attach(ClientSession("s", context={"a": b"1"}))
        await shop.build(copy(None, local(), "a", "/a"), session="s")
        assert names(await shop.builder.disk_usage()) == ["COPY a /a"]
