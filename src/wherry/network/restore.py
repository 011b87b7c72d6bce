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
from wherry.network.forwarding import Forwarding, relied_on, switch_off, switch_on
from wherry.network.kernel import Kernel
from wherry.network.model import Endpoint, Gateways, Network
from wherry.network.places import establish

__all__ = ["Place", "remove_everything", "restore"]

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


def restore(
    kernel: Kernel, networks: Sequence[Network], places: Sequence[Place], forwarding: Forwarding, *, anew: bool
) -> list[str]:
    """Make bridges, links and tables as they should be; interfaces of ours that nobody knows are removed.

    :param networks: those that have something in the kernel.
    :param forwarding: what is to be switched on, when the tables are there.
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
    if _restore_firewall(kernel, networks, places, failures, anew=anew):
        try:
            switch_on(forwarding)
        except SystemCallError as exc:
            failures.append(f"packets are not forwarded: {exc}")
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
) -> bool:
    """Make the tables as they should be; whether they are then."""
    if kernel.has_no_firewall:
        return False
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
            if not reason:
                # Who sent datagrams while the tables were away would be kept out for as long as it goes on sending.
                kernel.firewall.add((), [each for each in bindings if each.protocol != "tcp"])
    except SystemCallError as exc:
        failures.append(f"the firewall's tables cannot be made: {exc}")
        return False
    return not kernel.has_no_firewall


def remove_everything(kernel: Kernel, networks: Sequence[Network], forwarding: Forwarding) -> tuple[str, ...]:
    """Remove all interfaces and tables of this engine's, and switch forwarding off again if it was us.

    Not if another program has made bridges since, which rely on it: then the table that keeps others apart stays, too.

    :param networks: those that have something in the kernel; bridges of the host's are given back.
    :returns: the interfaces for which forwarding stays on.
    """
    for link in rtnetlink.links(kernel.route):
        if link.alias == kernel.mark:
            _delete(kernel, link.number)
    for network in networks:
        if network.borrowed:
            driver_of(network.driver).remove(kernel, network)
    users = relied_on(kernel, forwarding) if forwarding.closings else ()
    if not users:
        switch_off(forwarding)
    if kernel.has_no_firewall:
        return users
    if users and kernel.firewall.closings:
        kernel.firewall.restore((), (), ())
    else:
        kernel.firewall.remove_all()
    return users


def _delete(kernel: Kernel, link: int) -> None:
    try:
        kernel.route.request(rtnetlink.delete_link(link))
    except SystemCallError as exc:
        if exc.errno != errno.ENODEV:
            raise
