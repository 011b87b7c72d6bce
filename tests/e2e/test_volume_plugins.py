"""A volume plugin that people have, at work for containers: Docker's protocol, in Docker's places."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need
from support.volume_plugin import VolumePlugin, plugin

pytestmark = need("root", "busybox", "overlay", "namespaces")

SOCKETS = Path("/run/docker/plugins")
NAME = f"wherry-test-{os.getpid()}"


@pytest.fixture
def server(daemon: Daemon, clean: None, busybox: str, tmp_path: Path) -> Iterator[VolumePlugin]:
    new = [path for path in (SOCKETS, SOCKETS.parent) if not path.exists()]
    SOCKETS.mkdir(parents=True, exist_ok=True)
    try:
        with plugin(SOCKETS / f"{NAME}.sock", tmp_path / "volumes") as found:
            yield found
            daemon.remove_containers()
    finally:
        for path in new:
            path.rmdir()


def test_a_container_has_a_plugins_volume_from_its_start_to_its_end(daemon: Daemon, server: VolumePlugin) -> None:
    assert NAME in daemon.request("GET", "/info").json["Plugins"]["Volume"]
    daemon.cli("volume", "create", "-d", NAME, "-o", "colour=blue", "theirs", check=True)
    run = ("run", "--network", "none", "-v", "theirs:/data", "--name", "user", "busybox")
    daemon.cli(*run, "sh", "-c", "echo content > /data/file", check=True)
    assert (server.directory / "theirs" / "file").read_text() == "content\n"
    identifier = daemon.request("GET", "/containers/user/json").json["Id"]
    calls = [call for call in server.calls if call[0] in ("VolumeDriver.Mount", "VolumeDriver.Unmount")]
    assert calls == [("VolumeDriver.Mount", identifier), ("VolumeDriver.Unmount", identifier)]
    shown = daemon.request("GET", "/volumes/theirs").json
    assert (shown["Driver"], shown["Scope"], shown["Status"]) == (NAME, "global", {"colour": "blue"})
    assert daemon.cli("volume", "snapshot", "theirs").stderr.count(f"its driver is {NAME}") == 1
    daemon.cli("rm", "user", check=True)
    daemon.cli("volume", "rm", "theirs", check=True)
    assert not (server.directory / "theirs").exists()


def test_a_plugin_that_fails_is_told_of_and_nothing_is_left(daemon: Daemon, server: VolumePlugin) -> None:
    refused = daemon.cli("volume", "create", "-d", NAME, "-o", "refuse=1", "theirs")
    assert "VolumeDriver.Create: it is refused" in refused.stderr
    assert daemon.cli("volume", "ls", "-q", check=True).stdout == ""
    daemon.cli("volume", "create", "-d", NAME, "theirs", check=True)
    run = ("run", "--rm", "--network", "none", "-v", "theirs:/data", "busybox", "true")
    for odd, what in (
        ("die", f"plugin {NAME} does not answer VolumeDriver.Mount"),
        ({"Err": "no disk"}, "VolumeDriver.Mount: no disk"),
        ({"Mountpoint": "../etc"}, "nowhere"),
        ({"Mountpoint": "/nowhere/at/all"}, "/nowhere/at/all"),
    ):
        server.odd["VolumeDriver.Mount"] = odd
        failed = daemon.cli(*run)
        assert (failed.returncode, what in failed.stderr) == (125, True), failed.stderr
    server.odd = {"VolumeDriver.Unmount": "die"}
    daemon.cli(*run, check=True)
    server.odd = {}
    missing = daemon.cli("volume", "create", "-d", "no-such-plugin")
    assert 'plugin "no-such-plugin" not found' in missing.stderr
    daemon.cli("volume", "rm", "theirs", check=True)
