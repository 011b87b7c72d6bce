"""Many at once."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator

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
    """Start them all, wait for all; gives the seconds that the slowest client took, from its own start to its end.

    :raises RuntimeError: when any failed.
    """
    clients = []
    ends = select.poll()
    started: dict[int, float] = {}
    for _ in range(count):
        now = time.perf_counter()
        client = side.docker_process(
            "run", "-d", "--network", "none", NAME, "sleep", "100000", stdout=subprocess.DEVNULL
        )
        descriptor = os.pidfd_open(client.pid)
        started[descriptor] = now
        ends.register(descriptor, select.POLLIN)
        clients.append(client)
    took = max(_durations(ends, started))
    statuses = [client.wait() for client in clients]
    side.remove_containers()
    if any(statuses):
        raise RuntimeError(f"{side.name}: {sum(map(bool, statuses))} of {count} failed")
    return took


def _durations(ends: select.poll, started: dict[int, float]) -> Iterator[float]:
    """Give the seconds from each process's start to its end, as they end."""
    while started:
        for descriptor, _ in ends.poll():
            yield time.perf_counter() - started.pop(descriptor)
            ends.unregister(descriptor)
            os.close(descriptor)
