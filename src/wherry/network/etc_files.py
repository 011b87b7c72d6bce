"""The text of /etc/hosts, /etc/resolv.conf and /etc/hostname in a container; pure, nothing is read or written here.

They have to be written in place (open, truncate, write): the files are bind-mounted, and a new file under the
old name would not be seen inside.

What resolv.conf is made of::

    host = parse_resolv_conf(text of the host's)
    conf = host.overridden(--dns, --dns-search, --dns-option)
    --network host          conf.text()
    default bridge, none    conf.for_bridge(ipv6=...).text(); where `needs_alternative` says so, from SYSTEMD_RESOLVED
    user-defined networks   conf.for_resolver().text(), and `upstreams` of the DNS server are conf.servers_to_ask()
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from wherry.errors import InvalidInput
from wherry.network.dns.directory import RESOLVER
from wherry.network.ipam.addresses import is_address
from wherry.network.model import Address

__all__ = [
    "HOST_GATEWAY",
    "SYSTEMD_RESOLVED",
    "HostEntry",
    "ResolvConf",
    "added_lines",
    "asks_all",
    "extra_host",
    "host_mode_text",
    "hostname_text",
    "hosts_text",
    "is_as_written",
    "link_entries",
    "needs_alternative",
    "own_entries",
    "parse_resolv_conf",
]

HOST_GATEWAY: Final = "host-gateway"
"""Stands for the host's own address in ``--add-host``."""

SYSTEMD_RESOLVED: Final = "/run/systemd/resolve/resolv.conf"
"""Where systemd-resolved names the servers that it asks itself (systemd-resolved.service(8))."""

_PUBLIC: Final = ("8.8.8.8", "8.8.4.4")
_PUBLIC6: Final = ("2001:4860:4860::8888", "2001:4860:4860::8844")
"""Asked where no other server is known, as Docker does."""

_MACHINE: Final = "127.0.0.1\tlocalhost\n"
_MACHINE6: Final = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_MARK: Final = "# Checksum: "


# ---------------------------------------------------------------------------------------------------------- /etc/hosts


@dataclass(frozen=True)
class HostEntry:
    """One line of /etc/hosts."""

    address: str
    names: tuple[str, ...]

    def line(self) -> str:
        """As hosts(5) has it."""
        return f"{self.address}\t{' '.join(self.names)}\n"


def hosts_text(own: Iterable[HostEntry], extra: Iterable[HostEntry], *, ipv6: bool = True) -> str:
    """/etc/hosts: the machine's own names, then extra hosts and links, then the container's own addresses.

    :param own: `own_entries` of each endpoint.
    :param extra: `extra_host` and `link_entries`.
    :param ipv6: whether the container has IPv6 at all.
    """
    entries = dict.fromkeys((*extra, *own))
    return _MACHINE + (_MACHINE6 if ipv6 else "") + "".join(entry.line() for entry in entries)


def added_lines(written: str, found: str) -> str:
    """The lines that were added to /etc/hosts inside the container, to be kept when it is rewritten.

    :param written: what was written there.
    :param found: what stands there now.
    """
    ours = set(written.split("\n"))
    return "".join(f"{line}\n" for line in found.split("\n") if line not in ours)


def host_mode_text(host: str, extra: Iterable[HostEntry]) -> str:
    """/etc/hosts of a container on the host's network: the host's own, and what was added.

    :param host: the host's file.
    """
    ended = host if host.endswith("\n") or not host else host + "\n"
    return ended + "".join(entry.line() for entry in extra)


def own_entries(hostname: str, domainname: str, addresses: Iterable[Address]) -> tuple[HostEntry, ...]:
    """The container's own names at its own addresses: ``name.domain name`` where it has a domain.

    The domain may be a part of the host name: ``--hostname name.domain``.
    """
    if not hostname:
        return ()
    whole = f"{hostname}.{domainname}" if domainname else hostname
    short = whole.partition(".")[0]
    names = tuple(dict.fromkeys(name for name in (whole, short) if name))
    return tuple(HostEntry(str(address), names) for address in addresses)


def link_entries(alias: str, hostname: str, name: str, addresses: Iterable[Address]) -> tuple[HostEntry, ...]:
    """A linked container under all its names: ``--link name:alias``."""
    names = tuple(dict.fromkeys(one for one in (alias, hostname, name) if one))
    return tuple(HostEntry(str(address), names) for address in addresses)


def extra_host(entry: str, host_gateway: Sequence[Address]) -> tuple[HostEntry, ...]:
    """Read an ``--add-host``: ``name:address`` or ``name=address``, an IPv6 address with or without brackets.

    :param host_gateway: what ``host-gateway`` stands for: addresses at which this container reaches the host; each
        gives an entry.
    :raises InvalidInput: it is none, or ``host-gateway`` has no address.
    """
    separator = min((c for c in ":=" if c in entry), key=entry.index, default="")
    name, _, address = entry.partition(separator) if separator else ("", "", "")
    if not name or not _is_word(name):
        raise InvalidInput(f'bad format for add-host: "{entry}"')
    if address == HOST_GATEWAY:
        if not host_gateway:
            raise InvalidInput("unable to derive the IP value for host-gateway")
        return tuple(HostEntry(str(one), (name,)) for one in host_gateway)
    try:
        parsed = ip_address(address[1:-1] if address[:1] == "[" and address[-1:] == "]" else address)
    except ValueError:
        raise InvalidInput(f'invalid IP address in add-host: "{address}"') from None
    return (HostEntry(str(parsed), (name,)),)


def _is_word(text: str) -> bool:
    """Whether it can stand in a line of these files: nothing that separates words, begins a comment or a line."""
    return text.isprintable() and not any(c.isspace() or c in "#;" for c in text)


# ------------------------------------------------------------------------------------------------------- /etc/hostname


def hostname_text(hostname: str) -> str:
    """/etc/hostname."""
    return hostname + "\n"


# ---------------------------------------------------------------------------------------------------- /etc/resolv.conf


@dataclass(frozen=True)
class ResolvConf:
    """The directives of a resolv.conf(5), and where they came from.

    :ivar nameservers: as written, link-local ones with ``%zone``.
    :ivar others: lines with directives that we do not know (``sortlist``), kept as they are.
    :ivar given: which of them were given for the container.
    :ivar notes: what is said about it at the end of the file.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def overridden(self, nameservers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> ResolvConf:
        """With ``--dns``, ``--dns-search``, ``--dns-option`` in place of what was there, each where it was given.

        :param search: ``.`` alone means none.
        :raises InvalidInput: a server that is no IP address, a domain or an option that is no word.
        """
        for server in nameservers:
            _check_server(server)
        for word, what in (*((one, "domain") for one in search), *((one, "DNS option") for one in options)):
            if not word or not _is_word(word):
                raise InvalidInput(f"{word!r} is not a valid {what}")
        given = [("nameservers", nameservers), ("search", search), ("options", options)]
        return replace(
            self,
            nameservers=tuple(nameservers) or self.nameservers,
            search=tuple(one for one in search if one != ".") if search else self.search,
            options=tuple(options) or self.options,
            given=tuple(name for name, values in given if values),
        )

    def for_bridge(self, ipv6: bool) -> ResolvConf:
        """For a network without our DNS server: only servers that can be reached from there, and at least one.

        Left out are the host's own on its loopback or on a link, and IPv6 ones where the container has no IPv6; where
        none is left, public ones stand in. What was given for the container stays as it is.
        """
        if "nameservers" in self.given:
            return self
        reachable = tuple(one for one in self.nameservers if _reachable(one, ipv6))
        if reachable:
            return replace(self, nameservers=reachable)
        note = "No server of the host's can be asked from here; these are public ones."
        return replace(self, nameservers=_PUBLIC + (_PUBLIC6 if ipv6 else ()), notes=(note,))

    def for_resolver(self) -> ResolvConf:
        """For a network with one: 127.0.0.11, and ``ndots:0`` unless a valid ``ndots`` is there."""
        options = tuple(option for option in self.options if not _is_bad_ndots(option))
        notes = [f"ExtServers: [{' '.join(f'host({one})' for one in self.servers_to_ask())}]"]
        if not any(option.startswith("ndots:") for option in options):
            options += ("ndots:0",)
            notes.append("Option ndots: wherry's own, so that names of containers are asked for as they are.")
        return replace(self, nameservers=(RESOLVER,), options=options, notes=tuple(notes))

    def servers_to_ask(self) -> tuple[str, ...]:
        """The servers for our own to ask, from the host's network; public ones where there is none."""
        return self.nameservers or _PUBLIC

    def text(self) -> str:
        """The file, with a checksum by which `is_as_written` knows it again."""
        lines = ["# Made by wherry, which leaves it alone once somebody else has changed it.", ""]
        lines += [f"nameserver {server}" for server in self.nameservers]
        for keyword, words in (("search", self.search), ("options", self.options)):
            if words:
                lines.append(f"{keyword} {' '.join(words)}")
        lines += [*self.others, ""]
        if self.given:
            lines.append(f"# Given for this container: {', '.join(self.given)}; the rest is the host's.")
        lines += [f"# {note}" for note in self.notes]
        return _with_checksum("\n".join(lines) + "\n")


@lru_cache(maxsize=4)  # the host's changes seldom
def parse_resolv_conf(text: str) -> ResolvConf:
    """Read a resolv.conf as the C library does (resolv.conf(5)).

    ``domain`` and ``search``: the last one counts; ``options`` add up. A server that is no IP address is left out.
    """
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    others: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        match words:
            case ["nameserver", server, *_] if is_address(server):
                servers.append(server)
            case ["domain" | "search", _, *_]:
                search = tuple(words[1:])
            case ["options", *more]:
                options += more
            case ["nameserver" | "domain" | "search", *_]:
                continue
            case _:
                others.append(line)
    return ResolvConf(tuple(servers), search, tuple(options), tuple(others))


def needs_alternative(host: ResolvConf) -> bool:
    """Whether the host's file names systemd-resolved's stub only, so that `SYSTEMD_RESOLVED` says more."""
    return host.nameservers == ("127.0.0.53",)


def asks_all(dns_options: Sequence[str]) -> bool:
    """Whether unknown names that look like ours are asked upstream: the user gave ``--dns-option ndots:0``."""
    return "ndots:0" in dns_options


def is_as_written(text: str) -> bool:
    """Whether a resolv.conf is what `ResolvConf.text` made, so that it may be rewritten; an empty one is, too."""
    body, mark, _ = text.rpartition(_MARK)
    return not text or (bool(mark) and _with_checksum(body) == text)


def _with_checksum(text: str) -> str:
    return f"{text}{_MARK}{zlib.crc32(text.encode()):08x}\n"


def _check_server(server: str) -> None:
    if not is_address(server):
        raise InvalidInput(f"IP address is not correctly formatted: {server}")


def _reachable(server: str, ipv6: bool) -> bool:
    address: IPv4Address | IPv6Address = ip_address(server)
    if isinstance(address, IPv6Address):
        return ipv6 and not address.is_loopback and address.scope_id is None and not address.is_link_local
    return not address.is_loopback


def _is_bad_ndots(option: str) -> bool:
    name, _, value = option.partition(":")
    return name == "ndots" and not (value.isascii() and value.isdecimal())
