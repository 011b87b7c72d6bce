"""The contents of a container's /etc/hosts, /etc/resolv.conf and /etc/hostname, and its upstream name servers."""

from __future__ import annotations

import os
import stat
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from wherry.docker.network_mode import HOST, is_user_defined
from wherry.engine.container.hostname import hostname_of
from wherry.engine.network.requests import has_ipv6_inside
from wherry.linux.fd import Fd
from wherry.network import etc_files
from wherry.network.etc_files import HostEntry, ResolvConf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.docker.container_requests import HostConfig
    from wherry.engine.container.container import Container
    from wherry.network.dns.directory import Upstream
    from wherry.network.firewall.elements import Address
    from wherry.network.model import NetworkOptions

__all__ = ["EtcTexts", "has_resolver"]

_MOST: Final = 1 << 20  # bytes
_ANYWHERE: Final = (ip_address("192.0.2.1"),)  # stands for host-gateway where only the form is checked


class EtcTexts:
    """Makes the contents.

    :param options: of the daemon: name servers, and the host's address for containers.
    :param gateways: the host's addresses on the default bridge.
    """

    def __init__(self, options: NetworkOptions, gateways: Callable[[], Sequence[Address]]) -> None:
        self._options = options
        self._gateways = gateways

    def check(self, host: HostConfig) -> None:
        """Check what a new container requests of its files.

        :raises InvalidInput: an extra host, a name server, a domain or an option is none.
        """
        for text in host.extra_hosts or []:
            etc_files.extra_host(text, _ANYWHERE)
        ResolvConf().overridden(host.dns or (), host.dns_search or (), host.dns_options or ())

    def texts(self, container: Container, linked: Sequence[tuple[str, Container]]) -> dict[str, str]:
        """The files, by name.

        :param linked: the containers that this one links to on the default bridge, by their aliases.
        """
        return {
            "hostname": etc_files.hostname_text(hostname_of(container)),
            "hosts": self.hosts(container, linked),
            "resolv.conf": self._resolv_conf(container),
        }

    def hosts(self, container: Container, linked: Sequence[tuple[str, Container]]) -> str:
        """The file hosts alone; see `texts`."""
        gateway = self._host_gateway(container)
        extra = [one for text in container.host.extra_hosts or [] for one in etc_files.extra_host(text, gateway)]
        if container.host.network_mode == HOST:
            return etc_files.host_mode_text(_read("/etc/hosts"), extra)
        extra += [entry for alias, other in linked for entry in _link_entries(container, alias, other)]
        addresses = [address for endpoint in container.endpoints.values() for address in endpoint.addresses]
        own = etc_files.own_entries(hostname_of(container), container.config.domainname or "", addresses)
        return etc_files.hosts_text(own, extra, ipv6=has_ipv6_inside(container.host))

    def host_gateway(self) -> str:
        """What ``host-gateway`` means on the default bridge; empty: there is none."""
        given = self._options.host_gateway_ips
        return given[0] if given else next((str(address) for address in self._gateways()), "")

    def _host_gateway(self, container: Container) -> Sequence[Address]:
        """What ``host-gateway`` means: the daemon's option, else the host's side of the default bridge.

        Without one, the host's side of the container's first network.
        """
        if self._options.host_gateway_ips:
            return [ip_address(text) for text in self._options.host_gateway_ips]
        if container.host.network_mode == HOST:
            return [ip_address("127.0.0.1")]
        found = self._gateways()
        first = next(iter(container.endpoints.values()), None)
        if not found and first is not None:
            found = [address for address in (first.gateway4, first.gateway6) if address and not address.is_unspecified]
        return _of_families(container, found) or found

    def _resolv_conf(self, container: Container) -> str:
        if container.host.network_mode == HOST:
            return self._chosen(container.host).text()
        if has_resolver(container):
            return self._chosen(container.host).for_resolver().text()
        return self._chosen(container.host, inside=True).for_bridge(ipv6=_has_ipv6(container)).text()

    def _chosen(self, host: HostConfig, *, inside: bool = False) -> ResolvConf:
        """The host's resolv.conf, overridden by the options of the daemon and of the container.

        :param inside: for queries from inside the container. Queries from the host go to systemd-resolved itself, which
            knows the server of each domain.
        """
        options = self._options
        found = etc_files.parse_resolv_conf(_read("/etc/resolv.conf"))
        if inside and etc_files.needs_alternative(found):
            found = etc_files.parse_resolv_conf(_read(etc_files.SYSTEMD_RESOLVED))
        return found.overridden(
            host.dns or options.dns, host.dns_search or options.dns_search, host.dns_options or options.dns_options
        )

    def upstreams(self, host: HostConfig) -> tuple[tuple[Upstream, ...], bool]:
        """The upstream name servers of a container, and whether names without a dot are forwarded as well."""
        from wherry.network.dns.directory import Upstream  # noqa: PLC0415 - only with networks that have names

        every = etc_files.asks_all(host.dns_options or self._options.dns_options)
        return tuple(Upstream(server) for server in self._chosen(host).servers_to_ask()), every


def has_resolver(container: Container) -> bool:
    """Whether it has the DNS server at 127.0.0.11: it is on a user-defined network."""
    return any(is_user_defined(name) for name in container.definition.networks)


def _has_ipv6(container: Container) -> bool:
    return any(endpoint.ipv6 for endpoint in container.endpoints.values())


def _of_families(container: Container, addresses: Sequence[Address]) -> Sequence[Address]:
    """The addresses of the families that the container has; all of them if it has no endpoint."""
    versions = {address.version for endpoint in container.endpoints.values() for address in endpoint.addresses}
    return [address for address in addresses if not versions or address.version in versions]


def _link_entries(container: Container, alias: str, other: Container) -> Sequence[HostEntry]:
    endpoint = other.endpoints.get("bridge")
    addresses = _of_families(container, endpoint.addresses if endpoint else ())
    return etc_files.link_entries(alias, hostname_of(other), other.name, addresses)


def _read(path: str) -> str:
    """Read one of the host's files without blocking: /etc may be shared with a container, and hold a FIFO."""
    try:
        with Fd(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            return os.pread(file.fileno(), _MOST, 0).decode(errors="replace")
    except OSError:
        return ""  # a host without the file; so the container has an empty one
