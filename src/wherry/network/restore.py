"""The kernel is made equal to what the tables say: at the start, and when another program has been at work.

One function looks at everything and repairs the difference; it runs in the helper thread, behind all that was asked for
before, so that what it is told is also what the kernel has been told.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wherry.errors import SystemCallError, WherryError
from wherry.linux import rtnetlink
from wherry.network.bridge import binding, bridge_rules, guard
from wherry.network.drivers import driver_of
from wherry.network.kernel import Kernel, read_sysctl, write_sysctl
from wherry.network.model import Endpoint, Gateways, Network
from wherry.network.places import establish

__all__ = ["Place", "allow_forwarding", "remove_everything", "restore"]

_log: Final = logging.getLogger(__name__)
_TRIAL: Final = "wherry-trial"
_NOBODYS_MAC: Final = "01:00:00:00:00:00"  # a group's address: no interface can have it


class Place(NamedTuple):
    """An endpoint with all that is needed to make it again.

    :ivar namespace: the descriptor of its sandbox.
    :ivar gateways: where the sandbox's default routes lead.
    """

    network: Network
    endpoint: Endpoint
    namespace: int
    gateways: Gateways


def restore(kernel: Kernel, networks: Sequence[Network], places: Sequence[Place], *, anew: bool) -> list[str]:
    """Make bridges, links and tables as they should be; interfaces of ours that nobody knows are removed.

    :param networks: those that have something in the kernel.
    :param anew: make the firewall's tables anew without looking.
    :returns: what could not be done, in sentences; empty when all is well.
    """
    failures: list[str] = []
    if anew and any(network.driver == "bridge" for network in networks):
        failures += missing_veth(kernel)
    _remove_strangers(kernel, networks, places)
    for network in networks:
        try:
            driver_of(network.driver).make(kernel, network)
        except WherryError as exc:
            failures.append(f"network {network.name} cannot be made: {exc}")
    _restore_links(kernel, places, failures)
    _restore_firewall(kernel, networks, places, failures, anew=anew)
    return failures


def missing_veth(kernel: Kernel) -> list[str]:
    """Why no container can be on a bridge, if the kernel has no veth pairs; found out by asking for an impossible one.

    The kernel looks for the kind before it looks at the address (``veth_validate``), so nothing is ever made.
    """
    try:
        kernel.route.request(rtnetlink.veth(_TRIAL, f"{_TRIAL}2", mac=_NOBODYS_MAC))
    except SystemCallError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return [f"this kernel has no veth pairs: containers can only be on 'none' and 'host' ({exc})"]
    return []


def _remove_strangers(kernel: Kernel, networks: Sequence[Network], places: Sequence[Place]) -> None:
    known = {network.bridge for network in networks} | {place.endpoint.host_interface for place in places}
    for link in rtnetlink.links(kernel.route):
        if link.alias == kernel.mark and link.name not in known and f"dm-{link.name[3:]}" not in known:
            _log.info("removing an interface that belongs to nobody any more interface=%s", link.name)
            _delete(kernel, link.number)


def _restore_links(kernel: Kernel, places: Sequence[Place], failures: list[str]) -> None:
    """New veth pairs in place of those that are gone; those that have left their bridge come back."""
    links = {link.name: link for link in rtnetlink.links(kernel.route)}
    for place in places:
        name = place.endpoint.host_interface
        if not name:
            continue
        link, bridge = links.get(name), links.get(place.network.bridge)
        try:
            if link is None:
                establish(kernel, place.network, place.endpoint, place.namespace, place.gateways, guarded=False)
                _log.info("made an interface again interface=%s owner=%s", name, place.endpoint.owner_name)
            elif bridge is not None and (link.master != bridge.number or not link.up):
                kernel.route.request(rtnetlink.set_link(link.number, up=True, master=bridge.number))
        except WherryError as exc:
            failures.append(f"interface {name} of {place.endpoint.owner_name} cannot be made again: {exc}")


def _restore_firewall(
    kernel: Kernel, networks: Iterable[Network], places: Iterable[Place], failures: list[str], *, anew: bool
) -> None:
    if kernel.has_no_firewall:
        return
    bridged = [place for place in places if place.network.driver == "bridge"]
    bridges = [bridge_rules(network) for network in networks if network.driver == "bridge"]
    guards = [guard(place.network, place.endpoint) for place in bridged]
    found = [binding(p.network, p.endpoint, each) for p in bridged for each in p.endpoint.published]
    bindings = [each for each in found if each is not None]
    try:
        if anew or not kernel.firewall.intact(bridges, guards, bindings):
            kernel.firewall.restore(bridges, guards, bindings)
            # Tables that this kernel does not take are left out without an error, and that may be all of them.
            reason = kernel.firewall.available()
            kernel.has_no_firewall = reason is not None
            failures += [reason] if reason else []
    except SystemCallError as exc:
        failures.append(f"the firewall's tables cannot be made: {exc}")


def allow_forwarding(kernel: Kernel, *, ipv6: bool) -> None:
    """Let the host pass packets on between interfaces.

    A host that forwards IPv6 stops listening to its router, unless it is told to go on (``accept_ra`` = 2).

    :raises SystemCallError: the kernel refuses.
    """
    if read_sysctl("ipv4/ip_forward") == "0":
        write_sysctl("ipv4/ip_forward", "1")
    if ipv6 and read_sysctl("ipv6/conf/all/forwarding") == "0":
        for link in rtnetlink.links(kernel.route):
            if "/" not in link.name and read_sysctl(f"ipv6/conf/{link.name}/accept_ra") == "1":
                write_sysctl(f"ipv6/conf/{link.name}/accept_ra", "2")
        write_sysctl("ipv6/conf/all/forwarding", "1")


def remove_everything(kernel: Kernel) -> None:
    """Remove all interfaces and tables of this engine's."""
    if not kernel.has_no_firewall:
        kernel.firewall.remove_all()
    for link in rtnetlink.links(kernel.route):
        if link.alias == kernel.mark:
            _delete(kernel, link.number)


def _delete(kernel: Kernel, link: int) -> None:
    try:
        kernel.route.request(rtnetlink.delete_link(link))
    except SystemCallError as exc:
        if exc.errno != errno.ENODEV:
            raise
