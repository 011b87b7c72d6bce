"""Changing the limits and the restart policy of a container: ``docker update``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from wherry.docker.container_requests import HostConfig
from wherry.engine.container.container import Container
from wherry.engine.container.state import Status
from wherry.engine.create.validate import check_restart_policy, validate_resources
from wherry.engine.spec.resources import changed_limits, resources
from wherry.engine.threads.bounded_call import call_bounded
from wherry.errors import Conflict, InvalidInput, WherryError
from wherry.oci.runtime_spec import Pids
from wherry.runtime import cgroups

__all__ = ["update"]

_PATIENCE: Final = 60.0  # seconds
_RESOURCES: Final = (
    "cpu_shares", "memory", "nano_cpus", "blkio_weight", "cpu_period", "cpu_quota", "cpu_realtime_period",
    "cpu_realtime_runtime", "cpuset_cpus", "cpuset_mems", "memory_reservation", "memory_swap",
)  # fmt: skip
_DEVICE_LIMITS: Final = (
    "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops",
)  # fmt: skip


async def update(
    container: Container, wanted: HostConfig, cgroup: str, save: Callable[[Container], object]
) -> list[str]:
    """Check and apply what a caller wants changed; returns warnings.

    What is missing or zero stays, but for the number of processes: zero, as less, lifts its limit. A list of limits of
    single devices replaces the former one; an empty one lifts them.

    :param cgroup: the container's path in the cgroup hierarchies.
    :param save: writes the container's definition down.
    :raises InvalidInput: the values make no sense.
    :raises Conflict: the container is being removed.
    :raises SystemFault: the kernel refused; the configuration is as before.
    """
    if container.state.status in (Status.REMOVING, Status.DEAD):
        raise Conflict(
            f'Cannot update container {container.id}: Container is marked for removal and cannot be "update".'
        )
    changed = _changed(container.host, wanted)
    _swap_conflict(container.host, wanted)
    check_restart_policy(changed)
    from wherry.engine.create.unsupported_limits import drop  # noqa: PLC0415 - not at the daemon's start

    changed, warnings = drop(changed, cgroups.features)
    warnings += validate_resources(changed)
    former, container.definition.host = container.host, changed
    try:
        save(container)
        if container.state.is_alive:
            await _apply(container, former, cgroup)
    except BaseException:
        container.definition.host = former
        with suppress(WherryError):
            save(container)
        raise
    return warnings


def _changed(present: HostConfig, wanted: HostConfig) -> HostConfig:
    """:raises InvalidInput: a restart policy does not go with the container."""
    changes = {name: value for name in _RESOURCES if (value := getattr(wanted, name))}
    changes |= {name: value for name in _DEVICE_LIMITS if (value := getattr(wanted, name)) is not None}
    if wanted.pids_limit is not None:
        changes["pids_limit"] = max(wanted.pids_limit, 0)
    if wanted.restart_policy is not None and wanted.restart_policy.name:
        if present.auto_remove:
            raise InvalidInput("Restart policy cannot be updated because AutoRemove is enabled for the container")
        changes["restart_policy"] = wanted.restart_policy
    return replace(present, **changes)


async def _apply(container: Container, former: HostConfig, cgroup: str) -> None:
    found = replace(resources(container.host), devices=(), block_io=changed_limits(former, container.host))
    if container.host.pids_limit == 0:  # an update has lifted it
        found = replace(found, pids=Pids(limit=-1))
    limits = cgroups.Resources.from_oci(msgspec.to_builtins(found))
    # A lower limit makes the writer look for memory to give back, which takes as long as there is any to be found.
    group = cgroups.open(cgroup)
    await call_bounded(f"change the limits of {container.name}", lambda: group.apply(limits), _PATIENCE)


def _swap_conflict(present: HostConfig, wanted: HostConfig) -> None:
    """As in Docker: raising the memory limit above the swap limit needs both in one request."""
    swap = present.memory_swap or 0
    if wanted.memory and swap > 0 and not wanted.memory_swap and wanted.memory > swap:
        raise InvalidInput(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
