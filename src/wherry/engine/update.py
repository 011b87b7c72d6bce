"""Changing the limits and the restart policy of a container: ``docker update``."""

from __future__ import annotations

import copy
from typing import Any, Final

import msgspec

from wherry.engine.config import HostConfig
from wherry.engine.container import Container
from wherry.engine.resources import resources
from wherry.engine.state import Status
from wherry.engine.validate import check_restart_policy, validate_resources
from wherry.errors import Conflict, InvalidInput
from wherry.runtime import cgroups

__all__ = ["update"]

_RESOURCES: Final = (
    "cpu_shares", "memory", "nano_cpus", "blkio_weight", "cpu_period", "cpu_quota", "cpu_realtime_period",
    "cpu_realtime_runtime", "cpuset_cpus", "cpuset_mems", "memory_reservation", "memory_swap", "pids_limit",
)  # fmt: skip


def update(container: Container, body: dict[str, Any], cgroup: str) -> list[str]:
    """Check and apply what a caller wants changed; returns warnings. What is missing or zero stays.

    :param cgroup: the container's path in the cgroup hierarchies.
    :raises InvalidInput: the values make no sense.
    :raises Conflict: the container is being removed.
    :raises SystemFault: the kernel refused; the configuration is as before.
    """
    if container.state.status in (Status.REMOVING, Status.DEAD):
        raise Conflict(
            f'Cannot update container {container.id}: Container is marked for removal and cannot be "update".'
        )
    try:
        wanted = msgspec.convert(body, HostConfig)
    except msgspec.ValidationError as exc:
        raise InvalidInput("invalid JSON", cause=str(exc)) from exc
    changed = copy.copy(container.host)
    for name in _RESOURCES:
        value = getattr(wanted, name)
        if value:
            setattr(changed, name, value)
    if wanted.restart_policy is not None and wanted.restart_policy.name:
        if changed.auto_remove:
            raise InvalidInput("Restart policy cannot be updated because AutoRemove is enabled for the container")
        changed.restart_policy = wanted.restart_policy
    _swap_conflict(container.host, wanted)
    check_restart_policy(changed)
    from wherry.engine.discards import leave_out  # noqa: PLC0415 - not at the daemon's start

    warnings = [*leave_out(changed, cgroups.features), *validate_resources(changed)]
    if container.state.is_alive:
        group = cgroups.open(cgroup)
        group.apply(
            cgroups.Resources.from_oci({name: part for name, part in resources(changed).items() if name != "devices"})
        )
    container.definition.host = changed
    return warnings


def _swap_conflict(present: HostConfig, wanted: HostConfig) -> None:
    """As in Docker: raising the memory limit above the swap limit needs both in one request."""
    swap = present.memory_swap or 0
    if wanted.memory and swap > 0 and not wanted.memory_swap and wanted.memory > swap:
        raise InvalidInput(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
