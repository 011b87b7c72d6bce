"""Options of bridge networks about the way between their containers and the host: gateway modes, addresses, interfaces.

Each IP version has a mode of its own; names and meanings are Docker's. `isolated` and `inhibit_ipv4` leave the bridge
without an address of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from wherry.errors import InvalidInput
from wherry.network.drivers.options import check_interface_name, is_true
from wherry.network.model import Address, Network

__all__ = ["GatewayMode", "check_gateway", "gateway_mode", "has_host_address", "outgoing_address", "trusted_interfaces"]

_MODE: Final = "com.docker.network.bridge.gateway_mode_ipv%d"
_OUTGOING: Final = "com.docker.network.host_ipv%d"
_TRUSTED: Final = "com.docker.network.bridge.trusted_host_interfaces"
_INHIBIT: Final = "com.docker.network.bridge.inhibit_ipv4"


class GatewayMode(StrEnum):
    """How packets pass between a bridge network and the outside."""

    NAT = "nat"  #: addresses are translated; from elsewhere published ports are reached only
    NAT_UNPROTECTED = "nat-unprotected"  #: who has a route to a container reaches all of its ports
    ROUTED = "routed"  #: nothing is translated; who has a route reaches the ports that are published
    ISOLATED = "isolated"  #: the host has no address on the bridge; for internal networks


def gateway_mode(options: Mapping[str, str], version: int) -> GatewayMode:
    """The mode of an IP version.

    :raises InvalidInput: there is no such mode.
    """
    name = _MODE % version
    text = options.get(name, "") or GatewayMode.NAT
    try:
        return GatewayMode(text)
    except ValueError as exc:
        raise InvalidInput(f"failed to parse {name} value: {text} (unknown gateway mode {text})") from exc


def outgoing_address(options: Mapping[str, str], version: int) -> Address | None:
    """The address of the host that containers have outside, if one is chosen.

    :raises InvalidInput: it is no address of that version.
    """
    name = _OUTGOING % version
    text = options.get(name, "")
    if not text:
        return None
    try:
        found = ip_address(text)
    except ValueError as exc:
        raise InvalidInput(f"failed to parse {name} value: {text} (nil ip)") from exc
    if found.version != version:
        raise InvalidInput(f"failed to parse {name} value: {text} (not an IPv{version} address)")
    return found


def trusted_interfaces(options: Mapping[str, str]) -> tuple[str, ...]:
    """The interfaces of the host by which published ports are reached at the containers' own addresses.

    :raises InvalidInput: one has a name that none can have.
    """
    found = tuple(dict.fromkeys(name for name in options.get(_TRUSTED, "").split(":") if name))
    for name in found:
        check_interface_name(name)
    return found


def has_host_address(network: Network, version: int) -> bool:
    """Whether the host has an address of this version on the bridge."""
    if gateway_mode(network.options, version) is GatewayMode.ISOLATED:
        return False
    return version != 4 or not is_true(network.options, _INHIBIT, False)


def check_gateway(network: Network) -> None:
    """Read all these options.

    :raises InvalidInput: a value makes no sense.
    """
    for version in (4, 6):
        outgoing_address(network.options, version)
        if gateway_mode(network.options, version) is GatewayMode.ISOLATED and not network.internal:
            raise InvalidInput("gateway mode 'isolated' can only be used for an internal network")
    trusted_interfaces(network.options)
    is_true(network.options, _INHIBIT, False)
