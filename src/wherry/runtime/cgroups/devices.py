"""The device list: reduce ordered allow and deny entries to a default and its exceptions.

That is how version 1's kernel code keeps the list (Documentation/admin-guide/cgroup-v1/devices.rst); version 2's
programs are assembled from the same result, so both decide alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wherry.errors import InvalidInput
from wherry.linux.bpf import DeviceRule
from wherry.runtime.cgroups.resources import DeviceAccess

__all__ = ["DeviceList", "line"]

_Key = tuple[str, int | None, int | None]


class DeviceList(NamedTuple):
    """What is allowed unless an exception says otherwise, and the exceptions, which say the opposite."""

    allow_by_default: bool
    exceptions: tuple[DeviceRule, ...]

    @classmethod
    def of(cls, entries: Iterable[DeviceAccess]) -> DeviceList:
        """Apply the entries in their order to a list that denies all.

        An entry for all devices and every access starts the list afresh. Others add an exception, or take access away
        from those whose devices they cover. The last entry that fits a device decides, which is what whoever writes
        such a list expects; version 1's kernel would silently ignore what takes away from anything but the very same
        exception.

        :raises InvalidInput: an entry would cut a hole into a wider exception ("all of major 1" but not 1:3), which the
            kernel's list cannot hold.
        """
        allowing = False
        exceptions: dict[_Key, set[str]] = {}
        for entry in entries:
            if (entry.kind, entry.major, entry.minor) == ("a", None, None) and set(entry.access) == set("rwm"):
                allowing = entry.allow
                exceptions.clear()
                continue
            for kind in "bc" if entry.kind == "a" else entry.kind:
                key = (kind, entry.major, entry.minor)
                if entry.allow != allowing:
                    exceptions.setdefault(key, set()).update(entry.access)
                else:
                    _remove(exceptions, key, entry)
        rules = (DeviceRule(*key, "".join(sorted(access, key="rwm".index))) for key, access in exceptions.items())
        return cls(allowing, tuple(rules))


def _remove(exceptions: dict[_Key, set[str]], key: _Key, entry: DeviceAccess) -> None:
    """Take access away from the exceptions within an entry's devices, and complain about those that reach beyond."""
    affected = [other for other, access in exceptions.items() if _overlap(other, key) and access & set(entry.access)]
    for other in affected:
        if not _covers(key, other):
            hole, wider = line(DeviceRule(*key, entry.access)), line(DeviceRule(*other, ""))
            raise InvalidInput(f"the device rule '{hole}' would make a hole in the wider '{wider}'")
        exceptions[other] -= set(entry.access)
        if not exceptions[other]:
            del exceptions[other]


def _overlap(one: _Key, two: _Key) -> bool:
    return one[0] == two[0] and all(a is None or b is None or a == b for a, b in zip(one[1:], two[1:], strict=True))


def _covers(wide: _Key, narrow: _Key) -> bool:
    return all(a is None or a == b for a, b in zip(wide[1:], narrow[1:], strict=True))


def line(rule: DeviceRule) -> str:
    """Write an exception as version 1's files do: ``"c 1:* rw"``."""
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    return f"{rule.kind} {major}:{minor} {rule.access}".strip()
