"""The driver ``ipvlan``: endpoints have IP addresses of their own behind the MAC address of an interface of the host.

For links that accept one MAC address per port. In mode ``l2`` endpoints are neighbours of the machines on the link; in
``l3`` and ``l3s`` the parent routes for them, no broadcast passes, and others need a route to their subnet.
"""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from wherry.errors import Conflict, InvalidInput, SystemCallError
from wherry.linux.netlink import Message
from wherry.linux.upper_links import IpvlanFlag, IpvlanMode, ipvlan
from wherry.network.drivers.parent_link import ParentLinkDriver
from wherry.network.kernel_thread import Kernel
from wherry.network.model import Address, Endpoint, Network, Subnet

__all__ = ["IpvlanDriver"]

_MODE, _FLAG = "ipvlan_mode", "ipvlan_flag"
_MODES: Final = {"": IpvlanMode.L2, "l2": IpvlanMode.L2, "l3": IpvlanMode.L3, "l3s": IpvlanMode.L3S}
_FLAGS: Final = {
    "": IpvlanFlag.BRIDGE,
    "bridge": IpvlanFlag.BRIDGE,
    "private": IpvlanFlag.PRIVATE,
    "vepa": IpvlanFlag.VEPA,
}
_TRIAL: Final = "wherry-trial"


class IpvlanDriver(ParentLinkDriver):
    """Networks on an interface of the host, whose MAC address all endpoints share."""

    kind = "ipvlan"
    prefix = "di"
    own_macs = False

    def check(self, network: Network) -> Network:
        """Read the options; see `Driver`."""
        mode, flag = network.options.get(_MODE, ""), network.options.get(_FLAG, "")
        if mode not in _MODES:
            raise InvalidInput(f"requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default")
        if flag not in _FLAGS:
            raise InvalidInput(f"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default")
        return super().check(network)

    def check_beside(self, network: Network, other: Network) -> None:
        """All interfaces on a parent have one mode and flag, so it has one network; see `Driver`."""
        if other.driver == network.driver:
            name = f"{self.prefix}-{other.id[:12]}"
            raise Conflict(f"network {name} is already using parent interface {other.bridge}")

    def connects(self, network: Network) -> bool:
        """Not with the flags that leave it to the switch, or to nobody; see `Driver`."""
        return _FLAGS[network.options.get(_FLAG, "")] is IpvlanFlag.BRIDGE

    def default_route(self, network: Network, subnet: Subnet) -> Address | None:
        """In l3 and l3s all is the parent's business: the interface itself is the way; see `Driver`."""
        if network.internal or _mode(network) is IpvlanMode.L2:
            return super().default_route(network, subnet)
        return IPv4Address(0) if subnet.network.version == 4 else IPv6Address(0)

    def reached_from_link(self, network: Network, subnet: Subnet) -> str:
        """By neighbours in l2, else by a route; see `Driver`."""
        if _mode(network) is IpvlanMode.L2:
            return super().reached_from_link(network, subnet)
        return f"which routes for it: others need a route to {subnet.network}"

    def create(self, kernel: Kernel, network: Network) -> None:
        """Create the parent, unless the kernel could have no endpoints; see `Driver`.

        The kernel looks for the kind before it looks for the parent (``rtnl_newlink``), so nothing is ever made.
        """
        try:
            kernel.route.request(ipvlan(_TRIAL, 0, IpvlanMode.L2, IpvlanFlag.BRIDGE))
        except SystemCallError as exc:
            if exc.errno == errno.EOPNOTSUPP:
                raise InvalidInput("this kernel has no ipvlan interfaces", cause=str(exc)) from exc
        super().create(kernel, network)

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """An ipvlan interface in the namespace; see `Driver`."""
        mode, flag = _mode(network), _FLAGS[network.options.get(_FLAG, "")]
        parent, mtu = self.parent(kernel, network), self.mtu(network)
        return [ipvlan(endpoint.interface, parent, mode, flag, mtu=mtu, namespace=namespace)]


def _mode(network: Network) -> IpvlanMode:
    return _MODES[network.options.get(_MODE, "")]
