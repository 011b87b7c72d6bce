"""Volumes that are mounted are filled by a real engine, without root but for mounts: `support.engine_harness`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support.engine_harness import EngineHarness, create, harness, raises
from support.needs import need
from support.volume_plugin import VolumePlugin, plugin
from wherry.docker.container_requests import Mount, MountVolumeOptions
from wherry.docker.volumes import VolumeCreate
from wherry.engine import engine as composition
from wherry.volumes.plugin import Plugins

__all__ = ["harness"]

pytestmark = need("root")


@pytest.fixture
def server(harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VolumePlugin]:
    (sockets := tmp_path / "s").mkdir()
    monkeypatch.setattr(composition, "Plugins", lambda: Plugins(sockets, [], patience=30))
    with plugin(sockets / "other.sock", tmp_path / "theirs") as found:
        yield found


def test_a_plugins_volume_gets_the_images_files(harness: EngineHarness, server: VolumePlugin) -> None:
    (harness.layer / "srv").mkdir(parents=True)
    (harness.layer / "srv" / "file").write_text("the image's")

    async def test() -> None:
        async with harness.engine() as engine:
            for name in ("theirs", "full", "left"):
                await engine.volumes.create(VolumeCreate(name=name, driver="other"))
            (server.directory / "full" / "own").touch()
            server.calls.clear()
            for name, mode in (("theirs", ""), ("full", ""), ("left", ":nocopy")):
                await create(engine, name=name, binds=[f"{name}:/srv{mode}"])
            found = {name: os.listdir(server.directory / name) for name in ("theirs", "full", "left")}
            assert found == {"theirs": ["file"], "full": ["own"], "left": []}
            users = {method: [who for called, who in server.calls if called == method] for method, _ in server.calls}
            assert users["VolumeDriver.Mount"] == users["VolumeDriver.Unmount"]
            assert len(set(users["VolumeDriver.Mount"])) == 2
            server.odd["VolumeDriver.Mount"] = {"Err": "no disk"}
            error = await raises(create(engine, name="refused", binds=["left:/srv"]))
            assert str(error) == "failed to populate volume: VolumeDriver.Mount: no disk"

    harness.run(test)


def test_a_part_of_a_volume_gets_the_images_files(harness: EngineHarness) -> None:
    (harness.layer / "srv").mkdir(parents=True)
    (harness.layer / "srv" / "file").write_text("the image's")

    def part(subpath: str) -> dict[str, Any]:
        options = MountVolumeOptions(subpath=subpath)
        return {"mounts": [Mount(type="volume", source="data", target="/srv", volume_options=options)]}

    async def test() -> None:
        async with harness.engine() as engine:
            await engine.volumes.create(VolumeCreate(name="data"))
            top = engine.settings.data_root / "volumes/data/_data"
            (top / "part").mkdir()
            (top / "plain").touch()
            (top / "out").symlink_to("/")
            for subpath in ("part", "nothing", "plain", "out"):  # what is not there, or wrong, the start says
                await create(engine, name=subpath, **part(subpath))
            assert os.listdir(top / "part") == ["file"]
            assert sorted(os.listdir(top)) == ["out", "part", "plain"]

    harness.run(test)


def test_a_copy_that_was_cut_short_is_finished_before_a_start(harness: EngineHarness, server: VolumePlugin) -> None:
    (harness.layer / "srv").mkdir(parents=True)
    (harness.layer / "srv" / "file").write_text("the image's")

    async def test() -> None:
        async with harness.engine() as engine:
            for name in ("whole", "half"):
                await engine.volumes.create(VolumeCreate(name=name, driver="other"))
                await create(engine, "sleep", "1000", name=name, binds=[f"{name}:/srv:nocopy"])
                engine.volumes.store.put(replace(engine.volumes.get(name), unfinished_copy=""))
        for name, left in (("whole", ".wherry-whole"), ("half", ".wherry-copy")):
            (server.directory / name / left).mkdir()
            (server.directory / name / left / "rest").touch()
        async with harness.engine() as engine:
            for name in ("whole", "half"):
                await engine.containers.start(name)
                assert engine.volumes.get(name).unfinished_copy is None
            assert os.listdir(server.directory / "whole") == ["rest"]
            assert os.listdir(server.directory / "half") == []

    harness.run(test)


def test_a_directory_of_the_host_that_is_not_there_or_not_to_be_written_to(harness: EngineHarness) -> None:
    (harness.layer / "srv").mkdir(parents=True)
    (harness.layer / "srv" / "file").write_text("the image's")

    async def test() -> None:
        async with harness.engine() as engine:
            (place := engine.settings.data_root / "read-only").mkdir()
            for name, further in (("read-only", ",ro"), ("gone", "")):
                options = {"type": "none", "device": str(engine.settings.data_root / name), "o": f"bind{further}"}
                await engine.volumes.create(VolumeCreate(name=name, driver="local", driver_opts=options))
            await create(engine, name="read-only", binds=["read-only:/srv"])
            assert os.listdir(place) == []
            error = await raises(create(engine, name="gone", binds=["gone:/srv"]))
            assert str(error).startswith("failed to populate volume: error while mounting volume")
            await create(engine, name="gone", binds=["gone:/not/in/the/image"])  # its start says it

    harness.run(test)
