"""Properties of a registry's address: valid, local, allowed without TLS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from wherry.errors import InvalidInput

__all__ = ["check_domain", "host_of", "is_insecure", "is_local"]

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|{_LABEL}(?:\.{_LABEL})*\.?)(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII
)
_LONGEST: Final = 261  # a name of the DNS, and a port


def host_of(domain: str) -> str:
    """The host of ``host``, ``host:port``, ``[::1]:port``."""
    if domain.startswith("["):
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0]


def check_domain(domain: str) -> str:
    """See that ``host``, ``host:port`` or ``[::1]:port`` can be one. :returns: it.

    :raises InvalidInput: it cannot.
    """
    match = _DOMAIN.fullmatch(domain)
    if match is None or len(domain) > _LONGEST or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise InvalidInput(f"invalid registry address {domain[:80]!r}")
    if match["v6"]:
        try:
            ipaddress.IPv6Address(match["v6"])
        except ValueError as exc:
            raise InvalidInput(f"invalid registry address {domain[:80]!r}", cause=str(exc)) from exc
    return domain


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
    """Whether a host is a loopback name or address; such a registry may do without TLS, as in Docker."""
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
