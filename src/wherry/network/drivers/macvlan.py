"""The driver ``macvlan``: endpoints have MAC addresses of their own on an interface of the host.

The firewall of this host sees nothing of them. Without a parent they get a dummy interface as one, and see only each
other, as with Docker.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.linux import rtnetlink
from wherry.linux.netlink import Message
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.options import check_interface_name
from wherry.network.kernel_thread import Kernel
from wherry.network.model import MTU, Endpoint, Network

__all__ = ["MacvlanDriver"]

_PARENT: Final = "parent"
_MODE: Final = "macvlan_mode"
_MODES: Final = {
    "": rtnetlink.MacvlanMode.BRIDGE,
    "bridge": rtnetlink.MacvlanMode.BRIDGE,
    "private": rtnetlink.MacvlanMode.PRIVATE,
    "vepa": rtnetlink.MacvlanMode.VEPA,
    "passthru": rtnetlink.MacvlanMode.PASSTHRU,
}


class MacvlanDriver(Driver):
    """Networks on an interface of the host."""

    shares_interface = True
    on_parent_link = True

    def check(self, network: Network) -> Network:
        """Read the options; see `Driver`."""
        mode = network.options.get(_MODE, "")
        if mode not in _MODES:
            raise InvalidInput(
                f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
            )
        parent = network.options.get(_PARENT, "")
        if parent == "lo":
            raise InvalidInput("loopback interface is not a valid macvlan parent link")
        if parent:
            check_interface_name(parent)
        own = f"dm-{network.id[:12]}"
        return replace(network, bridge=parent or own, borrowed=bool(parent), internal=network.internal or not parent)

    def interfaces(self, network: Network) -> tuple[str, ...]:
        """The parent, and where it is half of a veth pair the other half; see `Driver`."""
        return (network.bridge,) if network.borrowed else (network.bridge, _far_end(network))

    def create(self, kernel: Kernel, network: Network) -> None:
        """Create the dummy parent; see `Driver`."""
        if rtnetlink.find_link(kernel.route, network.bridge) is not None:
            return
        if network.borrowed:
            raise InvalidInput(f"invalid subinterface vlan name {network.bridge}", cause="there is no such interface")
        name, far = network.bridge, _far_end(network)
        # Without dummies in the kernel: one end of a pair, which has a carrier only while the other end is up.
        pair = [rtnetlink.veth(name, far, mtu=network.mtu), rtnetlink.set_link(far, up=True, alias=kernel.alias)]
        made = [rtnetlink.dummy(name, mtu=network.mtu)] if kernel.has_dummies else pair
        kernel.route.batch([*made, rtnetlink.set_link(name, up=True, link_local=False, alias=kernel.alias)])

    def remove(self, kernel: Kernel, network: Network) -> None:
        """Remove the dummy parent; see `Driver`."""
        link = None if network.borrowed else rtnetlink.find_link(kernel.route, network.bridge)
        if link is not None:
            kernel.route.request(rtnetlink.delete_link(link.number))

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """A macvlan interface in the namespace; see `Driver`."""
        parent = rtnetlink.find_link(kernel.route, network.bridge)
        if parent is None:
            raise InvalidInput(f"the parent interface '{network.bridge}' of network {network.name} is gone")
        mode = _MODES[network.options.get(_MODE, "")]
        return [
            rtnetlink.macvlan(
                endpoint.interface,
                parent.number,
                mode,
                mac=endpoint.mac,
                mtu=network.mtu if network.options.get(MTU) else None,
                namespace=namespace,
            )
        ]


def _far_end(network: Network) -> str:
    return f"dp-{network.id[:12]}"
