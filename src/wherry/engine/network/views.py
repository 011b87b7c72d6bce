"""Views of networks in the Engine API: ``NetworkSettings`` and ``Ports`` of a container, and ``Network``."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from wherry.docker import times
from wherry.docker.network_mode import HOST, is_user_defined, joined_container
from wherry.docker.networks import (
    ConfigReference,
    EndpointResource,
    EndpointView,
    IpamConfig,
    IpamPool,
    IpamStatus,
    NetworkInspect,
    NetworkSettings,
    NetworkStatus,
    PortBinding,
    PortSummary,
    SubnetStatus,
)
from wherry.docker.ports import exposed_ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wherry.docker.container_requests import ContainerConfig, HostConfig
    from wherry.docker.networks import EndpointSettings, PortMap
    from wherry.engine.container.container import Container
    from wherry.network.model import Address, Endpoint, Network, Prefix, Subnet, SubnetRequest

__all__ = [
    "dns_names",
    "endpoints_to_api",
    "network_settings_to_api",
    "network_to_api",
    "port_summaries",
    "ports_to_api",
]

_UINT64_MAX: Final = (1 << 64) - 1
_NO_DATE: Final = "0001-01-01T00:00:00Z"


def dns_names(container: Container, settings: EndpointSettings) -> list[str]:
    """The names that resolve to a container on a network: its own, its aliases, its short ID, its host name."""
    names = [container.name, *(settings.aliases or ()), container.id[:12], container.config.hostname or ""]
    return list(dict.fromkeys(name for name in names if name))


def endpoints_to_api(container: Container) -> dict[str, EndpointView]:
    """The API's ``Networks`` of a container, by network name."""
    members = container.definition.networks
    return {name: _endpoint_to_api(container, name, requested) for name, requested in members.items()}


def _endpoint_to_api(container: Container, name: str, requested: EndpointSettings) -> EndpointView:
    endpoint = container.endpoints.get(name)
    view = EndpointView(
        ipam_config=requested.ipam_config or None,
        links=list(requested.links) if requested.links else None,
        aliases=list(requested.aliases) if requested.aliases else None,
        driver_opts=dict(requested.driver_opts) if requested.driver_opts else None,
        gw_priority=requested.gw_priority or 0,
        network_id=endpoint.network_id if endpoint else requested.network_id or "",
        mac_address=requested.mac_address or "",
        dns_names=dns_names(container, requested) if is_user_defined(name) else None,
    )
    if endpoint is not None:
        _add_addresses(view, endpoint)
    elif not is_user_defined(name) and container.state.is_alive and name != "bridge":
        view.endpoint_id = container.id  # on ``host`` or ``none``, where it has no endpoint
    return view


def _add_addresses(view: EndpointView, endpoint: Endpoint) -> None:
    view.endpoint_id = endpoint.id
    view.gateway = _text(endpoint.gateway4)
    view.ip_address = _text(endpoint.ipv4)
    view.mac_address = endpoint.mac
    view.ip_prefix_len = endpoint.ipv4_prefix
    view.ipv6_gateway = _text(endpoint.gateway6)
    view.global_ipv6_address = _text(endpoint.ipv6)
    view.global_ipv6_prefix_len = endpoint.ipv6_prefix


def _text(address: Address | None) -> str:
    return "" if address is None or address.is_unspecified else str(address)


def network_settings_to_api(container: Container) -> NetworkSettings:
    """The API's ``NetworkSettings``; the members at its top are the endpoint on the default bridge's, as in Docker."""
    alive = container.state.is_alive
    mode = container.host.network_mode or ""
    networks = {} if joined_container(mode) else endpoints_to_api(container)
    shares = mode == HOST or joined_container(mode)
    settings = NetworkSettings(
        sandbox_id=container.id if alive else "",
        sandbox_key=f"/proc/{container.state.pid}/ns/net" if alive else "",
        ports=ports_to_api(container.config, container.host, container.endpoints.values())
        if alive and not shares
        else {},
        networks=networks,
    )
    bridge = networks.get("bridge")
    if bridge is not None:
        for name in _ON_TOP:
            setattr(settings, name, getattr(bridge, name))
    return settings


#: The members of the endpoint on the default bridge that ``NetworkSettings`` repeats.
_ON_TOP: Final = (
    "endpoint_id", "gateway", "ip_address", "mac_address", "ip_prefix_len", "ipv6_gateway", "global_ipv6_address",
    "global_ipv6_prefix_len",
)  # fmt: skip


# --- ports ----------------------------------------------------------------------------------------


def ports_to_api(config: ContainerConfig, host: HostConfig, endpoints: Iterable[Endpoint]) -> PortMap:
    """The API's ``Ports`` of a running container: null where a port is exposed and not published."""
    ports: PortMap = {f"{number}/{protocol}": None for number, protocol in exposed_ports(config, host)}
    written = cache(str)  # thousands of ports may be published on one address
    for endpoint in endpoints:
        for one in endpoint.published:
            key = f"{one.container_port}/{one.protocol}"
            binding = PortBinding(written(one.host_address), str(one.host_port or ""))
            ports[key] = [*(ports.get(key) or []), binding]
    return ports


def port_summaries(config: ContainerConfig, host: HostConfig, endpoints: Iterable[Endpoint]) -> list[PortSummary]:
    """The API's ``Ports`` in a list of containers."""
    return list(_summaries(ports_to_api(config, host, endpoints)))


def _summaries(ports: PortMap) -> Iterator[PortSummary]:
    for key, bindings in ports.items():
        number, _, protocol = key.partition("/")
        if not bindings:
            yield PortSummary(private_port=int(number), type=protocol)
        for binding in bindings or ():
            public = int(binding.host_port or 0)  # none in gateway mode `routed`
            where = (binding.host_ip, public) if public else (None, None)
            yield PortSummary(ip=where[0], private_port=int(number), public_port=where[1], type=protocol)


# --- networks -------------------------------------------------------------------------------------


def network_to_api(
    network: Network, endpoints: Iterable[Endpoint], addresses: Mapping[Prefix, tuple[int, int]] = MappingProxyType({})
) -> NetworkInspect:
    """The API's ``Network``.

    :param endpoints: of the network; a list of networks has none.
    :param addresses: by subnet, how many are in use and how many are free; none in a list.
    """
    return NetworkInspect(
        name=network.name,
        id=network.id,
        created=times.rfc3339(network.created) if network.created else _NO_DATE,
        scope=network.scope,
        driver=network.driver,
        enable_ipv4=network.ipv4,
        enable_ipv6=network.ipv6,
        ipam=IpamConfig(
            network.ipam_driver,
            dict(network.ipam_options) or ({} if is_user_defined(network.name) else None),
            [*map(_subnet_to_api, network.subnets), *map(_configured_to_api, network.configuration)],
        ),
        internal=network.internal,
        attachable=network.attachable,
        config_from=ConfigReference(network.config_from),
        config_only=network.config_only,
        containers={endpoint.owner: _container_to_api(endpoint) for endpoint in endpoints},
        options=dict(network.options),
        labels=dict(network.labels),
        status=NetworkStatus(IpamStatus({str(subnet): _status(*counts) for subnet, counts in addresses.items()})),
    )


def _status(used: int, free: int) -> SubnetStatus:
    return SubnetStatus(min(used, _UINT64_MAX), min(free, _UINT64_MAX))


def _subnet_to_api(subnet: Subnet) -> IpamPool:
    return IpamPool(
        str(subnet.network),
        str(subnet.range) if subnet.range else None,
        str(subnet.gateway) if subnet.gateway else None,
        {name: str(address) for name, address in subnet.auxiliary.items()} or None,
    )


def _configured_to_api(subnet: SubnetRequest) -> IpamPool:
    return IpamPool(subnet.subnet or None, subnet.ip_range or None, subnet.gateway or None, subnet.auxiliary or None)


def _container_to_api(endpoint: Endpoint) -> EndpointResource:
    return EndpointResource(
        name=endpoint.owner_name,
        endpoint_id=endpoint.id,
        mac_address=endpoint.mac,
        ipv4_address=f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
        ipv6_address=f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
    )
