"""The driver ``dummy``: each endpoint has an interface of its own that leads nowhere.

For programs that need an address to listen on, and no peers.
"""

from __future__ import annotations

from wherry.linux import rtnetlink
from wherry.linux.netlink import Message
from wherry.network.drivers.contract import Driver
from wherry.network.kernel_thread import Kernel
from wherry.network.model import Address, Endpoint, Network, Subnet

__all__ = ["DummyDriver"]


class DummyDriver(Driver):
    """Networks without links between their endpoints."""

    def assigns_gateway(self, network: Network, version: int) -> bool:
        """There is nobody who could be one; see `Driver`."""
        return False

    def default_route(self, network: Network, subnet: Subnet) -> Address | None:
        """Nowhere; see `Driver`."""
        return None

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """A dummy interface in the namespace, or where the kernel has none a bridge without ports, which is as good.

        See `Driver`.
        """
        make = rtnetlink.dummy if kernel.has_dummies else rtnetlink.bridge
        return [make(endpoint.interface, mac=endpoint.mac, mtu=network.mtu, namespace=namespace)]
