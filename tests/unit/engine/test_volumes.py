"""Volumes and the containers that use them, under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from support.engine_harness import EngineHarness, create, harness, raises
from wherry.docker.container_requests import Mount, MountVolumeDriver, MountVolumeOptions
from wherry.docker.volumes import VolumeCreate
from wherry.engine.engine import Engine
from wherry.errors import Conflict, InvalidInput, NotFound, Unavailable, WherryError

__all__ = ["harness"]

ANONYMOUS = "com.docker.volume.anonymous"


def data(engine: Engine, name: str) -> Path:
    return engine.settings.data_root / "volumes" / name / "_data"


def happened(harness: EngineHarness) -> list[str]:
    return [event["action"] for event in harness.events if event["kind"] == "volume"]


async def names(engine: Engine, **filters: list[str]) -> list[str]:
    return [volume.name for volume in (await engine.volumes.list(filters)).volumes]


async def make(engine: Engine, name: str, **labels: str) -> None:
    await engine.volumes.create(VolumeCreate(name=name, labels=labels))


def test_a_volume_that_a_container_has_stays_until_it_is_removed(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, binds=["data:/d:ro"])
            (point,) = engine.containers.inspect("web").mounts
            assert (point.name, point.source, point.rw, point.mode) == ("data", str(data(engine, "data")), False, "ro")
            error = await raises(engine.volumes.remove("data"))
            assert isinstance(error, Conflict)
            assert str(error) == f"remove data: volume is in use - [{container.id}]"
            assert isinstance(await raises(engine.volumes.remove("data", force=True)), Conflict)
            await engine.containers.start("web")
            await engine.containers.remove("web", force=True, volumes=True)
            assert await names(engine) == ["data"]  # somebody has named it
            await engine.volumes.remove("data")
            assert not data(engine, "data").exists()
        assert happened(harness) == ["create", "mount", "unmount", "destroy"]

    harness.run(test)


def test_volumes_that_nobody_has_named_go_with_their_container_when_that_is_asked(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine, config={"volumes": {"/v": {}}}, mounts=[Mount(type="volume", target="/m")])
            await create(engine, name="guest", volumes_from=["web"])
            first = await names(engine)
            assert len(first) == 2
            await engine.containers.remove("web", volumes=True)
            assert await names(engine) == first  # another one has them
            await engine.containers.remove("guest", volumes=True)
            assert await names(engine) == []
            await create(engine, config={"volumes": {"/v": {}}})
            await engine.containers.remove("web")
            assert len(await names(engine, dangling=["true"], label=[ANONYMOUS])) == 1
            assert len((await engine.volumes.prune({})).volumes_deleted) == 1

    harness.run(test)


def test_what_is_mounted_comes_from_others_unless_it_is_asked_for(harness: EngineHarness, tmp_path: Path) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            mounts = [Mount(type="tmpfs", target="/memory")]
            await create(engine, binds=["data:/d", f"{tmp_path}:/host", "own:/own"], mounts=mounts, tmpfs={"/t": ""})
            guest = await create(engine, name="guest", volumes_from=["web:ro"], binds=["mine:/own"])
            found = {point.target: point for point in guest.definition.mounts}
            assert sorted(found) == ["/d", "/host", "/memory", "/own"]
            assert [found[target].writable for target in sorted(found)] == [False, False, False, True]
            assert (found["/own"].name, found["/d"].copy, found["/host"].options[-1]) == ("mine", False, "ro")
            refused = {
                "nobody": "No such container: nobody", "web:rw,ro": "invalid mode: rw,ro",
                "": "cannot be an empty string", "web:nocopy": "invalid mode: nocopy",
            }  # fmt: skip
            for wrong, sentence in refused.items():
                error = await raises(create(engine, name="other", volumes_from=[wrong]))
                assert isinstance(error, InvalidInput)
                assert sentence in str(error)

    harness.run(test)


def test_a_container_that_is_not_made_leaves_no_volume_behind(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            choice = MountVolumeOptions(driver_config=MountVolumeDriver(name="nope"))
            wrong = Mount(type="volume", source="named", target="/n", volume_options=choice)
            error = await raises(create(engine, config={"volumes": {"/v": {}}}, mounts=[wrong]))
            assert str(error) == 'create named: error looking up volume plugin nope: plugin "nope" not found'
            assert await names(engine) == []
            assert len(engine.containers.store) == 0

    harness.run(test)


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (VolumeCreate(name="a"), InvalidInput, "create a: volume name is too short"),
        (VolumeCreate(name="../up"), InvalidInput, 'create ../up: "../up" includes invalid characters for a local'),
        (VolumeCreate(name=".removed"), InvalidInput, "includes invalid characters"),
        (VolumeCreate(name="a" * 256), InvalidInput, "volume name is too long"),
        (VolumeCreate(name="vv", driver_opts={"x": "y"}), InvalidInput, 'create vv: invalid option: "x"'),
        (VolumeCreate(name="vv", driver_opts={"type": "nfs"}), InvalidInput, 'missing required option: "device"'),
        (VolumeCreate(name="vv", driver_opts={"size": "much"}), InvalidInput, "invalid size: 'much'"),
        (VolumeCreate(name="vv", driver_opts={"size": "1"}), InvalidInput, "quota size requested but no quota support"),
        (VolumeCreate(name="vv", driver="nope"), NotFound, 'plugin "nope" not found'),
        (VolumeCreate(name="vv", cluster_volume_spec={}), Unavailable, "not a swarm manager"),
    ],
)
def test_a_volume_that_cannot_be_is_refused_in_dockers_words(
    harness: EngineHarness, body: VolumeCreate, kind: type[WherryError], sentence: str
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            error = await raises(engine.volumes.create(body))
            assert isinstance(error, kind)
            assert sentence in str(error)
            assert await names(engine) == []

    harness.run(test)


def test_volumes_are_chosen_by_filters(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await make(engine, "red", colour="red")
            await make(engine, "blue", colour="blue", old="")
            await create(engine, binds=["used:/u"])
            assert await names(engine) == ["blue", "red", "used"]
            assert await names(engine, dangling=["1"]) == ["blue", "red"]
            assert await names(engine, dangling=["false"]) == ["used"]
            assert await names(engine, label=["colour"]) == ["blue", "red"]
            assert await names(engine, label=["colour=blue", "old"]) == ["blue"]
            assert await names(engine, name=["^re", "sed"]) == ["red", "used"]
            assert await names(engine, driver=["other"]) == []
            for wrong in ({"dangling": ["maybe"]}, {"colour": ["red"]}):
                assert isinstance(await raises(engine.volumes.list(wrong)), InvalidInput)

    harness.run(test)


def test_a_prune_takes_what_nobody_has_named_or_all(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await make(engine, "kept", keep="")
            await make(engine, "named")
            await engine.volumes.create(VolumeCreate())
            (data(engine, "named") / "file").write_text("12345")
            assert len((await engine.volumes.prune({})).volumes_deleted) == 1
            done = await engine.volumes.prune({"all": ["true"], "label!": ["keep"]})
            assert (done.volumes_deleted, done.space_reclaimed) == (["named"], 5)
            assert isinstance(await raises(engine.volumes.prune({"all": ["1", "0"]})), InvalidInput)
            assert await names(engine) == ["kept"]

    harness.run(test)


def test_what_a_daemon_leaves_is_there_for_the_next_one(harness: EngineHarness) -> None:
    """A directory without a row is a volume, a row without a directory is none, and a half removal is finished."""

    async def test() -> None:
        engine = await harness.open()
        await make(engine, "kept", a="b")
        await make(engine, "lost")
        await harness.kill(engine)
        root = engine.settings.data_root / "volumes"
        os.rename(root / "lost", root / ".removed-1")
        (root / "found" / "_data").mkdir(parents=True)
        (root / "nothing").mkdir()
        async with harness.engine() as engine:
            assert await names(engine) == ["found", "kept"]
            assert (await engine.volumes.inspect("kept")).labels == {"a": "b"}
        async with harness.engine() as engine:
            assert await names(engine) == ["found", "kept"]

    harness.run(test)


def test_two_containers_that_first_use_a_volume_find_the_images_files_whole(
    harness: EngineHarness, tmp_path: Path
) -> None:
    layer = harness.layer
    (layer / "srv").mkdir(parents=True)
    for number in range(20):
        (layer / "srv" / f"{number}").write_text(f"{number}")

    async def test() -> None:
        async with harness.engine() as engine:
            binds: dict[str, Any] = {"binds": ["data:/srv"]}
            await asyncio.gather(*(create(engine, name=f"c{number}", **binds) for number in range(5)))
            assert sorted(os.listdir(data(engine, "data")), key=int) == [str(number) for number in range(20)]
            (data(engine, "data") / "0").unlink()
            await create(engine, name="later", **binds)
            assert not (data(engine, "data") / "0").exists()  # it is not filled again
            await create(engine, name="plain", binds=["empty:/srv:nocopy"])
            assert os.listdir(data(engine, "empty")) == []
            error = await raises(create(engine, name="file", config={"volumes": {"/srv/1": {}}}))
            assert str(error) == "cannot mount volume over existing file, file exists /srv/1"

    harness.run(test)


def test_disk_usage_knows_volumes(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine, binds=["data:/d"])
            (data(engine, "data") / "file").write_text("123")
            (shown,) = await engine.volumes.disk_usage()
            assert shown.usage_data is not None
            assert (shown.usage_data.size, shown.usage_data.ref_count) == (3, 1)  # type: ignore[union-attr]

    harness.run(test)
