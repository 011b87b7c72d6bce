"""Containers that do nothing: what it takes to start a hundred, to have them, and to be rid of them."""

from __future__ import annotations

import time

from bench import machine
from bench.image import NAME
from bench.measure import Bench, Row, seconds
from bench.sides import Side

CONTAINERS = 100
OBSERVED_SECONDS = 60
MEGA = 1_000_000
KILO = 1_000
Figures = dict[str, float]


def measure(bench: Bench) -> list[Row]:
    """One side after the other, so that neither's containers are in the other's figures."""
    found = {side.name: one_side(bench, side) for side in bench.sides}

    def row(title: str, unit: str, key: str, limit: float) -> Row:
        return Row(title, unit, {side: [figures[key]] for side, figures in found.items()}, limit)

    count = bench.amount(CONTAINERS)
    share = count / CONTAINERS
    return [
        row(f"{count} idle containers, one after the other", "s", "start", 4 * share),
        row("memory per idle container", "MB", "memory", 0.6),
        row("disk per idle container", "KB", "disk", 30),
        row(f"CPU with {count} idle containers, % of one core", "%", "cpu", 0.1),
        row(f"`rm -f` of {count}", "s", "remove", 1.2 * share),
    ]


def one_side(bench: Bench, side: Side) -> Figures:
    """All figures of one side."""
    count = bench.amount(CONTAINERS)
    disk, memory = machine.disk_used(side.data), machine.available_memory()
    start = seconds(lambda: start_all(side, count))
    figures = {
        "start": start,
        "memory": (memory - machine.available_memory()) / count / MEGA,
        "disk": (machine.disk_used(side.data) - disk) / count / KILO,
        "cpu": load(side, bench.amount(OBSERVED_SECONDS)),
    }
    names = [f"bench-idle-{number}" for number in range(count)]
    figures["remove"] = seconds(lambda: side.docker("rm", "-f", *names))
    return figures


def start_all(side: Side, count: int) -> None:
    """Containers that sleep, each started when the one before runs."""
    for number in range(count):
        side.docker("run", "-d", "--network", "none", "--name", f"bench-idle-{number}", NAME, "sleep", "1000000")


def load(side: Side, duration: int) -> float:
    """How much of one core the engine uses while nothing happens, in percent."""
    processes = side.engine_processes()
    before = machine.cpu_seconds(processes)
    time.sleep(duration)  # the measurement is the passing of time
    return (machine.cpu_seconds(processes) - before) / duration * 100
