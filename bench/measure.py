"""What a measurement is, and how one is taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.sides import Side

QUICK_SHARE = 10


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar samples: side's name to what was measured, in ``unit``; a side that was not measured is absent.
    :ivar limit: what wherry has to stay at or below, or None for a line that only informs.
    :ivar at_least: wherry has to stay at or above the limit instead.
    """

    title: str
    unit: str
    samples: dict[str, list[float]]
    limit: float | None = None
    remark: str = ""
    at_least: bool = False

    def value(self, side: str) -> float | None:
        """The median of one side."""
        return statistics.median(self.samples[side]) if self.samples.get(side) else None

    @property
    def met(self) -> bool | None:
        """Whether wherry kept the limit; None when there is nothing to say."""
        value = self.value("wherry")
        if self.limit is None or value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Bench:
    """The sides that run, and how much work to give them."""

    sides: list[Side]
    quick: bool = False
    files: dict[str, str] = field(default_factory=dict)

    def amount(self, full: int) -> int:
        """``full``, or a tenth of it for a quick run; at least one."""
        return max(1, full // QUICK_SHARE) if self.quick else full

    def alternating(self, work: Callable[[Side], float], *, rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
        """Give each side the same work in turn; the first rounds only warm caches up.

        :param work: does it once and gives the figure.
        """
        samples: dict[str, list[float]] = {side.name: [] for side in self.sides}
        for number in range(warm_up + self.amount(rounds)):
            for side in self.sides:
                figure = work(side)
                if number >= warm_up:
                    samples[side.name].append(figure)
        return samples

    def once(self, work: Callable[[Side], float]) -> dict[str, list[float]]:
        """Give each side the same work one time."""
        return {side.name: [work(side)] for side in self.sides}


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def milliseconds(work: Callable[[], object]) -> float:
    """How long something takes, in thousandths."""
    return seconds(work) * 1000
