"""Limits that this machine's kernel does not have: left out with a warning in Docker's words, or refused.

A limit that is asked for and not there must not stop a container that runs well without it, and whoever asked must
hear of it. Only the few that a program cannot do without are refused, the same as in Docker
(``verifyPlatformContainerResources`` in moby's ``daemon_unix.go``). Whether a value makes sense is the business of
`wherry.engine.create.validate`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from wherry.docker.container_requests import BlkioWeightDevice, HostConfig
from wherry.errors import InvalidInput
from wherry.runtime.cgroups import Features

__all__ = ["drop"]


class _Limit(NamedTuple):
    """Members of a host configuration that need one ability of the kernel's.

    :ivar feature: the ability, a member of `Features`.
    :ivar text: the warning, or with `needed` the error.
    """

    feature: str
    names: tuple[str, ...]
    text: str
    needed: bool = False


_NOT_MOUNTED: Final = "or the cgroup is not mounted."
_LIMITS: Final = (
    _Limit("memory", ("memory", "memory_swap"),
           f"Your kernel does not support memory limit capabilities {_NOT_MOUNTED} Limitation discarded."),
    _Limit("swappiness", ("memory_swappiness",),
           f"Your kernel does not support memory swappiness capabilities {_NOT_MOUNTED} Memory swappiness discarded."),
    _Limit("reservation", ("memory_reservation",),
           f"Your kernel does not support memory soft limit capabilities {_NOT_MOUNTED} Limitation discarded."),
    _Limit("kernel_memory", ("kernel_memory",),
           f"Your kernel does not support kernel memory limit capabilities {_NOT_MOUNTED} Limitation discarded."),
    _Limit("oom_kill_disable", ("oom_kill_disable",),
           "Your kernel does not support OomKillDisable. OomKillDisable discarded."),
    _Limit("pids", ("pids_limit",),
           f"Your kernel does not support PIDs limit capabilities {_NOT_MOUNTED} PIDs limit discarded."),
    _Limit("cpu_quota", ("nano_cpus",),
           "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
           needed=True),
    _Limit("cpu_shares", ("cpu_shares",),
           f"Your kernel does not support CPU shares {_NOT_MOUNTED} Shares discarded."),
    _Limit("cpu_quota", ("cpu_period", "cpu_quota"),
           "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."),
    _Limit("realtime", ("cpu_realtime_period", "cpu_realtime_runtime"),
           "Your kernel does not support CPU real-time scheduler", needed=True),
    _Limit("cpuset", ("cpuset_cpus", "cpuset_mems"),
           f"Your kernel does not support cpuset {_NOT_MOUNTED} Cpuset discarded."),
    _Limit("io_weight", ("blkio_weight",),
           f"Your kernel does not support Block I/O weight {_NOT_MOUNTED} Weight discarded."),
    _Limit("io", ("blkio_device_read_bps",),
           f"Your kernel does not support BPS Block I/O read limit {_NOT_MOUNTED} Block I/O BPS read limit discarded."),
    _Limit("io", ("blkio_device_write_bps",),
           f"Your kernel does not support BPS Block I/O write limit {_NOT_MOUNTED} "
           "Block I/O BPS write limit discarded."),
    _Limit("io", ("blkio_device_read_iops",),
           f"Your kernel does not support IOPS Block read limit {_NOT_MOUNTED} Block I/O IOPS read limit discarded."),
    _Limit("io", ("blkio_device_write_iops",),
           f"Your kernel does not support IOPS Block write limit {_NOT_MOUNTED} "
           "Block I/O IOPS write limit discarded."),
)  # fmt: skip
_NO_SWAP: Final = f"Your kernel does not support swap limit capabilities {_NOT_MOUNTED} Memory limited without swap."
_NO_DEVICE_WEIGHT: Final = (
    f"Your kernel does not support Block I/O weight_device {_NOT_MOUNTED} Weight-device discarded."
)

_NO_PERCENT: Final = "linux does not support CPU percent. Percent discarded."


def drop(host: HostConfig, look: Callable[[], Features]) -> tuple[HostConfig, list[str]]:
    """A host configuration without what this machine cannot do, and a warning for each limit that was dropped.

    :param look: finds out what the machine can do; asked only if there is a limit.
    :raises InvalidInput: the container would not do what it is for without it.
    """
    if host.memory_swappiness == -1:
        host = replace(host, memory_swappiness=None)  # in the words of Docker's client: whatever the machine's is
    warnings = [_NO_PERCENT] if host.cpu_percent else []
    host = replace(host, cpu_percent=None)
    asked = [limit for limit in _LIMITS if any(_is_asked(host, name) for name in limit.names)]
    if not asked and not host.blkio_weight_device:
        return host, warnings
    features = look()
    missing = [limit for limit in asked if not getattr(features, limit.feature)]
    for limit in missing:
        if limit.needed:
            raise InvalidInput(limit.text)
    warnings += [limit.text for limit in missing]
    host = replace(host, **dict.fromkeys((name for limit in missing for name in limit.names), None))
    if host.memory and host.memory_swap != -1 and not features.swap:
        host = replace(host, memory_swap=-1)
        warnings.append(_NO_SWAP)
    weights = _device_weights(host, features)
    if len(weights) < len(host.blkio_weight_device or []):
        warnings.append(_NO_DEVICE_WEIGHT)
    return replace(host, blkio_weight_device=weights), warnings


def _is_asked(host: HostConfig, name: str) -> bool:
    value = getattr(host, name)
    if isinstance(value, int):
        return value >= (0 if name == "memory_swappiness" else 1)
    return bool(value)


def _device_weights(host: HostConfig, features: Features) -> list[BlkioWeightDevice]:
    """Those that have an effect: BFQ's weights are for disks that BFQ schedules."""
    entries = host.blkio_weight_device or []
    return [entry for entry in entries if features.io_weight and (not features.io_weight_bfq or _by_bfq(entry.path))]


def _by_bfq(path: str) -> bool:
    """Whether BFQ schedules a disk; also when that cannot be seen, as whoever sets the weight has the better error."""
    scheduler = _scheduler(path)
    return scheduler is None or "[bfq]" in scheduler


def _scheduler(path: str) -> str | None:
    """The schedulers that a disk can have, the present one in brackets (Documentation/block/switching-sched.rst)."""
    try:
        status = os.stat(path)
        if not stat.S_ISBLK(status.st_mode):
            return None
        number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        return Path(f"/sys/dev/block/{number}/queue/scheduler").read_text()
    except (OSError, ValueError):  # a null byte
        return None
