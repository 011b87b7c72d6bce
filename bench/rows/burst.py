"""Many at once."""

from __future__ import annotations

import subprocess
import time

from bench.image import NAME
from bench.measure import Bench, Row
from bench.sides import Side

CONTAINERS = 50


def measure(bench: Bench) -> list[Row]:
    """50 ``run -d`` at once; the figure is the slowest one's."""
    count = bench.amount(CONTAINERS)
    samples = bench.once(lambda side: slowest(side, count))
    return [Row(f"{count} `run -d` at once, the slowest", "s", samples, 1.0)]


def slowest(side: Side, count: int) -> float:
    """Start them all, wait for all; gives the seconds until the last client ended.

    :raises RuntimeError: when any failed.
    """
    started = time.perf_counter()
    clients = [
        side.docker_process("run", "-d", "--network", "none", NAME, "sleep", "100000", stdout=subprocess.DEVNULL)
        for _ in range(count)
    ]
    statuses = [client.wait() for client in clients]
    took = time.perf_counter() - started
    side.remove_containers()
    if any(statuses):
        raise RuntimeError(f"{side.name}: {sum(map(bool, statuses))} of {count} failed")
    return took
