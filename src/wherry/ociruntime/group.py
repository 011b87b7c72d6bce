"""What is done to all processes of a container, by its control group."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from wherry.errors import InvalidInput, NotFound, Unsupported
from wherry.linux.proc import descendants
from wherry.ociruntime.container import Record
from wherry.runtime import cgroups, intel_rdt
from wherry.runtime.cgroups.scope import Scope
from wherry.runtime.intel_rdt import IntelRdt

__all__ = ["apply", "apply_shares", "destroy", "end_all", "forget", "group_of", "pids", "send_to_all"]


#: How often it is looked for processes that were born while the others were stopped.
_ROUNDS = 100


def group_of(record: Record) -> cgroups.Cgroup:
    """Return a container's control group.

    :raises Unsupported: it has none.
    """
    if not record.groups:
        raise Unsupported("cgroups not configured for container")
    return cgroups.open(record.cgroup)


def pids(record: Record) -> list[int]:
    """Return the numbers of its processes; none if it is gone."""
    if not record.groups:
        return _without_group(record)
    try:
        return sorted(group_of(record).pids())
    except NotFound:
        return []


def _without_group(record: Record) -> list[int]:
    """Its first process with all that descend from it, and who has joined their PID namespace."""
    if record.status() == "stopped":
        return []
    found = set(descendants(record.pid))
    if record.own_pids:
        place = _pid_namespace(record.pid)
        others = map(int, filter(str.isdigit, os.listdir("/proc"))) if place else ()
        found.update(pid for pid in others if _pid_namespace(pid) == place)
    return sorted(found)


def _pid_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:  # it has ended, or is not ours to look at
        return ""


def send_to_all(record: Record, number: int) -> bool:
    """Signal every process; whether there was one."""
    if number == signal.SIGKILL:
        return end_all(record)
    found = pids(record)
    _signal(found, number)
    return bool(found)


def end_all(record: Record) -> bool:
    """End every process, those that were made meanwhile as well, and wait for that; whether there was one."""
    found = bool(pids(record))
    if record.groups:
        cgroups.end_all(group_of(record))
    else:
        _end_without_group(record)
    return found


def _end_without_group(record: Record) -> None:
    """First all are stopped, those that were born meanwhile as well, so that nobody is lost who loses its parent."""
    stopped: set[int] = set()
    for _ in range(_ROUNDS):
        if not (more := set(pids(record)) - stopped):
            break
        _signal(more, signal.SIGSTOP)
        stopped |= more
    _signal(stopped, signal.SIGKILL)


def _signal(some: Iterable[int], number: int) -> None:
    for pid in some:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def apply(record: Record, resources: cgroups.Resources) -> None:
    """Change a container's limits."""
    if not record.groups:
        raise Unsupported("cannot set limits: container could not join or create cgroup")
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
    if record.groups:
        group_of(record).destroy()
