"""What the drivers ``macvlan`` and ``ipvlan`` have in common: endpoints lie on an interface of the host, the parent.

The firewall of this host sees nothing of them. Without a parent they get a dummy interface as one, and see only each
other, as with Docker. A parent like ``eth0.10`` that does not exist is made, as the VLAN 10 of ``eth0``.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from wherry.errors import InvalidInput
from wherry.linux import rtnetlink, upper_links
from wherry.network.drivers.contract import Driver
from wherry.network.drivers.options import check_interface_name
from wherry.network.kernel_thread import Kernel
from wherry.network.model import MTU, Network, Subnet

__all__ = ["ParentLinkDriver"]

_PARENT: Final = "parent"
_LARGEST_VLAN: Final = 4094


class ParentLinkDriver(Driver):
    """Networks on an interface of the host.

    :cvar kind: the driver's name in messages.
    :cvar prefix: what names of dummy parents begin with; another letter than its second in those of their far ends.
    """

    shares_interface = True
    on_parent_link = True
    kind = ""
    prefix = ""

    def check(self, network: Network) -> Network:
        """Read the options; see `Driver`."""
        parent = network.options.get(_PARENT, "")
        if parent == "lo":
            raise InvalidInput(f"loopback interface is not a valid {self.kind} parent link")
        if parent:
            check_interface_name(parent)
        own = f"{self.prefix}-{network.id[:12]}"
        return replace(network, bridge=parent or own, borrowed=bool(parent), internal=network.internal or not parent)

    def assigns_gateway(self, network: Network, version: int) -> bool:
        """Who else is on the link is not known: only a gateway that the client names is one; see `Driver`."""
        return False

    def interfaces(self, network: Network) -> tuple[str, ...]:
        """The parent, and where it is half of a veth pair the other half; see `Driver`."""
        return (network.bridge,) if network.borrowed else (network.bridge, self._far_end(network))

    def create(self, kernel: Kernel, network: Network) -> None:
        """Create the parent, if it is a dummy or a VLAN; see `Driver`."""
        if rtnetlink.find_link(kernel.route, network.bridge) is not None:
            return
        if network.borrowed:
            self._create_vlan(kernel, network.bridge)
            return
        name, far = network.bridge, self._far_end(network)
        # Without dummies in the kernel: one end of a pair, which has a carrier only while the other end is up.
        pair = [rtnetlink.veth(name, far, mtu=network.mtu), rtnetlink.set_link(far, up=True, alias=kernel.alias)]
        made = [rtnetlink.dummy(name, mtu=network.mtu)] if kernel.has_dummies else pair
        kernel.route.batch([*made, rtnetlink.set_link(name, up=True, link_local=False, alias=kernel.alias)])

    def _create_vlan(self, kernel: Kernel, name: str) -> None:
        parent, number = _parse_vlan(name)
        link = rtnetlink.find_link(kernel.route, parent)
        if link is None:
            raise InvalidInput(f"-o parent interface was not found on the host: {parent}")
        if not 1 <= number <= _LARGEST_VLAN:
            raise InvalidInput(f"vlan id must be between 1-{_LARGEST_VLAN}, received: {number}")
        made = upper_links.vlan(name, link.number, number)
        kernel.route.batch([made, rtnetlink.set_link(name, up=True, alias=kernel.alias)])

    def remove(self, kernel: Kernel, network: Network) -> int | None:
        """Have the parent removed that was made for it; see `Driver`."""
        link = rtnetlink.find_link(kernel.route, network.bridge)
        if link is not None and (link.alias == kernel.alias or not network.borrowed):
            return link.number
        return None

    def parent(self, kernel: Kernel, network: Network) -> int:
        """The index of the parent.

        :raises InvalidInput: it is gone.
        """
        link = rtnetlink.find_link(kernel.route, network.bridge)
        if link is None:
            raise InvalidInput(f"the parent interface '{network.bridge}' of network {network.name} is gone")
        return link.number

    def mtu(self, network: Network) -> int | None:
        """The MTU that the client has asked for; None: the parent's."""
        return network.mtu if network.options.get(MTU) else None

    def reached_from_link(self, network: Network, subnet: Subnet) -> str:
        """The machines on the link are neighbours; see `Driver`."""
        return "beside its machines"

    def _far_end(self, network: Network) -> str:
        return f"{self.prefix[:1]}p-{network.id[:12]}"


def _parse_vlan(name: str) -> tuple[str, int]:
    """The parent and the number of a VLAN's interface, in Docker's notation.

    :raises InvalidInput: it is no such name.
    """
    parent, dot, number = name.partition(".")
    if not dot:
        what = f"invalid subinterface vlan name {name}, example formatting is eth0.10"
        raise InvalidInput(what, cause="there is no such interface")
    if "." in number:
        example = "ex. eth0.10 for vlan 10"
        raise InvalidInput(f"required interface name format is: name.vlan_id, {example}, instead received {name}")
    if not (number.isascii() and number.isdecimal()):
        raise InvalidInput(f"unable to parse a valid vlan id from: {number} (ex. eth0.10 for vlan 10)")
    return parent, int(number)
