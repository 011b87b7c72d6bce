"""Volumes and the containers that use them, under a real engine, without root: `support.engine_harness`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engine_harness import EngineHarness, create, harness, raises
from support.volume_plugin import VolumePlugin, plugin
from wherry.docker.container_requests import Mount, MountVolumeDriver, MountVolumeOptions
from wherry.docker.volume_copies import SnapshotRequest
from wherry.docker.volumes import VolumeCreate
from wherry.engine import engine as composition
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.engine import Engine
from wherry.errors import Conflict, InvalidInput, NotFound, SystemFault, Unavailable, WherryError
from wherry.volumes.plugin import Plugins

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
            assert (found["/own"].name, found["/d"].copy, found["/host"].options[-1]) == ("mine", False, "rro")
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
        (VolumeCreate(name='a\n"b'), InvalidInput, r'"a\n\"b" includes invalid characters'),
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
            assert await names(engine, dangling=["1", "true"]) == ["blue", "red"]
            for wrong, sentence in (
                ({"dangling": ["maybe"]}, "invalid filter 'dangling=[maybe]'"), ({"colour": ["red"]}, "'colour'"),
                ({"dangling": ["1", "0"]}, "invalid filter 'dangling=[1 0]'"),
            ):  # fmt: skip
                error = await raises(engine.volumes.list(wrong))
                assert isinstance(error, InvalidInput)
                assert sentence in str(error)

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
            error = await raises(create(engine, name="file", binds=["other:/srv/1"]))
            assert str(error) == "source /srv/1 is not directory (the image has a file there)"

    harness.run(test)


def test_a_directory_of_the_host_that_is_a_volume_gets_the_images_files(harness: EngineHarness) -> None:
    (harness.layer / "srv").mkdir(parents=True)
    (harness.layer / "srv" / "file").write_text("the image's")

    async def test() -> None:
        async with harness.engine() as engine:
            for name in ("empty", "full", "left"):
                (place := engine.settings.data_root / f"host-{name}").mkdir()
                options = {"type": "none", "device": str(place), "o": "bind"}
                await engine.volumes.create(VolumeCreate(name=name, driver="local", driver_opts=options))
                if name == "full":
                    (place / "own").touch()
                mode = ":nocopy" if name == "left" else ""
                await create(engine, name=name, binds=[f"{name}:/srv{mode}"])
                found = {"empty": ["file"], "full": ["own"]}.get(name, [])
                assert os.listdir(place) == found
                assert os.listdir(data(engine, name)) == []

    harness.run(test)


def test_disk_usage_knows_volumes(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            await create(engine, binds=["data:/d"])
            (data(engine, "data") / "file").write_text("12345")
            for name in ("second", "third"):
                os.link(data(engine, "data") / "file", data(engine, "data") / name)
            (shown,) = await engine.volumes.disk_usage()
            assert shown.usage_data is not None
            assert (shown.usage_data.size, shown.usage_data.ref_count) == (5, 1)  # type: ignore[union-attr]

    harness.run(test)


# --- what others do meanwhile -------------------------------------------------------------------------------


def test_an_exit_does_not_wait_for_a_copy_of_the_volume(harness: EngineHarness) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000", binds=["data:/d"])
            await engine.containers.start("web")
            async with engine.volumes.locked("data"):  # as for a snapshot, for as long as that takes
                await engine.containers.stop("web", timeout=5)
                assert not container.state.is_alive
        assert happened(harness) == ["create", "mount", "unmount"]

    harness.run(test)


def test_what_is_being_copied_is_not_removed(harness: EngineHarness) -> None:
    """Half of it would look like all of it."""

    async def test() -> None:
        async with harness.engine() as engine:
            await make(engine, "data")
            copies = engine.volume_copies
            await copies.snapshot("data", SnapshotRequest(name="one"))
            for name, remove in (("data", engine.volumes.remove), ("data@one", copies.remove_snapshot)):
                archive = copies.export(name)
                assert await anext(archive)
                assert isinstance(await raises(remove(name)), Conflict)
                if name == "data":
                    assert "data is being copied" in str(await raises(copies.restore("data@one")))
                await archive.aclose()
            await copies.remove_snapshot("data@one")
            await engine.volumes.remove("data")
            assert isinstance(await raises(copies.restore("data@one")), NotFound)

    harness.run(test)


def test_a_container_that_somebody_pauses_meanwhile_stays_paused(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000", binds=["data:/d"])
            await engine.containers.start("web")

            async def lost(_container: Container) -> None:
                container.state.status = Status.PAUSED  # by somebody who came first
                raise Conflict("it is already paused")

            with monkeypatch.context() as patch:
                patch.setattr(engine._lifecycle, "pause", lost)
                shown = await engine.volume_copies.snapshot("data", SnapshotRequest(name="one"))
            assert (shown.frozen, container.state.status) == ([], Status.PAUSED)
            container.state.status = Status.RUNNING

    harness.run(test)


def test_a_container_stands_still_until_the_last_snapshot_that_wants_it(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with harness.engine() as engine:
            container = await create(engine, "sleep", "1000", binds=["one:/1", "two:/2"])
            await engine.containers.start("web")

            async def move(_container: Container) -> None:
                running = container.state.status is Status.RUNNING
                container.state.status = Status.PAUSED if running else Status.RUNNING

            with monkeypatch.context() as patch:
                patch.setattr(engine._lifecycle, "pause", move)  # there is no cgroup here
                patch.setattr(engine._lifecycle, "unpause", move)
                holder = engine.volume_copies._holder
                async with holder.still("one", freeze=True) as first:
                    async with holder.still("two", freeze=True) as second:
                        assert list(first) == list(second) == [container]
                    assert container.state.status is Status.PAUSED
                assert container.state.status is Status.RUNNING

    harness.run(test)


def test_a_container_never_starts_with_half_of_what_the_image_has(harness: EngineHarness) -> None:
    """The disk was full when a whole copy was moved to its place, and the daemon has ended."""

    async def test() -> None:
        engine = await harness.open()
        await create(engine, "sleep", "1000", binds=["data:/d"])
        await harness.kill(engine)
        whole = data(engine, "data").with_name("_whole")
        whole.mkdir()
        (whole / "rest").touch()
        whole.chmod(0o755)
        async with harness.engine() as engine:
            assert os.listdir(data(engine, "data")) == ["rest"]
            whole.mkdir()
            (whole / "later").touch()
            await engine.containers.start("web")
            assert sorted(os.listdir(data(engine, "data"))) == ["later", "rest"]

    harness.run(test)


# --- other drivers ------------------------------------------------------------------------------------------


@pytest.fixture
def server(harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VolumePlugin]:
    (sockets := tmp_path / "s").mkdir()
    monkeypatch.setattr(composition, "Plugins", lambda: Plugins(sockets, [], patience=30))
    with plugin(sockets / "other.sock", tmp_path / "theirs") as found:
        yield found


def test_what_a_plugin_has_is_listed_and_can_be_used(harness: EngineHarness, server: VolumePlugin) -> None:
    async def test() -> None:
        (server.directory / "theirs").mkdir()
        (server.directory / "same").mkdir()
        async with harness.engine() as engine:
            await engine.volumes.create(VolumeCreate(name="same", driver="local"))
            listed = {one.name: one for one in (await engine.volumes.list({})).volumes}
            assert {name: one.driver for name, one in listed.items()} == {"same": "local", "theirs": "other"}
            assert listed["theirs"].mountpoint == str(server.directory / "theirs")
            assert (await engine.volumes.inspect("theirs")).scope == "global"
            assert await names(engine, driver=["local"]) == ["same"]
            container = await create(engine, binds=["theirs:/d"])
            assert container.definition.mounts[0].driver == "other"
            (point,) = engine.containers.inspect("web").mounts
            assert point.source == str(server.directory / "theirs")
            assert ("VolumeDriver.Create", "theirs") not in server.calls
            assert isinstance(await raises(engine.volumes.remove("theirs")), Conflict)
            await engine.containers.remove("web")
            server.odd["VolumeDriver.List"] = "die"
            answer = await engine.volumes.list({})
            assert [one.name for one in answer.volumes] == ["same", "theirs"]  # this one is known by now
            (warning,) = answer.warnings or ()
            assert warning.startswith("list other: plugin other does not answer VolumeDriver.List")
            server.odd.clear()
            await engine.volumes.remove("theirs")
            assert not (server.directory / "theirs").exists()
            assert isinstance(await raises(engine.volumes.remove("theirs")), NotFound)
            (server.directory / "more").mkdir()
            await engine.volumes.remove("more")
            assert await names(engine) == ["same"]

    harness.run(test)


def test_only_what_was_mounted_is_unmounted(harness: EngineHarness, server: VolumePlugin) -> None:
    """Plugins count: one that hears of an end too many takes the volume from those who have it."""

    async def test() -> None:
        async with harness.engine() as engine:
            await engine.volumes.create(VolumeCreate(name="theirs", driver="other"))
            await create(engine, "sleep", "1000", binds=["theirs:/a", "theirs:/b"])
            harness.network.refuse = [SystemFault("no network")]
            await raises(engine.containers.start("web"))
            server.odd["VolumeDriver.Mount"] = {"Err": "no disk"}
            await raises(engine.containers.start("web"))
            server.odd.clear()
            asked = [method for method, _ in server.calls]
            assert "VolumeDriver.Unmount" not in asked
            await engine.containers.start("web")
            await engine.containers.remove("web", force=True)
            asked = [method for method, _ in server.calls]
            assert asked.count("VolumeDriver.Unmount") == asked.count("VolumeDriver.Mount") == 2
            server.odd["VolumeDriver.Path"] = {"Mountpoint": "nowhere"}
            server.odd["VolumeDriver.Mount"] = {"Mountpoint": str(server.directory)}
            await create(engine, "sleep", "1000", binds=["theirs:/a"])
            assert [point.source for point in engine.containers.inspect("web").mounts] == [""]
            await engine.containers.start("web")
        async with harness.engine() as engine:  # another daemon knows as well where it is this time
            assert [point.source for point in engine.containers.inspect("web").mounts] == [str(server.directory)]

    harness.run(test)
