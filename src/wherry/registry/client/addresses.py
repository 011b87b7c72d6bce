"""What can be told from an address alone: whether it is this machine's own, and whether TLS may be missing there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["host_of", "is_insecure", "is_local"]


def host_of(domain: str) -> str:
    """The host of ``host``, ``host:port``, ``[::1]:port``."""
    if domain.startswith("["):
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0]


def is_local(host: str) -> bool:
    """Whether a host, by its name or address, is this machine, or on a link that only this machine's neighbours see."""
    if host.lower().rstrip(".") in ("localhost", "") or host.lower().endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified)


def is_loopback(host: str) -> bool:
    """Whether a host, by its name or address, is this machine; such a registry may do without TLS, as in Docker."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_insecure(domain: str, insecure: Iterable[str]) -> bool:
    """Whether a registry may do without TLS.

    :param insecure: domains, hosts, and networks as ``10.0.0.0/8``.
    """
    host = host_of(domain)
    if is_loopback(host):
        return True
    for entry in insecure:
        if entry in (domain, host):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # one of the two is a name
    return False
