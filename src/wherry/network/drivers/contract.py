"""The contract of a network driver, with what holds for one that says nothing else.

A driver is one file beside this one and one line in the table of `wherry.network.drivers.table`. Nothing outside this
package knows a driver by its name: what differs between drivers is asked here.

It keeps nothing in memory. Methods that are given a `Kernel` are called in the helper thread; all others are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wherry.network.model import ROUTER

if TYPE_CHECKING:
    from wherry.linux.netlink import Message
    from wherry.network.firewall.elements import BridgeRules, EndpointRules
    from wherry.network.kernel_thread import Kernel
    from wherry.network.model import Address, Endpoint, Network, NetworkRequest, Subnet

__all__ = ["Driver", "ExistingInterface"]


class ExistingInterface(Protocol):
    """An interface that the host has already, and on which a network is to lie."""

    def with_subnets(self, request: NetworkRequest) -> NetworkRequest:
        """The request with the subnets of the interface, where it names none.

        :raises InvalidInput: the interface has none.
        """

    def borrow(self, network: Network) -> Network:
        """The definition that came of such a request, on this interface.

        :raises InvalidInput: it does not fit the interface.
        """


class Driver:
    """How the networks of one kind are made of interfaces.

    :cvar single: there is one network of this driver, which is predefined; clients can make none.
    :cvar joinable: sandboxes can have endpoints on its networks.
    :cvar publishes: ports of the host can lead to its endpoints.
    :cvar shares_interface: several networks may be on one interface that the host has already.
    :cvar own_macs: its endpoints have MAC addresses of their own.
    :cvar on_parent_link: its endpoints are on the link of an interface of the host, beside the machines there; the host
        itself and its firewall see nothing of them.
    :cvar needs_host_ipv6: its networks have IPv6 only where the host has.
    :cvar needs_forwarding: the host has to forward packets for its networks.
    """

    single = False
    joinable = True
    publishes = False
    shares_interface = False
    own_macs = True
    on_parent_link = False
    needs_host_ipv6 = False
    needs_forwarding = False

    # --- definitions

    def check(self, network: Network) -> Network:
        """Read the options of a network to be made.

        :returns: the network with its interface's name filled in.
        :raises InvalidInput: an option's value makes no sense.
        """
        return network

    def existing_interface(self, request: NetworkRequest, alias: str) -> ExistingInterface | None:
        """The interface that a request names, if the host has it already and lends its subnets; in any thread.

        :param alias: the ifalias of our own interfaces, which do not count.
        """
        return None

    def check_beside(self, network: Network, other: Network) -> None:
        """Check whether a network can be on the same interface of the host's as another one, which shares it.

        :raises Conflict: it cannot.
        """

    def assigns_gateway(self, network: Network, version: int) -> bool:
        """Whether a subnet gets a gateway when the request names none."""
        return True

    def default_route(self, network: Network, subnet: Subnet) -> Address | None:
        """Where endpoints send what is for elsewhere; the unspecified address: to the link; None: nowhere."""
        return None if network.internal else subnet.auxiliary.get(ROUTER[subnet.network.version], subnet.gateway)

    def connects(self, network: Network) -> bool:
        """Whether its interfaces let endpoints reach one another; what the firewall says comes on top."""
        return True

    def reached_from_link(self, network: Network, subnet: Subnet) -> str:
        """How the machines on the parent's link reach endpoints, in a few words; where there is one."""
        return ""

    def routed(self, network: Network) -> frozenset[int]:
        """The IP versions of which published ports are opened at the endpoints' own addresses, and not translated."""
        return frozenset()

    def interfaces(self, network: Network) -> tuple[str, ...]:
        """The names of a network's interfaces in the host: those that are no orphans."""
        return (network.bridge,) if network.bridge else ()

    def host_addresses(self, network: Network) -> tuple[Address, ...]:
        """The addresses that the host itself has on a network."""
        return ()

    def host_interface(self, endpoint_id: str) -> str:
        """The name of an endpoint's interface in the host; empty: it has none there."""
        return ""

    def publish_address(self, network: Network) -> Address | None:
        """Where ports are published that name no address; None: where the daemon's options say."""
        return None

    def keeps_warm(self, network: Network) -> bool:
        """Whether endpoints may wait on a network for the containers that are started next."""
        return False

    # --- the kernel

    def unsupported(self, kernel: Kernel) -> str | None:
        """Why this kernel can have no endpoints of this driver, in a sentence; None when it can."""
        return None

    def create(self, kernel: Kernel, network: Network) -> None:
        """Create what a network consists of, as far as it is missing or was changed.

        :raises InvalidInput: a name or a parent makes it impossible.
        :raises SystemCallError: the kernel refuses.
        """

    def remove(self, kernel: Kernel, network: Network) -> int | None:
        """Remove what a network consists of, but for an interface; what is gone already is no error.

        :returns: the number of the interface that is still to be removed, which takes as long for one as for many.
        """
        return None

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """The requests after which an endpoint's interface is in a namespace, down.

        :param namespace: its descriptor.
        :raises InvalidInput: an interface that the network lies on is gone.
        """
        return []

    def port_settings(self, endpoint: Endpoint, link: int) -> list[Message]:
        """The requests that configure an endpoint's interface in the host, each time it becomes a port of the bridge.

        :param link: its index.
        """
        return []

    # --- the firewall

    def network_rules(self, network: Network) -> BridgeRules | None:
        """What the firewall allows on a network's bridge; None: no packet of its passes the firewall."""
        return None

    def endpoint_rules(self, network: Network, endpoint: Endpoint) -> EndpointRules | None:
        """What the firewall lets an endpoint send, and its published ports; None for networks without rules."""
        return None
