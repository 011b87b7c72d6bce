"""The keeper's event loop: epoll, a few timers, and nothing that can stop it.

Readiness is level-triggered, and a handler does a bounded piece of work per call (one read of at most 256 KiB, one
message): the kernel returns ready descriptors in turn, so a container that floods its output cannot starve another one.
"""

from __future__ import annotations

import heapq
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from wherry import legible

Handler = Callable[[int], None]
Action = Callable[[], None]

PAUSE_AFTER_FAULT: Final = 1.0
"""Seconds for which a descriptor is left alone after its handler failed, so that a fault cannot become a busy loop."""
UNEXPECTED: Final = "unexpected error"
"""How keeper.log begins the report of a fault of the keeper's own; tests look for it."""


class Timer:
    """An action that will happen once, unless it is cancelled."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Action | None) -> None:
        self.at = at
        self.action = action

    def __lt__(self, other: Timer) -> bool:
        return self.at < other.at

    def cancel(self) -> None:
        """Make sure that it does not happen any more."""
        self.action = None


class Loop:
    """Calls handlers when their descriptors are ready.

    :param after_round: called once after all handlers that were ready together; for what is better done once.
    """

    def __init__(self, after_round: Action | None = None) -> None:
        self.after_round = after_round
        self._epoll: Final = select.epoll()
        self._handlers: Final[dict[int, tuple[Handler, int]]] = {}
        self._timers: Final[list[Timer]] = []
        self._running = False

    def watch(self, fd: int, handler: Handler, events: int = select.EPOLLIN) -> None:
        """Call ``handler(events)`` whenever the descriptor is ready; replaces what was said about it before."""
        try:
            (self._epoll.modify if fd in self._handlers else self._epoll.register)(fd, events)
        except FileNotFoundError:  # it was being left alone after a fault
            self._epoll.register(fd, events)
        self._handlers[fd] = (handler, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching; has to be said before the descriptor is closed. Nothing happens if it is not watched."""
        if self._handlers.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except FileNotFoundError:
                return  # it was being left alone after a fault

    def later(self, seconds: float, action: Action) -> Timer:
        """Call ``action()`` once, when so much time has passed."""
        timer = Timer(time.monotonic() + seconds, action)
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """End :meth:`run` after the present round."""
        self._running = False

    def run(self) -> None:
        """Serve until :meth:`stop`."""
        self._running = True
        while self._running:
            self.run_once(self._patience())

    def run_once(self, timeout: float) -> None:
        """Wait once, at most so many seconds (-1: for ever), and serve what is ready."""
        ready = [(fd, events, self._handlers.get(fd)) for fd, events in self._epoll.poll(timeout)]
        for fd, events, entry in ready:
            # A handler before may have closed the descriptor, and opened another one with its number: not that one.
            if entry is None or self._handlers.get(fd) is not entry:
                continue
            if not self._survives(lambda: entry[0](events)):  # noqa: B023 - called at once
                self._leave_alone(fd)
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            action = heapq.heappop(self._timers).action
            if action is not None:
                self._survives(action)
        if self.after_round is not None:
            self._survives(self.after_round)

    def close(self) -> None:
        """Close the epoll descriptor."""
        self._epoll.close()

    def _patience(self) -> float:
        """Seconds until the next timer; without one there is no reason ever to wake up."""
        while self._timers and self._timers[0].action is None:
            heapq.heappop(self._timers)
        return max(self._timers[0].at - time.monotonic(), 0) if self._timers else -1

    def _survives(self, action: Action) -> bool:
        """Do something; a fault in it is written down, and does not end the loop.

        This is the one place where everything is caught, and on purpose: the keeper is the parent of every container. A
        fault while handling one of them must not take the others' parent away.
        """
        try:
            action()
        except Exception:
            report_fault()
            return False
        return True

    def _leave_alone(self, fd: int) -> None:
        entry = self._handlers.get(fd)
        if entry is None:
            return
        try:
            self._epoll.unregister(fd)
        except OSError:
            del self._handlers[fd]  # the handler had closed it before it failed
            return
        self.later(PAUSE_AFTER_FAULT, lambda: self._take_up(fd, entry))

    def _take_up(self, fd: int, entry: tuple[Handler, int]) -> None:
        if self._handlers.get(fd) is entry:
            self._epoll.register(fd, entry[1])


def report_fault() -> None:
    """Write the exception at hand to standard error, which is keeper.log."""
    import traceback  # noqa: PLC0415 - a megabyte that a keeper without faults never needs

    say(f"{UNEXPECTED}\n{traceback.format_exc().rstrip()}")


def say(text: str) -> None:
    """Write a line to standard error, which is keeper.log."""
    with suppress(OSError):  # keeper.log's disk is full, and that is no fault of who is spoken about
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), legible.lines(text), file=sys.stderr, flush=True)
