"""Containers on networks, as the stock docker command sees them."""

from __future__ import annotations

import json
import time

import pytest

from support import needs
from support.daemons import Daemon
from support.networks import SERVE, address, docker, fetch, fetch_inside, inspect, network, reaches, serve

pytestmark = [needs.need("docker", "root"), pytest.mark.usefixtures("busybox", "clean")]


def test_a_container_is_on_the_default_bridge_unless_it_says_otherwise(daemon: Daemon) -> None:
    serve(daemon, "web")
    shown = inspect(daemon, "web")
    place = shown["NetworkSettings"]["Networks"]["bridge"]
    assert (shown["HostConfig"]["NetworkMode"], place["IPPrefixLen"], len(place["EndpointID"])) == ("bridge", 24, 64)
    assert fetch(place["IPAddress"], 80) == "web"
    if place["GlobalIPv6Address"]:
        assert fetch(place["GlobalIPv6Address"], 80) == "web"
    assert docker(daemon, "exec", "web", "sh", "-c", "ip route | grep -c default") == "1"


def test_containers_on_the_default_bridge_reach_one_another_by_address_only(daemon: Daemon) -> None:
    serve(daemon, "web")
    docker(daemon, "run", "-d", "--name", "client", "busybox", "sleep", "1000")
    assert fetch_inside(daemon, "client", address(daemon, "web")) == "web"
    assert "127.0.0.11" not in docker(daemon, "exec", "client", "cat", "/etc/resolv.conf")


def test_on_a_network_of_their_own_containers_find_one_another_by_name_alias_and_short_id(daemon: Daemon) -> None:
    with network(daemon, "front"):
        identifier = serve(daemon, "web", "--network", "front", "--network-alias", "www")
        docker(daemon, "run", "-d", "--name", "client", "--network", "front", "busybox", "sleep", "1000")
        for name in ("web", "www", identifier[:12], "web.front"):
            assert fetch_inside(daemon, "client", name) == "web", name
        names = inspect(daemon, "web")["NetworkSettings"]["Networks"]["front"]["DNSNames"]
        assert names == ["web", "www", identifier[:12]]
        assert docker(daemon, "exec", "client", "cat", "/etc/resolv.conf").count("nameserver 127.0.0.11") == 1
        docker(daemon, "rename", "web", "site")
        assert fetch_inside(daemon, "client", "site") == "web"


def test_networks_are_apart(daemon: Daemon) -> None:
    with network(daemon, "one"), network(daemon, "two"):
        serve(daemon, "web", "--network", "one")
        docker(daemon, "run", "-d", "--name", "stranger", "--network", "two", "busybox", "sleep", "1000")
        assert fetch_inside(daemon, "stranger", address(daemon, "web", "one")) == ""
        assert fetch_inside(daemon, "stranger", "web") == ""
        traced = daemon.cli("network", "trace", "stranger", "web", "80")
        assert (traced.returncode, "does not reach" in traced.stdout) == (1, True)
        docker(daemon, "network", "connect", "--alias", "site", "one", "stranger")
        assert fetch_inside(daemon, "stranger", "web") == "web"
        assert daemon.cli("network", "trace", "stranger", "web", "80").returncode == 0
        docker(daemon, "network", "disconnect", "one", "stranger")
        assert fetch_inside(daemon, "stranger", "web") == ""


def test_addresses_can_be_chosen_on_networks_with_chosen_subnets(daemon: Daemon) -> None:
    flags = ("--subnet", "10.213.7.0/24", "--gateway", "10.213.7.254", "--ip-range", "10.213.7.128/25")
    with network(daemon, "mine", *flags, "--aux-address", "printer=10.213.7.129") as made:
        expected = {
            "Subnet": "10.213.7.0/24", "IPRange": "10.213.7.128/25", "Gateway": "10.213.7.254",
            "AuxiliaryAddresses": {"printer": "10.213.7.129"},
        }  # fmt: skip
        assert made["IPAM"]["Config"][0] == expected
        serve(daemon, "ann", "--network", "mine", "--ip", "10.213.7.5", "--mac-address", "02:11:22:33:44:55")
        place = inspect(daemon, "ann")["NetworkSettings"]["Networks"]["mine"]
        assert (place["IPAddress"], place["MacAddress"]) == ("10.213.7.5", "02:11:22:33:44:55")
        assert place["IPAMConfig"] == {"IPv4Address": "10.213.7.5"}
        taken = daemon.docker("run", "--rm", "--network", "mine", "--ip", "10.213.7.5", "busybox", "true")
        assert (taken.returncode, "Address already in use" in taken.stderr) == (125, True)
        docker(daemon, "run", "-d", "--name", "ben", "--network", "mine", "busybox", "sleep", "1000")
        assert address(daemon, "ben", "mine") not in ("10.213.7.129", "10.213.7.5")
        assert int(address(daemon, "ben", "mine").rpartition(".")[2]) >= 128


def test_an_internal_network_leads_nowhere_else(daemon: Daemon) -> None:
    with network(daemon, "inner", "--internal"):
        serve(daemon, "web", "--network", "inner", "-p", "80")
        docker(daemon, "run", "-d", "--name", "client", "--network", "inner", "busybox", "sleep", "1000")
        assert fetch_inside(daemon, "client", "web") == "web"
        assert docker(daemon, "exec", "client", "ip", "route").count("default") == 0
        assert not (inspect(daemon, "web")["NetworkSettings"]["Ports"] or {}).get("80/tcp")


def test_several_networks_at_once_with_a_way_out_by_priority(daemon: Daemon) -> None:
    with network(daemon, "aa"), network(daemon, "bb"):
        flags = ("--network", "name=aa,alias=in-aa", "--network", "name=bb,gw-priority=5")
        serve(daemon, "web", *flags, "-p", "127.0.0.1:28099:80")
        places = inspect(daemon, "web")["NetworkSettings"]["Networks"]
        route = docker(daemon, "exec", "web", "ip", "route")
        assert f"default via {places['bb']['Gateway']}" in route
        assert fetch("127.0.0.1", 28099) == "web"
        docker(daemon, "network", "disconnect", "bb", "web")
        assert f"default via {places['aa']['Gateway']}" in docker(daemon, "exec", "web", "ip", "route")
        assert fetch("127.0.0.1", 28099) == "web", "the port did not follow the default route"


@pytest.mark.parametrize("mtu", [68, 1279])
def test_packets_may_be_smaller_than_those_of_ipv6(daemon: Daemon, mtu: int) -> None:
    with network(daemon, "small", "-o", f"com.docker.network.driver.mtu={mtu}"):
        serve(daemon, "web", "--network", "small")
        docker(daemon, "run", "-d", "--name", "client", "--network", "small", "busybox", "sleep", "1000")
        assert docker(daemon, "exec", "client", "cat", "/sys/class/net/eth0/mtu") == str(mtu)
        assert fetch_inside(daemon, "client", address(daemon, "web", "small")) == "web"
    refused = daemon.docker("network", "create", "--ipv6", "-o", f"com.docker.network.driver.mtu={mtu}", "small")
    assert f"IPv6 needs an MTU of at least 1280 bytes, not {mtu}" in refused.stderr


@pytest.mark.parametrize("interface", ["all", "default", "eth0"])
def test_who_switches_ipv6_off_is_not_told_of_ipv6_and_has_no_such_address(daemon: Daemon, interface: str) -> None:
    flags = ("--network", "six", "--sysctl", f"net.ipv6.conf.{interface}.disable_ipv6=1")
    with network(daemon, "six", "--ipv6") as six, network(daemon, "seven", "--ipv6"):
        prefix = next(each["Gateway"] for each in six["IPAM"]["Config"] if ":" in each["Gateway"]).removesuffix("1")
        docker(daemon, "run", "-d", "--name", "old", *flags, "busybox", "sleep", "1000")
        if interface != "eth0":
            docker(daemon, "network", "connect", "seven", "old")
            assert address(daemon, "old", "seven", 6) == ""
        docker(daemon, "run", "-d", "--name", "new", "--network", "six", "busybox", "sleep", "1000")
        assert address(daemon, "old", "six", 6) == ""
        inside = docker(daemon, "exec", "old", "sh", "-c", "cat /etc/hosts; ip -o -6 addr show scope global")
        assert prefix not in inside
        assert ("::1\tlocalhost" in inside) == (interface == "eth0")
        told = [("old", "new"), ("new", "old"), ("new", "new")]
        answers = [docker(daemon, "exec", asker, "nslookup", asked, "127.0.0.11") for asker, asked in told]
        assert [address(daemon, asked, "six") in answer for (_, asked), answer in zip(told, answers, strict=True)] == [
            True
        ] * 3
        assert [prefix in answer for answer in answers] == [False, False, True]


def test_a_network_shared_with_another_container_is_the_same(daemon: Daemon) -> None:
    serve(daemon, "web")
    flags = ("run", "--rm", "--network", "container:web", "busybox", "sh", "-c")
    assert docker(daemon, *flags, "hostname; printf 'GET / HTTP/1.0\r\n\r\n' | nc 127.0.0.1 80 | tail -1").split() == [
        "web",
        "web",
    ]
    assert docker(daemon, *flags, "cat /etc/hosts") == docker(daemon, "exec", "web", "cat", "/etc/hosts")
    refused = daemon.docker("run", "--rm", "--network", "container:web", "-p", "80:80", "busybox", "true")
    assert "port publishing and the container type network mode" in refused.stderr


def test_a_container_whose_network_is_shared_may_be_renamed(daemon: Daemon) -> None:
    identifier = serve(daemon, "web")
    flags = ("--network", "container:web", "--pid", "container:web")
    docker(daemon, "create", "--name", "guest", *flags, "busybox", "sleep", "1000")
    docker(daemon, "rename", "web", "site")
    docker(daemon, "start", "guest")
    host = inspect(daemon, "guest")["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"]) == (f"container:{identifier}", f"container:{identifier}")
    assert "It shares the network of the container site:" in " ".join(daemon.cli("explain", "guest").stdout.split())


def test_clients_of_old_find_the_short_id_and_the_host_name_among_the_aliases(daemon: Daemon) -> None:
    with network(daemon, "front"):
        identifier = serve(daemon, "web", "--network", "front", "--network-alias", "www")
        docker(daemon, "network", "connect", "bridge", "web")
        for version, expected in (("v1.44", ["www", identifier[:12], "web"]), ("v1.45", ["www"])):
            shown = daemon.request("GET", f"/{version}/containers/web/json").json
            places = shown["NetworkSettings"]["Networks"]
            assert (places["front"]["Aliases"], places["bridge"]["Aliases"]) == (expected, None)


def test_a_link_gives_a_name_and_variables(daemon: Daemon) -> None:
    serve(daemon, "db", "--expose", "5432", "-e", "SECRET=x")
    done = docker(daemon, "run", "--rm", "--link", "db:store", "busybox", "sh", "-c", "env; cat /etc/hosts")
    where = address(daemon, "db")
    assert f"STORE_PORT_5432_TCP_ADDR={where}" in done
    assert "STORE_ENV_SECRET=x" in done
    assert f"{where}\tstore db" in done
    refused = daemon.docker("run", "--rm", "--link", "nobody:x", "busybox", "true")
    assert "could not get container for nobody: No such container: nobody" in refused.stderr


def test_who_is_linked_to_may_be_renamed(daemon: Daemon) -> None:
    serve(daemon, "db")
    serve(daemon, "web", "--link", "db:store")
    assert inspect(daemon, "web")["HostConfig"]["Links"] == ["/db:/web/store"]
    docker(daemon, "rename", "db", "base")
    docker(daemon, "restart", "-t", "0", "web")
    assert inspect(daemon, "web")["HostConfig"]["Links"] == ["/base:/web/store"]
    assert f"{address(daemon, 'base')}\tstore db base" in docker(daemon, "exec", "web", "cat", "/etc/hosts")


def test_on_a_network_with_names_a_link_is_one_of_the_endpoints(daemon: Daemon) -> None:
    with network(daemon, "front"):
        flags = ("--network", "front", "--link", "later:soon")
        for name, run in (("one", daemon.docker), ("two", daemon.cli)):
            run("run", "-d", "--name", name, *flags, "busybox", "sleep", "1000", check=True)
            shown = inspect(daemon, name)
            assert shown["HostConfig"]["Links"] is None
            assert shown["NetworkSettings"]["Networks"]["front"]["Links"] == ["later:soon"]
        serve(daemon, "later", "--network", "front")
        assert fetch_inside(daemon, "one", "soon") == "later"


def test_who_is_not_on_the_default_bridge_cannot_be_linked_to(daemon: Daemon) -> None:
    flags = ("busybox", "sleep", "1000")
    with network(daemon, "elsewhere"):
        docker(daemon, "run", "-d", "--name", "far", "--network", "elsewhere", *flags)
        docker(daemon, "run", "-d", "--name", "hosted", "--network", "host", *flags)
        refused = daemon.docker("run", "--rm", "--link", "far:x", "busybox", "true")
        assert "Cannot link to /far, as it does not belong to the default network" in refused.stderr
        refused = daemon.docker("create", "--link", "hosted:x", "busybox", "true")
        assert "host type networking can't be used with links" in refused.stderr
        daemon.remove_containers()


def test_extra_hosts_and_name_servers_are_written_into_the_files(daemon: Daemon) -> None:
    flags = ("--add-host", "a.example:192.0.2.9", "--add-host", "me:host-gateway", "--dns", "192.0.2.53")
    script = "cat /etc/hosts /etc/resolv.conf"
    done = docker(daemon, "run", "--rm", *flags, "--dns-search", "x.example", "busybox", "sh", "-c", script)
    bridge = json.loads(docker(daemon, "network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    for line in ("192.0.2.9\ta.example", f"{bridge}\tme", "nameserver 192.0.2.53", "search x.example"):
        assert line in done


def test_files_follow_when_networks_change(daemon: Daemon) -> None:
    with network(daemon, "late"):
        docker(daemon, "run", "-d", "--name", "cat", "busybox", "sleep", "1000")
        before = docker(daemon, "exec", "cat", "stat", "-c", "%i", "/etc/hosts")
        docker(daemon, "network", "connect", "late", "cat")
        hosts = docker(daemon, "exec", "cat", "cat", "/etc/hosts")
        assert address(daemon, "cat") in hosts
        assert address(daemon, "cat", "late") in hosts
        assert "127.0.0.11" in docker(daemon, "exec", "cat", "cat", "/etc/resolv.conf")
        docker(daemon, "network", "disconnect", "late", "cat")
        assert len(docker(daemon, "exec", "cat", "cat", "/etc/hosts")) < len(hosts)
        assert "127.0.0.11" not in docker(daemon, "exec", "cat", "cat", "/etc/resolv.conf")
        assert docker(daemon, "exec", "cat", "stat", "-c", "%i", "/etc/hosts") == before


def test_a_stopped_container_joins_when_it_starts(daemon: Daemon) -> None:
    with network(daemon, "later"):
        docker(daemon, "create", "--name", "cat", "busybox", "sh", "-c", SERVE)
        docker(daemon, "network", "connect", "--alias", "d", "later", "cat")
        shown = inspect(daemon, "cat")["NetworkSettings"]["Networks"]
        assert (list(shown), shown["later"]["IPAddress"], shown["later"]["Aliases"]) == (["bridge", "later"], "", ["d"])
        docker(daemon, "start", "cat")
        assert all(place["IPAddress"] for place in inspect(daemon, "cat")["NetworkSettings"]["Networks"].values())
        docker(daemon, "network", "disconnect", "bridge", "cat")
        docker(daemon, "restart", "-t", "0", "cat")
        assert list(inspect(daemon, "cat")["NetworkSettings"]["Networks"]) == ["later"]


def test_what_a_network_cannot_give_is_refused_before_a_container_runs(daemon: Daemon) -> None:
    with network(daemon, "mine", "--subnet", "10.215.7.0/24"):
        docker(daemon, "create", "--name", "late", "busybox", "true")
        refused = daemon.docker("network", "connect", "--ip", "10.216.7.9", "mine", "late")
        assert "no configured subnet contains IP address 10.216.7.9" in refused.stderr
        assert list(inspect(daemon, "late")["NetworkSettings"]["Networks"]) == ["bridge"]


def test_leaving_the_last_network_leaves_a_container_alone(daemon: Daemon) -> None:
    docker(daemon, "run", "-d", "--name", "cat", "busybox", "sleep", "1000")
    docker(daemon, "network", "disconnect", "bridge", "cat")
    assert docker(daemon, "exec", "cat", "sh", "-c", "ip -o link | wc -l") == "1"
    docker(daemon, "network", "connect", "bridge", "cat")
    assert docker(daemon, "exec", "cat", "sh", "-c", "ip -o link | wc -l") == "2"


def test_a_dummy_and_a_macvlan_network(daemon: Daemon) -> None:
    with network(daemon, "still", "-d", "dummy"), network(daemon, "flat", "-d", "macvlan"):
        docker(daemon, "run", "-d", "--name", "ann", "--network", "still", "busybox", "sleep", "1000")
        assert address(daemon, "ann", "still") in docker(daemon, "exec", "ann", "ip", "addr")
        serve(daemon, "ben", "--network", "flat")
        docker(daemon, "run", "-d", "--name", "cat", "--network", "flat", "busybox", "sleep", "1000")
        assert fetch_inside(daemon, "cat", "ben") == "ben"
        assert not reaches(address(daemon, "ben", "flat"), 80)


def test_events_tell_who_came_and_who_left(daemon: Daemon) -> None:
    with network(daemon, "told"):
        docker(daemon, "run", "--rm", "--name", "cat", "--network", "told", "busybox", "true")
    filters = ("--filter", "type=network", "--filter", "network=told")
    form = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}"
    until = str(int(time.time()) + 1)
    told = docker(daemon, "events", "--since", "60s", "--until", until, *filters, "--format", form).splitlines()
    assert [line.split()[0] for line in told][-4:] == ["create", "connect", "disconnect", "destroy"]
    assert set(told) == {f"{action} told bridge" for action in ("create", "connect", "disconnect", "destroy")}


def test_lists_and_filters(daemon: Daemon) -> None:
    with network(daemon, "tagged", "--label", "tier=front"):
        serve(daemon, "web", "--network", "tagged", "-p", "80", "--expose", "81")
        names = ("network", "ls", "--format", "{{.Name}}", "--filter")
        for condition, expected in (
            ("label=tier=front", "tagged"), ("type=custom", "tagged"), ("name=agg", "tagged"), ("name=^agg", ""),
            ("name=^tagged$", "tagged"), ("name=[", ""), ("dangling=true", ""), ("driver=null", "none"),
            ("scope=swarm", ""),
        ):  # fmt: skip
            assert docker(daemon, *names, condition) == expected, condition
        port = docker(daemon, "port", "web", "80").splitlines()[0].rpartition(":")[2]
        for condition, there in (
            ("network=tagged", True), ("network=bridge", False), (f"publish={port}", True), ("publish=81", False),
            ("expose=81", True), ("expose=80-85/tcp", True), (f"publish={port}/udp", False),
        ):  # fmt: skip
            assert (docker(daemon, "ps", "-q", "--filter", condition) != "") == there, condition
        assert "80/tcp" in docker(daemon, "ps", "--format", "{{.Ports}}")
        stats = json.loads(docker(daemon, "stats", "--no-stream", "--format", "json"))
        assert stats["NetIO"] != "0B / 0B"


def test_nobody_uses_it_so_prune_removes_it(daemon: Daemon) -> None:
    docker(daemon, "network", "create", "unused")
    with network(daemon, "used"):
        docker(daemon, "run", "-d", "--network", "used", "busybox", "sleep", "1000")
        assert docker(daemon, "network", "prune", "-f").split() == ["Deleted", "Networks:", "unused"]
        refused = daemon.docker("network", "rm", "used")
        assert "has active endpoints" in refused.stderr


REFUSED = [
    (("network", "create", "bridge"), "operation is not permitted on predefined bridge network"),
    (("network", "rm", "host"), "host is a pre-defined network and cannot be removed"),
    (("network", "rm", "nowhere"), "network nowhere not found"),
    (("network", "create", "--subnet", "10.1.2.3.4/24", "x"), "10.1.2.3.4/24"),
    (("network", "create", "--subnet", "10.1.0.0/24", "--gateway", "10.2.0.1", "x"), "no matching subnet for gateway"),
    (("network", "create", "-d", "nosuch", "x"), "nosuch"),
    (
        ("network", "create", "--config-only", "--internal", "x"),
        "configuration network can only contain network specific",
    ),
    (("network", "create", "--config-from", "conf", "x"), 'configuration network "conf" does not exist'),
    (("run", "--rm", "--network", "nowhere", "busybox"), "network nowhere not found"),
    (
        ("run", "--rm", "--ip", "172.16.0.9", "busybox"),
        "user specified IP address is supported on user defined networks only",
    ),
    (
        ("run", "--rm", "--network", "host", "--mac-address", "02:00:00:00:00:01", "busybox"),
        "mac-address and the network mode",
    ),
    (("run", "--rm", "--network", "container:nobody", "busybox"), "No such container: nobody"),
    (("run", "--rm", "-p", "70000:80", "busybox"), "70000"),
]


@pytest.mark.parametrize(
    ("words", "sentence"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_what_cannot_be_is_refused_in_dockers_words(daemon: Daemon, words: tuple[str, ...], sentence: str) -> None:
    done = daemon.docker(*words)
    assert done.returncode != 0
    assert sentence in done.stderr


@pytest.mark.parametrize("second", ["10.1.0.0/24", "10.1.0.128/25"])
def test_subnets_of_one_network_must_not_overlap(daemon: Daemon, second: str) -> None:
    words = ("network", "create", "--subnet", "10.1.0.0/24", "--subnet", second, "x")
    for done in (daemon.docker(*words), daemon.cli(*words)):
        assert (done.returncode, done.stderr) == (1, "multiple overlapping subnet configuration is not supported\n")


def test_link_local_addresses_are_reached_by_neighbours(daemon: Daemon) -> None:
    with network(daemon, "linked"):
        serve(daemon, "web", "--network", "linked", "--link-local-ip", "169.254.7.7")
        docker(daemon, "run", "-d", "--name", "peer", "--network", "none", "busybox", "sleep", "1000")
        docker(daemon, "network", "disconnect", "none", "peer")
        docker(daemon, "network", "connect", "--link-local-ip", "169.254.7.8", "linked", "peer")
        assert fetch_inside(daemon, "peer", "169.254.7.7") == "web"


def test_subnets_that_overlap_are_refused(daemon: Daemon) -> None:
    with network(daemon, "first", "--subnet", "10.214.0.0/16"):
        refused = daemon.docker("network", "create", "--subnet", "10.214.5.0/24", "second")
        assert "Pool overlaps with other one on this address space" in refused.stderr
        refused = daemon.docker("network", "create", "first")
        assert "network with name first already exists" in refused.stderr


@pytest.mark.parametrize("name", ["none", "host"])
def test_network_events_tell_of_containers_without_addresses(
    daemon: Daemon, busybox: str, clean: None, name: str
) -> None:
    before = daemon.request("GET", "/info").json["SystemTime"]
    docker(daemon, "run", "--rm", "--network", name, busybox, "true")
    query = {"since": before, "until": daemon.request("GET", "/info").json["SystemTime"]}
    shown = docker(
        daemon, "events", "--since", query["since"], "--until", query["until"], "--filter", "type=network",
        "--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}",
    )  # fmt: skip
    kind = "null" if name == "none" else "host"
    assert shown.splitlines() == [f"connect {name} {kind}", f"disconnect {name} {kind}"]


@pytest.mark.parametrize(("version", "warned"), [("v1.43", False), ("v1.44", True)])
def test_a_mac_address_for_the_whole_container_is_warned_of_by_new_clients(
    daemon: Daemon, busybox: str, clean: None, version: str, warned: bool
) -> None:
    body = {"Image": busybox, "Cmd": ["true"], "MacAddress": "02:42:ac:11:00:77"}
    answer = daemon.request("POST", f"/{version}/containers/create", body)
    assert answer.status == 201, answer.body
    assert any("MacAddress field is now deprecated" in text for text in answer.json["Warnings"]) == warned
