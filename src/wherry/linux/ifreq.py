"""Interface flags by ioctl and ``struct ifreq`` (netdevice(7)): what brings a container's loopback up.

Everything else about networks speaks netlink and does not belong here.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from typing import Final

from wherry.linux._libc import fail

__all__ = ["is_link_up", "set_link_up"]

# linux/sockios.h, linux/if.h; struct ifreq is a name and a union of 24 bytes, here: flags.
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_IFREQ: Final = struct.Struct("=16sH22x")


def set_link_up(name: str) -> None:
    """Switch a network interface of this network namespace on; see netdevice(7)."""
    # Any socket will do for this request, and this kind exists on kernels without IP, too.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        flags = _flags(control, name)
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(name.encode(), flags | _IFF_UP))
        except OSError as error:
            fail("ioctl", f"SIOCSIFFLAGS, interface {name!r} up", number=error.errno or errno.EIO)


def is_link_up(name: str) -> bool:
    """Whether a network interface of this network namespace is switched on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        return bool(_flags(control, name) & _IFF_UP)


def _flags(control: socket.socket, name: str) -> int:
    try:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
    except OSError as error:
        fail("ioctl", f"SIOCGIFFLAGS, interface {name!r}", number=error.errno or errno.EIO)
    flags: int = _IFREQ.unpack(answer)[1]
    return flags
