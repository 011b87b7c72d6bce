"""Docker's limits become the OCI specification's ``linux.resources``."""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Final

from wherry.engine.config import BlkioRate, Device, HostConfig
from wherry.errors import InvalidInput

__all__ = ["resources"]

Json = dict[str, Any]

_PERIOD: Final = 100_000  # microseconds; the kernel's default


def resources(host: HostConfig) -> Json:
    """The ``linux.resources`` of a host configuration; only what is limited is in it."""
    found: Json = {"devices": _device_rules(host)}
    for name, part in (("memory", _memory(host)), ("cpu", _cpu(host)), ("blockIO", _block_io(host))):
        if part:
            found[name] = part
    if host.pids_limit:
        found["pids"] = {"limit": host.pids_limit if host.pids_limit > 0 else -1}
    return found


def _memory(host: HostConfig) -> Json:
    memory, swap = host.memory or 0, host.memory_swap or 0
    part: Json = {}
    if memory:
        part["limit"] = memory
        part["swap"] = swap or 2 * memory  # Docker's default: as much swap as memory
    if host.memory_reservation:
        part["reservation"] = host.memory_reservation
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        part["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        part["disableOOMKiller"] = True
    return part


def _cpu(host: HostConfig) -> Json:
    part: Json = {}
    if host.cpu_shares:
        part["shares"] = host.cpu_shares
    if host.nano_cpus:
        part["period"] = _PERIOD
        part["quota"] = host.nano_cpus * _PERIOD // 1_000_000_000
    names = {
        "period": host.cpu_period, "quota": host.cpu_quota, "realtimePeriod": host.cpu_realtime_period,
        "realtimeRuntime": host.cpu_realtime_runtime, "cpus": host.cpuset_cpus, "mems": host.cpuset_mems,
    }  # fmt: skip
    part.update({name: value for name, value in names.items() if value})
    return part


# --- block I/O ------------------------------------------------------------------------------------


def _block_io(host: HostConfig) -> Json:
    part: Json = {}
    if host.blkio_weight:
        part["weight"] = host.blkio_weight
    if host.blkio_weight_device:
        part["weightDevice"] = [{**_numbers(d.path), "weight": d.weight} for d in host.blkio_weight_device]
    limits: dict[str, list[BlkioRate] | None] = {
        "throttleReadBpsDevice": host.blkio_device_read_bps,
        "throttleWriteBpsDevice": host.blkio_device_write_bps,
        "throttleReadIOPSDevice": host.blkio_device_read_iops,
        "throttleWriteIOPSDevice": host.blkio_device_write_iops,
    }
    for name, rates in limits.items():
        if rates:
            part[name] = [{**_numbers(entry.path), "rate": entry.rate} for entry in rates]
    return part


def _numbers(path: str) -> Json:
    try:
        status = os.stat(path)
    except OSError as exc:
        raise InvalidInput(f'cannot limit block I/O on "{path}"', cause=(exc.strerror or "").lower()) from exc
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidInput(f'cannot limit block I/O on "{path}": not a block device')
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


# --- devices --------------------------------------------------------------------------------------

_RULE: Final = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
_ALWAYS: Final[tuple[tuple[str, int | None, int | None, str], ...]] = (
    ("c", None, None, "m"),  # making any node is harmless: opening it is what is guarded
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts/*
)


def _device_rules(host: HostConfig) -> list[Json]:
    if host.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Json] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(*entry) for entry in _ALWAYS]
    for device in host.devices or []:
        rules += _rules_for(device)
    rules += [_parsed(text) for text in host.device_cgroup_rules or []]
    return rules


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> Json:
    rule: Json = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def _rules_for(device: Device) -> list[Json]:
    paths = [device.path_on_host]
    if os.path.isdir(device.path_on_host):
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(device.path_on_host) for name in names]
    rules = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # `wherry.engine.spec` has the error for a device that is named and missing
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b"
            access = device.cgroup_permissions or "rwm"
            rules.append(_rule(kind, os.major(status.st_rdev), os.minor(status.st_rdev), access))
    return rules


def _parsed(text: str) -> Json:
    match = _RULE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return _rule(kind, None if major == "*" else int(major), None if minor == "*" else int(minor), access)
