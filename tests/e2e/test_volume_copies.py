"""Snapshots, clones and archives of volumes, as `wherry` makes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import Daemon
from support.needs import need, program
from support.registries import Registry

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


def inside(daemon: Daemon, volume: str, script: str) -> str:
    arguments = ("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "busybox", "sh", "-c", script)
    return daemon.cli(*arguments, check=True).stdout


@pytest.fixture
def volume(daemon: Daemon) -> Iterator[str]:
    daemon.cli("volume", "create", "--label", "for=tests", "data", check=True)
    inside(daemon, "data", "echo first > /data/file; ln /data/file /data/other; chown 33:44 /data; chmod 2770 /data")
    yield "data"
    daemon.remove_containers()
    for verb in ("ls", "snapshots"):
        for name in daemon.cli("volume", verb, "-q", check=True).stdout.split():
            daemon.cli("volume", "rm", name, check=True)


def test_a_snapshot_of_a_volume_in_use_is_of_one_moment_and_can_be_restored_and_cloned(
    daemon: Daemon, volume: str
) -> None:
    # Two files are written to in turn: at each moment they are of one length, or the first has one line more.
    count = "while :; do echo >> /data/a; echo >> /data/b; done"
    daemon.cli("run", "-d", "--name", "writer", "-v", "data:/data", "busybox", "sh", "-c", count, check=True)
    assert daemon.cli("volume", "snapshot", "data@one", check=True).stdout == "data@one\n"
    state = daemon.request("GET", "/containers/writer/json").json["State"]
    assert (state["Running"], state["Paused"]) == (True, False)
    [listed] = daemon.request("GET", "/wherry/volumes/snapshots", volume="data").json
    assert (listed["Name"], listed["Frozen"]) == ("data@one", ["writer"])
    refused = daemon.cli("volume", "restore", "-f", "data@one")
    assert refused.returncode == 1
    assert "in use by containers that run: writer" in refused.stderr
    daemon.cli("volume", "clone", "--label", "x=y", "data@one", "copy", check=True)
    shown = inside(
        daemon, "copy", "cat /data/a | wc -l; cat /data/b | wc -l; stat -c %h /data/file; stat -c '%u %g %a' /data"
    ).split("\n")
    assert int(shown[0]) - int(shown[1]) in (0, 1)
    assert shown[2:4] == ["2", "33 44 2770"]
    daemon.cli("rm", "-f", "writer", check=True)
    inside(daemon, "data", "rm /data/file; echo later > /data/new")
    daemon.cli("volume", "restore", "-f", "data@one", check=True)
    assert inside(daemon, "data", "cat /data/file; ls /data") == "first\na\nb\nfile\nother\n"
    assert inside(daemon, "copy", "ls /data") == "a\nb\nfile\nother\n"
    assert daemon.request("GET", "/volumes/copy").json["Labels"] == {"x": "y"}
    taken = daemon.cli("volume", "snapshot", "data@one")
    assert "there is a snapshot data@one already" in taken.stderr


def test_a_volume_is_made_again_of_the_snapshot_that_outlives_it(daemon: Daemon, volume: str) -> None:
    daemon.cli("volume", "snapshot", "data@kept", check=True)
    daemon.cli("volume", "rm", "data", check=True)
    assert daemon.cli("volume", "snapshots", "-q", check=True).stdout == "data@kept\n"
    daemon.cli("volume", "clone", "data@kept", "data", check=True)
    assert inside(daemon, "data", "cat /data/file") == "first\n"
    daemon.cli("volume", "rm", "data@kept", check=True)
    assert daemon.cli("volume", "snapshots", "-q", check=True).stdout == ""
    assert daemon.cli("volume", "rm", "data@kept").returncode == 1


def test_a_volume_goes_out_as_an_archive_and_comes_back(daemon: Daemon, volume: str, tmp_path: Path) -> None:
    archive = tmp_path / "data.tar"
    daemon.cli("volume", "export", "-o", str(archive), "data", check=True)
    daemon.cli("volume", "import", str(archive), "back", check=True)
    script = "cat /data/other; stat -c %h /data/file; stat -c '%u %g %a' /data"
    assert inside(daemon, "back", script) == "first\n2\n33 44 2770\n"
    again = daemon.cli("volume", "import", str(archive), "back")
    assert "there is a volume 'back' already" in again.stderr
    archive.write_bytes(archive.read_bytes()[:700])
    damaged = daemon.cli("volume", "import", str(archive), "half")
    assert damaged.returncode == 1
    assert "half" not in daemon.cli("volume", "ls", "-q", check=True).stdout


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Ours, for those with a password; nobody has one yet."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    bcrypt = pytest.importorskip("bcrypt")
    registry = Registry("wherry", f"me:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n")
    try:
        registry.start()
        yield registry
    finally:
        registry.stop()


def test_a_volume_goes_to_a_registry_and_comes_back_and_is_an_artifact_for_others(
    daemon: Daemon, busybox: str, volume: str, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.host}/backups/data"
    daemon.cli("volume", "snapshot", "data@one", check=True)
    assert daemon.cli("volume", "push", "data@one", name).returncode == 1  # not logged in
    daemon.cli("login", "-u", "me", "--password-stdin", registry.host, input="secret", check=True)
    said = daemon.cli("volume", "push", "data@one", name, check=True).stdout
    assert "Using default tag: latest" in said
    assert "data@one: Pushed" in said
    assert "latest: digest: sha256:" in said
    assert "Layer already exists" in daemon.cli("volume", "push", "data@one", f"{name}:again", check=True).stdout
    made = daemon.cli("volume", "pull", "--label", "x=y", name, "back", check=True).stdout
    assert made.splitlines()[-1] == "back"
    script = "cat /data/other; stat -c %h /data/file; stat -c '%u %g %a' /data"
    assert inside(daemon, "back", script) == "first\n2\n33 44 2770\n"
    assert daemon.request("GET", "/volumes/back").json["Labels"] == {"x": "y"}
    assert "there is a volume 'back' already" in daemon.cli("volume", "pull", name, "back").stderr
    # Neither is taken for the other.
    assert "is no container image" in daemon.cli("pull", name).stderr
    daemon.docker("tag", busybox, f"{name}:image", check=True)
    daemon.cli("push", f"{name}:image", check=True)
    daemon.docker("rmi", f"{name}:image", check=True)
    assert "is an image, not a volume" in daemon.cli("volume", "pull", f"{name}:image", "half").stderr
    assert "not found" in daemon.cli("volume", "pull", f"{name}:nothing", "half").stderr
    assert "half" not in daemon.cli("volume", "ls", "-q", check=True).stdout
    if program("skopeo"):
        copied = tmp_path / "copied"
        words = ("copy", "--src-tls-verify=false", "--src-creds", "me:secret", f"docker://{name}:latest")
        done = subprocess.run(
            ["skopeo", *words, f"dir:{copied}"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        [layer] = json.loads((copied / "manifest.json").read_text())["layers"]
        archive = copied / layer["digest"].partition(":")[2]
        daemon.cli("volume", "import", str(archive), "imported", check=True)
        assert inside(daemon, "imported", "cat /data/file") == "first\n"


def test_who_uses_what_is_shown(daemon: Daemon, volume: str) -> None:
    daemon.cli("create", "--name", "reader", "-v", "data:/data:ro", "busybox", check=True)
    daemon.cli("volume", "snapshot", "data@one", check=True)
    [row] = [
        json.loads(line) for line in daemon.cli("volume", "du", "--format", "json", check=True).stdout.split("\n")[:-1]
    ]
    assert (row["Name"], row["Users"], row["Snapshots"]) == ("data", "reader (created, ro)", "1 (6B)")
