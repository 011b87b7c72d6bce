"""The networks that are always there: ``bridge``, ``host`` and ``none``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.network.definition import built_in, default_bridge
from wherry.network.drivers import existing_bridge
from wherry.network.model import DEFAULT_BRIDGE

if TYPE_CHECKING:
    from wherry.network.ipam.host_networks import HostNetworks
    from wherry.network.model import Network, NetworkSettings
    from wherry.network.store import NetworkStore

__all__ = ["ensure_predefined"]


def ensure_predefined(
    store: NetworkStore, settings: NetworkSettings, host_networks: Callable[[Network | None], HostNetworks]
) -> None:
    """Define the networks that are missing, and change ``bridge`` to what the daemon's options say.

    :param host_networks: the networks that ``bridge`` must not overlap; given the network that it replaces.
    :raises InvalidInput: the options make no sense together.
    :raises Forbidden: no subnet is left.
    """
    known = {network.name: network for network in store.networks.values()}
    old = known.get(DEFAULT_BRIDGE)
    if settings.bridge != "none":
        if settings.bridge:
            settings = existing_bridge.default_on(settings, old)
        network = default_bridge(settings, host_networks(old), old)
        if network != old:
            store.put_network(network)
    elif old is not None:
        store.remove_network(old)
    for name, driver in (("host", "host"), ("none", "null")):
        if name not in known:
            store.put_network(built_in(name, driver))
