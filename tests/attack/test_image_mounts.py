"""``--mount type=image``: what another image holds, and nothing else, whatever its layers and the path say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.archives import directory, docker_archive, link, member, tar
from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "docker", "overlay", "namespaces"), pytest.mark.usefixtures("clean")]

LAYERS = [
    tar([
        directory("data"), member("data/file", b"lower"), member("data/gone", b"x"), link("out", "/etc"),
        link("up", "../../../../etc"), link("magic", "/proc/self/root/etc"), link("inside", "data/file"),
        link("dangling", "/nowhere"), member("suid", b"#!/bin/sh\n", mode=0o4755),
    ]),
    tar([member("data/.wh.gone"), member("data/new", b"upper")]),
]  # fmt: skip


@pytest.fixture
def layered(daemon: Daemon, busybox: str) -> Iterator[str]:
    name = "layered:1"
    answer = daemon.request("POST", "/images/load", docker_archive(LAYERS, [name]))
    assert b"Loaded" in answer.body, answer.body
    yield name
    daemon.remove_containers()
    daemon.request("DELETE", f"/images/{name}", force=1)


def mounted(layered: str, subpath: str = "") -> dict[str, object]:
    """A mount for the API: the docker command here may be older than these mounts."""
    options = {"ImageOptions": {"Subpath": subpath}} if subpath else {}
    return {"Type": "image", "Source": layered, "Target": "/image", **options}


def output(daemon: Daemon, mount: dict[str, object], command: str) -> str:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", f"({command}) 2>&1"], "HostConfig": {"Mounts": [mount]}}
    made = daemon.request("POST", "/containers/create", body)
    assert made.status == 201, made.body
    identifier = made.json["Id"]
    begun = daemon.request("POST", f"/containers/{identifier}/start")
    if begun.status != 204:
        return begun.message
    daemon.request("POST", f"/containers/{identifier}/wait")
    return daemon.docker("logs", identifier).stdout


def test_the_files_of_an_image_are_there_and_cannot_be_changed(daemon: Daemon, layered: str) -> None:
    look = "cat /image/data/file /image/data/new; ls /image/data; touch /image/data/x; mount | grep -c ' /image '"
    said = output(daemon, mounted(layered), look)
    assert said.split() == [
        "lowerupperfile", "new", "touch:", "/image/data/x:", "Read-only", "file", "system", "1",
    ]  # fmt: skip
    assert "/image" not in Path("/proc/self/mountinfo").read_text(), "nothing is mounted on the host"


@pytest.mark.parametrize(
    ("subpath", "answer"),
    [
        ("data", "file new"),
        ("inside", "lower"),
        ("data/../data/file", "lower"),
        ("out", "not found"),
        ("up", "not found"),
        ("magic", "not found"),
        ("dangling", "not found"),
        ("missing", "not found"),
        ("data/file/x", "not found"),
    ],
)
def test_a_part_of_an_image_never_leads_out_of_it(daemon: Daemon, layered: str, subpath: str, answer: str) -> None:
    look = "if test -d /image; then echo $(ls /image); else cat /image; fi"
    assert answer in output(daemon, mounted(layered, subpath), look)


@pytest.mark.parametrize("subpath", ["/etc", "..", "../etc", "data/../../etc", "a\0b"])
def test_a_path_out_of_the_image_is_refused_at_once(daemon: Daemon, layered: str, subpath: str) -> None:
    body = {"Image": "busybox", "HostConfig": {"Mounts": [mounted(layered, subpath)]}}
    answer = daemon.request("POST", "/containers/create", body)
    assert answer.status == 400
    assert answer.message.endswith("subpath must be a relative path within the volume")


def test_an_image_that_is_mounted_stays_and_is_shown(daemon: Daemon, layered: str) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mounted(layered)]}}
    identifier = daemon.request("POST", "/containers/create", body).json["Id"]
    refused = daemon.request("DELETE", f"/images/{layered}")
    assert refused.status == 409
    assert f"container {identifier[:12]} is using its referenced image" in refused.message
    [shown] = daemon.request("GET", f"/containers/{identifier}/json").json["Mounts"]
    assert (shown["Type"], shown["Name"], shown["RW"], shown["Destination"]) == ("image", layered, False, "/image")
    daemon.request("DELETE", f"/images/{layered}", force=1)
    assert daemon.request("POST", f"/containers/{identifier}/start").status == 204, "its files are there still"
    missing = {"Image": "busybox", "HostConfig": {"Mounts": [mounted("no-such-image")]}}
    assert daemon.request("POST", "/containers/create", missing).status == 404
