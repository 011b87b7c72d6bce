"""Which ports the programs in a network namespace listen at, from /proc."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from msgspec import Struct

from wherry.errors import NotFound

__all__ = ["Listener", "listeners", "parse"]

# The state column of proc(5)'s net/tcp and net/udp: TCP_LISTEN; a UDP socket that is not connected shows TCP_CLOSE.
_LISTENING: Final = {"tcp": "0A", "udp": "07"}


class Listener(Struct, frozen=True):
    """A port at which a program listens.

    :ivar address: the unspecified one means every address; that of IPv6 usually takes IPv4 as well.
    """

    protocol: str
    address: IPv4Address | IPv6Address
    port: int

    def takes(self, protocol: str, port: int, address: IPv4Address | IPv6Address) -> bool:
        """Whether it would hear what is sent to a port and address."""
        if (self.protocol, self.port) != (protocol, port):
            return False
        if self.address.is_unspecified:
            return self.address.version in (address.version, 6)
        mapped = self.address.ipv4_mapped if isinstance(self.address, IPv6Address) else None
        return address in (self.address, mapped)


def listeners(pid: int) -> tuple[Listener, ...]:
    """The listeners in a process's network namespace.

    :raises NotFound: there is no such process.
    """
    found: list[Listener] = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        path = Path(f"/proc/{pid}/net/{name}")
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError) as exc:
            if name.endswith("6") and path.parent.is_dir():
                continue  # a kernel without IPv6
            raise NotFound(f"no such process: {pid}") from exc
        found += parse(name[:3], text)
    return tuple(found)


def parse(protocol: str, text: str) -> Iterator[Listener]:
    """Read one of the files; see proc(5).

    :param protocol: ``tcp`` or ``udp``.
    """
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 3 and columns[3] == _LISTENING[protocol]:
            address, _, port = columns[1].partition(":")
            yield Listener(protocol, _address(address), int(port, 16))


def _address(digits: str) -> IPv4Address | IPv6Address:
    """An address is printed as words of four bytes in the machine's order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return IPv4Address(packed) if len(words) == 1 else IPv6Address(packed)
