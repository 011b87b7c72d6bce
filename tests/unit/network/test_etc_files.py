"""/etc/hosts, /etc/resolv.conf and /etc/hostname, as containers see them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidInput
from wherry.network.etc_files import (
    HostEntry,
    ResolvConf,
    added_lines,
    asks_all,
    extra_host,
    host_mode_text,
    hostname_text,
    hosts_text,
    is_as_written,
    link_entries,
    needs_alternative,
    own_entries,
    parse_resolv_conf,
)

GATEWAYS = [ip_address("172.17.0.1"), ip_address("fd00::1")]
HOST = """
# a comment
; another
nameserver 192.0.2.53
nameserver  2001:db8::53   # and more
nameserver nonsense
nameserver
domain ignored.example
search corp.example lan
options timeout:1
options edns0 trust-ad
sortlist 130.155.160.0/255.255.240.0
"""


def directives(conf: ResolvConf) -> list[str]:
    """The lines of the file that are no comments."""
    return [line for line in conf.text().splitlines() if line and not line.startswith("#")]


def test_hosts_has_the_machines_names_then_the_others_then_its_own() -> None:
    own = own_entries("box", "", [ip_address("172.18.0.2"), ip_address("fd00::2")])
    text = hosts_text(own, extra_host("db:10.0.0.1", GATEWAYS))
    assert text == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n"
        "10.0.0.1\tdb\n"
        "172.18.0.2\tbox\n"
        "fd00::2\tbox\n"
    )


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [
        ("box", "", ("box",)),
        ("box", "example.org", ("box.example.org", "box")),
        ("box.example.org", "", ("box.example.org", "box")),
        ("box.sub", "example.org", ("box.sub.example.org", "box")),
        (".box", "", (".box",)),
    ],
)
def test_who_has_a_domain_is_known_by_its_short_name_as_well(
    hostname: str, domainname: str, names: tuple[str, ...]
) -> None:
    (entry,) = own_entries(hostname, domainname, [ip_address("172.18.0.2")])
    assert entry.names == names


def test_what_somebody_added_to_hosts_is_known() -> None:
    before = hosts_text(own_entries("box", "", [ip_address("172.18.0.2")]), ())
    assert added_lines(before, before) == ""
    changed = before.replace("172.18.0.2\tbox\n", "10.0.0.9 printer\n") + "# mine\n10.0.0.8 x"
    assert added_lines(before, changed) == "10.0.0.9 printer\n# mine\n10.0.0.8 x\n"


def test_hosts_without_ipv6_does_not_name_it() -> None:
    assert hosts_text((), (), ipv6=False) == "127.0.0.1\tlocalhost\n"


def test_a_domain_comes_before_the_bare_name() -> None:
    assert own_entries("box", "corp.example", [GATEWAYS[0]]) == (HostEntry("172.17.0.1", ("box.corp.example", "box")),)
    assert own_entries("", "", GATEWAYS) == ()


def test_a_link_has_all_names_once() -> None:
    assert link_entries("db", "db", "postgres", GATEWAYS[:1]) == (HostEntry("172.17.0.1", ("db", "postgres")),)


def test_on_the_hosts_network_the_hosts_own_file_counts() -> None:
    extra = extra_host("db:10.0.0.1", ())
    assert host_mode_text("127.0.0.1 localhost", extra) == "127.0.0.1 localhost\n10.0.0.1\tdb\n"


@pytest.mark.parametrize(
    ("entry", "addresses"),
    [
        ("db:10.0.0.1", ["10.0.0.1"]),
        ("db=10.0.0.1", ["10.0.0.1"]),
        ("db:::1", ["::1"]),
        ("db=2001:DB8::1", ["2001:db8::1"]),
        ("db:[2001:db8::1]", ["2001:db8::1"]),
        ("host.docker.internal:host-gateway", ["172.17.0.1", "fd00::1"]),
    ],
)
def test_an_extra_host_is_understood(entry: str, addresses: list[str]) -> None:
    assert [one.address for one in extra_host(entry, GATEWAYS)] == addresses


@pytest.mark.parametrize("entry", ["", "db", ":10.0.0.1", "a b:10.0.0.1", "a\nb:10.0.0.1", "#:10.0.0.1"])
def test_what_is_no_extra_host_is_refused_as_docker_does(entry: str) -> None:
    with pytest.raises(InvalidInput, match="bad format for add-host"):
        extra_host(entry, GATEWAYS)


@pytest.mark.parametrize("address", ["", "10.0.0", "10.0.0.1.2", "host", "[::1", "10.0.0.1\n"])
def test_an_extra_hosts_address_must_be_one(address: str) -> None:
    with pytest.raises(InvalidInput, match="invalid IP address in add-host"):
        extra_host(f"db:{address}", GATEWAYS)


def test_without_an_address_the_host_has_no_name() -> None:
    with pytest.raises(InvalidInput, match="unable to derive the IP value for host-gateway"):
        extra_host("db:host-gateway", ())


def test_hostname_is_a_line() -> None:
    assert hostname_text("box") == "box\n"


# ---------------------------------------------------------------------------------------------------------- resolv.conf


def test_a_resolv_conf_is_read_as_the_c_library_does() -> None:
    conf = parse_resolv_conf(HOST)
    assert conf.nameservers == ("192.0.2.53", "2001:db8::53")
    assert conf.search == ("corp.example", "lan")
    assert conf.options == ("timeout:1", "edns0", "trust-ad")
    assert conf.others == ("sortlist 130.155.160.0/255.255.240.0",)


def test_on_the_hosts_network_it_says_the_same_again() -> None:
    conf = parse_resolv_conf(HOST)
    assert parse_resolv_conf(conf.text()) == conf


def test_on_a_bridge_the_hosts_loopback_is_not_reached() -> None:
    conf = parse_resolv_conf("nameserver 127.0.0.53\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.53\n")
    assert conf.for_bridge(ipv6=True).nameservers == ("192.0.2.53",)


def test_on_a_bridge_without_ipv6_its_servers_are_not_named() -> None:
    conf = parse_resolv_conf(HOST)
    assert conf.for_bridge(ipv6=False).nameservers == ("192.0.2.53",)
    assert conf.for_bridge(ipv6=True).nameservers == ("192.0.2.53", "2001:db8::53")


def test_on_a_bridge_somebody_is_always_asked() -> None:
    conf = parse_resolv_conf("nameserver 127.0.0.53\n")
    assert conf.for_bridge(ipv6=False).nameservers == ("8.8.8.8", "8.8.4.4")
    assert len(conf.for_bridge(ipv6=True).nameservers) == 4
    assert "public" in conf.for_bridge(ipv6=False).text()


def test_what_was_given_for_the_container_stays_even_on_loopback() -> None:
    conf = parse_resolv_conf(HOST).overridden(["127.0.0.1"], [], [])
    assert conf.for_bridge(ipv6=False).nameservers == ("127.0.0.1",)


def test_on_a_network_with_names_our_server_is_asked() -> None:
    conf = parse_resolv_conf(HOST).for_resolver()
    assert directives(conf) == [
        "nameserver 127.0.0.11",
        "search corp.example lan",
        "options timeout:1 edns0 trust-ad ndots:0",
        "sortlist 130.155.160.0/255.255.240.0",
    ]
    assert "# ExtServers: [host(192.0.2.53) host(2001:db8::53)]" in conf.text()


@pytest.mark.parametrize(
    ("option", "kept"), [("ndots:2", "ndots:2"), ("ndots:-1", "ndots:0"), ("ndots:x", "ndots:0"), ("ndots", "ndots:0")]
)
def test_a_valid_ndots_is_the_users(option: str, kept: str) -> None:
    conf = ResolvConf().overridden([], [], [option])
    assert conf.for_resolver().options == (kept,)


def test_each_directive_is_given_for_itself() -> None:
    host = parse_resolv_conf(HOST)
    conf = host.overridden(["198.51.100.1"], [], ["rotate"])
    assert (conf.nameservers, conf.search, conf.options) == (("198.51.100.1",), host.search, ("rotate",))
    assert "Given for this container: nameservers, options" in conf.text()
    assert host.overridden([], ["."], []).search == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((["dns.example"], [], []), "IP address is not correctly formatted: dns.example"),
        (([], ["a b"], []), "not a valid domain"),
        (([], ["a\nnameserver 203.0.113.66"], []), "not a valid domain"),
        (([], [], ["a\tb"]), "not a valid DNS option"),
    ],
)
def test_what_would_be_another_line_is_refused(given: tuple[list[str], list[str], list[str]], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ResolvConf().overridden(*given)


def test_without_any_server_public_ones_are_asked() -> None:
    assert ResolvConf().servers_to_ask() == ("8.8.8.8", "8.8.4.4")
    assert parse_resolv_conf("nameserver 127.0.0.53").servers_to_ask() == ("127.0.0.53",)


def test_systemd_resolved_is_known_by_its_stub() -> None:
    assert needs_alternative(parse_resolv_conf("nameserver 127.0.0.53\noptions edns0\n"))
    assert not needs_alternative(parse_resolv_conf("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"))


def test_who_says_ndots_0_wants_everything_asked() -> None:
    assert asks_all(["rotate", "ndots:0"])
    assert not asks_all([])
    assert not asks_all(["ndots:1"])


def test_a_change_by_somebody_else_is_seen() -> None:
    text = parse_resolv_conf(HOST).for_resolver().text()
    assert is_as_written(text)
    assert is_as_written("")
    for other in (text + "x", text.replace("127.0.0.11", "127.0.0.12"), "nameserver 192.0.2.1\n", text[:-2]):
        assert not is_as_written(other)


@given(st.text(max_size=300))
def test_any_text_is_read_and_gives_a_file(text: str) -> None:
    conf = parse_resolv_conf(text)
    assert is_as_written(conf.for_bridge(ipv6=True).text())
    assert is_as_written(conf.for_resolver().text())
