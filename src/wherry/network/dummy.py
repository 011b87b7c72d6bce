"""The driver ``dummy``: each endpoint has an interface of its own that leads nowhere.

For programs that want an address to listen on and nobody to hear them.
"""

from __future__ import annotations

from wherry.linux import rtnetlink
from wherry.linux.netlink import Message
from wherry.network.kernel import Kernel
from wherry.network.model import Endpoint, Network

__all__ = ["DummyDriver"]


class DummyDriver:
    """Networks without links between their endpoints."""

    def check(self, network: Network) -> Network:
        """Nothing to check; see `wherry.network.drivers.Driver`."""
        return network

    def make(self, kernel: Kernel, network: Network) -> None:
        """Nothing to make; see `wherry.network.drivers.Driver`."""

    def remove(self, kernel: Kernel, network: Network) -> None:
        """Nothing to remove; see `wherry.network.drivers.Driver`."""

    def links(self, kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> list[Message]:
        """A dummy interface in the namespace, or where the kernel has none a bridge without ports, which is as good.

        See `wherry.network.drivers.Driver`.
        """
        make = rtnetlink.dummy if kernel.has_dummies else rtnetlink.bridge
        return [make(endpoint.interface, mac=endpoint.mac, mtu=network.mtu, namespace=namespace)]
