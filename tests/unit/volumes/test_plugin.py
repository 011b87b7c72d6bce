"""Plugins are found where Docker looks for them, and bounded in what they can do when they misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.volume_plugin import VolumePlugin, plugin
from wherry.errors import NotFound, SystemFault, Unavailable, WherryError
from wherry.volumes.model import Volume
from wherry.volumes.plugin import PluginDriver, Plugins

VOLUME = Volume(name="data", driver="test")


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    path = tmp_path / "s"
    path.mkdir()
    return path


@pytest.fixture
def server(sockets: Path, tmp_path: Path) -> Iterator[VolumePlugin]:
    with plugin(sockets / "test.sock", tmp_path / "volumes") as found:
        yield found


@pytest.fixture
def driver(server: VolumePlugin) -> PluginDriver:
    return PluginDriver("test", f"unix://{server.server_address}", patience=30)


def run(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await work

    return asyncio.run(main())


def test_a_volume_is_made_mounted_looked_up_unmounted_and_removed(driver: PluginDriver, server: VolumePlugin) -> None:
    async def story() -> None:
        assert await driver.activate()
        assert await driver.scope() == "global"
        await driver.create(VOLUME)
        assert (await driver.mount(VOLUME, "web")).path == str(server.directory / "data")
        found = await driver.get("data")
        assert (found.path, found.status) == (str(server.directory / "data"), {"colour": "blue"})
        assert [one.name for one in await driver.list()] == ["data"]
        assert await driver.path(VOLUME) == str(server.directory / "data")
        await driver.unmount(VOLUME, "web")
        await driver.remove(VOLUME)
        with pytest.raises(NotFound, match="no volume data"):
            await driver.get("data")

    run(story())
    assert ("VolumeDriver.Mount", "web") in server.calls
    assert ("VolumeDriver.Unmount", "web") in server.calls


QUESTIONS: dict[str, Callable[[PluginDriver], Awaitable[object]]] = {
    "VolumeDriver.Create": lambda driver: driver.create(VOLUME),
    "VolumeDriver.Mount": lambda driver: driver.mount(VOLUME, "web"),
    "VolumeDriver.Unmount": lambda driver: driver.unmount(VOLUME, "web"),
    "VolumeDriver.Path": lambda driver: driver.path(VOLUME),
    "VolumeDriver.Get": lambda driver: driver.get("data"),
    "VolumeDriver.List": lambda driver: driver.list(),
    "Plugin.Activate": lambda driver: driver.activate(),
}


@pytest.mark.parametrize("method", QUESTIONS)
def test_one_that_hangs_dies_or_talks_nonsense_ends_in_a_sentence(
    driver: PluginDriver, server: VolumePlugin, method: str
) -> None:
    impatient = PluginDriver("test", f"unix://{server.server_address}", patience=0.2)
    server.odd[method] = "hang"
    with pytest.raises(Unavailable, match=rf"plugin test does not answer {method} within 0.2 s"):
        run(QUESTIONS[method](impatient))
    server.odd[method] = "die"
    with pytest.raises(Unavailable, match=f"plugin test does not answer {method}: it has closed the connection$"):
        run(QUESTIONS[method](driver))
    nobody = PluginDriver("test", f"unix://{server.server_address}-gone")
    with pytest.raises(Unavailable, match=r"plugin test does not answer [\w.]+: no such file or directory$"):
        run(QUESTIONS[method](nobody))
    for nonsense in (b"<html>\xff", b'{"Volume": {"Status": {"a": ' + b"[" * 100_000):
        server.odd[method] = nonsense
        with pytest.raises(SystemFault, match=f"plugin test answers {method} with nonsense"):
            run(QUESTIONS[method](driver))


@pytest.mark.parametrize("place", ["", "volumes/data", "a\0b", "/" + "x" * 5000])
def test_a_mount_point_that_is_none_is_told(driver: PluginDriver, server: VolumePlugin, place: str) -> None:
    server.odd["VolumeDriver.Mount"] = {"Mountpoint": place}
    with pytest.raises(SystemFault, match="plugin test has mounted volume data nowhere"):
        run(driver.mount(VOLUME, "web"))


def test_its_errors_are_told_in_its_words_without_what_steers_a_terminal(
    driver: PluginDriver, server: VolumePlugin
) -> None:
    with pytest.raises(SystemFault, match=r"VolumeDriver.Create: it is refused"):
        run(driver.create(Volume(name="data", options={"refuse": "1"})))
    server.odd["VolumeDriver.Create"] = {"Err": "\x1b[2J" + "x" * 10_000}
    with pytest.raises(SystemFault) as caught:
        run(driver.create(VOLUME))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_answer_of_another_volume_is_no_answer(driver: PluginDriver, server: VolumePlugin) -> None:
    server.odd["VolumeDriver.Get"] = {"Volume": {"Name": "other", "Mountpoint": "/etc"}}
    with pytest.raises(NotFound):
        run(driver.get("data"))


def test_plugins_are_found_by_sockets_and_specifications(sockets: Path, server: VolumePlugin, tmp_path: Path) -> None:
    (files := tmp_path / "etc").mkdir()
    address = f"unix://{server.server_address}"
    (files / "plain.spec").write_text(address + "\n")
    (files / "deep").mkdir()
    (files / "deep" / "deep.json").write_text(json.dumps({"Name": "deep", "Addr": address}))
    (files / "broken.json").write_text("{")
    (files / "nowhere.spec").write_text("ftp://x")
    (files / "odd.spec").write_text("tcp://[::1")
    (sockets / "file.sock").touch()
    plugins = Plugins(sockets, [files])
    assert plugins.names() == ["broken", "deep", "nowhere", "odd", "plain", "test"]
    for name in ("test", "plain", "deep"):
        assert run(plugins.find(name)).name == name
    for name in ("missing", "file", "../s/test", "", "a/b"):
        assert run(plugins.find(name)) is None
    for name, what in (("broken", "makes no sense"), ("nowhere", "has no address"), ("odd", "has no address")):
        with pytest.raises(SystemFault, match=what):
            run(plugins.find(name))
    server.odd["Plugin.Activate"] = {"Implements": ["NetworkDriver"]}
    assert run(plugins.find("test")) is None
    assert "test" not in plugins.names()


def test_certificates_that_are_not_there_are_told(sockets: Path, tmp_path: Path) -> None:
    (files := tmp_path / "etc").mkdir()
    tls = {"CAFile": str(tmp_path / "none"), "CertFile": "", "KeyFile": ""}
    (files / "far.json").write_text(json.dumps({"Addr": "https://127.0.0.1:1", "TLSConfig": tls}))
    with pytest.raises(WherryError, match="certificates of plugin far cannot be used"):
        run(Plugins(sockets, [files]).find("far"))
