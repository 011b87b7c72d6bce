"""The text of /etc/hosts, /etc/resolv.conf and /etc/hostname in a container; pure, nothing is read or written here.

Whoever writes them has to write in place (open, truncate, write): the files are bind-mounted, and a new file under the
old name would not be seen inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wherry.network.model import Address

__all__ = ["HostEntry", "ResolvConf", "asks_single_labels", "extra_host", "hostname_text", "hosts_text", "parse_resolv_conf"]


@dataclass(frozen=True)
class HostEntry:
    """One line of /etc/hosts."""

    address: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class ResolvConf:
    """The directives of a resolv.conf(5).

    :ivar nameservers: as written, link-local ones with ``%zone``.
    :ivar others: lines with directives that we do not know (``sortlist``), kept as they are.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def overridden(self, nameservers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> ResolvConf:
        """With ``--dns``, ``--dns-search`` (``.`` alone: none), ``--dns-option`` in place of what was there, where given."""
        raise NotImplementedError

    def for_bridge(self, ipv6: bool) -> ResolvConf:
        """For a network without a DNS server of ours: no server on the host's loopback, and never none at all."""
        raise NotImplementedError

    def for_resolver(self) -> ResolvConf:
        """For a network with one: 127.0.0.11 and ``ndots:0`` unless an ``ndots`` is there."""
        raise NotImplementedError

    def text(self) -> str:
        """The file."""
        raise NotImplementedError


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a resolv.conf as the C library does."""
    raise NotImplementedError


def asks_single_labels(dns_options: Sequence[str]) -> bool:
    """Whether names without a dot may be asked upstream: the user gave ``--dns-option ndots:0``."""
    raise NotImplementedError


def extra_host(entry: str, host_gateway: Sequence[Address]) -> tuple[HostEntry, ...]:
    """Read an ``--add-host``: ``name:address`` or ``name=address``; ``host-gateway`` stands for the host's addresses.

    :raises InvalidInput: in Docker's words.
    """
    raise NotImplementedError


def hosts_text(own: Iterable[HostEntry], extra: Iterable[HostEntry], *, ipv6: bool = True) -> str:
    """/etc/hosts: the machine's own names, then extra hosts and links, then the container's own addresses."""
    raise NotImplementedError


def hostname_text(hostname: str) -> str:
    """/etc/hostname."""
    raise NotImplementedError
