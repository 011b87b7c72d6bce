"""Compile what a container gets of the host: network devices, and a class of service of Intel's RDT."""

from __future__ import annotations

import re
from typing import Final

from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import IntelRdt as Wanted
from wherry.oci.runtime_spec import Linux
from wherry.runtime.intel_rdt import IntelRdt

__all__ = ["intel_rdt", "net_devices"]

# Compiled when they are needed, which is seldom.
#: As the kernel has it (``dev_valid_name``): fifteen bytes, and no character that separates.
_NAME: Final = r"(?!\.\.?$)[^\s/:%\0]{1,15}"
_TEMPLATE: Final = r"[^\s/:%\0]{1,13}%d"
#: A name of a directory: neither of resctrl's own, nor a path.
_GROUP: Final = r"(?!(info|mon_groups|mon_data)$)(?!\.)[^/\0\n]{1,255}"


def net_devices(linux: Linux, *, own: bool) -> tuple[tuple[str, str], ...]:
    """Return the names of devices to be moved, here and there.

    :param own: whether the container has another network namespace than the host's.
    :raises InvalidInput: it has not, or a name cannot be.
    """
    if linux.net_devices and not own:
        raise InvalidInput("netDevices need a network namespace that is not the host's")
    found = []
    for name, device in linux.net_devices.items():
        new = device.name or name
        for one, valid in (
            (name, _is_name(name)),
            (new, _is_name(new) or bool(re.fullmatch(_TEMPLATE, new, re.ASCII))),
        ):
            if not valid:
                raise InvalidInput(f"{one!r} is no name of a network device")
        found.append((name, new))
    named = [new for _, new in found if "%" not in new]
    twice = next((new for new in named if named.count(new) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two of netDevices are to be called {twice!r}")
    return tuple(found)


def _is_name(name: str) -> bool:
    return bool(re.fullmatch(_NAME, name, re.ASCII)) and len(name.encode()) <= 15


def intel_rdt(wanted: Wanted | None, container_id: str) -> IntelRdt | None:
    """Return the class of service; see config-linux.md, "IntelRdt".

    :raises InvalidInput: a name that is none, or a line that would be two.
    """
    if wanted is None:
        return None
    group = wanted.clos_id or container_id
    if not re.fullmatch(_GROUP, group):
        raise InvalidInput(f"closID {group!r} is no name of a class of service")
    if wanted.mem_bw_schema and not wanted.mem_bw_schema.startswith("MB:"):
        raise InvalidInput(f"memBwSchema must begin with 'MB:', unlike {wanted.mem_bw_schema!r}")
    caches = wanted.l3_cache_schema.splitlines()
    if wanted.mem_bw_schema:  # it takes the place of such lines among those of the caches
        caches = [line for line in caches if not line.startswith("MB:")]
    checked = [*caches, *([wanted.mem_bw_schema] if wanted.mem_bw_schema else [])]
    lines = [*checked, *wanted.schemata]
    for line in lines:
        if not line or not line.isascii() or any(character in line for character in "\n\r\0"):
            raise InvalidInput(f"{line!r} is no line of schemata")
    monitor = container_id if wanted.enable_monitoring else ""
    return IntelRdt(group, bool(wanted.clos_id), tuple(lines), len(checked), monitor)
