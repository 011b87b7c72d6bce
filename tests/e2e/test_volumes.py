"""Volumes through Docker's client and docker-py."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import DriverConfig, Mount

from support.daemons import Daemon
from support.needs import need

pytestmark = [
    need("root", "busybox", "docker", "overlay", "namespaces"),
    # docker-py leaves sockets of finished streams to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _fresh(clean: None, busybox: str) -> None:
    pass


def run(daemon: Daemon, *words: str) -> str:
    return daemon.docker("run", "--rm", *words, check=True).stdout


def volumes(daemon: Daemon) -> list[str]:
    return daemon.docker("volume", "ls", "-q", check=True).stdout.split()


@pytest.fixture
def memory(daemon: Daemon) -> str:
    """A volume in memory: two mounts of it would be two of them."""
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,uid=7,mode=750")
    return daemon.docker("volume", "create", *options, "in-memory-only", check=True).stdout.strip()


def test_what_one_container_writes_the_next_one_reads(daemon: Daemon) -> None:
    run(daemon, "-v", "data:/a", "busybox", "sh", "-c", "echo kept > /a/file")
    assert run(daemon, "-v", "data:/b:ro", "busybox", "sh", "-c", "cat /b/file; touch /b/x || echo no") == "kept\nno\n"
    shown = json.loads(daemon.docker("volume", "inspect", "data", check=True).stdout)[0]
    assert (shown["Driver"], shown["Scope"], shown["Options"]) == ("local", "local", None)
    assert (Path(shown["Mountpoint"]) / "file").read_text() == "kept\n"
    assert "data" in daemon.docker("system", "df", "-v", check=True).stdout


def test_volumes_without_names_go_with_rm_v_and_with_run_rm(daemon: Daemon) -> None:
    run(daemon, "-v", "/x", "--mount", "type=volume,dst=/y", "busybox", "touch", "/x/file", "/y/file")
    assert volumes(daemon) == []
    daemon.docker("create", "--name", "one", "-v", "/x", "-v", "named:/n", "busybox", check=True)
    daemon.docker("create", "--name", "two", "--volumes-from", "one:ro", "busybox", check=True)
    assert len(volumes(daemon)) == 2
    refused = daemon.docker("volume", "rm", "named")
    assert "remove named: volume is in use - [" in refused.stderr
    daemon.docker("rm", "-v", "one", check=True)
    assert len(volumes(daemon)) == 2
    daemon.docker("rm", "-v", "two", check=True)
    assert volumes(daemon) == ["named"]
    assert "named" in daemon.docker("volume", "prune", "-af", check=True).stdout


def test_part_of_a_volume_is_mounted(daemon: Daemon) -> None:
    run(daemon, "-v", "data:/d", "busybox", "sh", "-c", "mkdir -p /d/a/b; echo x > /d/a/b/file; ln -s /etc /d/out")
    mount = "type=volume,src=data,dst=/m,volume-subpath="
    assert run(daemon, "--mount", f"{mount}a/b", "busybox", "ls", "/m") == "file\n"
    assert run(daemon, "--mount", f"{mount}a/b/file", "busybox", "cat", "/m") == "x\n"
    for subpath, sentence in (("out", "leads out of the volume"), ("none", "no such file"), ("../x", "relative path")):
        assert sentence in daemon.docker("run", "--rm", "--mount", mount + subpath, "busybox", "ls", "/m").stderr


def test_a_mounted_volume_is_shared_and_never_on_the_host(daemon: Daemon, memory: str) -> None:
    daemon.docker("run", "-d", "--name", "holder", "-v", f"{memory}:/m", "busybox", "sleep", "600", check=True)
    daemon.docker("exec", "holder", "sh", "-c", "mkdir /m/sub; echo shared > /m/sub/file", check=True)
    words = ("-v", f"{memory}:/other:ro", "busybox", "sh", "-c")
    script = "cat /other/sub/file; stat -c '%u %a' /other; touch /other/x || echo no; grep -o 'size=1024k' /proc/mounts"
    assert run(daemon, *words, script) == "shared\n7 750\nno\nsize=1024k\n"
    subpath = f"type=volume,src={memory},dst=/m,volume-subpath=sub"
    assert run(daemon, "--mount", subpath, "busybox", "cat", "/m/file") == "shared\n"
    daemon.kill9()
    daemon.start()
    assert run(daemon, *words, "cat /other/sub/file") == "shared\n"
    assert memory not in Path("/proc/self/mountinfo").read_text()
    daemon.docker("rm", "-f", "holder", check=True)
    assert run(daemon, *words, "ls /other") == ""  # the last one took it along


def test_what_cannot_be_mounted_is_said_without_the_password(daemon: Daemon, tmp_path: Path) -> None:
    options = [word for text in ("type=none", f"device={tmp_path}/no", "o=bind,password=hidden")
               for word in ("--opt", text)]  # fmt: skip
    daemon.docker("volume", "create", *options, "broken", check=True)
    refused = daemon.docker("run", "--rm", "-v", "broken:/b", "busybox", "true").stderr
    assert "failed to mount local volume" in refused
    assert "hidden" not in refused
    assert volumes(daemon) == ["broken"]


def test_a_directory_of_the_host_is_a_volume(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    config = DriverConfig("local", {"type": "none", "device": str(tmp_path), "o": "bind,ro"})
    client = docker.DockerClient(base_url=daemon.host, version="auto", timeout=60)
    try:
        mount = Mount("/d", "hosts", driver_config=config, labels={"a": "b"})
        script = "cat /d/file; touch /d/x || echo no"
        shown = client.containers.run("busybox", ["sh", "-c", script], mounts=[mount], remove=True, stderr=False)
        assert shown == b"from the host\nno\n"
        (volume,) = client.volumes.list(filters={"label": "a=b"})
        assert volume.attrs["Options"] == {"type": "none", "device": str(tmp_path), "o": "bind,ro"}
        volume.remove()
        assert client.volumes.prune({"all": True})["VolumesDeleted"] in ([], None)
    finally:
        client.close()
    assert (tmp_path / "file").exists()


def test_a_directory_of_the_host_that_is_empty_is_filled_like_any_volume(daemon: Daemon) -> None:
    """As Compose files have it that want an image's files on the host."""
    (place := daemon.data_root / "on-the-host").mkdir()  # on the mount that its volumes are on
    options = ("type=none", f"device={place}", "o=bind")
    create = ("volume", "create", *(word for option in options for word in ("--opt", option)), "filled")
    daemon.docker(*create, check=True)
    run(daemon, "-v", "filled:/etc", "busybox", "sh", "-c", "grep -q guest /etc/passwd && touch /etc/new")
    assert {"passwd", "group", "new"} <= set(os.listdir(place))
    (place / "passwd").unlink()
    run(daemon, "-v", "filled:/etc:ro", "busybox", "sh", "-c", "test -e /etc/new && ! test -e /etc/passwd")
    daemon.docker("volume", "rm", "filled", check=True)
    assert (place / "new").exists()
    shutil.rmtree(place)


def test_what_happens_to_volumes_is_told_as_docker_tells_it(daemon: Daemon) -> None:
    now = f"{time.time():.6f}"
    arguments = ("events", "--since", now, "--filter", "type=volume", "--format", "{{.Action}} {{json .Actor}}")
    with daemon.following(*arguments) as lines:
        daemon.docker("volume", "create", "seen", check=True)
        told = [_next(lines)]
        run(daemon, "-v", "seen:/s:ro", "busybox", "true")
        told += [_next(lines), _next(lines)]
        daemon.docker("volume", "rm", "seen", check=True)
        told += [_next(lines)]
    assert [action for action, _ in told] == ["create", "mount", "unmount", "destroy"]
    assert all(actor["ID"] == "seen" and actor["Attributes"]["driver"] == "local" for _, actor in told)
    mounted = told[1][1]["Attributes"]
    assert (mounted["destination"], mounted["read/write"], mounted["propagation"]) == ("/s", "false", "")
    assert mounted["container"] == told[2][1]["Attributes"]["container"]


def _next(lines: Iterator[str]) -> tuple[str, dict[str, Any]]:
    action, _, actor = next(lines).partition(" ")
    return action, json.loads(actor)
