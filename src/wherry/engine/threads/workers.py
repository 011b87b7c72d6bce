"""Threads for work that may take long, or for ever; they are used again when it did not.

Starting a thread blocks the event loop until the thread runs: milliseconds on a busy machine. Most of the
work takes less.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Work", "Workers"]

Work = Callable[[], Callable[[], None]]
"""Does something and returns a function that reports the result; neither raises."""

_LINGERING: Final = 10.0  # seconds for which a thread without work waits for some


class Workers:
    """Runs pieces of work side by side, each in a thread of its own.

    The threads are daemon threads: they end with the process.

    :param most: threads at a time; further work waits.
    :param name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most: Final = most
        self._name: Final = name
        self._changed: Final = threading.Condition()
        self._waiting: Final[deque[tuple[Work, bool]]] = deque()
        self._idle = self._running = 0

    def start(self, work: Work, *, leaves_traces: bool = False) -> None:
        """Run something as soon as there is a thread.

        :param leaves_traces: the thread is another one afterwards, in other namespaces for instance: it ends.
        :raises RuntimeError: there is no thread, and none can be begun; nothing will be done.
        """
        wanted = work, leaves_traces
        with self._changed:
            self._waiting.append(wanted)
            self._changed.notify()  # an idle one may be the only one that is not held up
            if self._idle >= len(self._waiting) or self._running == self._most:
                return
            self._running += 1
        try:
            self._begin()
        except RuntimeError:
            with self._changed:
                if self._running or wanted not in self._waiting:
                    return  # another one has taken it, or will
                self._waiting.remove(wanted)
            raise

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        except RuntimeError:  # there are as many as the machine, or a cgroup, allows
            with self._changed:
                self._running -= 1
            raise

    def _serve(self) -> None:
        with self._changed:
            self._idle += 1
        while (following := self._next()) is not None:
            work, leaves_traces = following
            if leaves_traces:
                self._do_last(work)
                return
            report = work()
            with self._changed:
                self._idle += 1  # before the report: its receiver may have more work at once
            report()

    def _do_last(self, work: Work) -> None:
        """Do work that changes this thread, and end; its successor was started before.

        A thread is in the namespaces, and has the root and the working directory, of the one that began it (clone(2)):
        so one that is in a container's must not begin any.
        """
        over = threading.Event()
        try:
            threading.Thread(target=self._succeed, args=(over,), name=self._name, daemon=True).start()
        except RuntimeError:  # what waits is done when there is a thread again
            report = work()
            with self._changed:
                self._running -= 1
        else:
            report = work()
            over.set()
        report()

    def _succeed(self, over: threading.Event) -> None:
        """Take the place of a thread that ends."""
        over.wait()
        self._serve()

    def _next(self) -> tuple[Work, bool] | None:
        """The next piece of work; None when there was none for a while, and the thread is to end."""
        with self._changed:
            while not self._waiting:
                if not self._changed.wait(_LINGERING) and not self._waiting:
                    self._idle -= 1
                    self._running -= 1
                    return None
            self._idle -= 1
            return self._waiting.popleft()
