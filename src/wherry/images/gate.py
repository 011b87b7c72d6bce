"""Keeps what is being brought in apart from what is being thrown away.

A load first stores blobs and layers, and only then the row that needs them; a sweep in between would take them for
rubbish. So sweeping waits for whoever is bringing something in, without making anybody wait: the last one to leave
sweeps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Gate"]


class Gate:
    """Any number of holders, or one sweep.

    :param sweep: removes what nobody needs.
    """

    def __init__(self, sweep: Callable[[], None]) -> None:
        self._sweep = sweep
        self._lock = threading.RLock()
        self._holders = 0
        self._wanted = False

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While inside, nothing is swept."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._wanted:
                    self.sweep()

    def sweep(self) -> None:
        """Sweep now, or as soon as nobody holds the gate any more."""
        with self._lock:
            self._wanted = self._holders > 0
            if not self._wanted:
                self._sweep()
