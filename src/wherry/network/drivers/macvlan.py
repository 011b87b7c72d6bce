"""The driver ``macvlan``: endpoints have MAC addresses of their own on an interface of the host."""

from __future__ import annotations

from typing import Final

from wherry.errors import Conflict, InvalidInput
from wherry.linux.netlink import Message
from wherry.linux.upper_links import MacvlanMode, macvlan
from wherry.network.drivers.parent_link import ParentLinkDriver
from wherry.network.kernel_thread import Kernel
from wherry.network.model import Endpoint, Network

__all__ = ["MacvlanDriver"]

_MODE: Final = "macvlan_mode"
_MODES: Final = {
    "": MacvlanMode.BRIDGE,
    "bridge": MacvlanMode.BRIDGE,
    "private": MacvlanMode.PRIVATE,
    "vepa": MacvlanMode.VEPA,
    "passthru": MacvlanMode.PASSTHRU,
}


class MacvlanDriver(ParentLinkDriver):
    """Networks on an interface of the host, beside which endpoints are like machines of their own."""

    kind = "macvlan"
    prefix = "dm"

    def check(self, network: Network) -> Network:
        """Read the options; see `Driver`."""
        mode = network.options.get(_MODE, "")
        if mode not in _MODES:
            raise InvalidInput(
                f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
            )
        return super().check(network)

    def check_beside(self, network: Network, other: Network) -> None:
        """Who passes everything through wants the parent for itself; see `Driver`."""
        if other.driver != network.driver:
            return
        if _mode(network) is MacvlanMode.PASSTHRU:
            used = f"macvlan network {other.id} is already using parent interface {other.bridge}"
            raise Conflict(f"cannot use mode passthru, {used}")
        if _mode(other) is MacvlanMode.PASSTHRU:
            used = f"macvlan network {other.id} is already using parent interface {other.bridge}"
            raise Conflict(f"{used} in mode passthru")

    def connects(self, network: Network) -> bool:
        """Not in the modes that leave it to the switch, or to nobody; see `Driver`."""
        return _mode(network) is MacvlanMode.BRIDGE

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """A macvlan interface in the namespace; see `Driver`."""
        parent, mtu = self.parent(kernel, network), self.mtu(network)
        return [
            macvlan(endpoint.interface, parent, _mode(network), mac=endpoint.mac, mtu=mtu, namespace=namespace),
        ]


def _mode(network: Network) -> MacvlanMode:
    return _MODES[network.options.get(_MODE, "")]
