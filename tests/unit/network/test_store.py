"""Subnets, addresses and ports: who gets what, and what is refused in Docker's words."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wherry.errors import Conflict, Forbidden, InvalidInput, NotFound, SystemFault
from wherry.network.database import NetworkDatabase
from wherry.network.definition import check_settings, default_bridge, define
from wherry.network.firewall.elements import ForwardBlock
from wherry.network.ipam.addresses import AddressPool, mac_of, parse_mac
from wherry.network.ipam.host_networks import HostNetworks, foreign_prefixes
from wherry.network.ipam.subnets import DEFAULT_POOLS, choose, new_ula, parse_subnets, ula_pool, with_gateway
from wherry.network.kernel_state.ip_forward import Forwarding
from wherry.network.model import (
    Endpoint,
    EndpointRequest,
    LinkedPorts,
    Network,
    NetworkRequest,
    NetworkSettings,
    PoolSetting,
    PortRequest,
    PublishedPort,
    Subnet,
    SubnetRequest,
)
from wherry.network.port_allocator import PortAllocator
from wherry.network.store import NetworkStore, gateways_of

FOUR = ip_network("10.7.0.0/29")


def host(*used: str) -> HostNetworks:
    return HostNetworks(
        used=tuple(map(ip_network, used)),
        foreign=(),
        pools=(*DEFAULT_POOLS, ula_pool("fd11:22:33::/48")),
        mtu=1400,
        ipv6=True,
    )


def settings(tmp_path: Path, **told: object) -> NetworkSettings:
    return NetworkSettings(data_root=tmp_path, exec_root=tmp_path, **told)  # type: ignore[arg-type]


def endpoint(number: int = 1, *, ipv6: bool = False) -> Endpoint:
    return Endpoint(
        id=f"{number:064x}",
        network_id="a" * 64,
        owner=f"{number:064d}",
        owner_name=f"c{number}",
        interface="eth0",
        ipv4=IPv4Address("10.7.0.2"),
        ipv6=ip_address("fd00::2") if ipv6 else None,  # type: ignore[arg-type]
    )


# --------------------------------------------------------------------------------------------------------------- pools


def test_a_chosen_subnet_overlaps_nothing_that_is_known() -> None:
    used = [ip_network(text) for text in ("172.16.0.0/23", "172.16.2.128/25", "172.16.4.0/24")]
    assert choose(DEFAULT_POOLS, 4, used) == ip_network("172.16.3.0/24")


def test_the_next_pool_serves_when_one_is_full() -> None:
    assert choose(DEFAULT_POOLS, 4, [ip_network("172.16.0.0/12")]) == ip_network("192.168.0.0/24")


def test_exhausted_pools_are_refused() -> None:
    pool = PoolSetting(ip_network("10.1.0.0/23"), 24)
    used = [choose([pool], 4, [])]
    used.append(choose([pool], 4, used))
    assert set(used) == set(pool.base.subnets(new_prefix=24))
    with pytest.raises(Forbidden, match="all predefined address pools have been fully subnetted"):
        choose([pool], 4, used)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(17, 32)), max_size=30))
def test_a_chosen_subnet_is_the_first_that_is_free(blocks: list[tuple[int, int]]) -> None:
    base = ip_network("10.1.0.0/16")
    used = [ip_network((int(base[0]) + offset, prefix), strict=False) for offset, prefix in blocks]
    free = [block for block in base.subnets(new_prefix=24) if not any(block.overlaps(other) for other in used)]
    if free:
        assert choose([PoolSetting(base, 24)], 4, used) == free[0]
    else:
        with pytest.raises(Forbidden):
            choose([PoolSetting(base, 24)], 4, used)


def test_name_servers_and_routes_of_the_host_are_foreign_but_loopback_is_not() -> None:
    found = foreign_prefixes(
        [(ip_address("127.0.0.0"), 8), (ip_address("10.8.0.0"), 16), (ip_address("fe80::"), 64)],
        "nameserver 172.16.0.53\nnameserver fe80::1%eth0\nnameserver nonsense\nsearch lan\n",
    )
    assert ip_network("10.8.0.0/16") in found
    assert ip_network("172.16.0.53/32") in found
    assert not any(prefix.version == 4 and prefix.network_address.is_loopback for prefix in found)


def test_a_ula_prefix_is_random_and_of_48_bits() -> None:
    one, other = ip_network(new_ula()), ip_network(new_ula())
    assert one != other
    assert one.prefixlen == 48
    assert one.subnet_of(ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (SubnetRequest("nonsense"), "invalid subnet nonsense: invalid CIDR block notation"),
        (SubnetRequest("10.7.0.0"), "invalid subnet 10.7.0.0: invalid CIDR block notation"),
        (SubnetRequest("10.7.0.0/33"), "invalid subnet 10.7.0.0/33: invalid CIDR block notation"),
        (SubnetRequest("10.7.0.5/24"), "invalid subnet 10.7.0.5/24: it should be 10.7.0.0/24"),
        (
            SubnetRequest("10.7.0.0/24", ip_range="10.7.0.0/16"),
            "CIDR block is bigger than its parent subnet 10.7.0.0/24",
        ),
        (SubnetRequest("10.7.0.0/24", ip_range="10.8.0.0/25"), "parent subnet 10.7.0.0/24 doesn't contain ip-range"),
        (SubnetRequest("10.7.0.0/24", ip_range="fd00::/64"), "parent subnet is an IPv4 block"),
        (SubnetRequest("10.7.0.0/24", gateway="10.8.0.1"), "doesn't contain this address"),
        (SubnetRequest("10.7.0.0/24", gateway="x"), "invalid gateway x: invalid address"),
        (SubnetRequest("10.7.0.0/24", auxiliary={"r": "10.8.0.1"}), "invalid auxiliary address r"),
        (SubnetRequest("10.7.0.0/24", gateway="10.7.0.255"), "invalid gateway 10.7.0.255: Address already in use"),
        (SubnetRequest("fd00:7::/64", gateway="fd00:7::"), "invalid gateway fd00:7::: Address already in use"),
        (SubnetRequest("10.7.0.0/24", gateway="10.7.0.9", auxiliary={"r": "10.7.0.9"}), "r: Address already in use"),
        (SubnetRequest("127.7.0.0/24"), "invalid subnet 127.7.0.0/24: no container can have an address of it"),
        (SubnetRequest("ff05::/64"), "invalid subnet ff05::/64: no container can have an address of it"),
        (SubnetRequest("255.255.255.0/24"), "no container can have an address of it"),
    ],
)
def test_malformed_subnets_are_refused_in_dockers_words(request_: SubnetRequest, complaint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_subnets([request_], [], ipv4=True, ipv6=True, chosen=host().choose)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("invalid network config:\n")


def test_every_mistake_of_a_request_is_named_at_once() -> None:
    wrong = [SubnetRequest("nonsense"), SubnetRequest("10.7.0.5/24", gateway="x")]
    with pytest.raises(InvalidInput) as caught:
        parse_subnets(wrong, [], ipv4=True, ipv6=True, chosen=host().choose)
    assert len(str(caught.value).splitlines()) == 4


def test_overlapping_subnets_are_refused_within_a_request_and_with_other_networks() -> None:
    for requests, used in (
        ([SubnetRequest("10.7.0.0/24"), SubnetRequest("10.7.0.128/25")], []),
        ([SubnetRequest("10.7.0.0/24")], [ip_network("10.0.0.0/8")]),
    ):
        with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
            parse_subnets(requests, used, ipv4=True, ipv6=True, chosen=host().choose)


def test_the_gateway_is_the_first_address_that_is_not_promised_to_somebody() -> None:
    assert with_gateway(Subnet(FOUR)).gateway == ip_address("10.7.0.1")
    taken = Subnet(FOUR, auxiliary={"router": ip_address("10.7.0.1")})
    assert with_gateway(taken).gateway == ip_address("10.7.0.2")


# ----------------------------------------------------------------------------------------------------------- addresses


def test_addresses_are_given_out_in_turn_and_one_given_back_comes_last() -> None:
    pool = AddressPool(Subnet(FOUR, ip_address("10.7.0.1")))
    first = [pool.take() for _ in range(5)]
    assert [str(address) for address in first] == [f"10.7.0.{n}" for n in range(2, 7)]
    assert pool.take() is None
    assert first[3] is not None
    pool.release(first[3])
    pool.release(first[3])
    assert pool.take() == first[3]
    assert pool.take() is None
    assert pool.taken == 5


def test_a_range_limits_what_is_chosen_but_not_what_may_be_wished_for() -> None:
    subnet = Subnet(ip_network("10.7.0.0/24"), ip_address("10.7.0.1"), ip_network("10.7.0.128/31"))
    pool = AddressPool(subnet)
    assert {str(pool.take()), str(pool.take())} == {"10.7.0.128", "10.7.0.129"}
    assert pool.take() is None
    pool.reserve(ip_address("10.7.0.9"))
    with pytest.raises(Forbidden, match="Address already in use"):
        pool.reserve(ip_address("10.7.0.9"))
    with pytest.raises(Forbidden, match="Address already in use"):
        pool.reserve(ip_address("10.7.0.1"))
    with pytest.raises(InvalidInput, match="no configured subnet contains IP address"):
        pool.reserve(ip_address("10.9.0.1"))


def test_the_network_and_broadcast_addresses_are_nobodys() -> None:
    pool = AddressPool(Subnet(FOUR))
    assert {str(pool.take()) for _ in range(6)} == {f"10.7.0.{n}" for n in range(1, 7)}
    assert pool.take() is None
    tiny = AddressPool(Subnet(ip_network("10.7.0.0/31")))
    assert {tiny.take(), tiny.take()} == {ip_address("10.7.0.0"), ip_address("10.7.0.1")}


def test_ipv6_addresses_begin_behind_the_anycast_address() -> None:
    pool = AddressPool(Subnet(ip_network("fd00::/64"), ip_address("fd00::1")))
    assert pool.take() == ip_address("fd00::2")


@given(st.lists(st.integers(0, 15), max_size=60))
def test_no_address_is_ever_given_out_twice(steps: list[int]) -> None:
    pool = AddressPool(Subnet(ip_network("10.7.0.0/28"), ip_address("10.7.0.1")))
    held: list[object] = []
    for step in steps:
        if step % 3 == 0 and held:
            pool.release(held.pop(step % len(held)))  # type: ignore[arg-type]
        elif (address := pool.take()) is not None:
            assert address not in held
            held.append(address)
        else:
            assert len(held) == 13


def test_a_mac_address_follows_from_the_address_so_that_neighbours_remember_the_right_one() -> None:
    assert mac_of(IPv4Address("172.16.0.2"), "f" * 64) == "02:42:ac:10:00:02"
    assert mac_of(None, "0a0b0c0d" + "0" * 56) == "02:42:0a:0b:0c:0d"


@pytest.mark.parametrize("text", ["", "02:42:ac:11:00", "02:42:ac:11:00:zz", "01:42:ac:11:00:02", "02:42-ac:11:00:02"])
def test_what_is_no_mac_address_of_one_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid MAC address"):
        parse_mac(text)


def test_mac_addresses_are_read_in_both_usual_forms() -> None:
    assert parse_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"


# ---------------------------------------------------------------------------------------------------------- definitions


def test_a_network_that_says_nothing_gets_ipv4_and_the_uplinks_mtu(tmp_path: Path) -> None:
    network = define(NetworkRequest(name="my"), host("172.16.0.0/24"), settings(tmp_path))
    assert [str(subnet.network) for subnet in network.subnets] == ["172.16.1.0/24"]
    assert not network.ipv6
    assert network.mtu == 1400
    assert network.bridge == f"br-{network.id[:12]}"
    assert not network.chosen


@pytest.mark.parametrize(
    ("ipv6", "own", "by_default", "has"),
    [
        (True, None, None, True),
        (None, "true", None, True),
        (None, None, "true", True),
        (None, "false", "true", False),
        (False, None, "true", False),
        (False, "true", None, False),
        (True, None, "false", True),
    ],
)
def test_ipv6_is_for_networks_that_ask_for_it_or_when_the_daemon_was_told(
    tmp_path: Path, ipv6: bool | None, own: str | None, by_default: str | None, has: bool
) -> None:
    option = "com.docker.network.enable_ipv6"
    told = settings(tmp_path, default_options={"bridge": {option: by_default}} if by_default else {})
    request = NetworkRequest(name="my", ipv6=ipv6, options={option: own} if own else {})
    network = define(request, host(), told)
    assert network.ipv6 == has
    assert [subnet.network.version for subnet in network.subnets] == ([4, 6] if has else [4])
    assert network.options.get(option) in (None, str(has).lower()), "what is shown is true"
    assert not default_bridge(told, host(), None).ipv6, "that is for networks that somebody makes"


def test_a_default_bridge_keeps_its_ipv6_until_it_is_told_otherwise(tmp_path: Path) -> None:
    first = default_bridge(settings(tmp_path, ipv6=True), host(), None)
    assert first.subnet6 is not None
    again = default_bridge(settings(tmp_path), host(), first)
    assert (again.ipv6, again.subnets) == (True, first.subnets)
    assert not default_bridge(settings(tmp_path, mtu=1000), host(), first).ipv6
    assert not default_bridge(settings(tmp_path), replace(host(), ipv6=False), first).ipv6
    assert default_bridge(settings(tmp_path, bip6="fd00:7::1/64"), host(), None).ipv6, "to name a subnet is to ask"
    without = default_bridge(settings(tmp_path, ipv6=False), host(), first)
    assert not without.ipv6
    assert not default_bridge(settings(tmp_path), host(), without).ipv6


def test_ipv4_comes_first_whatever_was_asked_for_first(tmp_path: Path) -> None:
    network = define(NetworkRequest(name="my", subnets=(SubnetRequest("fd00:7::/64"),)), host(), settings(tmp_path))
    assert [subnet.network.version for subnet in network.subnets] == [4, 6]


def test_where_a_port_is_published_that_names_no_address_depends_on_the_families() -> None:
    table, both, four = PortAllocator(), endpoint(1, ipv6=True), endpoint(2)

    def where(one: Endpoint, protocol: str, asked: str = "") -> list[str]:
        request = PortRequest(protocol, 80, ip_address(asked) if asked else None)
        found = table.allocate(one, [request], None)
        table.release(one.id, found)
        return [str(each.host_address) for each in found]

    assert where(both, "tcp") == ["0.0.0.0", "::"]
    assert where(four, "tcp") == ["0.0.0.0"]
    with pytest.raises(InvalidInput, match="has no IPv6"):
        where(four, "tcp", "::1")
    table.has_proxy6 = True
    assert where(both, "udp") == ["0.0.0.0", "::"]
    assert where(four, "udp") == ["0.0.0.0", "::1"]
    assert where(four, "sctp") == ["0.0.0.0"]
    assert where(four, "tcp", "::1") == ["::1"]
    assert where(four, "tcp", "0.0.0.0") == ["0.0.0.0"]
    for asked in ("::", "2001:db8::1"):
        with pytest.raises(InvalidInput, match="has no IPv6"):
            where(four, "tcp", asked)


def test_options_with_dockers_names_count(tmp_path: Path) -> None:
    options = {"com.docker.network.bridge.name": "my0", "com.docker.network.driver.mtu": "1280"}
    network = define(NetworkRequest(name="my", ipv6=False, options=options), host(), settings(tmp_path))
    assert (network.bridge, network.mtu, network.ipv6) == ("my0", 1280, False)
    assert len(network.subnets) == 1


def test_where_packets_of_ipv6_do_not_fit_it_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="IPv6 needs an MTU of at least 1280 bytes, not 1000"):
        default_bridge(settings(tmp_path, mtu=1000, ipv6=True), host(), None)


def test_ipv6_that_the_host_does_not_have_is_not_promised(tmp_path: Path) -> None:
    without = replace(host(), ipv6=False)
    with pytest.raises(InvalidInput, match="this host has no IPv6, or it is switched off"):
        define(NetworkRequest(name="my", ipv6=True), without, settings(tmp_path))
    with pytest.raises(InvalidInput, match="this host has no IPv6, or it is switched off"):
        default_bridge(settings(tmp_path, ipv6=True), without, None)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"name": " "}, InvalidInput),
        ({"name": "a/b"}, InvalidInput),
        ({"name": ".."}, InvalidInput),
        ({"name": "a\nb"}, InvalidInput),
        ({"name": "bridge"}, Forbidden),
        ({"name": "default"}, Forbidden),
        ({"name": "x", "driver": "host"}, Forbidden),
        ({"name": "x", "driver": "weave"}, NotFound),
        ({"name": "x", "driver": "overlay"}, Forbidden),
        ({"name": "x", "ipam_driver": "dhcp"}, InvalidInput),
        ({"name": "x", "ipv4": False, "ipv6": False}, InvalidInput),
        ({"name": "x", "scope": "swarm"}, Forbidden),
        ({"name": "x", "options": {"com.docker.network.bridge.name": "more-than-15-bytes"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.name": "br%d"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.enable_icc": "perhaps"}}, InvalidInput),
        ({"name": "x" * 256}, InvalidInput),
        ({"name": "n`id`"}, InvalidInput),
        ({"name": "a b"}, InvalidInput),
        ({"name": "-x"}, InvalidInput),
        ({"name": "x\n"}, InvalidInput),
        ({"name": "é"}, InvalidInput),
        ({"name": ""}, InvalidInput),
        ({"name": "x", "ipam_driver": "null"}, InvalidInput),
        ({"name": "x", "subnets": (SubnetRequest("10.7.0.0/24"), SubnetRequest("10.8.0.0/24"))}, Forbidden),
        ({"name": "x", "options": {"com.docker.network.driver.mtu": "12"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.driver.mtu": "9" * 5000}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.enable_ipv6": "perhaps"}}, InvalidInput),
        ({"name": "x", "ipv6": True, "options": {"com.docker.network.driver.mtu": "1279"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.container_iface_prefix": "a/b"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.host_ipv4": "192.0.2.777"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.host_ipv6": "192.0.2.7"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.gateway_mode_ipv4": "odd"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.trusted_host_interfaces": "eth0:a/b"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.inhibit_ipv4": "perhaps"}}, InvalidInput),
        ({"name": "x", "options": {"com.docker.network.bridge.host_binding_ipv4": "::"}}, InvalidInput),
        ({"name": "x", "driver": "macvlan", "options": {"macvlan_mode": "odd"}}, InvalidInput),
        ({"name": "x", "driver": "macvlan", "options": {"parent": "lo"}}, InvalidInput),
    ],
)
def test_what_cannot_be_a_network_is_refused(told: dict[str, object], kind: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(kind):
        define(NetworkRequest(**told), host(), settings(tmp_path))  # type: ignore[arg-type]


def test_the_default_bridge_keeps_its_id_and_subnets_unless_an_option_says_otherwise(tmp_path: Path) -> None:
    first = default_bridge(settings(tmp_path), host(), None)
    again = default_bridge(settings(tmp_path, icc=False), host("172.16.0.0/16"), first)
    assert (again.id, again.subnets) == (first.id, first.subnets)
    told = settings(tmp_path, bip="10.9.0.5/24", fixed_cidr="10.9.0.128/25", default_gateway="10.9.0.9", ipv6=False)
    moved = default_bridge(told, host(), first)
    subnet = moved.subnet4
    assert subnet is not None
    assert (str(subnet.network), str(subnet.gateway), str(subnet.range)) == ("10.9.0.0/24", "10.9.0.5", "10.9.0.128/25")
    assert moved.subnet6 is None


@pytest.mark.parametrize(
    "told",
    [
        {"bip": "nonsense"},
        {"bridge": "br0", "bip": "10.9.0.5/24"},
        {"host_address": "x"},
        {"pools": (PoolSetting(ip_network("10.0.0.0/24"), 16),)},
    ],
)
def test_senseless_options_of_the_daemon_are_refused(told: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        check_settings(settings(tmp_path, **told))


# --------------------------------------------------------------------------------------------------------------- ports


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_is_published_once_and_the_refusal_names_the_holder() -> None:
    table, port = PortAllocator(), free_port()
    wish = [PortRequest("tcp", 80, None, port, port)]
    first = table.allocate(endpoint(1), wish, None)
    assert first == [PublishedPort("tcp", 80, ip_address("0.0.0.0"), port)]
    with pytest.raises(SystemFault, match=r"Bind for 0\.0\.0\.0:\d+ failed: port is already allocated.*'c1'"):
        table.allocate(endpoint(2), wish, None)
    table.allocate(endpoint(2), [PortRequest("udp", 80, None, port, port)], None)
    table.release(endpoint(1).id, first)
    table.allocate(endpoint(2), wish, None)


def test_one_address_and_all_addresses_conflict_but_two_addresses_do_not() -> None:
    table, port = PortAllocator(), free_port()
    table.allocate(endpoint(1), [PortRequest("tcp", 80, ip_address("127.0.0.1"), port, port)], None)
    table.allocate(endpoint(2), [PortRequest("tcp", 80, ip_address("127.0.0.2"), port, port)], None)
    with pytest.raises(SystemFault, match="port is already allocated"):
        table.allocate(endpoint(3), [PortRequest("tcp", 80, None, port, port)], None)


def test_a_port_of_another_program_is_found_at_once() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemFault, match=rf"failed to bind host port .*{port}.*/tcp: address already in use"):
            PortAllocator().allocate(endpoint(), [PortRequest("tcp", 80, None, port, port)], None)


def test_an_address_that_the_host_does_not_have_is_refused() -> None:
    with pytest.raises(SystemFault, match=r"cannot assign requested address"):
        PortAllocator().allocate(endpoint(), [PortRequest("tcp", 80, ip_address("203.0.113.7"), 8080, 8080)], None)


def test_of_a_range_any_free_port_will_do_and_a_full_one_is_refused() -> None:
    table = PortAllocator()
    first = next(p for p in range(20000, 30000) if all(_bindable(p + n) for n in range(2)))  # none that connections use
    wish = [PortRequest("tcp", 80, None, first, first + 1)]
    got = [table.allocate(endpoint(n), wish, None)[0].host_port for n in (1, 2)]
    assert got == [first, first + 1]
    with pytest.raises(SystemFault, match="all ports are allocated"):
        table.allocate(endpoint(3), wish, None)


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def test_random_ports_differ_and_both_families_have_the_same() -> None:
    table = PortAllocator()
    given_out = [table.allocate(endpoint(n, ipv6=True), [PortRequest("tcp", 80)], None) for n in range(1, 40)]
    assert all(len({each.host_port for each in one}) == 1 and len(one) == 2 for one in given_out)
    assert len({one[0].host_port for one in given_out}) == 39


def test_a_request_that_fails_takes_nothing() -> None:
    table, port = PortAllocator(), free_port()
    wishes = [PortRequest("tcp", 80, None, port, port), PortRequest("icmp", 1)]
    with pytest.raises(InvalidInput, match="invalid proto"):
        table.allocate(endpoint(1), wishes, None)
    assert table.holders("tcp", port) == []


def test_the_networks_address_for_publishing_applies_when_none_is_named() -> None:
    table, port = PortAllocator(), free_port()
    wish = [PortRequest("tcp", 80, None, port, port)]
    assert table.allocate(endpoint(), wish, ip_address("127.0.0.1"))[0].host_address == ip_address("127.0.0.1")


# ---------------------------------------------------------------------------------------------------------------- book


@pytest.fixture
def network() -> Network:
    subnets = (Subnet(FOUR, ip_address("10.7.0.1")), Subnet(ip_network("fd00::/64"), ip_address("fd00::1")))
    return Network(
        id="a" * 64, name="my", driver="bridge", created=1, ipv6=True, subnets=subnets, chosen=True, bridge="b"
    )


OpenDatabase = Callable[[], NetworkDatabase]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[OpenDatabase]:
    """Opens the database, as often as one likes."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(NetworkDatabase(tmp_path / "wherry.db")))


def test_what_was_written_is_read_again_and_its_addresses_stay_taken(database: OpenDatabase, network: Network) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    drafted = store.draft(
        network, "o1", "c1", EndpointRequest(ipv4=IPv4Address("10.7.0.3"), aliases=("x",), priority=7)
    )
    published = store.publish(drafted, [PortRequest("tcp", 80, ip_address("127.0.0.1"), 8123, 8123)], None)
    store.add(published)
    again = NetworkStore(database())
    assert again.endpoints == {published.id: published}
    assert again.ports.holders("tcp", 8123) == [published.id]
    with pytest.raises(Forbidden, match="Address already in use"):
        again.draft(network, "o2", "c2", EndpointRequest(ipv4=IPv4Address("10.7.0.3")))


def test_an_exhausted_network_says_so_and_takes_nothing_of_the_other_family(
    database: OpenDatabase, network: Network
) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    for number in range(5):
        store.add(store.draft(network, f"o{number}", f"c{number}", EndpointRequest()))
    with pytest.raises(Forbidden, match="no available IPv4 addresses on this network's address pools: my"):
        store.draft(network, "o9", "c9", EndpointRequest())
    assert store.drop(store.of_owner("o3")[network.id])
    found = store.draft(network, "o9", "c9", EndpointRequest())
    assert str(found.ipv4) == "10.7.0.5"
    assert str(found.ipv6) == "fd00::7"


def test_addresses_may_be_wished_for_only_where_the_user_chose_the_subnet(
    database: OpenDatabase, network: Network
) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    wish = EndpointRequest(ipv4=IPv4Address("10.7.0.4"))
    with pytest.raises(InvalidInput, match="supported on user defined networks only"):
        store.draft(replace(network, name="bridge"), "o", "c", wish)
    with pytest.raises(InvalidInput, match="user configured subnets"):
        store.draft(replace(network, chosen=False), "o", "c", wish)
    with pytest.raises(InvalidInput, match="no configured subnet contains IP address"):
        store.draft(network, "o", "c", EndpointRequest(ipv4=IPv4Address("10.99.0.4")))


def test_networks_are_found_by_id_name_and_beginning_and_names_are_unique(
    database: OpenDatabase, network: Network
) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    store.add_network(replace(network, id="ab" * 32, name="aaaa", subnets=()))
    assert store.find("a" * 64).name == store.find("my").name == store.find("aa" * 5).name == "my"
    assert store.find("aaaa").id == "ab" * 32, "a name comes before the beginning of an ID"
    with pytest.raises(InvalidInput, match=r"network a is ambiguous \(2 matches found based on ID prefix\)"):
        store.find("a")
    with pytest.raises(NotFound, match="network zz not found"):
        store.find("zz")
    with pytest.raises(Conflict, match="network with name my already exists"):
        store.add_network(replace(network, id="c" * 64))


def test_the_default_route_goes_by_the_first_endpoint_that_has_a_gateway() -> None:
    inner = endpoint(1)
    outer = Endpoint(
        id="b", network_id="n", owner="o", owner_name="c", interface="eth1", gateway4=IPv4Address("10.8.0.1")
    )
    assert gateways_of([inner, outer]).ipv4 == (IPv4Address("10.8.0.1"), "eth1")
    assert gateways_of([inner]).ipv4 is None


def test_a_row_that_is_not_understood_is_told_and_kept_with_what_depends_on_it(
    database: OpenDatabase, network: Network, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    store.add(store.draft(network, "o1", "c1", EndpointRequest()))
    with closing(sqlite3.connect(tmp_path / "wherry.db", isolation_level=None)) as connection:
        former = connection.execute("SELECT definition FROM networks").fetchone()
        connection.execute("UPDATE networks SET definition = '{}'")
        assert NetworkStore(database()).endpoints == {}
        assert "cannot be understood" in caplog.text
        connection.execute("UPDATE networks SET definition = ?", former)
    assert NetworkStore(database()).endpoints == store.endpoints


def test_an_endpoint_goes_from_memory_also_where_its_row_cannot_go_yet(
    database: OpenDatabase, network: Network
) -> None:
    opened = database()
    store, told = NetworkStore(opened), list[int]()
    opened.when_behind(lambda: told.append(1))
    store.add_network(network)
    store.add(taken := store.draft(network, "o1", "c1", EndpointRequest()))
    opened._database._connection.execute("PRAGMA query_only=1")
    assert store.drop(taken)
    assert (told, opened.flush()) == ([1], False)
    assert store.draft(network, "o2", "c2", EndpointRequest(ipv4=taken.ipv4)).ipv4 == taken.ipv4
    opened._database._connection.execute("PRAGMA query_only=0")
    assert opened.flush()
    assert NetworkStore(database()).endpoints == {}


def test_names_in_stored_rows_are_those_of_earlier_versions(
    database: OpenDatabase, network: Network, tmp_path: Path
) -> None:
    store = NetworkStore(database())
    store.add_network(network)
    request = EndpointRequest(linked_ports=(LinkedPorts("o2", (("tcp", 80),)),))
    store.add(store.draft(network, "o1", "c1", request))
    with closing(sqlite3.connect(tmp_path / "wherry.db")) as connection:
        (row,) = connection.execute("SELECT definition FROM endpoints").fetchone()
    assert msgspec.json.decode(row)["openings"] == [{"owner": "o2", "ports": [["tcp", 80]]}]
    found = Forwarding("here", (ForwardBlock(4, ("br0",)),), ("eth0",)).encoded
    assert set(msgspec.json.decode(found)) == {"where", "closings", "listening"}
