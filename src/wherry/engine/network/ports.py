"""Port requests: the ports that a container publishes (``-p``, ``-P``), checked and made ready for `wherry.network`.

They are published there: `wherry.network.kernel_state.publish`.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.networks import PortBinding
from wherry.docker.ports import HIGHEST_PORT, PROTOCOLS, Port, exposed_ports, parse_ports, parse_range, ports_in
from wherry.errors import InvalidInput
from wherry.network.model import PortRequest

if TYPE_CHECKING:
    from wherry.network.model import Address

__all__ = ["check_ports", "port_requests"]

_MOST: Final = 2 * len(PROTOCOLS) * (HIGHEST_PORT + 1)  #: all that there are, exposed and published


def check_ports(config: ContainerConfig, host: HostConfig) -> None:
    """Check that all ports are ports, those that an image exposes, too; and that they are no more than there can be.

    Ranges may overlap, and every list of containers walks all ports of all ranges.

    :raises InvalidInput: one is not; in moby's words.
    """
    wanted = [(key, 1) for key in config.exposed_ports or {}]
    wanted += [(key, max(1, len(bindings or ()))) for key, bindings in (host.port_bindings or {}).items()]
    count = sum(times * len(numbers) for (numbers, _), times in ((parse_ports(key), times) for key, times in wanted))
    if count > _MOST:
        raise InvalidInput(f"too many ports: {count} are exposed or published, and {_MOST} can be")
    port_requests(config, host)


def port_requests(config: ContainerConfig, host: HostConfig) -> tuple[PortRequest, ...]:
    """What is to be published, one request per port of the container and host address.

    :raises InvalidInput: an address or a port is none.
    """
    bound: dict[Port, list[PortBinding]] = {}
    for key, bindings in (host.port_bindings or {}).items():
        for port in ports_in(key):
            bound.setdefault(port, []).extend(bindings or [])
    if host.publish_all_ports:
        for port in exposed_ports(config, host):
            bound[port] = bound.get(port) or [PortBinding()]
    return tuple(_request(port, binding) for port in sorted(bound) for binding in bound[port])


def _request(port: Port, binding: PortBinding) -> PortRequest:
    first = last = None
    if binding.host_port and binding.host_port != "0":
        first, last = parse_range(binding.host_port)
        if first == 0:
            raise InvalidInput(f'invalid port specification: "{binding.host_port}"')
    number, protocol = port
    return PortRequest(protocol, number, _address(binding.host_ip), first, last)


def _address(text: str | None) -> Address | None:
    if not text:
        return None
    try:
        if "%" not in text:  # an interface to go with a link-local address, which the firewall cannot know
            return ip_address(text.strip("[]"))
    except ValueError:
        pass
    raise InvalidInput(f'invalid IP address in port binding: "{text}"')
