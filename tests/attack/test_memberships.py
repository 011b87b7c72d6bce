"""A container is on the networks that were named for it, and on no other: no way out that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need

pytestmark = [need("root", "busybox", "overlay", "namespaces")]


@pytest.fixture(autouse=True)
def _networks(daemon: Daemon, clean: None, busybox: str) -> Iterator[None]:
    for name, internal in (("inside", True), ("second", True)):
        assert daemon.request("POST", "/networks/create", {"Name": name, "Internal": internal}).status == 201
    yield
    daemon.remove_containers()
    for name in ("inside", "second"):
        daemon.request("DELETE", f"/networks/{name}")


def create(daemon: Daemon, version: str, mode: str | None, *asked: str, **more: Any) -> Any:
    endpoints = {name: {} for name in asked}
    body = {"Image": "busybox", "Cmd": ["ip", "route"], "HostConfig": {"NetworkMode": mode},
            "NetworkingConfig": {"EndpointsConfig": endpoints}, **more}  # fmt: skip
    return daemon.request("POST", f"/v{version}/containers/create", body)


@pytest.mark.parametrize("version", ["1.41", "1.43", "1.44", "1.51"])
@pytest.mark.parametrize("mode", [None, "", "default", "bridge", "none", "inside"])
def test_who_is_meant_for_an_internal_network_gets_no_way_out(daemon: Daemon, version: str, mode: str | None) -> None:
    made = create(daemon, version, mode, "inside")
    assert made.status == 201, made.body
    path = f"/containers/{made.json['Id']}"
    assert daemon.request("POST", f"{path}/start").status == 204
    daemon.request("POST", f"{path}/wait")
    assert b"default" not in daemon.request("GET", f"{path}/logs", stdout=True).body
    assert list(daemon.request("GET", f"{path}/json").json["NetworkSettings"]["Networks"]) == ["inside"]


def test_several_networks_are_for_newer_clients(daemon: Daemon) -> None:
    made = create(daemon, "1.43", "inside", "inside", "second")
    said = "Container cannot be created with multiple network endpoints: inside, second"
    assert (made.status, made.message) == (400, said)
    made = create(daemon, "1.44", "inside", "inside", "second")
    shown = daemon.request("GET", f"/containers/{made.json['Id']}/json").json
    assert sorted(shown["NetworkSettings"]["Networks"]) == ["inside", "second"]


def test_the_mac_address_of_old_clients_is_that_of_their_only_network(daemon: Daemon) -> None:
    own = {"MacAddress": "02:11:22:33:44:55"}
    made = create(daemon, "1.43", "bridge", "inside", **own)
    assert made.status == 201, made.body
    shown = daemon.request("GET", f"/v1.43/containers/{made.json['Id']}/json").json
    assert shown["Config"]["MacAddress"] == own["MacAddress"]
    refused = create(daemon, "1.44", "bridge", "inside", **own)
    assert refused.status == 400
    assert "HostConfig.NetworkMode must match the identity of a network" in refused.message


def test_the_hosts_network_goes_with_no_other(daemon: Daemon) -> None:
    for version in ("1.41", "1.51"):
        made = create(daemon, version, "host", "inside")
        assert made.status == 400
        assert "cannot be connected to any other network" in made.message
