"""The device list: an ordered list of allowing and denying entries becomes a default and exceptions from it.

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

        An entry for all devices and every access starts the list afresh. Others add or remove an exception.

        :raises InvalidInput: an entry would cut a hole into a wider exception ("all of major 1" but not 1:3), which the
            kernel's list cannot hold; version 1's kernel would silently ignore it.
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
    kind, major, minor = key
    for wider in {(kind, major, None), (kind, None, minor), (kind, None, None)} - {key}:
        if exceptions.get(wider, set()) & set(entry.access):
            shown = line(DeviceRule(*key, entry.access))
            raise InvalidInput(
                f"the device rule '{shown}' would make a hole in the wider '{line(DeviceRule(*wider, ''))}'"
            )
    rest = exceptions.get(key, set()) - set(entry.access)
    if rest:
        exceptions[key] = rest
    else:
        exceptions.pop(key, None)


def line(rule: DeviceRule) -> str:
    """Write an exception as version 1's files do: ``"c 1:* rw"``."""
    major = "*" if rule.major is None else rule.major
    minor = "*" if rule.minor is None else rule.minor
    return f"{rule.kind} {major}:{minor} {rule.access}".strip()
