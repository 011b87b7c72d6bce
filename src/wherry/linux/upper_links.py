"""Interfaces that lie on another one, as rtnetlink(7) messages: macvlan, ipvlan, VLANs.

Wire formats: linux/if_link.h (``IFLA_MACVLAN_``, ``IFLA_IPVLAN_``, ``IFLA_VLAN_``); see ip-link(8) and
networking/ipvlan.rst in the kernel's documentation.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from wherry.linux.netlink import Message, number
from wherry.linux.rtnetlink import upper_link

__all__ = ["IpvlanFlag", "IpvlanMode", "MacvlanMode", "ipvlan", "macvlan", "vlan"]

_MACVLAN_MODE = 1  # IFLA_MACVLAN_MODE
_IPVLAN_MODE, _IPVLAN_FLAGS = 1, 2  # IFLA_IPVLAN_*
_VLAN_ID = 1  # IFLA_VLAN_ID


class MacvlanMode(IntFlag):
    """How the interfaces of one parent see one another, MACVLAN_MODE_*."""

    PRIVATE = 1
    VEPA = 2
    BRIDGE = 4
    PASSTHRU = 8


class IpvlanMode(IntEnum):
    """At which layer the interfaces of one parent are switched or routed, IPVLAN_MODE_*; one for all of a parent."""

    L2 = 0
    L3 = 1
    L3S = 2


class IpvlanFlag(IntFlag):
    """How the interfaces of one parent see one another, IPVLAN_F_*; one for all of a parent."""

    BRIDGE = 0
    PRIVATE = 1
    VEPA = 2


def macvlan(
    name: str,
    parent: int,
    mode: MacvlanMode,
    *,
    mac: str | None = None,
    mtu: int | None = None,
    namespace: int | None = None,
) -> Message:
    """Make an interface with a MAC address of its own on a parent. See `upper_link`."""
    return upper_link("macvlan", name, parent, number(_MACVLAN_MODE, mode), mac=mac, mtu=mtu, namespace=namespace)


def ipvlan(
    name: str,
    parent: int,
    mode: IpvlanMode,
    flag: IpvlanFlag,
    *,
    mtu: int | None = None,
    namespace: int | None = None,
) -> Message:
    """Make an interface with its parent's MAC address and IP addresses of its own. See `upper_link`."""
    data = number(_IPVLAN_MODE, mode, 2) + number(_IPVLAN_FLAGS, flag, 2)
    return upper_link("ipvlan", name, parent, data, mtu=mtu, namespace=namespace)


def vlan(name: str, parent: int, identifier: int) -> Message:
    """Make the interface of a VLAN (802.1Q) of its parent's. See `upper_link`."""
    return upper_link("vlan", name, parent, number(_VLAN_ID, identifier, 2))
