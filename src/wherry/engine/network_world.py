"""What `wherry.network.trace` and `wherry.network.audit` look at: containers, networks and the host, as values.

Reads /proc and asks the kernel: to be called in a thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wherry.engine.network_modes import HOST, joined_container
from wherry.errors import NotFound, SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.audit import audit
from wherry.network.listeners import listeners
from wherry.network.rules_foreign import find_obstacles
from wherry.network.trace import trace
from wherry.network.world import HostAddress, Party, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.engine.container import Container
    from wherry.network.audit import Audit
    from wherry.network.listeners import Listener
    from wherry.network.model import Network
    from wherry.network.rules_foreign import Obstacle

__all__ = ["audit_of", "obstacles", "trace_of", "world_of"]

Json = dict[str, Any]
_FORWARDING: Final = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}


def world_of(networks: Sequence[Network], containers: Sequence[Container], firewall: str | None, table: str) -> World:
    """Gather everything.

    :param firewall: why there is no firewall of ours; None when there is.
    :param table: the name of our own nftables tables.
    """
    by_name = {key: container for container in containers for key in (container.name, container.id)}
    return World(
        networks=tuple(networks),
        parties=tuple(_party(container, by_name) for container in containers),
        host_addresses=_host_addresses(),
        host_listeners=_listeners(os.getpid()),
        forwards=tuple(version for version, path in _FORWARDING.items() if _is_on(path)),
        obstacles=obstacles(table),
        firewall=firewall,
    )


def _party(container: Container, by_name: dict[str, Container]) -> Party:
    endpoints, whose = tuple(container.endpoints.values()), container
    shared = joined_container(container.host.network_mode)
    if shared is not None and shared in by_name:
        whose = by_name[shared]
        endpoints = tuple(whose.endpoints.values())
    return Party(
        owner=container.id,
        name=container.name,
        running=container.state.is_alive,
        hostname=container.config.hostname or "",
        shares_host=whose.host.network_mode == HOST,
        shares=whose.name if whose is not container else "",
        endpoints=endpoints,
        listeners=_listeners(container.state.pid) if container.state.is_alive else None,
    )


def _listeners(pid: int) -> tuple[Listener, ...] | None:
    try:
        return listeners(pid)
    except (NotFound, OSError):
        return None  # it has just ended


def _host_addresses() -> tuple[HostAddress, ...]:
    with NetlinkSocket(Family.ROUTE) as conversation:
        names = {link.number: link.name for link in rtnetlink.links(conversation)}
        entries = rtnetlink.addresses(conversation)
    return tuple(HostAddress(entry.address, names.get(entry.link, "")) for entry in entries)


def obstacles(table: str) -> tuple[Obstacle, ...]:
    """Other programs' packet filters that stand in the way.

    :param table: the name of our own tables.
    """
    try:
        with NetlinkSocket(Family.NETFILTER) as conversation:
            return find_obstacles(conversation, table)
    except SystemCallError:
        return ()  # no nf_tables: nobody has rules there


def _is_on(path: str) -> bool:
    try:
        return Path(path).read_text().strip() != "0"
    except OSError:
        return False


# --- answers --------------------------------------------------------------------------------------


def trace_of(world: World, source: str, target: str, port: str) -> Json:
    """The answer to ``wherry network trace``. See `wherry.network.trace.trace` for the errors."""
    found = trace(world, source, target, port)
    return {
        "From": found.source,
        "To": found.target,
        "Reaches": found.reaches,
        "Because": found.because,
        "Hint": found.hint,
        "Steps": [{"Passes": step.passes, "What": step.what, "Why": step.why} for step in found.steps],
    }


def audit_of(world: World) -> Json:
    """The answer to ``wherry port audit``."""
    return _shown(audit(world))


def _shown(found: Audit) -> Json:
    return {
        "Ports": [
            {
                "Container": one.container, "Port": one.port, "From": str(one.reach), "At": list(one.at),
                "Why": one.why, "Listening": one.listening,
            }
            for one in found.ports
        ],
        "Networks": [
            {
                "Network": one.network, "Driver": one.driver, "Containers": list(one.containers), "Open": one.open,
                "Internal": one.internal,
            }
            for one in found.networks
        ],
        "Warnings": list(found.warnings),
    }  # fmt: skip
