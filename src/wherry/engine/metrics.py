"""What a container uses: the Engine API's ContainerStats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from wherry.engine import clock
from wherry.engine.container import Container
from wherry.engine.launcher import Launcher
from wherry.engine.network_modes import HOST, joined_container
from wherry.runtime import cgroups
from wherry.runtime.cgroups.contract import IoCount, Statistics

__all__ = ["Metrics"]

Json = dict[str, Any]

_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Metrics:
    """Takes samples."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def sample(self, container: Container) -> Json:
        """One sample; all zeros for a container that does not run, as in Docker."""
        body: Json = {
            "id": container.id,
            "name": f"/{container.name}",
            "read": clock.now(),
            "preread": clock.ZERO_TIME,
            "num_procs": 0,
            "storage_stats": {},
            "precpu_stats": _cpu(Statistics(), system=False),
        }
        if not container.state.is_alive:
            nothing = {"pids_stats": {}, "memory_stats": {}, "cpu_stats": _cpu(Statistics(), system=False)}
            return {**body, **nothing, "read": clock.ZERO_TIME, "blkio_stats": _block_io((), ())}
        found = cgroups.open(self._launcher.cgroup_path(container)).statistics()
        return {
            **body,
            "pids_stats": {"current": found.pids.current, **({"limit": found.pids.limit} if found.pids.limit else {})},
            "cpu_stats": _cpu(found, system=True),
            "memory_stats": _memory(found),
            "blkio_stats": _block_io(found.io_bytes, found.io_operations),
            **_networks(container),
        }


def _cpu(found: Statistics, *, system: bool) -> Json:
    cpu = found.cpu
    body: Json = {
        "cpu_usage": {
            "total_usage": cpu.usage,
            "usage_in_kernelmode": cpu.system,
            "usage_in_usermode": cpu.user,
            **({"percpu_usage": list(cpu.per_cpu)} if cpu.per_cpu else {}),
        },
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled_time,
        },
    }
    if system:
        body |= {"system_cpu_usage": _system_time(), "online_cpus": os.cpu_count() or 1}
    return body


def _system_time() -> int:
    """The time that all processors have spent, in nanoseconds; proc(5), /proc/stat."""
    with open("/proc/stat") as file:
        ticks = file.readline().split()[1:9]
    return sum(map(int, ticks)) * _TICK


def _memory(found: Statistics) -> Json:
    memory = found.memory
    limit = memory.limit if memory.limit is not None else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    body: Json = {"usage": memory.usage, "limit": limit, "stats": dict(memory.details)}
    if memory.maximum:
        body |= {"max_usage": memory.maximum, "failcnt": memory.failures}
    return body


def _block_io(transferred: tuple[IoCount, ...], operations: tuple[IoCount, ...]) -> Json:
    names = ("io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
             "io_time_recursive", "sectors_recursive")  # fmt: skip
    return {
        "io_service_bytes_recursive": [_entry(count) for count in transferred] or None,
        "io_serviced_recursive": [_entry(count) for count in operations] or None,
        **dict.fromkeys(names),
    }


def _entry(count: IoCount) -> Json:
    return {"major": count.major, "minor": count.minor, "op": count.operation, "value": count.value}


def _networks(container: Container) -> Json:
    """The counters of a container's own interfaces; of one that has none of its own there are none, as in Docker."""
    mode = container.host.network_mode
    return {} if mode == HOST or joined_container(mode) else {"networks": _interfaces(container.state.pid)}


def _interfaces(pid: int) -> Json:
    """The counters of the interfaces in a process's network namespace, without loopback; proc(5), /proc/net/dev."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}  # it has just exited
    found = {}
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() != "lo":
            found[name.strip()] = _interface([int(word) for word in counters.split()])
    return found


def _interface(counters: list[int]) -> Json:
    received, sent = counters[0:4], counters[8:12]
    names = ("bytes", "packets", "errors", "dropped")
    return {
        **{f"rx_{name}": value for name, value in zip(names, received, strict=True)},
        **{f"tx_{name}": value for name, value in zip(names, sent, strict=True)},
    }
