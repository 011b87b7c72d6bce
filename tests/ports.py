"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nobody has, and that nobody gets by chance until it is bound.

    It is none of those that the kernel gives to connections and to who asks for any port, nor of those that tests ask
    for by number (28000 to 28999).
    """
    first, last = (int(word) for word in _RANGE.read_text().split())
    taken = {*range(first, last + 1), *range(28_000, 29_000)}
    for port in random.sample(range(10_000, 65_536), 50_000):
        if port not in taken and _is_free(port):
            return port
    raise AssertionError(f"there is no port outside of {first} to {last} that nobody has")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
