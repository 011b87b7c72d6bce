"""Forwarding in the host: switched on where it is off, and then for our networks only.

The kernel knows one switch for all links. A host that was none becomes a router between its uplink, its VPN and what
else it has, for everybody who sends it packets. Docker answers that with the policy DROP in the chain FORWARD that all
programs share; ours is a rule in our own table (``between_others`` in `wherry.network.firewall.tables`). It drops what
passes between two links that are not ours, of the families of which wherry turned the switch; where it was on already,
the host is a router by its owner's will, and stays one.

Two things decided how that rule is written:

- Links that come later are closed, too: a VPN that is dialled an hour after is the very thing to be kept apart from the
  wireless network. A list of the links of that moment would leave it open.
- Another engine that starts later finds forwarding on and relies on it; what our table drops, no rule of its can let
  pass. Its containers and virtual machines are behind bridges or veth links, and hardly anybody's way out is one that
  is made later. So these pass, unless they were there at that moment, when no program can have relied on them.

What a host did by single links (``net.ipv4.conf.LINK.forwarding``, as systemd-networkd does it) goes on. Who wants
a router says ``net.ipv4.ip_forward = 1`` before wherryd starts for the first time, or ``--ip-forward-no-drop`` to it.

That it was wherry is written down before it is done, and holds for one network namespace of one boot. A daemon that is
killed finds, whichever step was its last, either forwarding off, and begins again, or on, with the value stored and the
rule made.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from wherry.errors import CorruptData
from wherry.linux import rtnetlink
from wherry.linux.rtnetlink import Link
from wherry.network.drivers.table import driver_of
from wherry.network.firewall.elements import ForwardBlock
from wherry.network.kernel_thread import Kernel, read_sysctl, write_sysctl
from wherry.network.model import Network

__all__ = ["Forwarding", "examine", "is_missing", "relied_on", "switch_off", "switch_on", "versions"]

_SWITCHES: Final = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_SO_NETNS_COOKIE: Final = (
    71  # a namespace's number, which no other gets until the next boot; its inode's is given again
)
_LOOPBACK: Final = 1


class Forwarding(Struct, frozen=True):
    """What wherry has switched on, or is about to.

    :ivar where: the boot and the network namespace in which that is so.
    :ivar blocks: the IP versions, each with the links that were there then.
    :ivar listening: links that took routes from IPv6 routers as a host does, and not as a router (``accept_ra`` = 1).
    """

    where: str
    blocks: tuple[ForwardBlock, ...] = field(default=(), name="closings")  # as earlier versions have stored it
    listening: tuple[str, ...] = ()

    @property
    def encoded(self) -> str:
        """As it is stored in the database."""
        return msgspec.json.encode(self).decode()


def versions(networks: Collection[Network]) -> frozenset[int]:
    """The versions of IP that the host has to forward for these networks."""
    return frozenset(
        subnet.network.version
        for network in networks
        if driver_of(network).needs_forwarding
        for subnet in network.subnets
    )


def is_missing(wanted: Collection[int]) -> bool:
    """Whether one of these versions is not forwarded in the calling thread's network namespace."""
    return any(_is_off(version) for version in wanted)


def examine(kernel: Kernel, stored: str | None, wanted: Collection[int]) -> Forwarding:
    """Look which of these versions are off, and what has to be remembered to switch them on; nothing is changed.

    What was switched on before and still is, is part of the answer, also if it is not wanted any more.

    :param stored: what the database has of the last time.
    :raises CorruptData: that cannot be read.
    """
    where = _here()
    before = _read(stored)
    if before.where != where:
        before = Forwarding(where)
    kept = tuple(block for block in before.blocks if not _is_off(block.version))
    off = [version for version in sorted(wanted) if _is_off(version)]
    if not off:
        return Forwarding(where, kept, before.listening if kept else ())
    links = [link for link in rtnetlink.links(kernel.route) if link.number != _LOOPBACK and link.alias != kernel.alias]
    listening = set(before.listening)
    if 6 in off:
        listening |= {link.name for link in links if read_sysctl(f"ipv6/conf/{link.name}/accept_ra") == "1"}
    return Forwarding(where, (*kept, *(_block(version, links) for version in off)), tuple(sorted(listening)))


def _block(version: int, links: Sequence[Link]) -> ForwardBlock:
    return ForwardBlock(
        version,
        bridges=_of_kind("bridge", links),
        veths=_of_kind("veth", links),
        routers=_routers(links) if version == 4 else (),
    )


def _of_kind(kind: str, links: Sequence[Link]) -> tuple[str, ...]:
    return tuple(sorted(link.name for link in links if link.kind == kind))


def _routers(links: Sequence[Link]) -> tuple[str, ...]:
    """For IPv4 the link decides by which a packet came; for IPv6 the switch for all (``ip6_forward``)."""
    return tuple(sorted(link.name for link in links if read_sysctl(f"ipv4/conf/{link.name}/forwarding") == "1"))


def _is_off(version: int) -> bool:
    return read_sysctl(_SWITCHES[version]) == "0"


def _here() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        try:
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8).hex()
        except OSError:  # before Linux 5.14
            cookie = str(Path("/proc/thread-self/ns/net").stat().st_ino)
    return f"{_BOOT.read_text().strip()} {cookie}"


def _read(stored: str | None) -> Forwarding:
    if not stored:
        return Forwarding("")
    try:
        return msgspec.json.decode(stored, type=Forwarding)
    except msgspec.MsgspecError as exc:
        raise CorruptData("what the database says of forwarding cannot be read", cause=str(exc)) from exc


def switch_on(forwarding: Forwarding) -> None:
    """Let the host pass packets on between interfaces; the rules that keep others apart have to be there already.

    A host that forwards IPv6 stops listening to its router, unless it is told to go on (``accept_ra`` = 2).

    :raises SystemCallError: the kernel refuses.
    """
    for block in forwarding.blocks:
        if not _is_off(block.version):
            continue
        if block.version == 6:
            _change_all("ipv6/conf/{}/accept_ra", forwarding.listening, "1", "2")
        write_sysctl(_SWITCHES[block.version], "1")


def switch_off(forwarding: Forwarding) -> None:
    """Put back what `switch_on` has changed.

    :raises SystemCallError: the kernel refuses.
    """
    for block in forwarding.blocks:
        write_sysctl(_SWITCHES[block.version], "0")
        # With the switch for all, the kernel has turned those of all links.
        _change_all("ipv4/conf/{}/forwarding", block.routers, "0", "1")
        if block.version == 6:
            _change_all("ipv6/conf/{}/accept_ra", forwarding.listening, "2", "1")


def _change_all(setting: str, links: Sequence[str], old: str, new: str) -> None:
    """Change a setting of links where it has the old value; who has another one, or is gone, is left alone."""
    for link in links:
        name = setting.format(link)
        if read_sysctl(name) == old:
            write_sysctl(name, new)


def relied_on(kernel: Kernel, forwarding: Forwarding) -> tuple[str, ...]:
    """The links that other programs have made since for containers or virtual machines, and that may need forwarding.

    :raises SystemCallError: the kernel refuses.
    """
    earlier = {name for block in forwarding.blocks for name in (*block.bridges, *block.veths)}
    links = rtnetlink.links(kernel.route)
    bridges = {link.number for link in links if link.kind == "bridge"}
    later = [link for link in links if link.kind in ("bridge", "veth") and link.name not in earlier]
    return tuple(link.name for link in later if link.alias != kernel.alias and link.master not in bridges)
