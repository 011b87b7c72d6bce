"""What `wherry.network.diagnose` works on: containers, networks and the host, as values.

Reads /proc and netlink sockets: to be called in a thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from wherry.docker.network_mode import HOST, joined_container
from wherry.errors import NotFound, SystemCallError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.network.diagnose.audit import audit
from wherry.network.diagnose.listeners import listeners
from wherry.network.diagnose.topology import HostAddress, Participant, Topology
from wherry.network.diagnose.trace import trace
from wherry.network.firewall.foreign import find_obstacles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.engine.container.container import Container
    from wherry.network.diagnose.listeners import Listener
    from wherry.network.firewall.foreign import Obstacle
    from wherry.network.model import Network

__all__ = ["AuditReport", "TraceReport", "audit_of", "obstacles", "topology_of", "trace_of"]

_FORWARDING: Final = {4: "/proc/sys/net/ipv4/ip_forward", 6: "/proc/sys/net/ipv6/conf/all/forwarding"}


def topology_of(
    networks: Sequence[Network], containers: Sequence[Container], firewall: str | None, table: str
) -> Topology:
    """Gather the networks, containers, listeners and packet filters of this host.

    :param firewall: why there is no firewall of ours; None when there is.
    :param table: the name of our own nftables tables.
    """
    by_name = {key: container for container in containers for key in (container.name, container.id)}
    return Topology(
        networks=tuple(networks),
        participants=tuple(_participant(container, by_name) for container in containers),
        host_addresses=_host_addresses(),
        host_listeners=_listeners(os.getpid()),
        forwards=tuple(version for version, path in _FORWARDING.items() if _is_on(path)),
        obstacles=obstacles(table),
        firewall=firewall,
    )


def _participant(container: Container, by_name: dict[str, Container]) -> Participant:
    endpoints, whose = tuple(container.endpoints.values()), container
    shared = joined_container(container.host.network_mode)
    if shared is not None and shared in by_name:
        whose = by_name[shared]
        endpoints = tuple(whose.endpoints.values())
    return Participant(
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
        return ()  # no nf_tables: there are no rules


def _is_on(path: str) -> bool:
    try:
        return Path(path).read_text().strip() != "0"
    except OSError:
        return False


# --- answers --------------------------------------------------------------------------------------


class TraceStep(Struct, rename="pascal"):
    """One step on the way, and whether it lets the packet pass."""

    passes: bool
    what: str
    why: str


class TraceReport(Struct, rename="pascal"):
    """The answer to ``wherry network trace``."""

    source: str = field(name="From")
    target: str = field(name="To")
    reaches: bool
    because: str
    hint: str
    steps: list[TraceStep]


class PortExposure(Struct, rename="pascal"):
    """One port of a container, and from where it is reachable."""

    container: str
    port: str
    reach: str = field(name="From")
    at: list[str]
    why: str
    listening: bool | None


class NetworkExposure(Struct, rename="pascal"):
    """Who reaches whom within one network."""

    network: str
    driver: str
    containers: list[str]
    open: bool
    internal: bool


class AuditReport(Struct, rename="pascal"):
    """The answer to ``wherry port audit``."""

    ports: list[PortExposure]
    networks: list[NetworkExposure]
    warnings: list[str]


def trace_of(topology: Topology, source: str, target: str, port: str) -> TraceReport:
    """The answer to ``wherry network trace``. See `wherry.network.diagnose.trace.trace` for the errors."""
    found = trace(topology, source, target, port)
    steps = [TraceStep(step.passes, step.what, step.why) for step in found.steps]
    return TraceReport(found.source, found.target, found.reaches, found.because, found.hint, steps)


def audit_of(topology: Topology) -> AuditReport:
    """The answer to ``wherry port audit``."""
    found = audit(topology)
    return AuditReport(
        [
            PortExposure(one.container, one.port, str(one.reach), list(one.at), one.why, one.listening)
            for one in found.ports
        ],
        [
            NetworkExposure(one.network, one.driver, list(one.containers), one.open, one.internal)
            for one in found.networks
        ],
        list(found.warnings),
    )
