"""``wherry-oci events``: print what a container uses, and when its memory runs out."""

from __future__ import annotations

import json
import select
import time
from typing import Any

from wherry.errors import Conflict, InvalidInput, WherryError
from wherry.linux.process import pidfd_open
from wherry.ociruntime.call import Call, one_argument
from wherry.ociruntime.container import Container, Record
from wherry.ociruntime.flags import parse
from wherry.ociruntime.group import group_of
from wherry.runtime.cgroups.contract import IoCount, Statistics

__all__ = ["ARGUMENTS", "FLAGS", "run", "shown"]

FLAGS = {"interval": True, "stats": False}
ARGUMENTS = "ID"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(call: Call, arguments: list[str]) -> int:
    """Print them, a line of JSON each: once with ``--stats``, otherwise until the container ends."""
    flags, rest = parse(arguments, FLAGS)
    interval = _seconds(flags.text("interval", "5s"))
    with Container.open(call.root, one_argument(rest, "events"), lock=False) as container:
        record = container.read()
    if record.status() == "stopped":
        raise Conflict("container not running")
    if flags.is_on("stats"):
        _print(record, "stats", shown(group_of(record).statistics()))
        return 0
    _follow(record, interval)
    return 0


def _follow(record: Record, interval: float) -> None:
    poll = select.poll()
    group = group_of(record)
    with pidfd_open(record.pid) as pidfd:
        poll.register(pidfd.fileno(), select.POLLIN)
        watch = None
        try:
            watch = group.oom_events()
            poll.register(watch.fd.fileno(), watch.events)
        except WherryError:
            pass  # there is nothing to watch on this machine
        following = time.monotonic() + interval
        while record.status() != "stopped":
            ready = dict(poll.poll(max(0.0, following - time.monotonic()) * 1000))
            if pidfd.fileno() in ready:
                return
            if watch is not None and watch.fd.fileno() in ready:
                watch.acknowledge()
                _print(record, "oom", None)
            if time.monotonic() >= following:
                _print(record, "stats", shown(group.statistics()))
                following = time.monotonic() + interval


def _print(record: Record, kind: str, data: dict[str, Any] | None) -> None:
    event: dict[str, Any] = {"type": kind, "id": record.id}
    print(json.dumps(event if data is None else {**event, "data": data}), flush=True)


def shown(found: Statistics) -> dict[str, Any]:
    """Return statistics in the form that runc prints."""
    cpu, memory = found.cpu, found.memory
    cache = memory.details.get("total_cache", memory.details.get("file", 0))
    kernel = memory.details.get("kernel", 0)
    return {
        "cpu": {
            "usage": {"total": cpu.usage, "percpu": list(cpu.per_cpu), "kernel": cpu.system, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_time,
            },
        },
        "memory": {
            "cache": cache,
            "usage": _entry(memory.usage, memory.limit, memory.maximum, memory.failures),
            "swap": _entry(memory.swap_usage, None, 0, 0),
            "kernel": _entry(kernel, None, 0, 0),
            "raw": dict(memory.details),
        },
        "pids": {"current": found.pids.current} | ({"limit": found.pids.limit} if found.pids.limit else {}),
        "blkio": {
            "ioServiceBytesRecursive": [_count(one) for one in found.io_bytes],
            "ioServicedRecursive": [_count(one) for one in found.io_operations],
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _entry(usage: int, limit: int | None, maximum: int, failures: int) -> dict[str, int]:
    return {"limit": 2**64 - 1 if limit is None else limit, "usage": usage, "max": maximum, "failcnt": failures}


def _count(one: IoCount) -> dict[str, Any]:
    return {"major": one.major, "minor": one.minor, "op": one.operation, "value": one.value}


def _seconds(text: str) -> float:
    """Read a duration of Go's, in one unit."""
    for unit, factor in _UNITS.items():
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit() and float(number) > 0:
            return float(number) * factor
    raise InvalidInput(f"invalid duration {text!r} for flag -interval")
