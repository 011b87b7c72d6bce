"""The destination of a process's output: its log, or a buffer while the log cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wherry.keeper.log_writer import HELD, NO_SPACE, LogWriter
from wherry.keeper.loop import Loop, Timer, say
from wherry.keeper.records import Position

RETRY_AFTER: Final = 0.2
"""Seconds after which a full disk is tried again."""


class Sink:
    """Takes the output of a process's streams.

    With ``blocking``, what does not fit on the disk stays in the pipe (or, of a terminal, one read of it is kept here)
    and the streams are not read until it fits: the container waits in write(2), and nothing is lost. Without, it is
    dropped and counted, and a note in the log says how much.

    The same happens, whatever ``blocking`` says, when the log is at its bound and a reader who must not miss anything
    is behind (:meth:`hold`).

    A disk that fails in another way than by being full never blocks a container: waiting would not mend it.

    :param grew: called whenever bytes reached the log.
    """

    def __init__(self, writer: LogWriter, loop: Loop, *, blocking: bool, grew: Callable[[], None]) -> None:
        self._writer: Final = writer
        self._loop: Final = loop
        self._blocking: Final = blocking
        self._grew: Final = grew
        self._waiting: list[tuple[int, bytes]] = []
        self._timer: Timer | None = None
        self._grace: Timer | None = None
        self._has_complained = False
        self._last_error: int | None = None
        self._is_paused = False
        self.dropped = 0
        """Bytes that were dropped and for which there is no note yet."""
        self.on_room: list[Callable[[], None]] = []
        """Called once, when there is room again after :attr:`blocked`."""

    @property
    def position(self) -> Position:
        """The end of the log."""
        return self._writer.position

    @property
    def blocked(self) -> bool:
        """Whether nothing may be taken until there is room in the log."""
        return self._is_paused or bool(self._waiting)

    @property
    def waiting(self) -> list[tuple[int, bytes]]:
        """What was taken and could not be written yet."""
        return list(self._waiting)

    def take_from(self, stream: int, pipe: int, count: int) -> int | None:
        """Move output from a pipe to the log; gives how much, or None when it has to be read and given to :meth:`take`.

        :param count: bytes that are in the pipe. While the disk is full they stay there.
        """
        if self.dropped or self._waiting:
            return None
        try:
            moved = self._writer.append_from(stream, pipe, count)
        except OSError as error:
            if error.errno != HELD and not (self._waits and error.errno in NO_SPACE):
                return None
            self._last_error = error.errno
            self._is_paused = True
            self._try_later()
            return 0
        if moved:
            self._has_complained = False
            self._grew()
        return moved

    def room(self) -> int | None:
        """Bytes that may be read and given to :meth:`take` now, because the log takes them for certain; None for any.

        With 0 the log is held, and :attr:`blocked`: what is in a terminal stays there, where no dying keeper loses it.
        """
        try:
            return self._writer.certain_room
        except BlockingIOError:
            self._last_error = HELD
            self._is_paused = True
            return 0

    def take(self, stream: int, data: memoryview) -> None:
        """Write output to the log, keep it, or drop it."""
        rest = data if self._waiting else data[self._store(stream, data) :]
        if not rest:
            return
        if self._waits and not self._has_complained:
            self._waiting.append((stream, bytes(rest)))
            self._try_later()
        else:
            self.dropped += len(rest)

    @property
    def held(self) -> int | None:
        """The segment given to :meth:`hold`."""
        return self._writer.held

    def hold(self, segment: int | None) -> None:
        """Keep the segments after this one until the next call; when the log is full, stop reading. None releases."""
        self._cancel_grace()
        self._writer.held = segment
        if self.blocked:
            self._retry()

    def hold_all(self, seconds: float) -> None:
        """Hold all segments until :meth:`hold` is called, or for this time at most."""
        self.hold(0)
        self._grace = self._loop.later(seconds, lambda: self.hold(None))

    def finish(self) -> None:
        """Write down the rest, for which no reader need be waited any more: it is bounded now."""
        self._writer.may_wait = False
        if self.blocked:
            self._retry()

    def give_up(self) -> None:
        """Stop waiting for room: what waits is lost."""
        self.dropped += sum(len(data) for _, data in self._waiting)
        self._waiting.clear()
        self._is_paused = False
        self.close()

    def close(self) -> None:
        """Close the log."""
        self._cancel_grace()
        if self._timer is not None:
            self._timer.cancel()
        if self.dropped:
            self._store_note()
        self._writer.close()

    @property
    def _waits(self) -> bool:
        return self._blocking or self._writer.held is not None

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _store(self, stream: int, data: memoryview) -> int:
        """How much of it the log took."""
        if self.dropped and not self._store_note():
            return 0
        try:
            stored = self._writer.append(stream, data)
        except OSError as error:
            self._complain(error)
            return 0
        self._has_complained = False
        self._last_error = None
        self._grew()
        return stored

    def _store_note(self) -> bool:
        try:
            self._writer.note_dropped(self.dropped)
        except OSError as error:
            self._complain(error)
            return False
        self.dropped = 0
        return True

    def _complain(self, error: OSError) -> None:
        self._last_error = error.errno
        if error.errno not in NO_SPACE and error.errno != HELD and not self._has_complained:
            self._has_complained = True
            say(f"cannot write a log, its output is dropped: {error}")

    def _try_later(self) -> None:
        """Try again soon when the disk is full. A held log needs no timer: the next ``hold`` continues it."""
        if self._last_error != HELD and (self._timer is None or self._timer.action is None):
            self._timer = self._loop.later(RETRY_AFTER, self._retry)

    def _retry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_paused = False  # the streams will try, and say so if it is still full
        while self._waiting:
            stream, data = self._waiting[0]
            stored = self._store(stream, memoryview(data))
            if stored < len(data) and self._waits and not self._has_complained:
                self._waiting[0] = (stream, data[stored:])
                self._try_later()
                return
            self.dropped += len(data) - stored
            del self._waiting[0]
        waiting, self.on_room = self.on_room, []
        for action in waiting:
            action()
