"""A program in a container that runs already."""

from __future__ import annotations

from bench.image import NAME
from bench.measure import Bench, Row, milliseconds


def measure(bench: Bench) -> list[Row]:
    """``docker exec`` of ``true``."""
    for side in bench.sides:
        side.docker("run", "-d", "--network", "none", "--name", "bench-exec", NAME, "sleep", "100000")
    samples = bench.alternating(lambda side: milliseconds(lambda: side.docker("exec", "bench-exec", "true")), rounds=40)
    for side in bench.sides:
        side.docker("rm", "-f", "bench-exec")
    return [Row("`exec` of `true`, docker CLI", "ms", samples, 35)]
