"""The driver ``bridge``: a bridge in the host, a veth pair per endpoint, the firewall between it and the rest."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.bridge_ports import bridge_port, static_neighbour
from wherry.linux.netlink import Message
from wherry.linux.rtnetlink import Link
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.existing_bridge import ExistingBridge, wanted
from wherry.network.drivers.gateway_mode import (
    GatewayMode,
    check_gateway,
    gateway_mode,
    has_host_address,
    outgoing_address,
    trusted_interfaces,
)
from wherry.network.drivers.options import check_interface_name, is_true
from wherry.network.kernel_thread import Kernel, write_sysctl
from wherry.network.model import (
    BRIDGE_NAME,
    ICC,
    IPV6_MTU,
    Address,
    Endpoint,
    Network,
    NetworkRequest,
    Prefix,
    PublishedPort,
)

if TYPE_CHECKING:
    from wherry.network.firewall.elements import BridgeRules, EndpointRules, PortMapping

__all__ = ["BridgeDriver"]

_MASQUERADE: Final = "com.docker.network.bridge.enable_ip_masquerade"
_HOST_ADDRESS: Final = "com.docker.network.bridge.host_binding_ipv4"
_TRIAL: Final = "wherry-trial"
_IMPOSSIBLE_MAC: Final = "01:00:00:00:00:00"  # a group's address: no interface can have it
_LOCALHOST6: Final = IPv6Address("::1")
_IPV6_SETTINGS: Final = Path("/proc/sys/net/ipv6")
_METRIC6: Final = 256  # IP6_RT_PRIO_ADDRCONF: of routes that come with addresses


class BridgeDriver(Driver):
    """Networks that are a bridge."""

    publishes = True
    needs_host_ipv6 = True
    needs_forwarding = True

    def check(self, network: Network) -> Network:
        """Read the options; see `Driver`."""
        options = network.options
        is_true(options, ICC, True)
        is_true(options, _MASQUERADE, True)
        self.publish_address(network)
        check_gateway(network)
        name = options.get(BRIDGE_NAME) or network.bridge or f"br-{network.id[:12]}"
        check_interface_name(name)
        return replace(network, bridge=name)

    def keeps_warm(self, network: Network) -> bool:
        """Whether endpoints may wait: an interface of the host's gets none that nobody asked for; see `Driver`."""
        return not network.borrowed

    def create(self, kernel: Kernel, network: Network) -> None:
        """Create the bridge with its addresses; see `Driver`."""
        link = rtnetlink.find_link(kernel.route, network.bridge)
        if link is not None and link.kind != "bridge":
            raise InvalidInput(f"cannot use interface '{network.bridge}' as a bridge: it is something else")
        if network.borrowed:
            if link is None:
                raise InvalidInput(f"the bridge '{network.bridge}' of network {network.name} is gone")
            kernel.route.request(rtnetlink.set_link(link.number, up=True, route_localnet=True))
            return
        if link is not None and not _is_ours(kernel, network, link):
            raise InvalidInput(f"cannot use interface '{network.bridge}' as a bridge: it was there before")
        if link is None:
            kernel.route.request(rtnetlink.bridge(network.bridge, mac=_mac(network), mtu=network.mtu))
            link = rtnetlink.find_link(kernel.route, network.bridge)
            assert link is not None  # just made
        own = self.host_addresses(network)
        wanted = {(subnet.gateway, subnet.network.prefixlen) for subnet in network.subnets if subnet.gateway in own}
        mine = [entry for entry in rtnetlink.addresses(kernel.route) if entry.link == link.number]
        had = {(entry.address, entry.prefix) for entry in mine}
        messages = [rtnetlink.delete_address(link.number, *each) for each in had - wanted if not each[0].is_link_local]
        messages += [rtnetlink.address(link.number, address, prefix) for address, prefix in wanted if address]
        silent = not _has_link_local(network)
        messages += [rtnetlink.delete_address(link.number, *each) for each in had if silent and each[0].is_link_local]
        change = rtnetlink.set_link(
            link.number,
            up=True,
            mac=_mac(network),
            mtu=network.mtu,
            route_localnet=True,
            link_local=False if silent and _has_ipv6(network) else None,
            alias=kernel.alias,
        )
        if link.up and network.subnet6 and not silent and not any(each[0].is_link_local for each in had):
            messages.append(rtnetlink.address(link.number, _link_local(_mac(network)), 64))
        kernel.route.batch([change, *messages])
        _ignore_router_advertisements(network)
        for address, prefix in had & wanted:
            if address:
                _restore_route(kernel, link.number, ip_network((address, prefix), strict=False))

    def remove(self, kernel: Kernel, network: Network) -> int | None:
        """Give the bridge back, or have it removed; see `Driver`."""
        link = rtnetlink.find_link(kernel.route, network.bridge)
        if link is None or link.kind != "bridge":
            return None
        if network.borrowed:  # without our firewall, 127.0.0.0/8 would be reached through it
            kernel.route.request(rtnetlink.set_link(link.number, route_localnet=False))
        elif _is_ours(kernel, network, link):
            return link.number
        return None

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """A veth pair, of which one side is a port of the bridge; see `Driver`."""
        bridge = rtnetlink.find_link(kernel.route, network.bridge)
        if bridge is None or not (network.borrowed or _is_ours(kernel, network, bridge)):
            self.create(kernel, network)
            bridge = rtnetlink.find_link(kernel.route, network.bridge)
            assert bridge is not None  # just made
        port = endpoint.host_interface
        return [
            rtnetlink.veth(
                port,
                endpoint.interface,
                peer_mac=endpoint.mac,
                mtu=network.mtu,
                master=bridge.number,
                peer_namespace=namespace,
            ),
            # No address for the port: it would only make noise on the network. Where there is no IPv6, it has none.
            rtnetlink.set_link(port, link_local=False if _has_ipv6(network) else None, alias=kernel.alias),
            rtnetlink.set_link(port, up=True),
        ]

    def existing_interface(self, request: NetworkRequest, alias: str) -> ExistingBridge | None:
        """A bridge of that name; see `Driver`."""
        return wanted(request, alias)

    def host_addresses(self, network: Network) -> tuple[Address, ...]:
        """The bridge's; see `Driver`."""
        return tuple(
            subnet.gateway
            for subnet in network.subnets
            if subnet.gateway is not None and has_host_address(network, subnet.network.version)
        )

    def assigns_gateway(self, network: Network, version: int) -> bool:
        """Not if nobody would have that address, nor send to it; see `Driver`."""
        isolated = gateway_mode(network.options, version) is GatewayMode.ISOLATED
        return not isolated and (has_host_address(network, version) or not network.internal)

    def routed(self, network: Network) -> frozenset[int]:
        """The versions with that gateway mode; see `Driver`."""
        return _with_mode(network, GatewayMode.ROUTED)

    def host_interface(self, endpoint_id: str) -> str:
        """The other end of the veth pair; see `Driver`."""
        return f"wv{endpoint_id[:12]}"

    def publish_address(self, network: Network) -> IPv4Address | None:
        """The option ``host_binding_ipv4``; see `Driver`.

        :raises InvalidInput: it is no IPv4 address.
        """
        text = network.options.get(_HOST_ADDRESS, "")
        if not text:
            return None
        try:
            address = ip_address(text)
        except ValueError as exc:
            raise InvalidInput(f"driver option {_HOST_ADDRESS}: invalid IPv4 address {text!r}") from exc
        if not isinstance(address, IPv4Address):
            raise InvalidInput(f"driver option {_HOST_ADDRESS}: invalid IPv4 address {text!r}")
        return address

    def unsupported(self, kernel: Kernel) -> str | None:
        """Find out whether the kernel has veth pairs, by asking for an impossible one; see `Driver`.

        The kernel looks for the kind before it looks at the address (``veth_validate``), so nothing is ever made.
        """
        try:
            kernel.route.request(rtnetlink.veth(_TRIAL, f"{_TRIAL}2", mac=_IMPOSSIBLE_MAC))
        except SystemCallError as exc:
            if exc.errno == errno.EOPNOTSUPP:
                return f"this kernel has no veth pairs: containers can only be on 'none' and 'host' ({exc})"
        return None

    def port_settings(self, endpoint: Endpoint, link: int) -> list[Message]:
        """Who is behind a port, hairpin mode, and no learning; see `Driver`.

        With br_netfilter, a packet to the container's own published port is turned round within the bridge: hairpin.
        And nothing is learnt from its frames: of those to 01:80:c2:00:00:0X a bridge learns before any table of the
        firewall has seen them (``br_handle_local_finish``), and a container would get what is sent to its neighbour.
        """
        return [static_neighbour(link, endpoint.mac), bridge_port(link, hairpin=True, learning=False)]

    def network_rules(self, network: Network) -> BridgeRules:
        """What is allowed on the network's bridge; see `Driver`."""
        from wherry.network.firewall.elements import BridgeRules  # noqa: PLC0415 - not at the daemon's start

        return BridgeRules(
            interface=network.bridge,
            subnets=tuple(subnet.network for subnet in network.subnets),
            internal=network.internal,
            icc=is_true(network.options, ICC, True),
            masquerade=is_true(network.options, _MASQUERADE, True),
            routed=_with_mode(network, GatewayMode.ROUTED),
            unprotected=_with_mode(network, GatewayMode.NAT_UNPROTECTED),
            outgoing=tuple(filter(None, (outgoing_address(network.options, version) for version in (4, 6)))),
        )

    def endpoint_rules(self, network: Network, endpoint: Endpoint) -> EndpointRules:
        """What an endpoint may send, and its published ports; see `Driver`."""
        from wherry.network.firewall.elements import AntiSpoof, EndpointRules  # noqa: PLC0415 - not at the daemon's start

        anti_spoof = AntiSpoof(
            host_interface=endpoint.host_interface,
            mac=endpoint.mac,
            addresses=(*endpoint.addresses, *endpoint.link_local),
            isolated=not is_true(network.options, ICC, True),
        )
        found = (_mapping(network, endpoint, each) for each in endpoint.published)
        return EndpointRules(anti_spoof, tuple(each for each in found if each is not None))


def _with_mode(network: Network, mode: GatewayMode) -> frozenset[int]:
    return frozenset(version for version in (4, 6) if gateway_mode(network.options, version) is mode)


def _has_link_local(network: Network) -> bool:
    """Whether the bridge has an IPv6 link-local address, by which containers would reach the host, too."""
    versions = {subnet.network.version for subnet in network.subnets}
    return any(has_host_address(network, version) for version in ((6,) if 6 in versions else versions))


def _ignore_router_advertisements(network: Network) -> None:
    """Have the host ignore router advertisements of containers; the firewall drops them, too, while it is there."""
    try:
        write_sysctl(f"ipv6/conf/{network.bridge}/accept_ra", "0")
    except SystemCallError as exc:
        if exc.errno not in (errno.ENOENT, errno.EROFS):  # no IPv6 here, or /proc/sys is read-only
            raise


def _has_ipv6(network: Network) -> bool:
    """Whether the kernel knows IPv6 on the network's links: not with ``ipv6.disable=1``, nor below its smallest MTU."""
    return network.mtu >= IPV6_MTU and _IPV6_SETTINGS.exists()


def _is_ours(kernel: Kernel, network: Network, link: Link) -> bool:
    """Whether we made a bridge: another program's of the same name is not to be touched.

    By its MAC address, if we were killed before it was marked.
    """
    return link.alias == kernel.alias or link.mac == _mac(network)


def _restore_route(kernel: Kernel, link: int, subnet: Prefix) -> None:
    """Restore the route of the bridge's address, if it was removed; a new address brings its own."""
    metric = 0 if subnet.version == 4 else _METRIC6
    try:
        kernel.route.request(
            rtnetlink.route(subnet.network_address, subnet.prefixlen, link=link, metric=metric, replace=False)
        )
    except SystemCallError as exc:
        if exc.errno != errno.EEXIST:
            raise


def _link_local(mac: str) -> IPv6Address:
    """The address that an interface gives itself (RFC 4291, appendix A).

    The kernel makes it only when the link comes up; without one it looks for no IPv6 neighbour on behalf of others.
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:])


def _mac(network: Network) -> str:
    """Chosen by us, because the kernel's choice changes whenever a port comes or goes."""
    return (b"\x02\x42" + bytes.fromhex(network.id[:8])).hex(":")


def _mapping(network: Network, endpoint: Endpoint, published: PublishedPort) -> PortMapping | None:
    """Where a published port leads; None when the endpoint has no address of that family.

    What is sent to [::1] the daemon passes on, and may do that to an IPv4 address as well.
    """
    target: Address | None = endpoint.ipv4 if published.host_address.version == 4 else endpoint.ipv6
    if target is None and published.host_address == _LOCALHOST6:
        target = endpoint.ipv4
    if target is None:
        return None
    from wherry.network.firewall.elements import PortMapping  # noqa: PLC0415 - not at the daemon's start

    return PortMapping(
        protocol=published.protocol,
        host_address=None if published.host_address.is_unspecified else published.host_address,
        host_port=published.host_port,
        address=target,
        port=published.container_port,
        bridge=network.bridge,
        trusted=trusted_interfaces(network.options),
    )
