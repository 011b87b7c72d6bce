"""Ports as Docker writes them: ``80``, ``80/udp``, ``8000-8010/tcp``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wherry.docker.container_requests import ContainerConfig, HostConfig

__all__ = [
    "HIGHEST_PORT",
    "PROTOCOLS",
    "Port",
    "any_port_of",
    "exposed_ports",
    "parse_ports",
    "parse_range",
    "ports_in",
]

Port = tuple[int, str]
"""A port number and its protocol."""

PROTOCOLS: Final = ("tcp", "udp", "sctp")
HIGHEST_PORT: Final = 65535


def ports_in(text: str) -> list[Port]:
    """The ports of ``80``, ``80/udp``, ``8000-8010/tcp``.

    :raises InvalidInput: it is none of these.
    """
    numbers, protocol = parse_ports(text)
    return [(number, protocol) for number in numbers]


def any_port_of(texts: Iterable[str]) -> Callable[[int, str], bool]:
    """A test whether a port is in any of several ranges, at a cost that does not depend on their number.

    :raises InvalidInput: a text is no port and no range of ports.
    """
    marks = {protocol: bytearray(HIGHEST_PORT + 1) for protocol in PROTOCOLS}
    for text in texts:
        numbers, protocol = parse_ports(text)
        marks[protocol][numbers.start : numbers.stop] = b"\1" * len(numbers)
    return lambda number, protocol: bool(marks[protocol][number])


def parse_ports(text: str) -> tuple[range, str]:
    """The port numbers and the protocol of ``80``, ``80/udp``, ``8000-8010/tcp``.

    :raises InvalidInput: it is none of these.
    """
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid proto: {protocol}")
    low, high = parse_range(numbers)
    return range(low, high + 1), protocol


def parse_range(text: str) -> tuple[int, int]:
    """The first and the last port of ``80`` or ``8000-8010``.

    :raises InvalidInput: it is none of these, or not in order.
    """
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text, re.ASCII)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if not 0 <= low <= high <= HIGHEST_PORT:
        raise InvalidInput(f'invalid port specification: "{text}"')
    return low, high


def exposed_ports(config: ContainerConfig, host: HostConfig) -> list[Port]:
    """All ports that a container exposes or publishes, in order."""
    keys = [*(config.exposed_ports or {}), *(host.port_bindings or {})]
    return sorted({port for key in keys for port in ports_in(key)})
