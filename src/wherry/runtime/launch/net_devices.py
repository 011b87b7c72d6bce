"""Network devices of the host that move into a container: ``linux.netDevices``.

They keep what is theirs: addresses that somebody gave them for good, and of global scope. Routes are the namespace's,
and stay behind. The kernel takes a device back to the host when the container's namespace ends, if it is a real one;
one that was made by software ends with it. Only a start that fails puts them back, by :meth:`Moved.put_back`.

The parent does this, because only it is in both namespaces; see rtnetlink(7).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.errors import Conflict, InvalidInput, NotFound, SystemCallError, WherryError
from wherry.linux import namespaces, rtnetlink
from wherry.linux.fd import Fd
from wherry.linux.lasting_addresses import LastingAddress, lasting_addresses
from wherry.linux.netlink import Family, NetlinkSocket
from wherry.linux.process import CLONE, setns
from wherry.linux.rtnetlink import Link

__all__ = ["Moved", "move"]

_TEMPLATE: Final = "%d"
#: So many names are tried: who is in a joined namespace can take as many as he likes.
_MOST_NAMES: Final = 256


class _Device(NamedTuple):
    """One that was moved: what it was here, its number there, and its addresses."""

    before: Link
    number: int
    addresses: tuple[LastingAddress, ...]


class Moved:
    """Devices that are in the container's namespace now.

    :param home: the host's network namespace.
    :param target: the container's; owned from now on.
    """

    def __init__(self, home: Fd, target: Fd) -> None:
        self._home: Final = home
        self._target: Final = target
        self._devices: list[_Device] = []

    @property
    def target(self) -> int:
        """The descriptor of the container's namespace."""
        return self._target.fileno()

    def add(self, device: _Device) -> None:
        """Remember one."""
        self._devices.append(device)

    def put_back(self) -> None:
        """Undo it all, as far as possible: the container's start has failed, and that is what has to be told."""
        with (
            suppress(WherryError),
            _conversation(self._target, self._home) as there,
            NetlinkSocket(Family.ROUTE) as here,
        ):
            for device in reversed(self._devices):
                with suppress(WherryError):
                    _put_back(here, there, device, self._home)
        self.close()

    def close(self) -> None:
        """They stay."""
        self._devices.clear()
        self._home.close()
        self._target.close()


def move(devices: tuple[tuple[str, str], ...], namespace: str) -> Moved:
    """Move devices, up and with their addresses.

    :param devices: names here and there; ``eth%d`` there is a name that is free.
    :param namespace: path of the container's network namespace.
    :raises NotFound: there is no such device.
    :raises Conflict: the name is taken there.
    """
    target = namespaces.open_namespace(namespace, "net")
    moved = Moved(namespaces.open_namespace(os.getpid(), "net"), target)
    try:
        with NetlinkSocket(Family.ROUTE) as here, _conversation(target, moved._home) as there:
            for name, new in devices:
                _move(here, there, name, new, moved)
    except BaseException:
        moved.put_back()
        raise
    return moved


def _move(here: NetlinkSocket, there: NetlinkSocket, name: str, new: str, moved: Moved) -> None:
    before = rtnetlink.find_link(here, name)
    if before is None:
        raise NotFound(f"there is no network device {name!r}")
    wanted = _free(there, new)
    kept = lasting_addresses(here, before.number)
    try:
        here.request(rtnetlink.set_link(before.number, name=wanted, namespace=moved.target))
    except SystemCallError as error:
        raise InvalidInput(f"the network device {name!r} cannot be moved", cause=str(error)) from error
    link = rtnetlink.find_link(there, wanted)
    if link is None:
        raise NotFound(f"the network device {wanted!r} was taken from the container while it was being moved")
    moved.add(_Device(before, link.number, kept))
    there.batch([*(one.on(link.number) for one in kept), rtnetlink.set_link(link.number, up=True)])


def _free(there: NetlinkSocket, name: str) -> str:
    """The name that the device gets; of a template's, the first that nobody has."""
    names = (name.replace(_TEMPLATE, str(number), 1) for number in range(_MOST_NAMES if _TEMPLATE in name else 1))
    free = next((one for one in names if rtnetlink.find_link(there, one) is None), None)
    if free is None:
        raise Conflict(f"the container has a network device {name!r} already")
    return free


def _put_back(here: NetlinkSocket, there: NetlinkSocket, device: _Device, home: Fd) -> None:
    there.request(rtnetlink.set_link(device.number, name=device.before.name, namespace=home.fileno()))
    link = rtnetlink.find_link(here, device.before.name)
    if link is not None:
        again = [one.on(link.number) for one in device.addresses]
        here.batch([*again, rtnetlink.set_link(link.number, up=device.before.up)])


def _conversation(namespace: Fd, home: Fd) -> NetlinkSocket:
    """Speak to the kernel about another network namespace; this process is back in its own afterwards."""
    setns(namespace, CLONE.NEWNET)
    try:
        return NetlinkSocket(Family.ROUTE)
    finally:
        setns(home, CLONE.NEWNET)
