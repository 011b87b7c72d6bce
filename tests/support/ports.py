"""Ports for servers that have to be told theirs."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that nobody has, and that nobody gets by chance until it is bound.

    It is none of those that the kernel gives to connections and to who asks for any port (unless that may be any),
    nor of those that tests ask for by number (28000 to 28999).
    """
    first, last = (int(word) for word in _RANGE.read_text().split())
    usual = [port for port in range(10_000, 65_536) if port not in range(28_000, 29_000)]
    fitting = [port for port in usual if not first <= port <= last]
    ports = fitting if len(fitting) > 1000 else usual
    return next(port for port in random.sample(ports, len(ports)) if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
