"""What a version of the API brought is there from that version on, and what it dropped up to the one before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.daemons import Daemon
from support.needs import need
from support.networks import network

pytestmark = need("root", "busybox")

NEWEST = "1.56"
MAC = "02:42:ac:11:00:99"
ON_TOP = {
    *("Bridge", "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "HairpinMode", "IPAddress"),
    *("IPPrefixLen", "IPv6Gateway", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "MacAddress"),
    *("SecondaryIPAddresses", "SecondaryIPv6Addresses"),
}


def ask(daemon: Daemon, version: str, path: str, **query: Any) -> Any:
    answer = daemon.request("GET", f"/v{version}{path}", **query)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.fixture
def web(daemon: Daemon, busybox: str) -> Iterator[str]:
    """A running container on the default bridge, which was asked for in the way of 1.51."""
    body = {
        "Image": busybox, "Cmd": ["sleep", "600"], "MacAddress": MAC, "HostConfig": {"NetworkMode": "bridge"}
    }  # fmt: skip
    answer = daemon.request("POST", "/v1.51/containers/create", body, name="version-web")
    assert answer.status == 201, answer.body
    assert "container-wide MacAddress field is now deprecated" in answer.json["Warnings"][0]
    assert daemon.request("POST", "/containers/version-web/start").status == 204
    yield "version-web"
    daemon.request("DELETE", "/containers/version-web", force=True)


@pytest.mark.parametrize(("version", "is_new"), [("1.24", False), ("1.51", False), ("1.52", True), (NEWEST, True)])
def test_the_default_bridge_stands_on_top_up_to_1_51(daemon: Daemon, web: str, version: str, is_new: bool) -> None:
    shown = ask(daemon, version, f"/containers/{web}/json")
    settings, place = shown["NetworkSettings"], shown["NetworkSettings"]["Networks"]["bridge"]
    assert place["MacAddress"] == MAC
    assert ON_TOP & set(settings) == (set() if is_new else ON_TOP)
    assert ("MacAddress" in shown["Config"], "OnBuild" in shown["Config"]) == (not is_new, not is_new)
    if not is_new:
        assert settings["IPAddress"] == place["IPAddress"] != ""


def test_a_list_tells_annotations_from_1_46_and_health_from_1_52_on(daemon: Daemon, web: str) -> None:
    def row(version: str) -> Any:
        [found] = ask(daemon, version, "/containers/json", filters=json.dumps({"name": [web]}))
        return found

    assert "Annotations" not in row("1.45")["HostConfig"]
    assert row("1.46")["HostConfig"]["Annotations"] == {}
    assert "Health" not in row("1.51")
    assert row("1.52")["Health"] == {"Status": "none", "FailingStreak": 0}
    assert ask(daemon, NEWEST, f"/containers/{web}/stats", stream=0, **{"one-shot": 1})["os_type"] == "linux"


def test_a_container_has_no_mac_address_of_its_own_from_1_52_on(daemon: Daemon, busybox: str) -> None:
    body = {"Image": busybox, "MacAddress": MAC}
    answer = daemon.request("POST", "/v1.52/containers/create", body)
    assert (answer.status, answer.message) == (
        400, "container-wide MAC address no longer supported; use endpoint-specific MAC address instead"
    )  # fmt: skip


@pytest.mark.parametrize("version", ["1.51", "1.52"])
def test_an_empty_list_of_bindings_means_anywhere_and_newer_clients_are_warned(
    daemon: Daemon, busybox: str, version: str
) -> None:
    body = {"Image": busybox, "HostConfig": {"PortBindings": {"80/tcp": [], "81/udp": None}}}
    made = daemon.request("POST", f"/v{version}/containers/create", body).json
    try:
        shown = ask(daemon, version, f"/containers/{made['Id']}/json")["HostConfig"]["PortBindings"]
        anywhere = [{"HostIp": "", "HostPort": ""}]
        assert shown == {"80/tcp": anywhere, "81/udp": anywhere}
        words = "Following container port(s) have an empty list of port-bindings: 80/tcp, 81/udp. "
        warned = [words + "Such bindings will be discarded in a future version."]
        assert made["Warnings"] == (warned if version == "1.52" else [])
    finally:
        daemon.request("DELETE", f"/containers/{made['Id']}")


def test_an_image_has_what_is_set_and_older_clients_get_the_rest_as_well(daemon: Daemon, busybox: str) -> None:
    def image(version: str) -> dict[str, Any]:
        found: dict[str, Any] = ask(daemon, version, f"/images/{busybox}/json")
        return found

    new, last, before, old = (image(version) for version in ("1.52", "1.51", "1.49", "1.43"))
    assert {"Parent", "DockerVersion", "Author"} & set(new) == set()
    assert {"Parent", "DockerVersion", "Author", "Comment"} <= set(last)
    assert all(new["Config"].values())
    empty = {"Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"}
    assert set(last["Config"]) == set(new["Config"]) | empty
    assert {"Hostname", "Tty", "Image"} & set(last["Config"]) == set()
    assert {"Hostname", "Tty", "Image"} <= set(before["Config"])
    assert ("VirtualSize" in old, "VirtualSize" in before) == (True, False)
    assert ("Descriptor" in new, "Descriptor" in image("1.47")) == (True, False)
    assert ("ContainerConfig" in image("1.44"), "ContainerConfig" in image("1.45")) == (True, False)


def test_a_list_of_images_counts_their_containers_from_1_51_on(daemon: Daemon, busybox: str) -> None:
    filters = json.dumps({"reference": [busybox]})
    [new], [old] = (ask(daemon, version, "/images/json", filters=filters) for version in ("1.51", "1.43"))
    assert new["Containers"] >= 0
    assert "VirtualSize" not in new
    assert (old["Containers"], old["VirtualSize"]) == (-1, old["Size"])


def test_what_is_new_about_images_is_answered_as_without_containerds_store(daemon: Daemon, busybox: str) -> None:
    answer = daemon.request("GET", f"/images/{busybox}/attestations")
    assert (answer.status, answer.message) == (501, "the image store does not support attestations")
    answer = daemon.request("GET", f"/images/{busybox}/attestations?platform=a&platform=b")
    assert (answer.status, answer.message) == (400, "only one platform value is currently supported")
    assert daemon.request("GET", f"/v1.54/images/{busybox}/attestations").status == 404
    answer = daemon.request("GET", "/images/json", identity=1)
    assert (answer.status, answer.message) == (400, "conflicting options: identity requires manifests=1")
    assert daemon.request("GET", "/v1.53/images/json", identity=1).status == 200


def test_several_platforms_are_saved_and_loaded_from_1_52_on(daemon: Daemon, busybox: str) -> None:
    both = f"/images/{busybox}/get?platform=linux/amd64&platform=linux/arm64"
    answer = daemon.request("GET", f"/v1.51{both}")
    assert answer.status == 400
    assert answer.message.startswith("multiple platform parameters are not supported in this API version")
    assert "multiple" not in daemon.request("GET", f"/v1.52{both}").body[:200].decode(errors="replace")
    answer = daemon.request("POST", "/v1.51/images/load?platform=linux/amd64&platform=linux/arm64", b"")
    assert answer.status == 400


def test_a_network_tells_how_many_addresses_are_in_use_and_free(daemon: Daemon, busybox: str) -> None:
    flags = ("--subnet", "10.231.7.0/24", "--ip-range", "10.231.7.128/29", "--aux-address", "a=10.231.7.130")
    with network(daemon, "counted", *flags, "--ipv6", "--subnet", "fd00:231::/56"):

        def subnets() -> Any:
            return ask(daemon, "1.52", "/networks/counted")["Status"]["IPAM"]["Subnets"]

        # The network's address, the broadcast address, the gateway, and the auxiliary one, which is in the range.
        assert subnets()["10.231.7.0/24"] == {"IPsInUse": 4, "DynamicIPsAvailable": 7}
        assert subnets()["fd00:231::/56"] == {"IPsInUse": 2, "DynamicIPsAvailable": (1 << 64) - 1}
        body = {"Image": busybox, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "counted"}}
        made = daemon.request("POST", "/containers/create", body).json["Id"]
        assert daemon.request("POST", f"/containers/{made}/start").status == 204
        assert subnets()["10.231.7.0/24"] == {"IPsInUse": 5, "DynamicIPsAvailable": 6}
        assert daemon.request("DELETE", f"/containers/{made}", force=True).status == 204
        assert subnets()["10.231.7.0/24"] == {"IPsInUse": 4, "DynamicIPsAvailable": 7}
        assert "Status" not in ask(daemon, "1.51", "/networks/counted")
        [listed] = ask(daemon, NEWEST, "/networks", filters=json.dumps({"name": ["counted"]}))
        assert {"Status", "Containers"} & set(listed) == set()
    [bridge] = ask(daemon, NEWEST, "/networks/bridge")["Status"]["IPAM"]["Subnets"].values()
    assert bridge["IPsInUse"] == 3, "places that are prepared for the next containers are not in use"
    assert ask(daemon, NEWEST, "/networks/host")["Status"] == {"IPAM": {"Subnets": {}}}


def test_connect_takes_a_mac_address_from_1_54_on(daemon: Daemon, web: str) -> None:
    body = {"Container": web, "EndpointConfig": {"MacAddress": "02:42:ac:11:00:77"}}
    with network(daemon, "addressed"):
        for version, is_taken in (("1.53", False), ("1.54", True)):
            assert daemon.request("POST", f"/v{version}/networks/addressed/connect", body).status == 200
            place = ask(daemon, NEWEST, f"/containers/{web}/json")["NetworkSettings"]["Networks"]["addressed"]
            assert (place["MacAddress"] == "02:42:ac:11:00:77") == is_taken
            assert daemon.request("POST", "/networks/addressed/disconnect", {"Container": web}).status == 200


def test_a_list_of_networks_tells_who_is_on_them_up_to_1_27(daemon: Daemon, web: str) -> None:
    identifier = ask(daemon, NEWEST, f"/containers/{web}/json")["Id"]
    filters = json.dumps({"name": ["bridge"]})
    [old], [new] = (ask(daemon, version, "/networks", filters=filters) for version in ("1.27", "1.28"))
    assert old["Containers"][identifier]["Name"] == web
    assert "Status" not in old
    assert new["Containers"] == {}


def test_an_alias_is_what_was_asked_for_from_1_45_on(daemon: Daemon, busybox: str) -> None:
    with network(daemon, "named"):
        asked = {"EndpointsConfig": {"named": {"Aliases": ["a"]}}}
        body = {"Image": busybox, "Hostname": "h", "HostConfig": {"NetworkMode": "named"}, "NetworkingConfig": asked}
        made = daemon.request("POST", "/containers/create", body).json["Id"]
        try:
            for version, aliases in (("1.44", ["a", made[:12], "h"]), ("1.45", ["a"])):
                shown = ask(daemon, version, f"/containers/{made}/json")["NetworkSettings"]["Networks"]["named"]
                assert shown["Aliases"] == aliases
        finally:
            daemon.request("DELETE", f"/containers/{made}")


def test_which_network_has_the_route_is_chosen_from_1_48_on(daemon: Daemon, busybox: str) -> None:
    asked = {"EndpointsConfig": {"bridge": {"GwPriority": 7}}}
    for version, priority in (("1.47", 0), ("1.48", 7)):
        body = {"Image": busybox, "HostConfig": {"NetworkMode": "bridge"}, "NetworkingConfig": asked}
        made = daemon.request("POST", f"/v{version}/containers/create", body).json["Id"]
        shown = ask(daemon, NEWEST, f"/containers/{made}/json")["NetworkSettings"]["Networks"]["bridge"]
        daemon.request("DELETE", f"/containers/{made}")
        assert shown["GwPriority"] == priority


def test_the_number_of_processes_is_changed_from_1_40_on(daemon: Daemon, web: str) -> None:
    for version, limit, shown in (("1.40", 9, 9), ("1.39", 7, 9), ("1.39", 0, 9), ("1.40", -1, 0)):
        answer = daemon.request("POST", f"/v{version}/containers/{web}/update", {"PidsLimit": limit})
        assert answer.status == 200, answer.body
        assert ask(daemon, NEWEST, f"/containers/{web}/json")["HostConfig"]["PidsLimit"] == shown


def test_what_older_versions_did_not_know_is_not_looked_at(daemon: Daemon, busybox: str, web: str) -> None:
    body = {"Image": busybox}
    answer = daemon.request("POST", "/v1.40/containers/create?platform=linux/s390x", body)
    assert answer.status == 201, answer.body
    daemon.request("DELETE", f"/containers/{answer.json['Id']}")
    assert daemon.request("POST", "/v1.41/containers/create?platform=linux/s390x", body).status == 404
    assert daemon.request("GET", "/v1.41/system/df?type=x").status == 200
    assert daemon.request("GET", "/v1.42/system/df?type=x").message == "unknown object type: x"
    assert ask(daemon, "1.40", "/images/json", filter="nope") == []
    assert ask(daemon, "1.41", "/images/json", filter="nope") == ask(daemon, "1.41", "/images/json")
    both = {"manifests": 1, "platform": json.dumps({"os": "linux", "architecture": "amd64"})}
    answer = daemon.request("GET", f"/images/{busybox}/json", **both)
    words = "conflicting options: manifests and platform options cannot both be set"
    assert (answer.status, answer.message) == (400, words)
    assert daemon.request("POST", f"/v1.42/containers/{web}/stop?signal=NOSUCH").status == 400
    assert daemon.request("POST", f"/v1.41/containers/{web}/stop?signal=NOSUCH&t=0").status == 204


@pytest.mark.parametrize(("version", "has_size"), [("1.41", False), ("1.42", True)])
def test_a_terminal_has_a_size_from_the_start_from_1_42_on(
    daemon: Daemon, web: str, version: str, has_size: bool
) -> None:
    body = {"Cmd": ["stty", "size"], "Tty": True, "AttachStdout": True, "ConsoleSize": [33, 99]}
    made = daemon.request("POST", f"/v{version}/containers/{web}/exec", body).json["Id"]
    answer = daemon.request("POST", f"/v{version}/exec/{made}/start", {"Tty": True, "ConsoleSize": [33, 99]})
    assert (b"33 99" in answer.body) == has_size


def test_the_disk_usage_is_summed_up_from_1_52_on(daemon: Daemon, web: str) -> None:
    former = {"BlobsSize", "LayersSize", "Images", "Containers", "Volumes", "BuildCache"}
    usages = {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}
    assert set(ask(daemon, "1.51", "/system/df")) == former
    short, verbose = (ask(daemon, "1.52", "/system/df", **query) for query in ({}, {"verbose": 1}))
    assert set(short) == former | usages
    assert set(verbose) == usages
    images, containers = verbose["ImageUsage"], verbose["ContainerUsage"]
    assert images["TotalCount"] == len(images["Items"]) == len(short["Images"])
    assert images["TotalSize"] == short["LayersSize"]
    assert 1 <= images["ActiveCount"] <= images["TotalCount"]
    assert containers["TotalCount"] == len(containers["Items"])
    assert containers["TotalSize"] == sum(one["SizeRw"] for one in containers["Items"])
    assert 1 <= containers["ActiveCount"] <= containers["TotalCount"]
    assert "Items" not in short["ImageUsage"]
    some = ask(daemon, "1.52", "/system/df", type="image", verbose=1)
    assert set(some) == {"ImageUsage"}
    assert set(ask(daemon, "1.51", "/system/df", type="image")) == {"LayersSize", "BlobsSize", "Images"}
    assert set(ask(daemon, "1.41", "/system/df", type="image")) == former | {"BuilderSize"}


@pytest.mark.parametrize(
    ("version", "accept", "form"),
    [
        ("1.51", None, "application/json"),
        ("1.52", "*/*", "application/x-ndjson"),
        (NEWEST, None, "application/jsonl"),
        (NEWEST, "application/json-seq", "application/json-seq"),
        (NEWEST, "application/jsonl;q=0.2, application/x-ndjson;q=0.5, text/html", "application/x-ndjson"),
    ],
)
def test_events_come_in_the_form_that_a_client_likes(
    daemon: Daemon, web: str, version: str, accept: str | None, form: str
) -> None:
    query = {"since": 1, "until": time.time(), "filters": json.dumps({"container": [web], "event": ["start"]})}
    headers = {"Accept": accept} if accept else {}
    answer = daemon.request("GET", f"/v{version}/events", headers=headers, **query)
    assert answer.headers["content-type"] == form
    *lines, end = answer.body.split(b"\n")
    assert end == b""
    assert {line[:1] for line in lines} == {b"\x1e" if form == "application/json-seq" else b"{"}
    event = json.loads(lines[-1].removeprefix(b"\x1e"))
    assert (event["Action"], event["Type"]) == ("start", "container")
    assert ({"status", "id", "from"} <= set(event)) == (version == "1.51")


def test_what_is_said_of_the_engine_follows_the_version(daemon: Daemon) -> None:
    old, last, new = (ask(daemon, version, "/info") for version in ("1.48", "1.49", "1.50"))
    assert "FirewallBackend" not in old
    assert new["FirewallBackend"] == {"Driver": "nftables"}
    assert ("Expected" in old["RuncCommit"], "Expected" in last["RuncCommit"]) == (True, False)
    assert ("BridgeNfIptables" in last, "BridgeNfIptables" in new) == (True, False)
    said = ask(daemon, "1.24", "/version")
    assert (said["ApiVersion"], said["MinAPIVersion"]) == (NEWEST, "1.24")
    assert daemon.request("GET", "/v1.57/version").status == 400


def test_a_client_before_1_25_removes_what_it_has_run_and_says_nothing(
    daemon: Daemon, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the event of the removal: that its removal is answered by then is for the daemon to see to."""
    monkeypatch.setenv("DOCKER_API_VERSION", "1.24")
    run = ("run", "--rm", "--network", "none", "--name", "old", busybox, "echo", "hi")
    for _ in range(4):
        done = daemon.docker(*run, check=True)
        assert (done.stdout, done.stderr) == ("hi\n", "")
    assert daemon.request("GET", "/containers/old/json").status == 404
