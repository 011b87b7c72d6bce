"""Networks as the Engine API shows them: in a container's inspection, and by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from wherry.engine import clock
from wherry.engine.config import EndpointSettings
from wherry.engine.network_modes import HOST, is_user_defined, joined_container
from wherry.engine.network_ports import shown_ports

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.engine.container import Container
    from wherry.network.model import Address, Endpoint, Network, Subnet

__all__ = ["dns_names", "endpoints_shown", "network_settings", "network_shown"]

Json = dict[str, Any]

_NO_DATE: Final = "0001-01-01T00:00:00Z"
_NO_PLACE: Final = {
    "EndpointID": "", "Gateway": "", "IPAddress": "", "MacAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
    "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
}  # fmt: skip


def dns_names(container: Container, settings: EndpointSettings) -> list[str]:
    """The names by which others on a network find a container: its own, its aliases, its short ID, its host name."""
    names = [container.name, *(settings.aliases or ()), container.id[:12], container.config.hostname or ""]
    return list(dict.fromkeys(name for name in names if name))


def endpoints_shown(container: Container) -> Json:
    """The API's ``Networks`` of a container, by network name."""
    return {name: _endpoint_shown(container, name, wishes) for name, wishes in container.definition.networks.items()}


def _endpoint_shown(container: Container, name: str, wishes: EndpointSettings) -> Json:
    endpoint = container.endpoints.get(name)
    alone = endpoint is None and not is_user_defined(name) and container.state.is_alive and name != "bridge"
    return {
        "IPAMConfig": msgspec.to_builtins(wishes.ipam_config) if wishes.ipam_config else None,
        "Links": list(wishes.links) if wishes.links else None,
        "Aliases": list(wishes.aliases) if wishes.aliases else None,
        "DriverOpts": dict(wishes.driver_opts) if wishes.driver_opts else None,
        "GwPriority": wishes.gw_priority or 0,
        "NetworkID": endpoint.network_id if endpoint else wishes.network_id or "",
        **(_place(endpoint) if endpoint else {**_NO_PLACE, "MacAddress": wishes.mac_address or ""}),
        **({"EndpointID": container.id} if alone else {}),
        "DNSNames": dns_names(container, wishes) if is_user_defined(name) else None,
    }


def _place(endpoint: Endpoint) -> Json:
    return {
        "EndpointID": endpoint.id,
        "Gateway": _text(endpoint.gateway4),
        "IPAddress": _text(endpoint.ipv4),
        "MacAddress": endpoint.mac,
        "IPPrefixLen": endpoint.ipv4_prefix,
        "IPv6Gateway": _text(endpoint.gateway6),
        "GlobalIPv6Address": _text(endpoint.ipv6),
        "GlobalIPv6PrefixLen": endpoint.ipv6_prefix,
    }


def _text(address: Address | None) -> str:
    return "" if address is None else str(address)


def network_settings(container: Container) -> Json:
    """The API's ``NetworkSettings``; what stands at its top is the place on the default bridge, as in Docker."""
    alive = container.state.is_alive
    mode = container.host.network_mode or ""
    networks = {} if joined_container(mode) else endpoints_shown(container)
    first = networks.get("bridge", {})
    shares = mode == HOST or joined_container(mode)
    ports = shown_ports(container.config, container.host, container.endpoints.values()) if alive and not shares else {}
    return {
        "Bridge": "",
        "SandboxID": container.id if alive else "",
        "SandboxKey": f"/proc/{container.state.pid}/ns/net" if alive else "",
        "Ports": ports,
        "HairpinMode": False, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None, "SecondaryIPv6Addresses": None,
        **{name: first.get(name, empty) for name, empty in _NO_PLACE.items()},
        "Networks": networks,
    }  # fmt: skip


# --- networks -------------------------------------------------------------------------------------


def network_shown(network: Network, endpoints: Iterable[Endpoint]) -> Json:
    """The API's ``Network``.

    :param endpoints: who is on it; a list of networks does not tell.
    """
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": clock.rfc3339(network.created) if network.created else _NO_DATE,
        "Scope": network.scope,
        "Driver": network.driver,
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": network.ipam_driver,
            "Options": dict(network.ipam_options) or ({} if is_user_defined(network.name) else None),
            "Config": [_subnet(subnet) for subnet in network.subnets],
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {endpoint.owner: _member(endpoint) for endpoint in endpoints},
        "Options": dict(network.options),
        "Labels": dict(network.labels),
    }


def _subnet(subnet: Subnet) -> Json:
    shown: Json = {"Subnet": str(subnet.network)}
    if subnet.range:
        shown["IPRange"] = str(subnet.range)
    if subnet.gateway:
        shown["Gateway"] = str(subnet.gateway)
    if subnet.auxiliary:
        shown["AuxiliaryAddresses"] = {name: str(address) for name, address in subnet.auxiliary.items()}
    return shown


def _member(endpoint: Endpoint) -> Json:
    return {
        "Name": endpoint.owner_name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
        "IPv6Address": f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
    }
