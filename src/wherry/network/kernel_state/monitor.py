"""Notices that another program has changed what is ours: netlink events, on the event loop.

An event says only that something happened; the check that follows a moment later finds what is wrong, if anything
(`wherry.network.kernel_state.sync`). Our own changes are recognised: interfaces of ours are expected only after they
were made and no longer before they go, and changes of the firewall carry the port of the socket that made them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Final

from wherry.errors import SystemCallError, WherryError
from wherry.linux import rtnetlink
from wherry.linux.netlink import Family, Message, NetlinkSocket, attributes
from wherry.linux.rtnetlink import Group, Kind
from wherry.network.kernel_thread import Kernel
from wherry.network.model import Address

__all__ = ["Monitor"]

_log: Final = logging.getLogger(__name__)
_PAUSE: Final = 0.05  # seconds in which further events are waited for
_NFTABLES_GROUP: Final = 7  # NFNLGRP_NFTABLES
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_HEADER: Final = 4  # nfgenmsg
_NFT_NAME: Final = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE
_NFT_NEWGEN: Final = 15

Expected = Callable[[], tuple[Mapping[str, str], Set[Address]]]
"""Interfaces of ours with the bridge that each is a port of (or an empty string), and the bridges' addresses."""


class Monitor:
    """Calls for a repair when something of ours was changed.

    :param expected: what should be there.
    :param repair: what to do when it is not; called again only when the last call has ended.
    """

    def __init__(self, kernel: Kernel, expected: Expected, repair: Callable[[], Awaitable[None]]) -> None:
        self._kernel = kernel
        self._expected = expected
        self._repair = repair
        self._sockets: list[NetlinkSocket] = []
        self._readings: dict[NetlinkSocket, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._urgent: NetlinkSocket | None = None
        self._last_urgent = 0.0

    def start(self) -> None:
        """Subscribe to the events."""
        loop = asyncio.get_running_loop()
        groups = (Group.LINK, Group.IPV4_IFADDR, Group.IPV6_IFADDR, Group.IPV4_ROUTE, Group.IPV6_ROUTE)
        self._listen(loop, Family.ROUTE, groups, self._links_changed)
        if not self._kernel.has_no_firewall:
            rules = self._listen(loop, Family.NETFILTER, (_NFTABLES_GROUP,), self._firewall_changed)
            if rules is not None:  # our own changes are many, those of others are urgent: see `_on_readable`
                rules.ignore(self._kernel.firewall.port)
                self._urgent = rules

    async def close(self) -> None:
        """Unsubscribe; returns when no repair is under way."""
        loop = asyncio.get_running_loop()
        for reading in self._readings.values():
            reading.cancel()
        self._readings.clear()
        for each in self._sockets:
            loop.remove_reader(each.fileno())
            each.close()
        self._sockets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            await self._task

    def _listen(
        self,
        loop: asyncio.AbstractEventLoop,
        family: Family,
        groups: tuple[int, ...],
        look: Callable[[list[Message]], bool],
    ) -> NetlinkSocket | None:
        try:
            conversation = NetlinkSocket(family, groups)
        except SystemCallError as exc:
            _log.warning("no netlink events: changes by other programs go unnoticed error=%s", exc)
            return None
        self._sockets.append(conversation)
        loop.add_reader(conversation.fileno(), self._on_readable, conversation, look)
        return conversation

    def _on_readable(self, conversation: NetlinkSocket, look: Callable[[list[Message]], bool]) -> None:
        """Something happened. One container's start is a dozen events: they are read together, a moment later.

        While the firewall is away containers are open to the neighbours. So of what others do to it the first event is
        read at once; of a program that changes its own rules all the time the rest are read together, too.
        """
        loop = asyncio.get_running_loop()
        loop.remove_reader(conversation.fileno())
        is_urgent = conversation is self._urgent and loop.time() - self._last_urgent > _PAUSE
        if is_urgent:
            self._last_urgent = loop.time()
        self._readings[conversation] = loop.call_later(0 if is_urgent else _PAUSE, self._read, conversation, look)

    def _read(self, conversation: NetlinkSocket, look: Callable[[list[Message]], bool]) -> None:
        del self._readings[conversation]
        try:
            wrong = look(conversation.events())
        except SystemCallError:  # ENOBUFS: there were more events than fit into the socket's buffer
            wrong = True
        asyncio.get_running_loop().add_reader(conversation.fileno(), self._on_readable, conversation, look)
        if wrong:
            self._check_soon(0 if conversation is self._urgent else _PAUSE)

    # --- which events matter

    def _links_changed(self, messages: list[Message]) -> bool:
        names, gateways = self._expected()
        last: dict[str, Message] = {}
        # With an interface its addresses go. Another one may have them by now, that of a network that came after it.
        gone = {rtnetlink.link_of_message(each).number for each in messages if each.kind == Kind.DELLINK}
        for message in messages:
            if message.kind in (Kind.NEWLINK, Kind.DELLINK):
                # A family is named in what is about a port's role and not about an interface (AF_BRIDGE).
                name = "" if message.body[0] else rtnetlink.name_of_message(message)
                if name in names:
                    last[name] = message
            elif message.kind == Kind.DELADDR:
                entry = rtnetlink.address_of_message(message)
                if entry is not None and entry.address in gateways and entry.link not in gone:
                    return True
            elif message.kind == Kind.DELROUTE:
                route = rtnetlink.route_of_message(message)
                if self._is_ours(route, gateways) and route.link not in gone:
                    return True
        return not all(_is_well(message, is_port=bool(names[name])) for name, message in last.items())

    @staticmethod
    def _is_ours(route: rtnetlink.RouteEntry, gateways: Set[Address]) -> bool:
        """Whether a route that went led to one of our subnets."""
        first = route.destination
        return first is not None and any(
            gateway.version == first.version and _within(gateway, first, route.prefix) for gateway in gateways
        )

    def _firewall_changed(self, messages: list[Message]) -> bool:
        own = self._kernel.firewall.port
        name = self._kernel.alias.encode()
        for message in messages:
            if message.port == own or message.kind & 0xFF == _NFT_NEWGEN:
                continue
            if attributes(message.body, _NFT_HEADER).get(_NFT_NAME, b"").rstrip(b"\0") == name:
                return True
        return False

    # --- repair

    def _check_soon(self, pause: float = _PAUSE) -> None:
        loop = asyncio.get_running_loop()
        if self._task is not None:
            self._again = True
        elif self._timer is None or self._timer.when() > loop.time() + pause:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(pause, self._check)

    def _check(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._repair()
        except WherryError as exc:
            _log.warning("cannot repair the networks error=%s", exc)
        finally:
            self._task = None
        if self._again and self._sockets:
            self._again = False
            self._check_soon()


def _is_well(message: Message, *, is_port: bool) -> bool:
    """Whether an interface is as it should be, by the last event about it."""
    link = rtnetlink.link_of_message(message)
    return message.kind == Kind.NEWLINK and link.up and (link.master != 0) == is_port


def _within(address: Address, first: Address, prefix: int) -> bool:
    return prefix > 0 and (int(address) ^ int(first)) >> (first.max_prefixlen - prefix) == 0
