"""What stands in a container's /etc/hosts, /etc/resolv.conf and /etc/hostname, and whom its DNS questions go to."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wherry.engine.network_modes import HOST, is_user_defined, parse_links
from wherry.engine.spec import hostname_of
from wherry.network import hostfiles
from wherry.network.hostfiles import HostEntry, ResolvConf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.engine.config import HostConfig
    from wherry.engine.container import Container
    from wherry.engine.settings import NetworkOptions
    from wherry.network.dns.directory import Upstream
    from wherry.network.model import Address

__all__ = ["HostFiles", "has_resolver", "link_environment", "rewrite", "wanted_links", "write_in_place"]

_MOST: Final = 1 << 16  # bytes
_NOT_LINKED: Final = ("HOME", "PATH")  # of a linked container's environment
_ANYWHERE: Final = (ip_address("192.0.2.1"),)  # stands for host-gateway where only the form is checked


class HostFiles:
    """Makes the texts.

    :param options: what the daemon was told about name servers and the host's address.
    :param gateways: the host's addresses on the default bridge.
    """

    def __init__(self, options: NetworkOptions, gateways: Callable[[], Sequence[Address]]) -> None:
        self._options = options
        self._gateways = gateways

    def check(self, host: HostConfig) -> None:
        """Check what a new container asks of its files.

        :raises InvalidInput: an extra host, a name server, a domain or an option is none.
        """
        for text in host.extra_hosts or []:
            hostfiles.extra_host(text, _ANYWHERE)
        ResolvConf().overridden(host.dns or (), host.dns_search or (), host.dns_options or ())

    def texts(self, container: Container, linked: Sequence[tuple[str, Container]]) -> dict[str, str]:
        """The files, by name.

        :param linked: the containers that this one links to on the default bridge, by their aliases.
        """
        return {
            "hostname": hostfiles.hostname_text(hostname_of(container)),
            "hosts": self.hosts(container, linked),
            "resolv.conf": self._resolv_conf(container),
        }

    def hosts(self, container: Container, linked: Sequence[tuple[str, Container]]) -> str:
        """The file hosts alone; see `texts`."""
        gateway = self._host_gateway(container)
        extra = [one for text in container.host.extra_hosts or [] for one in hostfiles.extra_host(text, gateway)]
        if container.host.network_mode == HOST:
            return hostfiles.host_mode_text(_read("/etc/hosts"), extra)
        extra += [entry for alias, other in linked for entry in _link_entries(alias, other)]
        addresses = [address for endpoint in container.endpoints.values() for address in endpoint.addresses]
        own = hostfiles.own_entries(hostname_of(container), container.config.domainname or "", addresses)
        return hostfiles.hosts_text(own, extra, ipv6=not addresses or _has_ipv6(container))

    def _host_gateway(self, container: Container) -> Sequence[Address]:
        """What ``host-gateway`` means: what the daemon was told, else the host's side of the default bridge.

        Without one, the host's side of the container's first network.
        """
        if self._options.host_gateway_ips:
            return [ip_address(text) for text in self._options.host_gateway_ips]
        if container.host.network_mode == HOST:
            return [ip_address("127.0.0.1")]
        found = self._gateways()
        first = next(iter(container.endpoints.values()), None)
        if not found and first is not None:
            found = [address for address in (first.gateway4, first.gateway6) if address]
        return found

    def _resolv_conf(self, container: Container) -> str:
        if container.host.network_mode == HOST:
            return self._chosen(container.host).text()
        if has_resolver(container):
            return self._chosen(container.host).for_resolver().text()
        return self._chosen(container.host, inside=True).for_bridge(ipv6=_has_ipv6(container)).text()

    def _chosen(self, host: HostConfig, *, inside: bool = False) -> ResolvConf:
        """The host's resolv.conf with what the daemon and the container were told in place of it.

        :param inside: its servers are asked from inside; else from the host, where systemd-resolved itself is the
            better one to ask: it knows which server knows which domain.
        """
        options = self._options
        found = hostfiles.parse_resolv_conf(_read("/etc/resolv.conf"))
        if inside and hostfiles.needs_alternative(found):
            found = hostfiles.parse_resolv_conf(_read(hostfiles.SYSTEMD_RESOLVED))
        return found.overridden(
            host.dns or options.dns, host.dns_search or options.dns_search, host.dns_options or options.dns_options
        )

    def upstreams(self, host: HostConfig) -> tuple[tuple[Upstream, ...], bool]:
        """Whom a container's other questions go to, and whether names that look like ours are among them."""
        from wherry.network.dns.directory import Upstream  # noqa: PLC0415 - only with networks that have names

        every = hostfiles.asks_all(host.dns_options or self._options.dns_options)
        return tuple(Upstream(server) for server in self._chosen(host).servers_to_ask()), every


def has_resolver(container: Container) -> bool:
    """Whether its questions are answered at 127.0.0.11: it is on a network that somebody made."""
    return any(is_user_defined(name) for name in container.definition.networks)


def _has_ipv6(container: Container) -> bool:
    return any(endpoint.ipv6 for endpoint in container.endpoints.values())


def _link_entries(alias: str, other: Container) -> Sequence[HostEntry]:
    endpoint = other.endpoints.get("bridge")
    return hostfiles.link_entries(alias, hostname_of(other), other.name, endpoint.addresses if endpoint else ())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""  # a host without the file; so the container has an empty one


def rewrite(container: Container, texts: dict[str, str]) -> None:
    """Write a running container's files anew.

    What somebody inside has added to hosts is kept, and a resolv.conf that was changed stays as it is.
    """
    directory = container.run_directory
    added = hostfiles.added_lines(container.hosts, _read_inside(directory / "hosts")) if container.hosts else ""
    write_in_place(directory / "hosts", texts["hosts"] + added)
    container.hosts = texts["hosts"]
    if hostfiles.is_as_written(_read_inside(directory / "resolv.conf")):
        write_in_place(directory / "resolv.conf", texts["resolv.conf"])


def _read_inside(path: Path) -> str:
    """What stands in a file that the container may write, as far as it is not made to fill our memory."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST)
    except FileNotFoundError:
        return ""
    if len(data) == _MOST:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="surrogateescape")


def write_in_place(path: Path, text: str) -> None:
    """Write a file that containers see: theirs to read whatever their user is, and to write as root.

    The same inode stays, because it is bind-mounted.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, text.encode(errors="surrogateescape"))
    finally:
        os.close(fd)


# --- links ----------------------------------------------------------------------------------------


def link_environment(container: Container, linked: Sequence[tuple[str, Container]]) -> list[str]:
    """The variables by which programs find what their container links to; as moby's ``links.Link.ToEnv`` makes them."""
    return [line for alias, other in linked for line in _one_link(container, alias, other)]


def _one_link(container: Container, alias: str, other: Container) -> list[str]:
    from wherry.engine.network_ports import exposed_ports  # noqa: PLC0415 - only with links

    endpoint = other.endpoints.get("bridge")
    if endpoint is None or endpoint.ipv4 is None:
        return []
    prefix, address = alias.replace("-", "_").upper(), endpoint.ipv4
    ports = exposed_ports(other.config, other.host)
    lines = [f"{prefix}_PORT={proto}://{address}:{port}" for port, proto in ports[:1]]
    for port, proto in ports:
        one = f"{prefix}_PORT_{port}_{proto.upper()}"
        lines += [
            f"{one}={proto}://{address}:{port}",
            f"{one}_ADDR={address}",
            f"{one}_PORT={port}",
            f"{one}_PROTO={proto}",
        ]
    lines.append(f"{prefix}_NAME=/{container.name}/{alias}")
    for entry in other.config.env or []:
        name, equals, value = entry.partition("=")
        if equals and name not in _NOT_LINKED:
            lines.append(f"{prefix}_ENV_{name}={value}")
    return lines


def wanted_links(container: Container) -> list[tuple[str, str]]:
    """The links of a container on the default bridge: names of containers, and the aliases that it gives them."""
    if not container.host.links or "bridge" not in container.definition.networks:
        return []
    return parse_links(container.host.links)
