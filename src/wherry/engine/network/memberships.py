"""Memberships: which networks a container joins, and whether its requests go together; errors are in Docker's words.

Pure: nothing here knows which networks exist. A *membership* is what a container requests of its endpoint on one
network; memberships are part of a container's definition, by the network's name.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.network_mode import HOST, NONE, is_default, is_user_defined, joined_container, parse_links
from wherry.docker.networks import EndpointIpam, EndpointSettings
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Memberships",
    "check_endpoint",
    "check_link_target",
    "check_modes",
    "check_together",
    "resolve",
    "warnings_about",
]

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}")
_UNDEFINED: Final = "This would result in undefined behavior"
_HOST_LINKS: Final = f"conflicting options: host type networking can't be used with links. {_UNDEFINED}"


def check_modes(config: ContainerConfig, host: HostConfig) -> None:
    """Check what does not go with the network mode.

    :raises InvalidInput: with the sentences of moby's ``runconfig``.
    """
    mode = host.network_mode or ""
    shared = joined_container(mode)
    if mode.startswith("container:") and not shared:
        raise InvalidInput("invalid container format container:<name|id>")
    if mode == HOST and host.links:
        raise InvalidInput(_HOST_LINKS)
    if (shared or mode == HOST) and config.mac_address:
        raise InvalidInput("conflicting options: mac-address and the network mode")
    if shared:
        _check_shared(config, host)


def check_link_target(host: HostConfig) -> None:
    """Check that a container can be linked to.

    :raises InvalidInput: it is on the host's network, where it has no address.
    """
    if host.network_mode == HOST:
        raise InvalidInput(_HOST_LINKS)


def _check_shared(config: ContainerConfig, host: HostConfig) -> None:
    """Nothing can be requested of a network that is another container's."""
    conflicts = (
        (config.hostname, "hostname and the network mode"),
        (host.links, f"container type network can't be used with links. {_UNDEFINED}"),
        (host.dns, "dns and the network mode"),
        (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
        (config.exposed_ports, "port exposing and the container type network mode"),
    )
    for asked, what in conflicts:
        if asked:
            raise InvalidInput(f"conflicting options: {what}")


def warnings_about(host: HostConfig, fault: str | None, *, by_default: bool) -> list[str]:
    """Warnings about the network of a new container.

    :param host: with the resolved network mode.
    :param fault: what is missing on this machine, in a sentence.
    :param by_default: the request names no network.
    """
    published = any((host.port_bindings or {}).values()) or bool(host.publish_all_ports)
    if host.network_mode == HOST and published:
        return ["Published ports are discarded when using host network mode"]
    if fault and by_default:
        return [f"the container has no network, as it names none: {fault}"]
    if fault and published:
        return [f"ports may not be reached where they are published: {fault}"]
    return []


class Memberships(NamedTuple):
    """The networks that a container joins."""

    host: HostConfig  #: as requested, with the network mode and the links that hold
    networks: dict[str, EndpointSettings]  #: by the names that the caller used; the one of the mode is the first


def resolve(
    config: ContainerConfig, host: HostConfig, requested: Mapping[str, EndpointSettings | None], default: str
) -> Memberships:
    """Decide which networks a container joins.

    As in dockerd, a request that names networks joins these and no others: the one of the mode is among them only when
    it is named as well. A container that shares another's network joins none, and requests for endpoints are ignored.

    :param default: what the default network is: ``bridge``, or ``none`` where there is none.
    :raises InvalidInput: the networks do not go together, or a request makes no sense.
    """
    mode = _resolved_mode(config, host, default)
    host = replace(host, network_mode=mode)
    if joined_container(mode):
        return Memberships(host, {})
    networks = _with_mac(config, mode, _named(config, mode, requested, default))
    if host.links and is_user_defined(mode) and mode in networks:
        links = dict.fromkeys([*(networks[mode].links or []), *host.links])  # clients send them twice
        networks[mode] = replace(networks[mode], links=list(links))
        host = replace(host, links=None)
    for name, settings in networks.items():
        check_endpoint(name, settings)
    return Memberships(host, networks)


def _named(
    config: ContainerConfig, mode: str, requested: Mapping[str, EndpointSettings | None], default: str
) -> dict[str, EndpointSettings]:
    """The networks of a request, the one of the mode first; only that one where none is named."""
    if config.network_disabled:
        requested = {}
    wanted = {
        (default if is_default(name) else name): settings or EndpointSettings() for name, settings in requested.items()
    }
    chosen = {mode: wanted.pop(mode), **wanted} if mode in wanted else wanted or {mode: EndpointSettings()}
    if mode == HOST:
        check_together([HOST, *(name for name in chosen if name != HOST)])
        if any(settings.mac_address for settings in chosen.values()):
            raise InvalidInput("conflicting options: mac-address and the network mode")
    check_together(chosen)
    return chosen


def _resolved_mode(config: ContainerConfig, host: HostConfig, default: str) -> str:
    if config.network_disabled:
        return NONE
    return default if is_default(host.network_mode) else host.network_mode or ""


def _conflict_shared() -> InvalidInput:
    return InvalidInput(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )


def check_together(names: Mapping[str, object] | list[str]) -> None:
    """Check whether a container can be on all these networks.

    :raises InvalidInput: ``host`` and ``none`` go with nothing else.
    """
    if len(names) < 2:
        return
    if HOST in names:
        raise _conflict_shared()
    if NONE in names:
        raise InvalidInput(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )


def _with_mac(config: ContainerConfig, mode: str, chosen: dict[str, EndpointSettings]) -> dict[str, EndpointSettings]:
    """The container-wide address of clients before API 1.44 is that of the main network."""
    if not config.mac_address:
        return chosen
    if mode not in chosen:
        if any(settings.mac_address == config.mac_address for settings in chosen.values()):
            return chosen  # an old client, to which it was the address on its only network
        raise InvalidInput(
            "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity of a network "
            "in NetworkSettings.Networks"
        )
    main = chosen[mode]
    if main.mac_address and main.mac_address != config.mac_address:
        raise InvalidInput(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
            "or be left empty"
        )
    return {**chosen, mode: replace(main, mac_address=config.mac_address)}


# --- one endpoint ---------------------------------------------------------------------------------


def check_endpoint(network: str, settings: EndpointSettings) -> None:
    """Check what a container requests of its endpoint on a network.

    :raises InvalidInput: everything that is wrong, in the form of moby's ``validateEndpointSettings``.
    """
    ipam = settings.ipam_config or EndpointIpam()
    found = []
    if not is_user_defined(network):
        if ipam.ipv4_address or ipam.ipv6_address:
            found.append("user specified IP address is supported on user defined networks only")
        if settings.aliases:
            found.append("network-scoped alias is supported only for containers in user defined networks")
    found += _addresses(ipam)
    if settings.mac_address and not _MAC.fullmatch(settings.mac_address):
        found.append(f"invalid MAC address: address {settings.mac_address}: invalid MAC address")
    for link in settings.links or []:
        parse_links([link])
    if found:
        text = found[0] if len(found) == 1 else "\n".join(f"* {line}" for line in found)
        raise InvalidInput(f"invalid endpoint settings:\n{text}")


def _addresses(ipam: EndpointIpam) -> list[str]:
    found = []
    for text, version in ((ipam.ipv4_address, 4), (ipam.ipv6_address, 6)):
        if text and _version(text) != version:
            found.append(f"invalid IPv{version} address: {text}")
    for text in ipam.link_local_ips or []:
        if not _version(text) or "%" in text or not ip_address(text).is_link_local:
            found.append(f"invalid link-local IP address: {text}")
    return found


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0
