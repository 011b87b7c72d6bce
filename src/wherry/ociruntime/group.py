"""What is done to all processes of a container, by its control group."""

from __future__ import annotations

import contextlib
import os
import signal

from wherry.errors import InvalidInput, NotFound
from wherry.ociruntime.container import Record
from wherry.runtime import cgroups, intel_rdt
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.intel_rdt import IntelRdt

__all__ = ["apply", "apply_shares", "destroy", "end_all", "forget", "group_of", "pids", "send_to_all"]


def group_of(record: Record) -> cgroups.Cgroup:
    """Return a container's control group."""
    return cgroups.open(record.cgroup)


def pids(record: Record) -> list[int]:
    """Return the numbers of its processes; none if it is gone."""
    try:
        return sorted(group_of(record).pids())
    except NotFound:
        return []


def send_to_all(record: Record, number: int) -> bool:
    """Signal every process; whether there was one."""
    if number == signal.SIGKILL:
        return end_all(record)
    found = pids(record)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(found)


def end_all(record: Record) -> bool:
    """End every process, those that were made meanwhile as well, and wait for that; whether there was one."""
    found = bool(pids(record))
    cgroups.end_all(group_of(record))
    return found


def apply(record: Record, resources: cgroups.Resources) -> None:
    """Change a container's limits."""
    group = group_of(record)
    if record.scope is not None:
        from wherry.runtime.cgroups import systemd  # noqa: PLC0415  only who has systemd needs it

        systemd.update(Scope(*record.scope), resources, group.version)
    group.apply(resources)


def apply_shares(record: Record, lines: list[str]) -> None:
    """Change a container's shares of caches and of memory bandwidth.

    :raises InvalidInput: it has none of its own, or the kernel refuses.
    """
    if record.intel_rdt is None:
        raise InvalidInput("the container has no class of service (intelRdt) whose shares could be changed")
    intel_rdt.change(IntelRdt(*record.intel_rdt), lines, intel_rdt.mounted())


def forget(record: Record) -> None:
    """Remove what others keep of a container: systemd its scope, the kernel its class of service."""
    if record.scope is not None:
        from wherry.runtime.cgroups import systemd  # noqa: PLC0415

        systemd.stop(Scope(*record.scope))
    if record.intel_rdt is not None:
        intel_rdt.clean_up(IntelRdt(*record.intel_rdt))


def destroy(record: Record) -> None:
    """Remove the control group; its processes have ended."""
    group_of(record).destroy()
