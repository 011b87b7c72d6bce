"""Docker's limits become the OCI specification's ``linux.resources``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

from wherry.docker.container_requests import BlkioRate, HostConfig
from wherry.engine.spec.security import writable_cgroups
from wherry.errors import InvalidInput
from wherry.oci.runtime_spec import BlockIO, BlockIODevice, Cpu, DeviceCgroup, Memory, Pids, Resources

__all__ = ["changed_limits", "resources"]

_PERIOD: Final = 100_000  # microseconds; the kernel's default
#: Who may divide its control group makes as many as it likes, and one in another, unless this says how many: they are
#: walked through at each exec, and removed at the end. So deep, also the longest names fit into a path.
_BOUNDS_OF_DIVISION: Final = {"cgroup.max.depth": "14", "cgroup.max.descendants": "2000"}


def resources(host: HostConfig, devices: Sequence[DeviceCgroup] = ()) -> Resources:
    """The ``linux.resources`` of a host configuration; only what is limited is in it.

    :param devices: rules that allow the devices which it names.
    """
    pids = host.pids_limit or 0
    return Resources(
        devices=_device_rules(host, devices),
        memory=_memory(host),
        cpu=_cpu(host),
        pids=Pids(limit=max(pids, -1)) if pids else None,
        block_io=_block_io(host),
        unified=dict(_BOUNDS_OF_DIVISION) if writable_cgroups(host) and not host.privileged else {},
    )


def _memory(host: HostConfig) -> Memory | None:
    limit, swappiness = host.memory or None, host.memory_swappiness
    found = Memory(
        limit=limit,
        swap=(host.memory_swap or 2 * limit) if limit else None,  # Docker's default: as much swap as memory
        reservation=host.memory_reservation or None,
        swappiness=None if swappiness is None or swappiness < 0 else swappiness,
        disable_oom_killer=host.oom_kill_disable or None,
    )
    return found if found != Memory() else None


def _cpu(host: HostConfig) -> Cpu | None:
    nano = host.nano_cpus or 0
    found = Cpu(
        shares=host.cpu_shares or None,
        period=host.cpu_period or (_PERIOD if nano else None),
        quota=host.cpu_quota or (nano * _PERIOD // 1_000_000_000 if nano else None),
        realtime_period=host.cpu_realtime_period or None,
        realtime_runtime=host.cpu_realtime_runtime or None,
        cpus=host.cpuset_cpus or "",
        mems=host.cpuset_mems or "",
    )
    return found if found != Cpu() else None


# --- block I/O ------------------------------------------------------------------------------------


class _Limits(NamedTuple):
    """The limits of single disks, each with its path."""

    weight: list[tuple[str, int]]
    read_bps: list[tuple[str, int]]
    write_bps: list[tuple[str, int]]
    read_iops: list[tuple[str, int]]
    write_iops: list[tuple[str, int]]


def _limits_of(host: HostConfig) -> _Limits:
    def rates(entries: list[BlkioRate] | None) -> list[tuple[str, int]]:
        return [(one.path, one.rate) for one in entries or []]

    return _Limits(
        [(one.path, one.weight) for one in host.blkio_weight_device or []],
        rates(host.blkio_device_read_bps),
        rates(host.blkio_device_write_bps),
        rates(host.blkio_device_read_iops),
        rates(host.blkio_device_write_iops),
    )


def _block_io(host: HostConfig) -> BlockIO | None:
    found = _with_devices(
        host.blkio_weight or None,
        *([(_numbers(path), value) for path, value in entries] for entries in _limits_of(host)),
    )
    return found if found != BlockIO() else None


def _with_devices(weight: int | None, weights: _Numbered, *rates: _Numbered) -> BlockIO:
    def limited(entries: _Numbered) -> tuple[BlockIODevice, ...]:
        return tuple(BlockIODevice(major=n.major, minor=n.minor, rate=value) for n, value in entries)

    read_bps, write_bps, read_iops, write_iops = map(limited, rates)
    return BlockIO(
        weight=weight,
        weight_device=tuple(BlockIODevice(major=n.major, minor=n.minor, weight=value) for n, value in weights),
        throttle_read_bps_device=read_bps,
        throttle_write_bps_device=write_bps,
        throttle_read_iops_device=read_iops,
        throttle_write_iops_device=write_iops,
    )


def changed_limits(former: HostConfig, present: HostConfig) -> BlockIO | None:
    """The ``blockIO`` of a host configuration that replaces another: a limit that is gone becomes zero."""
    now = [[(_numbers(path), value) for path, value in entries] for entries in _limits_of(present)]
    for entries, kept in zip(_limits_of(former), now, strict=True):
        limited = {numbers for numbers, _ in kept}
        gone = [numbers for path, _ in entries if (numbers := _numbers_if_there(path)) and numbers not in limited]
        kept += [(numbers, 0) for numbers in gone]
    found = _with_devices(present.blkio_weight or None, *now)
    return found if found != BlockIO() else None


def _numbers_if_there(path: str) -> _Numbers | None:
    try:
        return _numbers(path)
    except InvalidInput:  # its limits went with it
        return None


class _Numbers(NamedTuple):
    """Of a block device."""

    major: int
    minor: int


_Numbered = list[tuple[_Numbers, int]]  #: disks and their limits


def _numbers(path: str) -> _Numbers:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as exc:
        cause = (exc.strerror or "") if isinstance(exc, OSError) else str(exc)
        raise InvalidInput(f'cannot limit block I/O on "{path}"', cause=cause.lower()) from exc
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidInput(f'cannot limit block I/O on "{path}": not a block device')
    return _Numbers(os.major(status.st_rdev), os.minor(status.st_rdev))


# --- devices --------------------------------------------------------------------------------------

_RULE: Final = re.compile(r"([acb]) ([0-9]{1,10}|\*):([0-9]{1,10}|\*) ([rwm]{1,3})")


def _device_rules(host: HostConfig, devices: Sequence[DeviceCgroup]) -> tuple[DeviceCgroup, ...]:
    """What is allowed beyond the devices that every container has, which :mod:`wherry.runtime.compile` adds."""
    if host.privileged:
        return (DeviceCgroup(allow=True, access="rwm"),)
    asked = (_parsed(text) for text in host.device_cgroup_rules or [])
    return (DeviceCgroup(allow=False, access="rwm"), *devices, *asked)


def _parsed(text: str) -> DeviceCgroup:
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return DeviceCgroup(allow=True, type=kind, major=_number(major), minor=_number(minor), access=access)


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)
