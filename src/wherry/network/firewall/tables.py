"""The two tables of wherry's: what may reach what.

``inet`` decides about packets that the host routes or receives:

- established connections pass first: the shortest path is that of nearly every packet;
- to a bridge from elsewhere comes only what was sent to a published port and so got a new destination, or what the
  network's gateway mode lets pass (``into_bridge``);
- an internal network's containers reach one another and the bridge's own address, and nothing else;
- published ports are elements of maps: by port alone for all of the host's addresses, or by address and port;
- sources are kept, except on the way out, back into the bridge that the packet came from (the answer would otherwise
  take the short way and not be recognised), to a container that answers the sender by another of its networks
  (likewise), and from 127.0.0.1, which means something else inside;
- what is sent to a published port at [::1] goes to wherryd: the kernel cannot bring a container's answer back there;
- a host that was no router before wherry switched forwarding on is none now (``between_others``; why it is written as
  it is says `wherry.network.kernel_state.ip_forward`);
- 127.0.0.0/8 stays on ``lo``, because the bridges accept such packets (``route_localnet``) and because a new
  destination is chosen before the kernel looks for martians.

``bridge`` decides about frames before they enter a bridge: a port sends from its own addresses only, in Ethernet, ARP,
IPv4, IPv6 and neighbour discovery, and is no router and no DHCP server. One look-up decides for nearly every frame.

Everything that comes and goes is an element of a set: endpoints, bridges and ports add no rule. Other tables are not
touched. To accept here does not overrule another table, where the host's own policy may drop.
"""

from __future__ import annotations

from typing import Final

from wherry.linux.nft_expressions import CtState, CtStatus, Hook
from wherry.linux.nftables import BaseChain, DataType, NfFamily
from wherry.network.firewall.rule_language import (
    Chain,
    Rule,
    SetOf,
    Table,
    accept,
    conntrack,
    dnat_to,
    drop,
    ether_type,
    fib,
    goto,
    in_set,
    is_loopback,
    is_value,
    jump,
    masquerade,
    not_from_loopback,
    snat_to,
    verdict_of,
)

__all__ = ["APART", "DNAT_ONLY", "INTO_BRIDGE", "bridge_table", "inet_table"]

APART: Final = "apart"
"""The chain of bridges whose containers do not reach one another, but for links and published ports."""

DNAT_ONLY: Final = "dnat_only"
"""The chain that accepts what was sent to a published port, and drops the rest."""

INTO_BRIDGE: Final = "into_bridge"
"""The chain of what comes into a bridge from elsewhere."""

_RAW, _DSTNAT, _FILTER, _SRCNAT, _BRIDGE_FILTER = -300, -100, 0, 100, -200
_IFNAME, _ETHER, _PORT, _PROTO = DataType.IFNAME, DataType.ETHER_ADDR, DataType.INET_SERVICE, DataType.INET_PROTO
_IP4, _IP6, _FAMILY = DataType.IPV4_ADDR, DataType.IPV6_ADDR, DataType.NF_PROTO


def inet_table(name: str) -> Table:
    """Routing, publishing and masquerading."""
    return Table(NfFamily.INET, name, _INET_SETS, (*_helpers(), *_filters(), *_nat()))


def bridge_table(name: str) -> Table:
    """Who may send what into a bridge."""
    return Table(NfFamily.BRIDGE, name, _BRIDGE_SETS, _guards())


_INET_SETS: Final = (
    SetOf("bridges", (_IFNAME,)),
    SetOf("internal", (_IFNAME,)),
    SetOf("within", (_IFNAME, _IFNAME), (DataType.VERDICT,)),
    SetOf("sources4", (_IP4, _IFNAME), interval=True),
    SetOf("sources6", (_IP6, _IFNAME), interval=True),
    SetOf("masquerade4", (_IP4,), interval=True),
    SetOf("masquerade6", (_IP6,), interval=True),
    SetOf("outgoing4", (_IP4,), (_IP4,), interval=True),
    SetOf("outgoing6", (_IP6,), (_IP6,), interval=True),
    SetOf("open4", (_IP4, _PROTO, _PORT)),
    SetOf("open6", (_IP6, _PROTO, _PORT)),
    SetOf("trusted4", (_IFNAME, _IP4, _PROTO, _PORT)),
    SetOf("trusted6", (_IFNAME, _IP6, _PROTO, _PORT)),
    SetOf("routed", (_FAMILY, _IFNAME)),
    SetOf("unprotected", (_FAMILY, _IFNAME)),
    SetOf("linked4", (_IP4, _IP4, _PROTO, _PORT)),
    SetOf("linked6", (_IP6, _IP6, _PROTO, _PORT)),
    SetOf("detours4", (_IP4, _IP4), interval=True),
    SetOf("detours6", (_IP6, _IP6), interval=True),
    SetOf("ports4", (_PROTO, _PORT), (_IP4, _PORT)),
    SetOf("ports6", (_PROTO, _PORT), (_IP6, _PORT)),
    SetOf("addresses4", (_IP4, _PROTO, _PORT), (_IP4, _PORT)),
    SetOf("addresses6", (_IP6, _PROTO, _PORT), (_IP6, _PORT)),
    SetOf("localhost6", (_PROTO, _PORT), (_IP6, _PORT)),
    SetOf("closed", (_FAMILY,)),
    SetOf("earlier", (_FAMILY, _IFNAME)),
    SetOf("itself", (_IFNAME, _IFNAME)),
    SetOf("routers4", (_IFNAME,)),
)
_BRIDGE_SETS: Final = (
    SetOf("ports", (_IFNAME,)),
    SetOf("isolated", (_IFNAME,)),
    SetOf("linked", (_IFNAME, _IFNAME)),
    SetOf("linked_ports", (_IFNAME, _IFNAME, _PROTO, _PORT)),
    SetOf("macs", (_IFNAME, _ETHER)),
    SetOf("owners4", (_IFNAME, _ETHER, _IP4)),
    SetOf("owners6", (_IFNAME, _ETHER, _IP6)),
)


def _helpers() -> tuple[Chain, ...]:
    """The chains that others go to."""
    bridged = is_value("ip6 hoplimit", "255")
    return (
        Chain(
            DNAT_ONLY,
            (
                Rule("sent to a published port", (conntrack(CtStatus.DNAT), accept)),
                Rule("not published", (drop,)),
            ),
        ),
        _into_bridge(),
        Chain(
            APART,
            (
                # With br_netfilter, what the bridge table has let pass; without, what was sent by way of the host.
                Rule("to a linked port", (in_set("ip saddr . ip daddr . meta l4proto . th dport", "linked4"), accept)),
                Rule(
                    "to a linked port, IPv6",
                    (in_set("ip6 saddr . ip6 daddr . meta l4proto . th dport", "linked6"), accept),
                ),
                # These the bridge table has let pass, as the two are linked; what is routed has a lower limit.
                Rule("linked IPv6 neighbours ask", (bridged, is_value("icmpv6 type", "nd-neighbor-solicit"), accept)),
                Rule("linked IPv6 neighbours answer", (bridged, is_value("icmpv6 type", "nd-neighbor-advert"), accept)),
                Rule("or to a published one", (goto(DNAT_ONLY),)),
            ),
        ),
        Chain(
            "from_internal",
            (
                Rule("the bridge's own address", (fib("local", on_this_link=True), accept)),
                Rule("the bridge's broadcast address", (fib("broadcast", on_this_link=True), accept)),
                Rule("multicast on the bridge", (fib("multicast", on_this_link=True), accept)),
                Rule("not for the host: see forward", (fib("unicast"), accept)),
                # With br_netfilter, a neighbour on a bridge to whose subnet the host, having no address, has no route.
                Rule("nor is what it has no route to", (fib("unreachable"), accept)),
                Rule("another address of the host, from an internal network", (drop,)),
            ),
        ),
        Chain(
            "published",
            (
                _publish("ip daddr . meta l4proto . th dport", "addresses4"),
                _publish("meta l4proto . th dport", "ports4"),
                _publish("ip6 daddr . meta l4proto . th dport", "addresses6"),
                _publish("meta l4proto . th dport", "ports6"),
            ),
        ),
        Chain(
            "at_localhost6",
            (Rule("wherryd passes it on", (dnat_to("meta l4proto . th dport", "localhost6", ipv6=True),)),),
        ),
        _between_others(),
        Chain("hairpin", (Rule("back into its own bridge", (conntrack(CtStatus.DNAT), masquerade)),)),
        Chain("inwards", (Rule("localhost means something else inside", (is_loopback("saddr"), masquerade)),)),
    )


def _into_bridge() -> Chain:
    """What passes from elsewhere into a bridge."""
    to_routed, by_trusted = in_set("meta nfproto . oifname", "routed"), "iifname . %s daddr . meta l4proto . th dport"
    return Chain(
        INTO_BRIDGE,
        (
            Rule("sent to a published port", (conntrack(CtStatus.DNAT), accept)),
            Rule("open port", (in_set("ip daddr . meta l4proto . th dport", "open4"), accept)),
            Rule("open port, IPv6", (in_set("ip6 daddr . meta l4proto . th dport", "open6"), accept)),
            Rule("trusted interface", (in_set(by_trusted % "ip", "trusted4"), accept)),
            Rule("trusted interface, IPv6", (in_set(by_trusted % "ip6", "trusted6"), accept)),
            Rule("ICMP to a routed network", (is_value("meta l4proto", "icmp"), to_routed, accept)),
            Rule("ICMPv6 to a routed network", (is_value("meta l4proto", "ipv6-icmp"), to_routed, accept)),
            Rule("an unprotected network", (in_set("meta nfproto . oifname", "unprotected"), accept)),
            Rule("not published", (drop,)),
        ),
    )


def _between_others() -> Chain:
    """What passes between two links that are not ours, where forwarding was off before."""
    came_later = [
        Rule(
            f"{'from' if side == 'iif' else 'to'} another program's {kind}, made since",
            (
                in_set(f"meta nfproto . {side}name", "earlier", invert=True),
                is_value(f"meta {side}kind", f'"{kind}"'),
                accept,
            ),
        )
        for side in ("iif", "oif")
        for kind in ("bridge", "veth")
    ]
    return Chain(
        "between_others",
        (
            # With br_netfilter, the host's own bridges send their frames through here.
            Rule("within another's bridge", (in_set("iifname . oifname", "itself"), accept)),
            Rule("routed before", (is_value("meta nfproto", "ipv4"), in_set("iifname", "routers4"), accept)),
            *came_later,
            Rule("this host was no router", (drop,)),
        ),
    )


def _publish(key: str, map_name: str) -> Rule:
    ipv6 = map_name.endswith("6")
    where = "one address" if map_name.startswith("addresses") else "all addresses"
    why = f"published on {where}, {'IPv6' if ipv6 else 'IPv4'}"
    return Rule(why, (dnat_to(key, map_name, ipv6=ipv6),))


def _filters() -> tuple[Chain, ...]:
    """The base chains that decide what passes."""
    return (
        Chain(
            # One chain for both, and none at the hook `input`: each hook costs every packet about a hundredth.
            "arrival",
            (
                # What comes *from* there the kernel drops, also where such addresses are routed (fib_validate_source).
                Rule("to 127.0.0.0/8, but not on lo", (not_from_loopback(), is_loopback("daddr"), drop)),
                Rule("internal networks", (in_set("iifname", "internal"), goto("from_internal"))),
            ),
            BaseChain("filter", Hook.PREROUTING, _RAW),
        ),
        Chain(
            "forward",
            (
                Rule("the shortest path", (conntrack(CtState.ESTABLISHED | CtState.RELATED), accept)),
                Rule("would leave untranslated", (in_set("iifname", "bridges"), conntrack(CtState.INVALID), drop)),
                Rule("within a bridge", (verdict_of("iifname . oifname", "within"),)),
                Rule("no way out of an internal network", (in_set("iifname", "internal"), drop)),
                Rule("no way into an internal network", (in_set("oifname", "internal"), drop)),
                Rule("into a bridge", (in_set("oifname", "bridges"), goto(INTO_BRIDGE))),
                Rule("out of a bridge", (in_set("iifname", "bridges"), accept)),
                Rule("between others' links", (in_set("meta nfproto", "closed"), goto("between_others"))),
            ),
            BaseChain("filter", Hook.FORWARD, _FILTER),
        ),
    )


def _nat() -> tuple[Chain, ...]:
    """The base chains that choose other addresses; only a connection's first packet comes here."""
    local = Rule("to the host", (fib("local"), jump("published")))
    # The kernel looks for ::1 on the link by which a packet came (rt6_need_strict), so an answer would never get back.
    own6 = Rule("to [::1]", (is_value("ip6 daddr", "::1"), goto("at_localhost6")))
    return (
        Chain("prerouting", (local,), BaseChain("nat", Hook.PREROUTING, _DSTNAT)),
        Chain("output", (own6, local), BaseChain("nat", Hook.OUTPUT, _DSTNAT)),
        Chain(
            "postrouting",
            (
                Rule("within a network", (in_set("ip saddr . oifname", "sources4"), goto("hairpin"))),
                Rule("within a network, IPv6", (in_set("ip6 saddr . oifname", "sources6"), goto("hairpin"))),
                Rule("answered by another way", (in_set("ip saddr . ip daddr", "detours4"), goto("hairpin"))),
                Rule("answered by another way, IPv6", (in_set("ip6 saddr . ip6 daddr", "detours6"), goto("hairpin"))),
                Rule("into a bridge", (in_set("oifname", "bridges"), goto("inwards"))),
                Rule("out", (in_set("ip saddr", "masquerade4"), masquerade)),
                Rule("out, IPv6", (in_set("ip6 saddr", "masquerade6"), masquerade)),
                Rule("out, with a chosen address", (snat_to("ip saddr", "outgoing4"),)),
                Rule("out, with a chosen address, IPv6", (snat_to("ip6 saddr", "outgoing6", ipv6=True),)),
            ),
            BaseChain("nat", Hook.POSTROUTING, _SRCNAT),
        ),
    )


_OWNER4, _OWNER6 = "iifname . ether saddr . ip saddr", "iifname . ether saddr . ip6 saddr"
_TARGET: Final = "iifname . ether saddr . @th,64,128"


def _guards() -> tuple[Chain, ...]:
    """What a port may send, and what may pass from port to port."""
    return (
        _neighbours(),
        _others(),
        _apart(),
        Chain(
            "guard",
            (
                Rule("its own address", (ether_type("ip"), in_set(_OWNER4, "owners4", ask_family=False), accept)),
                Rule(
                    "its own IPv6 address",
                    (
                        ether_type("ip6"),
                        is_value("meta l4proto", "ipv6-icmp", invert=True),
                        in_set(_OWNER6, "owners6", ask_family=False),
                        accept,
                    ),
                ),
                Rule("a container", (in_set("iifname", "ports"), goto("others"))),
            ),
            BaseChain("filter", Hook.PREROUTING, _BRIDGE_FILTER),
        ),
        Chain(
            "between",
            (
                Rule("a container is no DHCP server", (is_value("udp sport", "67"), in_set("iifname", "ports"), drop)),
                Rule("nor one of DHCPv6", (is_value("udp sport", "547"), in_set("iifname", "ports"), drop)),
                # With br_netfilter, what was sent to the bridge and got a container as its new destination comes by
                # here, too; such a frame was addressed to the host. In `forward` it is looked at again.
                Rule(
                    "containers that are kept apart",
                    (in_set("iifname", "isolated"), is_value("meta pkttype", "host", invert=True), goto(APART)),
                ),
            ),
            BaseChain("filter", Hook.FORWARD, _BRIDGE_FILTER),
        ),
    )


def _neighbours() -> Chain:
    """ICMPv6, of which neighbour discovery (RFC 4861) is a part."""
    solicits = is_value("icmpv6 type", "nd-neighbor-solicit")
    unspecified = is_value("ip6 saddr", "::", ask_family=False)
    its_own, not_its_own = (in_set(_TARGET, "owners6", ask_family=False, invert=invert) for invert in (False, True))
    return Chain(
        "neighbours",
        (
            Rule("a container is no router", (is_value("icmpv6 type", "nd-router-advert"), drop)),
            Rule("a container is no router: redirect", (is_value("icmpv6 type", "nd-redirect"), drop)),
            Rule("somebody else's address", (is_value("icmpv6 type", "nd-neighbor-advert"), not_its_own, drop)),
            Rule("its own address", (in_set(_OWNER6, "owners6", ask_family=False), accept)),
            Rule("looks whether another has its address", (unspecified, solicits, its_own, accept)),
            Rule("joins groups", (unspecified, is_value("icmpv6 type", "143"), accept)),
            Rule("another's IPv6 address", (drop,)),
        ),
    )


def _apart() -> Chain:
    """From one container to another, on a bridge that keeps them apart; some kernels track no connections here."""
    linked = in_set("iifname . oifname", "linked")
    called = in_set("iifname . oifname . meta l4proto . th dport", "linked_ports")
    answered = in_set("oifname . iifname . meta l4proto . th sport", "linked_ports")
    return Chain(
        APART,
        (
            Rule("to a linked port", (called, accept)),
            Rule("from a linked port", (answered, accept)),
            Rule("linked neighbours", (ether_type("arp"), linked, accept)),
            Rule("linked IPv6 neighbours ask", (is_value("icmpv6 type", "nd-neighbor-solicit"), linked, accept)),
            Rule("linked IPv6 neighbours answer", (is_value("icmpv6 type", "nd-neighbor-advert"), linked, accept)),
            Rule("containers do not reach one another here", (drop,)),
        ),
    )


def _others() -> Chain:
    """The frames that the two usual rules have not let through."""
    announced = in_set("iifname . arp saddr ether . arp saddr ip", "owners4", ask_family=False)
    icmpv6 = is_value("meta l4proto", "ipv6-icmp")
    return Chain(
        "others",
        (
            Rule("another's MAC address", (in_set("iifname . ether saddr", "macs", invert=True), drop)),
            Rule("its own address, ARP", (ether_type("arp"), announced, accept)),
            Rule("asks before it has one", (ether_type("arp"), is_value("arp saddr ip", "0.0.0.0"), accept)),
            Rule("IPv6 neighbours", (ether_type("ip6"), icmpv6, goto("neighbours"))),
            Rule("another's address, or no IP", (drop,)),
        ),
    )
