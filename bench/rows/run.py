"""A container from nothing to its exit, as a person at a terminal sees it."""

from __future__ import annotations

from bench.image import NAME
from bench.measure import Bench, Row, milliseconds
from bench.sides import Side, Wherry

COMMAND = ("run", "--rm", "--network", "none", NAME, "true")
STOCK, OWN = 21, 15


def measure(bench: Bench) -> list[Row]:
    """With Docker's client on both sides, and with wherry's own."""
    stock = bench.alternating(lambda side: milliseconds(lambda: side.docker(*COMMAND)), rounds=40)
    own = bench.alternating(lambda side: own_client(side, *COMMAND), rounds=40)
    return [
        Row("`run --rm --network none busybox true`, docker CLI", "ms", stock, STOCK),
        Row("the same with each engine's own CLI", "ms", own, OWN),
    ]


def own_client(side: Side, *command: str) -> float:
    """A command with wherry's CLI; Docker's own CLI is Docker's."""
    if isinstance(side, Wherry):
        return milliseconds(lambda: side.wherry(*command))
    return milliseconds(lambda: side.docker(*command))
