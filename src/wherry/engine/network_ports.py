"""Ports: what ``-p``, ``-P`` and ``--expose`` ask for, and how ``inspect`` and ``ps`` show what came of it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from wherry.engine.config import ContainerConfig, HostConfig, PortBinding
from wherry.errors import InvalidInput
from wherry.network.model import PortRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.network.model import Address, Endpoint

__all__ = ["check_ports", "exposed_ports", "listed_ports", "port_requests", "ports_in", "shown_ports"]

Json = dict[str, Any]
Port = tuple[int, str]  # number and protocol

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_HIGHEST: Final = 65535


def check_ports(config: ContainerConfig, host: HostConfig) -> None:
    """Check that all ports are ports.

    :raises InvalidInput: one is not; in moby's words.
    """
    for key in config.exposed_ports or {}:
        ports_in(key)
    port_requests(config, host)


def ports_in(text: str) -> list[Port]:
    """The ports of ``80``, ``80/udp``, ``8000-8010/tcp``.

    :raises InvalidInput: it is none of these.
    """
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise InvalidInput(f"invalid proto: {protocol}")
    low, high = _range(numbers)
    return [(number, protocol) for number in range(low, high + 1)]


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text, re.ASCII)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if not 0 <= low <= high <= _HIGHEST:
        raise InvalidInput(f'invalid port specification: "{text}"')
    return low, high


def exposed_ports(config: ContainerConfig, host: HostConfig) -> list[Port]:
    """Every port that the container says it serves, in order: exposed ones and those that are to be published."""
    keys = [*(config.exposed_ports or {}), *(host.port_bindings or {})]
    return sorted({port for key in keys for port in ports_in(key)})


def port_requests(config: ContainerConfig, host: HostConfig) -> tuple[PortRequest, ...]:
    """What is to be published, one request per port of the container and place on the host.

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
        first, last = _range(binding.host_port)
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


# --- shown ----------------------------------------------------------------------------------------


def shown_ports(config: ContainerConfig, host: HostConfig, endpoints: Iterable[Endpoint]) -> Json:
    """The API's ``Ports`` of a running container: null where a port is exposed and not published."""
    shown: Json = {f"{number}/{protocol}": None for number, protocol in exposed_ports(config, host)}
    for endpoint in endpoints:
        for one in endpoint.published:
            key = f"{one.container_port}/{one.protocol}"
            shown[key] = [*(shown.get(key) or []), {"HostIp": str(one.host_address), "HostPort": str(one.host_port)}]
    return shown


def listed_ports(config: ContainerConfig, host: HostConfig, endpoints: Iterable[Endpoint]) -> list[Json]:
    """The API's ``Ports`` in a list of containers."""
    return list(_listed(shown_ports(config, host, endpoints)))


def _listed(shown: Json) -> Iterator[Json]:
    for key, bindings in shown.items():
        number, _, protocol = key.partition("/")
        if not bindings:
            yield {"PrivatePort": int(number), "Type": protocol}
        for binding in bindings or ():
            yield {
                "IP": binding["HostIp"], "PrivatePort": int(number), "PublicPort": int(binding["HostPort"]),
                "Type": protocol,
            }  # fmt: skip
