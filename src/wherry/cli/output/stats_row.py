"""A sample of a container's resource usage as one row of a table."""

from __future__ import annotations

from wherry.docker.units import bytes_size, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["stats_row"]


def stats_row(ref: str, sample: dict[str, Any], *, short: bool) -> dict[str, Any]:
    """Make a row.

    :param ref: the container's name or ID as given.
    :param sample: the API's statistics.
    :param short: truncate the ID.
    """
    memory = sample.get("memory_stats") or {}
    used, limit = _used_memory(memory), memory.get("limit", 0) or 0
    received, sent = _network(sample)
    read, written = _block(sample)
    identifier = str(sample.get("id") or sample.get("Id") or "")
    return {
        "Container": ref[:12] if short and len(ref) == 64 else ref,
        "ID": identifier[:12] if short else identifier,
        "Name": str(sample.get("name", "")).removeprefix("/") or "--",
        "CPUPerc": f"{_cpu_percent(sample):.2f}%",
        "MemUsage": f"{bytes_size(used)} / {bytes_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "BlockIO": f"{human_size(read)} / {human_size(written)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current", 0) or 0),
    }


def _cpu_percent(sample: dict[str, Any]) -> float:
    """CPU time since the previous sample, in percent of one CPU."""
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    used = _total(now) - _total(before)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    count = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or ())
    return used / passed * count * 100 if used > 0 and passed > 0 else 0.0


def _total(cpu: dict[str, Any]) -> int:
    return int((cpu.get("cpu_usage") or {}).get("total_usage") or 0)


def _used_memory(memory: dict[str, Any]) -> int:
    """Memory usage without the inactive page cache, which the kernel can reclaim at once."""
    usage, stats = int(memory.get("usage") or 0), memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):  # cgroup v1, v2
        if stats.get(name, 0) and stats[name] < usage:
            return usage - int(stats[name])
    return usage


def _network(sample: dict[str, Any]) -> tuple[int, int]:
    networks = (sample.get("networks") or {}).values()
    return sum(one.get("rx_bytes", 0) for one in networks), sum(one.get("tx_bytes", 0) for one in networks)


def _block(sample: dict[str, Any]) -> tuple[int, int]:
    entries = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    sums = {"read": 0, "write": 0}
    for entry in entries:
        if entry["op"].lower() in sums:
            sums[entry["op"].lower()] += entry["value"]
    return sums["read"], sums["write"]
