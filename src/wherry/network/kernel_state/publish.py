"""Ports of endpoints are published, and their addresses guarded: firewall elements. For the helper thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wherry.network.drivers.table import driver_of

if TYPE_CHECKING:
    from wherry.network.kernel_thread import Kernel
    from wherry.network.model import Endpoint, Network

__all__ = ["publish", "unpublish"]


def publish(kernel: Kernel, network: Network, endpoint: Endpoint) -> None:
    """Add an endpoint with its ports to the firewall, if its network has rules there."""
    rules = driver_of(network).endpoint_rules(network, endpoint)
    if rules is not None and not kernel.has_no_firewall:
        kernel.firewall.add([rules.anti_spoof], rules.mappings)


def unpublish(kernel: Kernel, endpoints: Iterable[tuple[Network, Endpoint]]) -> None:
    """Remove the firewall elements of endpoints, in one transaction."""
    found = (driver_of(network).endpoint_rules(network, endpoint) for network, endpoint in endpoints)
    rules = [each for each in found if each is not None]
    if rules and not kernel.has_no_firewall:
        anti_spoof = [each.anti_spoof for each in rules]
        kernel.firewall.remove(anti_spoof, [mapping for each in rules for mapping in each.mappings])
