"""Which networks a container asks for, and whether what it asks goes together; told in Docker's words.

Pure: nothing here knows which networks exist. A *membership* is what a container asks of its place on one network;
memberships are part of a container's definition, by the network's name.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from wherry.engine.config import ContainerConfig, EndpointIpam, EndpointSettings, HostConfig
from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HOST",
    "NONE",
    "check_endpoint",
    "check_link_target",
    "check_modes",
    "check_together",
    "is_default",
    "is_user_defined",
    "joined_container",
    "memberships",
    "parse_links",
    "warnings_about",
]

NONE: Final = "none"
HOST: Final = "host"
_DEFAULTS: Final = ("", "default")
_PREDEFINED: Final = ("bridge", "default", HOST, NONE)
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}")
_UNDEFINED: Final = "This would result in undefined behavior"
_HOST_LINKS: Final = f"conflicting options: host type networking can't be used with links. {_UNDEFINED}"


def joined_container(mode: str | None) -> str | None:
    """The container whose network a mode shares: of ``container:web`` it is ``web``."""
    kind, colon, name = (mode or "").partition(":")
    return name if colon and kind == "container" else None


def is_default(mode: str | None) -> bool:
    """Whether a mode means: whatever the default is."""
    return (mode or "") in _DEFAULTS


def is_user_defined(name: str) -> bool:
    """Whether somebody made this network: then it has name resolution and addresses may be chosen."""
    return name not in _PREDEFINED and name != "" and joined_container(name) is None


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
    """Of a network that is another container's nothing can be chosen."""
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
    """What has to be told about the network of a new container, whose mode is settled.

    :param fault: what is missing on this machine, in a sentence.
    :param by_default: it asked for no network by name.
    """
    published = any((host.port_bindings or {}).values()) or bool(host.publish_all_ports)
    if host.network_mode == HOST and published:
        return ["Published ports are discarded when using host network mode"]
    if fault and by_default:
        return [f"the container has no network, as it names none: {fault}"]
    if fault and published:
        return [f"ports may not be reached where they are published: {fault}"]
    return []


def memberships(
    config: ContainerConfig, host: HostConfig, asked: Mapping[str, EndpointSettings | None], default: str
) -> dict[str, EndpointSettings]:
    """The networks that a container joins, by the names that the caller used; the one of its mode is the first.

    :param default: what the default network is: ``bridge``, or ``none`` where there is none.
    :raises InvalidInput: the networks do not go together, or a wish makes no sense.
    """
    mode = _settled_mode(config, host, default)
    if joined_container(mode):
        if asked:
            raise _conflict_shared()
        return {}
    wanted = {
        (default if name in _DEFAULTS else name): settings or EndpointSettings() for name, settings in asked.items()
    }
    chosen = {mode: wanted.pop(mode, EndpointSettings()), **wanted}
    if mode == HOST and chosen[mode].mac_address:
        raise InvalidInput("conflicting options: mac-address and the network mode")
    check_together(chosen)
    _apply_mac(config, chosen[mode])
    if host.links and is_user_defined(mode):
        chosen[mode].links = list(dict.fromkeys([*(chosen[mode].links or []), *host.links]))  # clients say it twice
        host.links = None
    for name, settings in chosen.items():
        check_endpoint(name, settings)
    return chosen


def _settled_mode(config: ContainerConfig, host: HostConfig, default: str) -> str:
    mode = host.network_mode or ""
    if config.network_disabled:
        mode = NONE
    if is_default(mode):
        mode = default
    host.network_mode = mode
    return mode


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


def _apply_mac(config: ContainerConfig, main: EndpointSettings) -> None:
    """The container-wide address of clients before API 1.44 is that of the main network."""
    if not config.mac_address:
        return
    if main.mac_address and main.mac_address != config.mac_address:
        raise InvalidInput(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
            "or be left empty"
        )
    main.mac_address = config.mac_address


# --- one endpoint ---------------------------------------------------------------------------------


def check_endpoint(network: str, settings: EndpointSettings) -> None:
    """Check what a container asks of its place on a network.

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


def parse_links(links: list[str]) -> list[tuple[str, str]]:
    """Take ``NAME[:ALIAS]`` apart; also ``/NAME:/THIS/ALIAS``, the form in which dockerd shows links.

    :raises InvalidInput: a link has another form.
    """
    found = []
    for link in links:
        name, colon, alias = link.partition(":")
        if not name or ":" in alias or (colon and not alias):
            raise InvalidInput(f"bad format for links: {link}")
        name = name.removeprefix("/")
        found.append((name, alias.rpartition("/")[2] if alias else name))
    return found
