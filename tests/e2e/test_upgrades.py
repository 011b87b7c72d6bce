"""A daemon on the data root of an earlier version keeps its containers, images and networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import needs, old_data_root
from support.daemons import Daemon


@pytest.fixture
def upgraded() -> Iterator[Daemon]:
    """A daemon on a data root that was made by the program whose tables had version 1."""
    needs.check("root")
    daemon = Daemon("--debug")
    try:
        old_data_root.make(daemon.data_root)
        daemon.start()
        yield daemon
    finally:
        daemon.shut_down()


def states(daemon: Daemon) -> dict[str, tuple[str, str]]:
    """Each container's name to its ID and status."""
    listed = daemon.request("GET", "/containers/json", all=True).json
    return {one["Names"][0].removeprefix("/"): (one["Id"], one["State"]) for one in listed}


def test_containers_images_and_networks_are_kept(upgraded: Daemon) -> None:
    wanted = {"created": "created", "exited": "exited", "running": "exited"}  # it ran when its machine went
    for again in (False, True):
        if again:
            upgraded.restart()
        assert states(upgraded) == {
            name: (identifier, wanted[name]) for name, identifier in old_data_root.CONTAINERS.items()
        }
        tags = [tag for image in upgraded.request("GET", "/images/json").json for tag in image["RepoTags"]]
        assert {"small:1", "team/small:2"} <= set(tags)
        networks = {network["Name"]: network for network in upgraded.request("GET", "/networks").json}
        assert {name: network["Id"] for name, network in networks.items()} == old_data_root.NETWORKS
        assert networks["lan"]["Labels"] == {"team": "red"}
        assert networks["lan"]["IPAM"]["Config"] == [{"Subnet": "10.241.7.0/24", "Gateway": "10.241.7.1"}]


def test_what_was_kept_can_be_used_and_removed(upgraded: Daemon) -> None:
    running = old_data_root.CONTAINERS["running"]
    found = upgraded.request("GET", f"/containers/{running}/json").json
    assert (found["Name"], found["Config"]["Cmd"], found["Config"]["Labels"]) == (
        "/running",
        ["sleep", "1000"],
        {"as": "running"},
    )
    assert upgraded.request("POST", f"/containers/{running}/rename", name="renamed").status == 204
    made = upgraded.request("POST", "/containers/create", {"Image": "team/small:2", "Cmd": ["true"]}, name="new")
    assert made.status == 201, made.body
    assert set(states(upgraded)) == {"created", "exited", "renamed", "new"}
    upgraded.remove_containers()
    assert upgraded.request("DELETE", "/networks/lan").status == 204
    assert upgraded.request("DELETE", "/images/small:1").status == 200
    assert upgraded.request("DELETE", "/images/team/small:2").status == 200
    assert states(upgraded) == {}
