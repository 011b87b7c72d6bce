"""The kernel is made equal to the store: at the start, and after another program has changed something.

One function compares everything and repairs the difference. It runs in the helper thread, behind all earlier jobs, so
that what it is given has already been applied to the kernel.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from wherry.errors import SystemCallError, WherryError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Message
from wherry.network.drivers.table import driver_of
from wherry.network.firewall.elements import AntiSpoof, BridgeRules, PairRule, PortMapping
from wherry.network.kernel_state import endpoints
from wherry.network.kernel_state.ip_forward import Forwarding, relied_on, switch_off, switch_on
from wherry.network.kernel_thread import Kernel
from wherry.network.model import Endpoint, Gateways, Network

__all__ = ["Attachment", "Failures", "remove_everything", "sync_kernel"]

_log: Final = logging.getLogger(__name__)


class Attachment(NamedTuple):
    """An endpoint with all that is needed to create it again.

    :ivar namespace: the descriptor of its sandbox.
    :ivar gateways: where the sandbox's default routes lead.
    """

    network: Network
    endpoint: Endpoint
    namespace: int
    gateways: Gateways


class Failures(NamedTuple):
    """What could not be done, in sentences.

    :ivar general: what leaves the default bridge, too, without use.
    :ivar single: what concerns one other network, as one whose parent interface is gone, or one endpoint.
    """

    general: list[str]
    single: list[str]


def sync_kernel(
    kernel: Kernel,
    networks: Sequence[Network],
    attachments: Sequence[Attachment],
    pair_rules: Sequence[PairRule],
    forwarding: Forwarding,
    *,
    rebuild: bool,
) -> Failures:
    """Make bridges, links and tables as they should be; orphaned interfaces of ours are removed.

    :param networks: those that have something in the kernel.
    :param pair_rules: firewall rules between two endpoints.
    :param forwarding: what to switch on once the tables are there.
    :param rebuild: replace the firewall's tables without comparing them first.
    """
    failures = Failures([], [])
    if rebuild:
        failures.general.extend(_unsupported(kernel, networks))
    _remove_orphans(kernel, networks, attachments)
    for network in networks:
        try:
            driver_of(network).create(kernel, network)
        except WherryError as exc:
            concerned = failures.general if network.is_default_bridge else failures.single
            concerned.append(f"network {network.name} cannot be made: {exc}")
    _restore_links(kernel, attachments, failures.single, rebuild=rebuild)
    wanted = _wanted_of_firewall(networks, attachments, pair_rules)
    if _restore_firewall(kernel, wanted, failures.general, rebuild=rebuild):
        try:
            switch_on(forwarding)
        except SystemCallError as exc:
            failures.general.append(f"packets are not forwarded: {exc}")
    return failures


def _unsupported(kernel: Kernel, networks: Sequence[Network]) -> list[str]:
    """Why this kernel cannot have endpoints, of each driver that has networks."""
    found = [driver.unsupported(kernel) for driver in dict.fromkeys(map(driver_of, networks))]
    return [each for each in found if each is not None]


def _remove_orphans(kernel: Kernel, networks: Sequence[Network], attachments: Sequence[Attachment]) -> None:
    known = {name for network in networks for name in driver_of(network).interfaces(network)}
    known |= {attachment.endpoint.host_interface for attachment in attachments}
    for link in rtnetlink.links(kernel.route):
        if link.alias == kernel.alias and link.name not in known:
            _log.info("removing an orphaned interface interface=%s", link.name)
            _delete(kernel, link.number)


def _restore_links(kernel: Kernel, attachments: Sequence[Attachment], failures: list[str], *, rebuild: bool) -> None:
    """New veth pairs in place of those that are gone; those that have left their bridge come back."""
    links = {link.name: link for link in rtnetlink.links(kernel.route)}
    for attachment in attachments:
        name = attachment.endpoint.host_interface
        if not name:
            continue
        link, bridge = links.get(name), links.get(attachment.network.bridge)
        try:
            if link is None:
                endpoints.create(
                    kernel,
                    attachment.network,
                    attachment.endpoint,
                    attachment.namespace,
                    attachment.gateways,
                    in_firewall=False,
                )
                _log.info("recreated an interface interface=%s owner=%s", name, attachment.endpoint.owner_name)
            elif bridge is not None and (link.master != bridge.number or not link.up):
                kernel.route.request(rtnetlink.set_link(link.number, up=True, master=bridge.number))
                kernel.route.batch(_port_settings(attachment, link))
            elif bridge is not None and rebuild:  # perhaps it was another version that made it
                kernel.route.batch(_port_settings(attachment, link))
        except WherryError as exc:
            failures.append(f"interface {name} of {attachment.endpoint.owner_name} cannot be made again: {exc}")


def _port_settings(attachment: Attachment, link: rtnetlink.Link) -> list[Message]:
    return driver_of(attachment.network).port_settings(attachment.endpoint, link.number)


class _Wanted(NamedTuple):
    """What should be in the tables."""

    bridges: list[BridgeRules]
    anti_spoof: list[AntiSpoof]
    mappings: list[PortMapping]
    pair_rules: Sequence[PairRule]


def _wanted_of_firewall(
    networks: Iterable[Network], attachments: Iterable[Attachment], pair_rules: Sequence[PairRule]
) -> _Wanted:
    bridges = [driver_of(network).network_rules(network) for network in networks]
    found = [driver_of(each.network).endpoint_rules(each.network, each.endpoint) for each in attachments]
    endpoints = [each for each in found if each is not None]
    return _Wanted(
        [each for each in bridges if each is not None],
        [each.anti_spoof for each in endpoints],
        [mapping for each in endpoints for mapping in each.mappings],
        pair_rules,
    )


def _restore_firewall(kernel: Kernel, wanted: _Wanted, failures: list[str], *, rebuild: bool) -> bool:
    """Make the tables as they should be; whether they are then."""
    if kernel.has_no_firewall:
        return False
    try:
        if rebuild or not kernel.firewall.intact(*wanted):
            kernel.firewall.restore(*wanted)
            # Tables that this kernel does not take are left out without an error, and that may be all of them.
            reason = kernel.firewall.available()
            kernel.has_no_firewall = reason is not None
            failures += [reason] if reason else []
            if not reason:
                # Who sent datagrams while the tables were away would be kept out for as long as it goes on sending.
                kernel.firewall.add((), [each for each in wanted.mappings if each.protocol != "tcp"])
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
        if link.alias == kernel.alias:
            _delete(kernel, link.number)
    for network in networks:
        if network.borrowed:
            driver_of(network).remove(kernel, network)
    users = relied_on(kernel, forwarding) if forwarding.blocks else ()
    if not users:
        switch_off(forwarding)
    if kernel.has_no_firewall:
        return users
    if users and kernel.firewall.forward_blocks:
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
