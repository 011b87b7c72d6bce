"""EXPOSE: ports and ranges of them, with a protocol."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from wherry.errors import InvalidInput

__all__ = ["PortWord"]

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_HIGHEST: Final = 65535


class PortWord(Struct, frozen=True):
    """A word of EXPOSE: ``80``, ``80/udp``, ``8000-8010``; also ``[IP:][HOST:]PORT``, of which the port counts."""

    text: str
    first: int
    last: int
    protocol: str
    address: str
    host_ports: str

    @classmethod
    def parse(cls, text: str) -> PortWord:
        """Read a word.

        :raises InvalidInput: it is wrong; in BuildKit's words.
        """
        address, host_ports, rest = _parts(text)
        ports, _, protocol = rest.partition("/")
        if not ports:
            raise InvalidInput(f'invalid port: "{text}": no port specified')
        if protocol and protocol.lower() not in _PROTOCOLS:
            raise InvalidInput(f'invalid port: "{text}": invalid proto: {protocol}')
        _check_address(address)
        first, last = _range(ports, "containerPort")
        if host_ports:
            low, high = _range(host_ports, "hostPort")
            if last != first and last - first != high - low:
                raise InvalidInput(f"invalid ranges specified for container and host Ports: {ports} and {host_ports}")
        return cls(text, first, last, protocol or "tcp", address, host_ports)

    def ports(self) -> Iterator[str]:
        """``80/tcp`` and so on."""
        return (f"{number}/{self.protocol.lower()}" for number in range(self.first, self.last + 1))


def _parts(text: str) -> tuple[str, str, str]:
    parts = text.rsplit(":", 2)
    if len(parts) == 1:
        return "", "", parts[0]
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", parts[0], parts[1])


def _check_address(text: str) -> None:
    if not text:
        return
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]") if text.startswith("[") else text)
    except ValueError:
        raise InvalidInput(f"invalid IP address: {text}") from None


def _range(text: str, what: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if not 0 <= first <= last <= _HIGHEST:
        raise InvalidInput(f"invalid {what}: {text}")
    return first, last
