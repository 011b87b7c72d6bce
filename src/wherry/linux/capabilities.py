"""Capabilities: their names and the five sets of a process; see capabilities(7).

The sets of this module are Python sets of :class:`CAP`; numbers that the kernel knows and we do not are kept.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NamedTuple

from wherry.errors import InvalidInput
from wherry.linux._libc import fail, of_small_numbers, system_call

__all__ = [
    "CAP",
    "CapabilitySets",
    "ambient_clear",
    "ambient_raise",
    "ambient_read",
    "bounding_drop",
    "bounding_read",
    "capget",
    "capget_masks",
    "capset",
    "capset_masks",
    "from_mask",
    "last_cap",
    "lowered",
    "parse",
    "text",
    "to_mask",
]


class CAP(IntEnum):
    """All capabilities, in the kernel's numbering (linux/capability.h)."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    LINUX_IMMUTABLE = 9
    NET_BIND_SERVICE = 10
    NET_BROADCAST = 11
    NET_ADMIN = 12
    NET_RAW = 13
    IPC_LOCK = 14
    IPC_OWNER = 15
    SYS_MODULE = 16
    SYS_RAWIO = 17
    SYS_CHROOT = 18
    SYS_PTRACE = 19
    SYS_PACCT = 20
    SYS_ADMIN = 21
    SYS_BOOT = 22
    SYS_NICE = 23
    SYS_RESOURCE = 24
    SYS_TIME = 25
    SYS_TTY_CONFIG = 26
    MKNOD = 27
    LEASE = 28
    AUDIT_WRITE = 29
    AUDIT_CONTROL = 30
    SETFCAP = 31
    MAC_OVERRIDE = 32
    MAC_ADMIN = 33
    SYSLOG = 34
    WAKE_ALARM = 35
    BLOCK_SUSPEND = 36
    AUDIT_READ = 37
    PERFMON = 38
    BPF = 39
    CHECKPOINT_RESTORE = 40


class CapabilitySets(NamedTuple):
    """The three sets of capget(2)."""

    effective: frozenset[int]
    permitted: frozenset[int]
    inheritable: frozenset[int]


_POINTER = ctypes.c_void_p
_capget = system_call("capget", _POINTER, _POINTER)
_capset = system_call("capset", _POINTER, _POINTER)
_prctl = of_small_numbers("prctl")

_CAPBSET_READ, _CAPBSET_DROP, _CAP_AMBIENT = 23, 24, 47
_AMBIENT_IS_SET, _AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 1, 2, 4
# struct __user_cap_header_struct of version 3 for this process, and two __user_cap_data_struct: low words, high words.
_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)
_DATA: Final = struct.Struct("=6I")


def parse(name: str) -> int:
    """Return the number of a capability.

    :param name: as in OCI specifications, ``"CAP_NET_ADMIN"``; case and the prefix do not matter, as with Docker.
    :raises InvalidInput: there is no such capability.
    """
    member = CAP.__members__.get(name.upper().removeprefix("CAP_"))
    if member is None:
        raise InvalidInput(f"unknown capability {name!r}")
    return member.value


def text(capability: int) -> str:
    """Write a capability as OCI specifications do: ``"CAP_NET_ADMIN"``."""
    try:
        return f"CAP_{CAP(capability).name}"
    except ValueError:
        return f"CAP_{capability}"


def to_mask(capabilities: Iterable[int]) -> int:
    """Return the bits of a set, as /proc/self/status shows them."""
    mask = 0
    for capability in capabilities:
        mask |= 1 << capability
    return mask


def from_mask(mask: int) -> frozenset[int]:
    """Return the set of a mask's bits."""
    return frozenset(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


_last: int | None = None


def last_cap() -> int:
    """Return the highest capability that this kernel knows."""
    global _last  # noqa: PLW0603  a fact about the kernel: asked once, and it needs no /proc
    if _last is None:
        _last = _find_last()
    return _last


def _find_last() -> int:
    capability = 0
    while capability < 63 and _prctl(_CAPBSET_READ, capability + 1, 0, 0, 0) >= 0:
        capability += 1
    return capability


def capget() -> CapabilitySets:
    """Return this process's effective, permitted and inheritable sets."""
    return CapabilitySets(*map(from_mask, capget_masks()))


def capget_masks() -> tuple[int, int, int]:
    """Return the masks of this process's effective, permitted and inheritable sets."""
    header, data = ctypes.create_string_buffer(_HEADER), ctypes.create_string_buffer(_DATA.size)
    if _capget(header, data) < 0:
        fail("capget", "this process")
    words = _DATA.unpack(data.raw)
    return words[0] | words[3] << 32, words[1] | words[4] << 32, words[2] | words[5] << 32


def capset(effective: Iterable[int], permitted: Iterable[int], inheritable: Iterable[int]) -> None:
    """Replace this process's effective, permitted and inheritable sets."""
    capset_masks(to_mask(effective), to_mask(permitted), to_mask(inheritable))


def capset_masks(effective: int, permitted: int, inheritable: int) -> None:
    """Replace this process's effective, permitted and inheritable sets, given as masks."""
    masks = (effective, permitted, inheritable)
    packed = _DATA.pack(*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    if _capset(ctypes.create_string_buffer(_HEADER), ctypes.create_string_buffer(packed, len(packed))) < 0:
        fail("capset", ", ".join(f"{mask:#x}" for mask in masks))


@contextmanager
def lowered(*capabilities: CAP) -> Iterator[None]:
    """Do without capabilities in this thread; the others, and what follows, have them as before.

    ``lowered(CAP.SYS_RESOURCE)``: quotas hold, which ext4 keeps nobody to who has that capability.
    """
    effective, permitted, inheritable = capget_masks()
    rest = effective & ~to_mask(capabilities)
    if rest == effective:
        yield
        return
    capset_masks(rest, permitted, inheritable)
    try:
        yield
    finally:
        capset_masks(effective, permitted, inheritable)


def bounding_read() -> frozenset[int]:
    """Return the capabilities that executing a file could still give to this process."""
    return frozenset(cap for cap in range(last_cap() + 1) if _prctl(_CAPBSET_READ, cap, 0, 0, 0) == 1)


def bounding_drop(capabilities: Iterable[int]) -> None:
    """Take capabilities out of the bounding set, for ever; needs CAP_SETPCAP, but for those that are out already."""
    for capability in capabilities:
        if _prctl(_CAPBSET_DROP, capability, 0, 0, 0) < 0 and _prctl(_CAPBSET_READ, capability, 0, 0, 0) == 1:
            fail("prctl", f"PR_CAPBSET_DROP, {text(capability)}", hint="dropping needs CAP_SETPCAP")


def ambient_raise(capabilities: Iterable[int]) -> None:
    """Add capabilities to the ambient set; they must be permitted and inheritable."""
    for capability in capabilities:
        if _prctl(_CAP_AMBIENT, _AMBIENT_RAISE, capability, 0, 0) < 0:
            hint = "an ambient capability must be permitted and inheritable"
            fail("prctl", f"PR_CAP_AMBIENT_RAISE, {text(capability)}", hint=hint)


def ambient_clear() -> None:
    """Empty the ambient set."""
    if _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0) < 0:
        fail("prctl", "PR_CAP_AMBIENT_CLEAR_ALL")


def ambient_read() -> frozenset[int]:
    """Return the capabilities that survive executing an ordinary file."""
    return frozenset(cap for cap in range(last_cap() + 1) if _prctl(_CAP_AMBIENT, _AMBIENT_IS_SET, cap, 0, 0) == 1)
