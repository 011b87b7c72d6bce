"""Bounds on time hold on a quiet machine only: a test that misses one where others are at work skips itself.

Uses the standard library only, but for skipping: `tests/run.py` looks for these skips, and runs the tests again when it
has the machine to itself.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

NOT_QUIET = "the machine is not quiet"
LEAST_IDLE = 1 / 3
"""The share of the processors' time that nobody else has used; less is not quiet."""


def _ticks() -> tuple[int, int]:
    """Clock ticks of all processors since boot: busy ones, and all; see proc_stat(5)."""
    user, nice, system, idle, iowait, *more = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    busy = user + nice + system + sum(more)
    return busy, busy + idle + iowait


def _own_seconds() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def patience(seconds: float) -> float:
    """How long to wait for what is to come, where that is no bound on time: an emulated processor gets longer."""
    return seconds * 8 if "WHERRY_VM" in os.environ else seconds


class Use:
    """Who uses the processors, from now on."""

    def __init__(self) -> None:
        self._busy, self._all = _ticks()
        self._own = _own_seconds()

    def others(self) -> float:
        """The share of all processors' time that others than this process and its children have used."""
        busy, passed = self._passed()
        own = (_own_seconds() - self._own) * os.sysconf("SC_CLK_TCK")
        return max(0.0, busy - own) / passed

    def idle(self) -> float:
        """The share of all processors' time that nobody has used."""
        busy, passed = self._passed()
        return 1 - busy / passed

    def _passed(self) -> tuple[int, int]:
        """Clock ticks since the beginning: busy ones, and all, of which there is one at least."""
        busy, every = _ticks()
        return busy - self._busy, max(1, every - self._all)


_since = Use()


def begin() -> None:
    """A test begins: what is said of the machine later is about the time from here."""
    global _since  # noqa: PLW0603
    _since = Use()


def in_time(met: bool, message: str) -> None:
    """Say of a test whether it was in time: a miss is a failure on a quiet machine, and skips on one that is in use.

    :param message: what took how long.
    """
    import pytest  # noqa: PLC0415  the runner imports this module before there is one

    if met:
        return
    if "WHERRY_VM" in os.environ:
        pytest.skip(f"the processor is emulated: {message}")
    others = _since.others()
    if others > 1 - LEAST_IDLE:
        pytest.skip(f"{NOT_QUIET}, others use {others:.0%} of it: {message}")
    pytest.fail(f"too late, on a quiet machine (others use {others:.0%} of it): {message}")
