"""``wherry network trace A B [PORT]``: does it reach, and which name, route or rule stops it.

A walk over values (`topology`): no packet is sent, nothing in the kernel is asked. It takes the path that
a packet takes - name, route, the rules in their order, the program at the end - and stops where the packet stops.
Rules are named by their table, chain and comment, as ``nft list ruleset`` shows them.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from wherry.errors import InvalidInput, NotFound
from wherry.network.diagnose.listeners import Listener
from wherry.network.diagnose.published import instead, opened, published_at
from wherry.network.diagnose.steps import HOST, OUTSIDE, Step, Trace, rule_named
from wherry.network.diagnose.topology import Participant, Topology, names, plain
from wherry.network.drivers.table import driver_of
from wherry.network.firewall.foreign import Obstacle
from wherry.network.firewall.tables import APART, INTO_BRIDGE
from wherry.network.ipam.addresses import is_address
from wherry.network.model import ICC, Address, Endpoint, Network

__all__ = ["trace"]

_PROTOCOLS: Final = ("tcp", "udp", "sctp")


def trace(topology: Topology, source: str, target: str, port: str = "") -> Trace:
    """Trace the way of a packet from one participant to another.

    :param source: a container's name or ID, or ``host``, or ``outside``.
    :param target: the same, or an address, or a name that the source may look up.
    :param port: ``80`` or ``53/udp``; empty: only whether packets arrive.
    :raises NotFound: there is no such container.
    :raises InvalidInput: the port is none.
    """
    walk = _Walk(topology, source, *_parse_port(port))
    hint = ""
    try:
        walk.go(target)
    except _StopError as stop:
        hint = stop.hint
    failed = next((step for step in walk.steps if not step.passes), None)
    because = (failed or walk.steps[-1]).why
    if failed is None and walk.doubts:
        because = f"{because}, unless {' or '.join(each.where for each in walk.doubts)} stops it"
        hint = "; ".join(dict.fromkeys(each.remedy for each in walk.doubts if each.remedy))
    return Trace(source, target, failed is None, because, tuple(walk.steps), hint)


def _parse_port(text: str) -> tuple[int | None, str]:
    number, slash, protocol = text.partition("/")
    protocol = protocol if slash else "tcp"
    if not text:
        return None, protocol
    if not re.fullmatch("[0-9]{1,5}", number) or not 0 < int(number) < 65536 or protocol not in _PROTOCOLS:
        raise InvalidInput(f"invalid port {text!r}: a number up to 65535 is wanted, with /tcp, /udp or /sctp behind it")
    return int(number), protocol


class _StopError(Exception):
    """The packet stops here."""

    def __init__(self, step: Step, hint: str) -> None:
        super().__init__(step.why)
        self.step = step
        self.hint = hint


class _Walk:
    """One packet's way, with the steps taken so far."""

    def __init__(self, topology: Topology, source: str, port: int | None, protocol: str) -> None:
        self._topology = topology
        self._port = port
        self._protocol = protocol
        self._from = None if source in (HOST, OUTSIDE) else self._find(source)
        self._source = source
        self.steps: list[Step] = []
        self.doubts: list[Obstacle] = []

    def _find(self, reference: str) -> Participant:
        participant = self._topology.participant(reference)
        if participant is None:
            raise NotFound(f"No such container: {reference}")
        return participant

    def _pass(self, what: str, why: str) -> None:
        self.steps.append(Step(True, what, why))

    def _stop(self, what: str, why: str, hint: str = "") -> _StopError:
        self.steps.append(Step(False, what, why))
        return _StopError(self.steps[-1], hint)

    # --- the chapters

    def go(self, target: str) -> None:
        """Walk the whole way."""
        if self._from is not None and not self._from.running:
            raise self._stop("container", f"{self._from.name} does not run")
        if self._from is not None and self._from.shares_host:
            self._pass("container", f"{self._from.name} has the host's network: it is where the host is")
            self._from, self._source = None, HOST
        if target == OUTSIDE:
            self._to_outside()
            return
        if self._is_elsewhere(target):
            self._ask_elsewhere(target)
            self._to_outside()
            return
        address = self._resolve(target)
        if address is None or self._topology.is_host(address):
            self._to_host(address)
            return
        found = self._topology.holder_of(address)
        if found is None:
            self._to_outside(address)
            return
        self._to_container(*found, address)

    def _resolve(self, target: str) -> Address | None:
        """The address that the source gets for a name; None stands for any address of the host's."""
        if target == HOST:
            return None
        if is_address(target):
            return ip_address(target)
        if self._from is not None:
            shared = self._by_name(self._from, target)
            if shared is not None:
                return shared
        participant = self._find(target)
        if not participant.running:
            raise self._stop("container", f"{participant.name} does not run")
        if participant.shares_host:
            self._pass("container", f"{participant.name} has the host's network: it is where the host is")
            return None
        return self._address_of(participant, target)

    def _is_elsewhere(self, target: str) -> bool:
        """Whether it is a name that only other name servers can know."""
        if "." not in target or is_address(target) or self._topology.participant(target) is not None:
            return False
        return self._from is None or next(self._topology.looked_up(self._from, target), None) is None

    def _ask_elsewhere(self, name: str) -> None:
        """What becomes of a name that no container has."""
        if self._from is None:
            self._pass("name", f"'{name}' is no container's name: other name servers are asked, which this does not do")
            return
        for network in self._topology.networks:
            part = plain(name).removesuffix(f".{network.name.lower()}")
            if part == plain(name) or network.is_default_bridge:
                continue
            if self._from.on(network.id) is not None:
                why = f"nobody on network {network.name} is called '{part}', and no other name server is asked"
                raise self._stop("name", why)
            if any(part in names(participant, theirs) for participant, theirs in self._topology.members(network)):
                hint = f"wherry network connect {network.name} {self._from.name}"
                raise self._stop("name", f"{self._from.name} is not on network {network.name}", hint)
        if all(network.internal for network in self._networks_of(self._from)):
            raise self._stop("name", f"from internal networks no other name servers are asked for '{name}'")
        self._pass("name", f"'{name}' is no container's name: other name servers are asked, which this does not do")

    def _by_name(self, source: Participant, name: str) -> Address | None:
        """What the DNS server inside the source's networks answers."""
        for network, theirs in self._topology.looked_up(source, name):
            address = theirs.addresses[0]
            self._pass("name", f"{source.name} finds '{name}' at {address}, on network {network.name}")
            return address
        return None

    def _address_of(self, participant: Participant, name: str) -> Address:
        """The address of a container whose name the source does not find."""
        shared = [each for each in participant.endpoints if self._from is not None and self._from.on(each.network_id)]
        with_way_out_first = sorted(participant.endpoints, key=lambda each: not (each.gateway4 or each.gateway6))
        endpoint = next(iter(shared or with_way_out_first), None)
        if endpoint is None or not endpoint.addresses:
            raise self._stop(
                "route", f"{participant.name} is on no network", f"wherry network connect NETWORK {participant.name}"
            )
        address = endpoint.addresses[0]
        if self._from is None or (
            shared and not self._lacks_names(endpoint, participant)
        ):  # then it is an ID, or part of one
            self._pass("name", f"{participant.name} has the address {address}")
            return address
        # A name that is not found is where most questions end; the rest of the way is still worth telling.
        why, hint = self._why_no_name(self._from, participant, name)
        if not shared:
            self.steps.append(Step(False, "name", why))
            return address
        raise self._stop("name", why, f"{hint}; by its address {address} it can be reached unless a rule stops that")

    def _lacks_names(self, endpoint: Endpoint, participant: Participant) -> bool:
        network = self._topology.network(endpoint.network_id)
        return bool(participant.shares) or network is None or network.is_default_bridge

    def _why_no_name(self, source: Participant, participant: Participant, name: str) -> tuple[str, str]:
        if participant.shares:
            why = (
                f"{source.name} cannot look up '{name}': it has the network of {participant.shares}, and no name there"
            )
            return why, f"use the name {participant.shares}"
        hint = f"put both on a network of your own: wherry network connect NETWORK {participant.name}"
        shared = [each for each in participant.endpoints if source.on(each.network_id)]
        if shared:
            return f"{source.name} cannot look up '{name}': the default bridge has no name resolution", hint
        return f"{source.name} cannot look up '{name}': they have no network in common", hint

    # --- to a container

    def _to_container(self, participant: Participant, theirs: Endpoint, address: Address) -> None:
        network = self._topology.network(theirs.network_id)
        if network is None or not participant.running:
            raise self._stop("container", f"{participant.name} does not run")
        mine = self._from.on(theirs.network_id) if self._from is not None else None
        if mine is not None:
            self._within(network, mine, participant, theirs)
        elif self._source == HOST:
            self._from_host(network, participant, address)
        else:
            self._from_elsewhere(network, participant, theirs, address)
        self._listening(participant.listeners, participant.name, self._port, address)

    def _within(self, network: Network, mine: Endpoint, participant: Participant, theirs: Endpoint) -> None:
        """Both are on one network."""
        self._pass("route", f"both are on network {network.name}")
        if not driver_of(network).connects(network):
            why = f"the interfaces of network {network.name} do not hear one another: see its options"
            raise self._stop("route", why, self._instead(participant, theirs))
        rules = driver_of(network).network_rules(network)
        if rules is not None and not rules.icc:
            open_ports = [
                each for linked in mine.linked_ports if linked.owner == participant.owner for each in linked.ports
            ]
            if (self._protocol, self._port) in open_ports:
                self._pass("rule", rule_named(APART, "to a linked port", family="bridge"))
                return
            rule = rule_named(APART, "containers do not reach one another here", family="bridge")
            raise self._stop(
                "rule",
                f"{rule} (network {network.name} has {ICC}=false)",
                self._instead(participant, theirs),
            )
        if rules is not None:
            self._pass("rule", rule_named("forward", "within a bridge") + " (accept)")

    def _from_host(self, network: Network, participant: Participant, address: Address) -> None:
        """The host sends straight into its bridges; these packets are not forwarded."""
        if driver_of(network).on_parent_link:
            raise self._stop(
                "route", f"{network.driver} interfaces and their parent do not hear one another ({network.name})"
            )
        self._pass("route", f"the host is on {participant.name}'s network: {address} is behind {network.bridge}")

    def _from_elsewhere(self, network: Network, participant: Participant, theirs: Endpoint, address: Address) -> None:
        """From another network, or from outside, by the container's own address."""
        driver, subnet = driver_of(network), network.subnet6 if theirs.ipv4 is None else network.subnet4
        if driver.on_parent_link and self._source == OUTSIDE and subnet is not None and network.borrowed:
            how = driver.reached_from_link(network, subnet)
            self._pass("route", f"{participant.name} is on the network of {network.bridge}, {how}")
            return
        self._default_route(theirs.addresses[0])
        if driver_of(network).network_rules(network) is None:
            raise self._stop("route", f"the host does not forward to network {network.name} ({network.driver})")
        if network.internal:
            raise self._stop("rule", rule_named("forward", "no way into an internal network"))
        rule = opened(network, theirs, self._protocol, self._port, address.version)
        if not rule:
            raise self._stop("rule", rule_named(INTO_BRIDGE, "not published"), self._instead(participant, theirs))
        self._pass("rule", rule_named(INTO_BRIDGE, rule))
        self._obstacles("forward", address.version)

    def _instead(self, participant: Participant, theirs: Endpoint) -> str:
        return instead(participant, theirs, self._protocol, self._port)

    def _default_route(self, to: Address | None) -> None:
        """The first half of every way that leads through the host."""
        if self._from is None:
            return
        version = to.version if to is not None else 4
        ways = [each for each in self._from.endpoints if (each.gateway4 if version == 4 else each.gateway6)]
        if not ways:
            internal = [self._topology.network(each.network_id) for each in self._from.endpoints]
            names = ", ".join(each.name for each in internal if each is not None)
            on = f"only on {names}" if names else "on no network"
            raise self._stop("route", f"{self._from.name} has no default route for IPv{version}: it is {on}")
        best = max(ways, key=lambda each: each.priority)
        gateway = best.gateway4 if version == 4 else best.gateway6
        network = self._topology.network(best.network_id)
        self._pass(
            "route",
            f"by default {self._from.name} sends to {_hop(gateway)}, on network {network.name if network else '?'}",
        )
        self._forwarding(version)

    def _forwarding(self, version: int) -> None:
        if version not in self._topology.forwards:
            setting = "net.ipv4.ip_forward" if version == 4 else "net.ipv6.conf.all.forwarding"
            raise self._stop("host", f"the host does not forward IPv{version}", f"sysctl -w {setting}=1")

    def _obstacles(self, hook: str, version: int) -> None:
        """Other programs' rules are not read: what they may do is part of the answer, and does not stop the walk."""
        for each in self._topology.obstacles:
            if each.hook == hook and version in each.versions:
                self.doubts.append(each)
                self._pass("rule", f"unless {each.where} stops it: {each.describe()}")

    # --- to the host, and its published ports

    def _to_host(self, address: Address | None) -> None:
        if self._port is not None:
            on_host = self._source == HOST
            found = published_at(self._topology, self._protocol, self._port, address, on_host=on_host)
            if found is not None:
                self._through_port(*found, address)
                return
        self._input(address)
        self._refuse_loopback_only(address)
        where = address if address is not None and not address.is_unspecified else None
        self._listening(self._topology.host_listeners, "the host", self._port, where)

    def _refuse_loopback_only(self, address: Address | None) -> None:
        """Who is not the host gets nothing of what listens, or is published, on its loopback interface alone."""
        if self._source == HOST or address is not None or self._port is None:
            return
        found = published_at(self._topology, self._protocol, self._port, None, on_host=True)
        label = f"port {self._port}/{self._protocol}"
        if found is not None:
            participant, theirs, port = found
            why = f"{label} of the host leads to {participant.name}, but from the host itself only"
            raise self._stop("port", why, instead(participant, theirs, self._protocol, port))
        there = [
            one
            for one in self._topology.host_listeners or ()
            if (one.protocol, one.port) == (self._protocol, self._port)
        ]
        if there and all(one.address.is_loopback for one in there):
            at = ", ".join(sorted({str(one.address) for one in there}))
            raise self._stop("port", f"the host listens at {label} only on {at}, for itself", _LISTEN_EVERYWHERE)

    def _input(self, address: Address | None) -> None:
        """A packet for the host itself."""
        version = address.version if address is not None else 4
        if address is not None and address.is_loopback and self._source != HOST:
            if self._from is not None:
                raise self._stop("route", f"{address} means {self._from.name} itself")
            raise self._stop("rule", rule_named("arrival", "to 127.0.0.0/8, but not on lo"))
        if self._from is None:
            self._pass("route", "on the host itself" if self._source == HOST else "the host is reached from outside")
        else:
            self._into_host(self._from, address)
        if self._source != HOST:
            self._obstacles("input", version)

    def _into_host(self, source: Participant, address: Address | None) -> None:
        """From a container to the host."""
        gateways = {gateway: network for network in self._networks_of(source) for gateway in _host_addresses(network)}
        if address is None and gateways:
            address = next(iter(gateways))
        if address in gateways:
            self._pass("route", f"{address} is the host's address on network {gateways[address].name}")
            return
        if all(network.internal for network in self._networks_of(source)):
            rule = rule_named("from_internal", "another address of the host, from an internal network")
            raise self._stop("rule", rule)
        self._default_route(address)

    def _networks_of(self, participant: Participant) -> list[Network]:
        found = (self._topology.network(endpoint.network_id) for endpoint in participant.endpoints)
        return [network for network in found if network is not None]

    def _through_port(
        self, participant: Participant, theirs: Endpoint, container_port: int, address: Address | None
    ) -> None:
        """The host's port is published: the packet gets the container's address."""
        network = self._topology.network(theirs.network_id)
        version = address.version if address is not None else 4
        if self._topology.firewall is not None:
            raise self._stop("rule", self._topology.firewall)
        self._input_of_published(address)
        inside = theirs.ipv6 if version == 6 else theirs.ipv4
        if address is not None and address == ip_address("::1"):
            self._pass("port", f"port {self._port} at ::1 is passed on to {inside or theirs.ipv4} by wherryd")
        else:
            chain = "prerouting" if self._source != HOST else "output"
            rule = rule_named(chain, "to the host")
            self._pass("rule", f"{rule}: port {self._port} leads to {participant.name}, {inside} port {container_port}")
        if network is not None and network.internal:
            raise self._stop("rule", rule_named("forward", "no way into an internal network"))
        if self._source != HOST:
            self._forwarding(version)
            self._pass("rule", rule_named(INTO_BRIDGE, "sent to a published port"))
            self._obstacles("forward", version)
        if self._from is not None and any(
            self._from.on(each.network_id) for each in participant.endpoints if each != theirs
        ):
            why = "answered by another way" + ("" if version == 4 else ", IPv6")
            self._pass("rule", rule_named("postrouting", why))
        self._listening(participant.listeners, participant.name, container_port, inside)

    def _input_of_published(self, address: Address | None) -> None:
        """What stops a packet before it is translated, or just after."""
        if address is not None and address.is_loopback and self._source != HOST:
            if self._from is not None:
                raise self._stop("route", f"{address} means {self._from.name} itself")
            raise self._stop("rule", rule_named("arrival", "to 127.0.0.0/8, but not on lo"))
        if self._from is None:
            return
        networks = self._networks_of(self._from)
        if all(network.internal for network in networks):
            raise self._stop("rule", rule_named("forward", "no way out of an internal network"))
        own = {gateway for network in networks for gateway in _host_addresses(network)}
        if address is not None and address not in own:
            self._default_route(address)

    # --- to the outside

    def _to_outside(self, address: Address | None = None) -> None:
        if self._source == OUTSIDE:
            raise self._stop("route", f"{address or OUTSIDE} is not on this machine, and neither is the source")
        if self._from is None:
            self._pass("route", "the host itself sends it")
            return
        version = address.version if address is not None else 4
        self._default_route(address)
        network = max(
            (each for each in self._from.endpoints if (each.gateway4 if version == 4 else each.gateway6)),
            key=lambda each: each.priority,
        )
        self._out_of(self._topology.network(network.network_id), version)

    def _out_of(self, network: Network | None, version: int) -> None:
        if network is not None and network.internal:
            raise self._stop("rule", rule_named("forward", "no way out of an internal network"))
        self._obstacles("forward", version)
        rules = None if network is None else driver_of(network).network_rules(network)
        if network is None or rules is None:
            return
        if rules.masquerade and version not in rules.routed:
            chosen = any(each.version == version for each in rules.outgoing)
            name = "out, with a chosen address" if chosen else "out"
            self._pass("rule", rule_named("postrouting", name if version == 4 else f"{name}, IPv6"))
        else:
            self._pass("rule", f"network {network.name} is not masqueraded: answers need a route back to it")

    # --- the program at the end

    def _listening(
        self, listeners: tuple[Listener, ...] | None, who: str, port: int | None, address: Address | None
    ) -> None:
        if port is None or listeners is None or self._protocol == "sctp":
            return
        there = [each for each in listeners if (each.protocol, each.port) == (self._protocol, port)]
        label = f"port {port}/{self._protocol}"
        if not there:
            raise self._stop("port", f"no program of {who} listens at {label}")
        if address is not None and not any(each.takes(self._protocol, port, address) for each in there):
            at = ", ".join(sorted({str(each.address) for each in there}))
            raise self._stop("port", f"{who} listens at {label} only on {at}, not on {address}", _LISTEN_EVERYWHERE)
        self._pass("port", f"{who} listens at {label}")


_LISTEN_EVERYWHERE: Final = "have the program listen at 0.0.0.0 or [::]"


def _hop(gateway: Address | None) -> str:
    return "the link" if gateway is not None and gateway.is_unspecified else str(gateway)


def _host_addresses(network: Network) -> tuple[Address, ...]:
    return driver_of(network).host_addresses(network)
