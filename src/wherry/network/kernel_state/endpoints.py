"""What the kernel has of an endpoint: interface, addresses, routes, firewall elements. For the helper thread."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from wherry.errors import InvalidInput, SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Message, NetlinkSocket
from wherry.network.drivers.table import driver_of
from wherry.network.kernel_state.publish import publish, unpublish
from wherry.network.kernel_thread import Kernel, write_sysctl
from wherry.network.model import IFNAME, SYSCTLS, Address, Endpoint, Gateways, Network

if TYPE_CHECKING:
    from wherry.linux.fd import Fd

__all__ = [
    "create",
    "create_namespace",
    "delete_link",
    "remove",
    "set_gateways",
]

_LOOPBACK: Final = 1
_TRIES: Final = 64
_LINK_LOCAL: Final = {4: 16, 6: 64}  # bits of the prefix: RFC 3927, RFC 4291


def create_namespace(kernel: Kernel) -> Fd:
    """Make a network namespace with its loopback up.

    Interfaces that appear in it listen to no router's advertisements, and use their addresses at once.
    """
    with kernel.inside_new() as (namespace, conversation):
        conversation.request(rtnetlink.set_link(_LOOPBACK, up=True))
        for name in ("accept_ra", "accept_dad"):
            _try_sysctl(f"ipv6/conf/default/{name}", "0")
    return namespace


def create(
    kernel: Kernel,
    network: Network,
    endpoint: Endpoint,
    namespace: int,
    gateways: Gateways,
    *,
    in_firewall: bool = True,
) -> Endpoint:
    """Create an endpoint's interface with addresses and routes, and publish it.

    :param gateways: the default routes of the sandbox as they are to be from now on.
    :param in_firewall: add it to the firewall; otherwise the caller does.
    :returns: the endpoint, of which the interface may have got another name because that one was taken.
    :raises SystemCallError: the kernel refuses; nothing of the endpoint is left.
    :raises InvalidInput: the requested name is taken, or a sysctl does not exist.
    """
    endpoint = _make_links(kernel, network, endpoint, namespace)
    try:
        _configure_port(kernel, network, endpoint)
        with kernel.inside(namespace) as conversation:
            _configure(conversation, endpoint, gateways)
        if in_firewall:
            publish(kernel, network, endpoint)
    except (SystemCallError, InvalidInput):
        remove(kernel, network, endpoint, namespace)
        raise
    return endpoint


def _make_links(kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> Endpoint:
    """Create the links, under the next free name when a program inside has taken the interface's name."""
    driver = driver_of(network)
    for _ in range(_TRIES):
        try:
            kernel.route.batch(driver.links(kernel, network, endpoint, namespace))
        except SystemCallError as exc:
            if exc.errno != errno.EEXIST:
                raise
            if endpoint.driver_options.get(IFNAME):
                raise InvalidInput(f"interface name {endpoint.interface} is taken in the container") from exc
            endpoint = replace(endpoint, interface=_next_name(endpoint.interface))
        else:
            return endpoint
    raise InvalidInput(f"no name for an interface of network {network.name}: all up to {endpoint.interface} are taken")


def _configure_port(kernel: Kernel, network: Network, endpoint: Endpoint) -> None:
    """The host's side of a link to a bridge."""
    if endpoint.host_interface:
        link = rtnetlink.find_link(kernel.route, endpoint.host_interface)
        if link is None:
            raise SystemCallError("netlink", f"look up interface '{endpoint.host_interface}'", errno.ENODEV)
        kernel.route.batch(driver_of(network).port_settings(endpoint, link.number))


def _next_name(name: str) -> str:
    stem = name.rstrip("0123456789")
    return f"{stem}{int(name[len(stem) :] or 0) + 1}"


def _configure(conversation: NetlinkSocket, endpoint: Endpoint, gateways: Gateways) -> None:
    """Inside the namespace: addresses, up, routes."""
    link = rtnetlink.find_link(conversation, endpoint.interface)
    if link is None:
        raise SystemCallError("netlink", f"look up interface '{endpoint.interface}'", errno.ENODEV)
    if endpoint.ipv6 is None:
        _try_sysctl(f"ipv6/conf/{endpoint.interface}/disable_ipv6", "1")
    messages = []
    if endpoint.ipv4 is not None:
        messages.append(rtnetlink.address(link.number, endpoint.ipv4, endpoint.ipv4_prefix))
    if endpoint.ipv6 is not None:
        messages.append(rtnetlink.address(link.number, endpoint.ipv6, endpoint.ipv6_prefix))
    messages += [rtnetlink.address(link.number, each, _LINK_LOCAL[each.version]) for each in endpoint.link_local]
    messages.append(rtnetlink.set_link(link.number, up=True))
    mine = {endpoint.interface: link.number}
    conversation.batch([*messages, *_default_routes(gateways, mine)])
    _apply_sysctls(endpoint)


def _default_routes(gateways: Gateways, numbers: Mapping[str, int]) -> list[Message]:
    """The default routes by way of those interfaces."""
    found = (gateway for gateway in (gateways.ipv4, gateways.ipv6) if gateway is not None and gateway[1] in numbers)
    return [_default_route(address, numbers[interface]) for address, interface in found]


def _default_route(gateway: Address, link: int) -> Message:
    if gateway.is_unspecified:  # there is none: all is sent to the link
        return rtnetlink.route(link=link, family=_FAMILIES[gateway.version])
    return rtnetlink.route(via=gateway, link=link, onlink=True)


_FAMILIES: Final = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


def set_gateways(kernel: Kernel, namespace: int, gateways: Gateways) -> None:
    """Change the default routes of a sandbox."""
    with kernel.inside(namespace) as conversation:
        numbers = {link.name: link.number for link in rtnetlink.links(conversation)}
        known = [g for g in (gateways.ipv4, gateways.ipv6) if g is not None]
        families = {_FAMILIES[gateway.version] for gateway, _ in known}
        gone = [
            rtnetlink.delete_route(via=entry.gateway, link=entry.link, metric=entry.metric, family=entry.family)
            for entry in rtnetlink.routes(conversation)
            if entry.destination is None
            and entry.prefix == 0
            and entry.kind == rtnetlink.RouteType.UNICAST
            and entry.family in _FAMILIES.values()
            and entry.family not in families
            and entry.table == _MAIN
        ]
        conversation.batch([*_default_routes(gateways, numbers), *gone])


_MAIN: Final = 254


def _apply_sysctls(endpoint: Endpoint) -> None:
    """``net.ipv4.conf.IFNAME.log_martians=1,...`` of the endpoint's driver options.

    ``run --network name=...,driver-opt=...`` of the docker command makes small letters of all of it.

    :raises InvalidInput: it is not of that form.
    """
    for setting in filter(None, endpoint.driver_options.get(SYSCTLS, "").split(",")):
        name, equals, value = setting.strip().partition("=")
        parts = name.split(".")
        if not equals or len(parts) != 5 or parts[0] != "net" or parts[3].upper() != "IFNAME":
            raise InvalidInput(f"invalid sysctl {setting!r}: it must have the form net.X.Y.IFNAME.Z=V")
        if any(part in ("", "..") or "/" in part for part in parts):
            raise InvalidInput(f"invalid sysctl {setting!r}")
        write_sysctl(f"{parts[1]}/{parts[2]}/{endpoint.interface}/{parts[4]}", value)


def _try_sysctl(name: str, value: str) -> None:
    """Write a setting that a kernel without IPv6 does not have."""
    try:
        write_sysctl(name, value)
    except SystemCallError as exc:
        if exc.errno != errno.ENOENT:
            raise


# ------------------------------------------------------------------------------------------------------------ firewall


def remove(kernel: Kernel, network: Network, endpoint: Endpoint, namespace: int) -> None:
    """Remove an endpoint's interface and its firewall elements."""
    unpublish(kernel, [(network, endpoint)])
    if endpoint.host_interface:
        delete_link(kernel.route, endpoint.host_interface)
    else:
        with kernel.inside(namespace) as conversation:
            delete_link(conversation, endpoint.interface)


def delete_link(conversation: NetlinkSocket, name: str) -> None:
    """Remove an interface; that it is gone already is no error."""
    try:
        conversation.request(rtnetlink.delete_link(name))
    except SystemCallError as exc:
        if exc.errno != errno.ENODEV:
            raise
