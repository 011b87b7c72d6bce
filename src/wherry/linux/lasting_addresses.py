"""Addresses of an interface that are to be kept when it moves to another network namespace; see rtnetlink(7).

The kernel takes all from it. Those that somebody gave it for good (``IFA_F_PERMANENT``), and that mean something
elsewhere, can be given again.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from wherry.linux.netlink import NLM_F, Message, NetlinkSocket, attribute, attributes, number
from wherry.linux.rtnetlink import Kind

__all__ = ["LastingAddress", "lasting_addresses"]

_HEADER: Final = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _BROADCAST, _FLAGS, _PRIORITY = 1, 2, 4, 8, 9  # IFA_*
_NODAD, _PERMANENT = 0x02, 0x80  # IFA_F_*
_KEPT_FLAGS: Final = 0x100 | 0x200 | 0x400  # MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN
_GLOBAL: Final = 0  # RT_SCOPE_UNIVERSE


class LastingAddress(NamedTuple):
    """An address with what belongs to it.

    :ivar flags: of ``IFA_F_*``.
    :ivar properties: attributes of the message as the kernel showed them: the peer's address, broadcast, metric.
    """

    family: int
    prefix: int
    flags: int
    properties: tuple[tuple[int, bytes], ...]

    def on(self, link: int) -> Message:
        """Give it to an interface; nobody is asked again whether it is a duplicate.

        :param link: the interface's index.
        """
        body = _HEADER.pack(self.family, self.prefix, 0, _GLOBAL, link)
        body += b"".join(attribute(kind, payload) for kind, payload in self.properties)
        flags = self.flags | (_NODAD if self.family == socket.AF_INET6 else 0)
        body += number(_FLAGS, flags) if flags else b""
        return Message(Kind.NEWADDR, body, NLM_F.CREATE | NLM_F.REPLACE, f"keep an address of interface {link}")


def lasting_addresses(conversation: NetlinkSocket, link: int) -> tuple[LastingAddress, ...]:
    """The addresses of an interface that are permanent and of global scope, in their order."""
    asked = Message(Kind.GETADDR, _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0), 0, "list addresses")
    found = (_lasting(message.body, link) for message in conversation.dump(asked))
    return tuple(one for one in found if one is not None)


def _lasting(body: bytes, link: int) -> LastingAddress | None:
    family, prefix, flags, scope, index = _HEADER.unpack_from(body)
    properties = attributes(body, _HEADER.size)
    if _FLAGS in properties:
        (flags,) = struct.unpack("=I", properties[_FLAGS])
    if index != link or scope != _GLOBAL or not flags & _PERMANENT or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    kept = tuple((kind, properties[kind]) for kind in (_LOCAL, _ADDRESS, _BROADCAST, _PRIORITY) if kind in properties)
    return LastingAddress(family, prefix, flags & _KEPT_FLAGS, kept)
