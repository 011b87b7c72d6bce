"""The engine itself, with nothing to do."""

from __future__ import annotations

from bench import machine
from bench.measure import Bench, Row
from bench.sides import Side

MEGA = 1_000_000


def measure(bench: Bench) -> list[Row]:
    """How fast it starts and what it keeps in memory; containers are not running when this is taken."""
    start = bench.alternating(cold_start, rounds=5, warm_up=1)
    memory = bench.once(lambda side: machine.memory_of(side.engine_processes()) / MEGA)
    return [
        Row("the engine, idle: resident memory", "MB", memory, 50),
        Row("daemon start to first answer", "s", start, 0.2),
    ]


def cold_start(side: Side) -> float:
    """Stop the daemon and all that belongs to it, and start it again; gives the seconds to its first answer."""
    side.stop()
    side.start()
    return side.start_up
