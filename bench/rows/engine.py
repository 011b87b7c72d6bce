"""The engine itself, with nothing to do."""

from __future__ import annotations

from bench import machine
from bench.measure import Bench, Row

MEGA = 1_000_000


def measure(bench: Bench) -> list[Row]:
    """How fast it starts and what it keeps in memory; containers are not running when this is taken."""
    memory = bench.once(lambda side: machine.resident(side.engine_processes()) / MEGA)
    start = bench.once(lambda side: side.start_up)
    return [
        Row("the engine, idle: resident memory", "MB", memory, 70),
        Row("daemon start to first answer", "s", start, 0.5),
    ]
