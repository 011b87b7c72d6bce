"""The packet filter's tables as bytes: what is sent to the kernel is what nft reads back from it."""

from __future__ import annotations

import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.nft_disassembler import attributes, big, disassemble, string
from wherry.linux.nft_expressions import Hook, Verdict
from wherry.linux.nftables import (
    BaseChain,
    ChainInfo,
    DataType,
    Element,
    Message,
    NfFamily,
    delete_elements,
    delete_table,
    generation_maker,
    new_chain,
    new_elements,
    new_rule,
    new_set,
    type_of,
)
from wherry.network.firewall.elements import (
    AntiSpoof,
    BridgeRules,
    ForwardBlock,
    LinkRule,
    PortMapping,
    anti_spoof_elements,
    bridge_elements,
    forward_block_elements,
    pair_rule_elements,
    port_mapping_elements,
)
from wherry.network.firewall.firewall import Firewall
from wherry.network.firewall.foreign import obstacles_among
from wherry.network.firewall.rule_language import Table, fib, in_set, is_value
from wherry.network.firewall.tables import bridge_table, inet_table

GOLDEN = Path(__file__).parents[2] / "data/firewall_rules.txt"
TABLES = [inet_table("wherry"), bridge_table("wherry")]


def body(message: Message) -> dict[int, bytes]:
    return dict(attributes(message.body[4:]))


@pytest.mark.skipif(
    sys.byteorder == "big", reason="nft prints words in the machine's order; the page was printed on x86"
)
def test_the_rules_are_the_instructions_that_nft_reads_back_from_the_kernel() -> None:
    """The page is nft's (``nft --debug=netlink list ruleset``) without handles, comments, and what the kernel adds."""
    ours = []
    for table in TABLES:
        for chain in table.chains:
            for rule in chain.rules:
                ours += [f"{table.family.name.lower()} {chain.name}", *(f"  {line}" for line in disassemble(rule.code))]
    assert ours == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.family.name)
def test_every_set_that_a_rule_asks_for_exists_and_every_set_is_asked_for(table: Table) -> None:
    asked = {
        line.split(" set ")[1].split()[0]
        for chain in table.chains
        for rule in chain.rules
        for line in disassemble(rule.code)
        if line.startswith("[ lookup")
    }
    assert asked == {item.name for item in table.sets}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.family.name)
def test_a_comment_tells_a_rule_from_its_neighbours_and_fits(table: Table) -> None:
    for chain in table.chains:
        comments = [rule.why for rule in chain.rules]
        assert len(set(comments)) == len(comments)
        assert all(len(comment) < 128 for comment in comments)


def test_no_two_sets_of_a_transaction_share_a_number() -> None:
    for table in TABLES:
        made = [message for message in table.messages() if message.what.startswith(("add set", "add map"))]
        numbers = [body(message)[10] for message in made]
        assert len(set(numbers)) == len(numbers) == len(table.sets)


def test_a_base_chain_says_where_it_is_called_and_accepts() -> None:
    message = new_chain(NfFamily.INET, "t", "c", BaseChain("nat", Hook.POSTROUTING, -100))
    found = body(message)
    hook = dict(attributes(found[4]))
    assert message.body[:4] == bytes((NfFamily.INET, 0, 0, 0))
    assert (big(hook[1]), int.from_bytes(hook[2], "big", signed=True)) == (4, -100)
    assert (string(found[7]), big(found[5])) == ("nat", 1)


def test_a_comment_is_kept_as_nft_keeps_it() -> None:
    found = body(new_rule(NfFamily.INET, "t", "c", b"", "why"))
    assert found[7] == b"\0\4why\0"


def test_a_concatenated_key_is_padded_part_by_part() -> None:
    found = body(
        new_set(
            NfFamily.BRIDGE, "t", "s", (DataType.IFNAME, DataType.ETHER_ADDR, DataType.IPV4_ADDR), number_in_batch=1
        )
    )
    assert big(found[5]) == 16 + 8 + 4
    assert (
        big(found[4])
        == type_of((DataType.IFNAME, DataType.ETHER_ADDR, DataType.IPV4_ADDR))
        == (41 << 12) | (9 << 6) | 7
    )


def test_a_concatenation_of_ranges_tells_the_width_of_its_parts() -> None:
    found = body(
        new_set(NfFamily.INET, "t", "s", (DataType.IPV6_ADDR, DataType.IFNAME), number_in_batch=1, interval=True)
    )
    assert big(found[3]) == 0x4 | 0x80
    fields = attributes(dict(attributes(found[9]))[2])
    assert [big(dict(attributes(field))[1]) for _, field in fields] == [16, 16]


def test_many_elements_go_in_messages_that_hold_them() -> None:
    made = [Element(number.to_bytes(4, "big"), value=bytes(8)) for number in range(5000)]
    messages = new_elements(NfFamily.INET, "t", "m", made)
    assert len(messages) > 1
    found = [element for message in messages for element in attributes(body(message)[3])]
    assert len(found) == 5000
    assert max(len(message.body) for message in messages) < 65536


def test_nothing_to_change_is_no_message() -> None:
    assert new_elements(NfFamily.INET, "t", "m", []) == []
    assert delete_elements(NfFamily.INET, "t", "m", []) == []


# ------------------------------------------------------------------------------------------------------------- elements


def test_a_port_on_all_addresses_is_found_by_port_and_on_one_by_address() -> None:
    inside = ip_address("10.0.0.2")
    found = port_mapping_elements(
        [
            PortMapping("tcp", None, 8080, inside, 80),
            PortMapping("udp", ip_address("0.0.0.0"), 53, inside, 53),
            PortMapping("sctp", ip_address("127.0.0.1"), 9, inside, 9),
        ]
    )
    value = inside.packed
    assert found[NfFamily.INET, "ports4"] == [
        Element(b"\x06\0\0\0" + b"\x1f\x90\0\0", value=value + b"\0\x50\0\0"),
        Element(b"\x11\0\0\0" + b"\0\x35\0\0", value=value + b"\0\x35\0\0"),
    ]
    assert found[NfFamily.INET, "addresses4"] == [
        Element(b"\x7f\0\0\1" + b"\x84\0\0\0" + b"\0\x09\0\0", value=value + b"\0\x09\0\0")
    ]


def test_the_containers_address_decides_of_which_family_a_binding_is() -> None:
    found = port_mapping_elements([PortMapping("tcp", None, 80, ip_address("fd00::2"), 80)])
    assert list(found) == [(NfFamily.INET, "ports6")]


def test_a_guard_covers_the_link_local_address_that_comes_of_the_mac_address() -> None:
    found = anti_spoof_elements([AntiSpoof("wv0", "02:42:ac:11:00:02", (ip_address("10.0.0.2"),))])
    sender = b"wv0".ljust(16, b"\0") + bytes.fromhex("0242ac1100020000")
    assert found[NfFamily.BRIDGE, "owners6"] == [Element(sender + ip_address("fe80::42:acff:fe11:2").packed)]
    assert found[NfFamily.BRIDGE, "owners4"] == [Element(sender + bytes((10, 0, 0, 2)))]
    assert (NfFamily.BRIDGE, "isolated") not in found
    assert (NfFamily.BRIDGE, "isolated") in anti_spoof_elements([AntiSpoof("wv0", "02:42:ac:11:00:02", isolated=True)])


def test_a_bridge_is_a_range_of_sources_and_a_word_on_its_inside() -> None:
    name = b"br-x".ljust(16, b"\0")
    found = bridge_elements([BridgeRules("br-x", (ip_network("10.0.0.0/24"),))])
    first, behind = bytes((10, 0, 0, 0)), bytes((10, 0, 1, 0))
    assert found[NfFamily.INET, "sources4"] == [Element(first + name, end=bytes((10, 0, 0, 255)) + name)]
    assert found[NfFamily.INET, "masquerade4"] == [Element(first), Element(behind, is_end=True)]
    assert found[NfFamily.INET, "within"] == [Element(name + name, value=(Verdict.ACCEPT, None))]
    assert (NfFamily.INET, "internal") not in found


@pytest.mark.parametrize(
    ("rules", "absent"),
    [
        (BridgeRules("br-x", (ip_network("10.0.0.0/24"),), masquerade=False), "masquerade4"),
        (BridgeRules("br-x", (ip_network("10.0.0.0/24"),), internal=True), "masquerade4"),
    ],
)
def test_what_does_not_leave_is_not_masqueraded(rules: BridgeRules, absent: str) -> None:
    assert (NfFamily.INET, absent) not in bridge_elements([rules])


def test_without_icc_a_bridge_lets_inside_what_was_published_or_linked_only() -> None:
    found = bridge_elements([BridgeRules("br-x", icc=False)])
    assert found[NfFamily.INET, "within"][0].value == (Verdict.GOTO, "apart")
    chain = next(chain for chain in inet_table("wherry").chains if chain.name == "apart")
    assert chain.rules[-1].describe() == 'goto dnat_only comment "or to a published one"'


def test_a_link_is_a_pair_of_ports_and_for_each_family_addresses() -> None:
    one, other = b"wv1".ljust(16, b"\0"), b"wv2".ljust(16, b"\0")
    sources, targets = (ip_address("10.0.0.2"), ip_address("fd00::2")), (ip_address("10.0.0.3"),)
    found = pair_rule_elements([LinkRule("wv1", "wv2", sources, targets, (("tcp", 80), ("udp", 53)))])
    ports = (b"\6\0\0\0\0\x50\0\0", b"\x11\0\0\0\0\x35\0\0")
    assert found[NfFamily.BRIDGE, "linked"] == [Element(one + other), Element(other + one)]
    assert found[NfFamily.BRIDGE, "linked_ports"] == [Element(one + other + port) for port in ports]
    assert found[NfFamily.INET, "linked4"] == [Element(bytes((10, 0, 0, 2, 10, 0, 0, 3)) + port) for port in ports]
    assert (NfFamily.INET, "linked6") not in found


def test_a_family_is_closed_with_the_links_that_were_there() -> None:
    names = {name: name.encode().ljust(16, b"\0") for name in ("br0", "eth0", "eth1")}
    found = forward_block_elements([ForwardBlock(4, ("br0",), ("eth0",), routers=("eth1",)), ForwardBlock(6, ("br0",))])
    assert found[NfFamily.INET, "closed"] == [Element(b"\2"), Element(b"\12")]
    four, six = b"\2\0\0\0", b"\12\0\0\0"
    assert found[NfFamily.INET, "earlier"] == [
        Element(four + names["br0"]),
        Element(four + names["eth0"]),
        Element(six + names["br0"]),
    ]
    assert found[NfFamily.INET, "routers4"] == [Element(names["eth1"])]
    assert found[NfFamily.INET, "itself"] == [Element(names["br0"] * 2)], "once, though it is there for both"
    assert forward_block_elements([]) == {}


# ---------------------------------------------------------------------------------------------------------------- words


def test_the_rules_are_told_in_nfts_words() -> None:
    text = Firewall("wherry").describe()
    assert "table inet wherry {" in text
    assert '\t\toifname @bridges goto into_bridge comment "into a bridge"' in text
    assert "\tmap ports4 {\n\t\ttype inet_proto . inet_service : ipv4_addr . inet_service\n\t}" in text
    assert "\t\ttype filter hook forward priority 0; policy accept;" in text


def test_parts_say_what_they_do() -> None:
    assert in_set("iifname", "x", invert=True).words == "iifname != @x"
    assert fib("local", on_this_link=True).words == "fib daddr . iif type local"
    assert is_value("udp sport", "67").words == "udp sport 67"


def test_an_unknown_field_is_an_error_of_the_rules_author() -> None:
    with pytest.raises(KeyError):
        in_set("no such field", "x")


def test_a_generation_names_its_maker_and_other_events_none() -> None:
    generation = Message(10 << 8 | 15, bytes(4) + bytes.fromhex("0800010000000007") + bytes.fromhex("08000200000004d2"))
    assert generation_maker(generation) == 1234
    assert generation_maker(delete_table(NfFamily.INET, "wherry")) is None


# ------------------------------------------------------------------------------------------- others' packet filters


FORWARD, INPUT = BaseChain("filter", Hook.FORWARD, 0), BaseChain("filter", Hook.INPUT, 0)


def test_another_programs_chain_that_drops_what_it_does_not_know_is_an_obstacle() -> None:
    found = obstacles_among(
        [
            ChainInfo(NfFamily.IPV4, "filter", "FORWARD", FORWARD, True),
            ChainInfo(NfFamily.INET, "firewalld", "filter_INPUT", INPUT, True),
            ChainInfo(NfFamily.IPV4, "filter", "INPUT", INPUT, False),
            ChainInfo(NfFamily.INET, "wherry", "forward", FORWARD, True),
            ChainInfo(NfFamily.IPV4, "nat", "x", BaseChain("nat", Hook.PREROUTING, 0), True),
            ChainInfo(NfFamily.IPV4, "filter", "DOCKER", None, False),
            ChainInfo(NfFamily.BRIDGE, "b", "f", FORWARD, True),
        ],
        "wherry",
    )
    assert [(each.where, each.hook, each.versions) for each in found] == [
        ("chain ip filter FORWARD", "forward", (4,)),
        ("chain inet firewalld filter_INPUT", "input", (4, 6)),
    ]
    assert "iptables -I DOCKER-USER -i BRIDGE -j ACCEPT" in found[0].describe()
    assert found[1].remedy == ""
