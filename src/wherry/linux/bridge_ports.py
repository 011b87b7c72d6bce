"""Ports of a bridge, as rtnetlink(7) messages: their flags, and the addresses behind them.

Wire formats: linux/if_link.h (``IFLA_BRPORT_``) and linux/neighbour.h; see bridge(8).
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from wherry.linux.netlink import NLM_F, Message, attribute, nested, number, text

__all__ = ["bridge_port", "static_neighbour"]

_NEWLINK, _NEWNEIGH = 16, 28  # RTM_*
_LINK: Final = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_LINKINFO, _SLAVE_KIND, _SLAVE_DATA = 18, 4, 5  # IFLA_LINKINFO, IFLA_INFO_SLAVE_*
_MODE, _LEARNING = 4, 8  # IFLA_BRPORT_*; the mode is hairpin
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_NOARP, _MASTER, _LLADDR = 0x40, 0x04, 2  # NUD_NOARP, NTF_MASTER, NDA_LLADDR


def bridge_port(link: int, *, hairpin: bool, learning: bool) -> Message:
    """Change how a bridge treats one of its ports.

    :param link: the port's index.
    :param hairpin: whether it sends packets back out of the port by which they came.
    :param learning: whether it learns from frames which MAC addresses are behind the port; else see `static_neighbour`.
    """
    inside = number(_MODE, int(hairpin), 1) + number(_LEARNING, int(learning), 1)
    info = nested(_LINKINFO, text(_SLAVE_KIND, "bridge"), nested(_SLAVE_DATA, inside))
    return Message(_NEWLINK, _LINK.pack(0, 0, link, 0, 0) + info, 0, f"change port {link} of a bridge")


def static_neighbour(link: int, mac: str) -> Message:
    """Let a bridge know for good that a MAC address is behind one of its ports, wherever it was before.

    :param link: the port's index.
    """
    body = _NEIGHBOUR.pack(socket.AF_BRIDGE, link, _NOARP, _MASTER, 0)
    body += attribute(_LLADDR, bytes.fromhex(mac.replace(":", "")))
    return Message(_NEWNEIGH, body, NLM_F.CREATE | NLM_F.REPLACE, f"have {mac} behind port {link}")
