"""A container's output as its clients see it: read from the log, from where they came in.

The keeper writes a container's output to the log and nowhere else. A `ContainerLog` knows whether the log may still
grow and wakes its followers when it did; a `LogFollower` reads the log file itself, as fast as its own client takes it.
A reader of the log may be overtaken by its rotation, and gets an error (`Overtaken`). An attached client is not: for
the slowest one the log is *held*, so that the container waits when the log is at its bound.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Final, Protocol

from wherry.docker.streams import LogChunk
from wherry.keeper.log_reader import BEGINNING, Chunk, LogReader, Overtaken, Segments, Start, end_position
from wherry.keeper.records import NOTE, Position

__all__ = ["ContainerLog", "Follower", "LogFollower", "merged"]

_BATCH: Final = 256 << 10  # bytes that are put together for one write to a client


class AskKeeper(Protocol):
    """Asks the keeper for something about the process whose log it is; that may come too late, which is no error."""

    def __call__(self, op: str, **fields: int | None) -> Awaitable[None]: ...


class Follower(Protocol):
    """Who reads a log while it grows, as the log knows him."""

    segments: Segments

    @property
    def held(self) -> int:
        """Segments after this one are still to come."""

    def ends_with(self, run: int, end: Position) -> None:
        """The run with this number has written all, up to there."""

    def lost_its_log(self, ended: int) -> None:
        """The log goes that was written up to the end of this run."""


class ContainerLog:
    """Notifies the followers of a log when it has grown and when it is complete.

    :param directory: of the log.
    :param ask: requests of the keeper: ``watch``, ``unwatch``, ``hold``.
    """

    def __init__(self, directory: Path, ask: AskKeeper) -> None:
        self.directory: Final = directory
        self._ask = ask
        self._tasks: Final[set[asyncio.Future[None]]] = set()
        self._segments = Segments(str(directory))
        self._followers: Final[set[Follower]] = set()
        self._holds: Final[Counter[int]] = Counter()  # attached clients by the segment that they have open
        self._held_as_said: int | None = None
        self._grown = asyncio.Event()
        self._starts = 0
        self._ends = 0
        self._is_gone = False

    # --- called by the engine ---------------------------------------------------------------------

    def has_grown(self) -> None:
        """The keeper wrote something, or something else changed that followers look at."""
        self._grown.set()
        self._grown = asyncio.Event()

    def has_started(self) -> None:
        """The container was started, or found running."""
        self._starts += 1
        if self._followers:
            self._hold_again()
            # A short program has ended by when that is answered, and nobody waits for the answer to look at the log.
            self._say("watch").add_done_callback(lambda _: self.has_grown())
        self.has_grown()

    def has_finished(self, end: Position | None = None) -> None:
        """The container exited, and all that it wrote is in the log.

        :param end: of what it wrote; another run may write on in the same log.
        """
        if self._followers:
            end = end or self.end()
            for follower in self._followers:
                follower.ends_with(self._starts, end)
        self._ends = self._starts
        self.has_grown()

    def has_failed_to_start(self) -> None:
        """A start failed: its followers get an end without output."""
        self._starts += 1
        self.has_finished()

    def keep(self) -> None:
        """The log's directory is about to go: what followers have still to read stays, by descriptor."""
        readers = [follower for follower in self._followers if follower.segments is self._segments]
        if readers:
            self._segments.keep(min(follower.held for follower in readers))
            self._segments = Segments(str(self.directory))
            for follower in readers:
                follower.lost_its_log(self._ends)

    def has_gone(self) -> None:
        """The container was removed: nothing will come any more."""
        self._is_gone = True
        self.has_finished()

    def say_held(self) -> int | None:
        """The segment after which all are held, for a request to the keeper that says so along with something else."""
        self._held_as_said = self.held
        return self._held_as_said

    # --- for clients ------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether more output may come without another start."""
        return self._starts > self._ends

    @property
    def held(self) -> int | None:
        """The segment that the slowest attached client has open; None when nobody is attached."""
        return min(self._holds) if self._holds else None

    @property
    def grown(self) -> asyncio.Event:
        """Set when the log has grown or ended since; another one follows it."""
        return self._grown

    @property
    def segments(self) -> Segments:
        """Its segments, for a follower."""
        return self._segments

    def present_or_next(self) -> int:
        """The number of the start that runs now, or of the one to come."""
        return self._starts if self.is_running else self._starts + 1

    def end(self) -> Position:
        """The position after the last byte that is in the log now."""
        return end_position(str(self.directory))

    def attach(self, start: Position, streams: frozenset[int], *, until_end_of: int, holds: bool) -> LogFollower:
        """Follow the log from `start` on, until the output of the start with this number is complete.

        Whatever is dropped from now on is missing, also when it goes before the follower's first look.

        :param holds: whether the log waits for this follower rather than drop what it has not got.
        """
        follower = LogFollower(self, Start(start), streams, until_end_of, holds=holds)
        if not holds:
            follower.begin()
        return follower

    async def follow(self, start: Start, streams: frozenset[int], *, until_end_of: int) -> AsyncGenerator[Chunk, None]:
        """As `attach`, for a reader that the log does not wait for.

        :raises Overtaken: the log was faster.
        """
        follower = LogFollower(self, start, streams, until_end_of, holds=False)
        try:
            async with aclosing(follower.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            follower.close()

    # --- called by followers ----------------------------------------------------------------------

    def enter(self, follower: Follower, *, holds: bool) -> list[asyncio.Future[None]]:
        """Count a follower in; gives what has to be answered before it may begin to read."""
        self._followers.add(follower)
        pending = []
        if len(self._followers) == 1 and self.is_running:
            pending.append(self._say("watch"))
        if holds:
            self._holds[follower.held] += 1
            pending += self._hold_again()
        return pending

    def moved(self, before: int, now: int | None) -> None:
        """A follower for whom the log waits came to another segment, or left."""
        self._holds[before] -= 1
        if not self._holds[before]:
            del self._holds[before]
        if now is not None:
            self._holds[now] += 1
        self._hold_again()

    def leave(self, follower: Follower) -> None:
        """A follower follows no more."""
        self._followers.discard(follower)
        if all(other.segments is not follower.segments for other in self._followers):
            follower.segments.close()
        if not self._followers and self.is_running:
            self._say("unwatch")

    def _hold_again(self) -> list[asyncio.Future[None]]:
        """Say where the slowest attached client is, if that has changed. At the next start it is said with it."""
        if not self.is_running or self.held == self._held_as_said:
            return []
        return [self._say("hold", segment=self.say_held())]

    def _say(self, op: str, **fields: int | None) -> asyncio.Future[None]:
        task = asyncio.ensure_future(self._ask(op, **fields))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class LogFollower:
    """One reader of a log, from when it is made until it is closed."""

    def __init__(
        self, log: ContainerLog, start: Start, streams: frozenset[int], until_end_of: int, *, holds: bool
    ) -> None:
        self._log = log
        self._streams = streams
        self._until = until_end_of
        self._holds = holds
        self._closed = False
        self._not_before = 0
        self._read_from(start)
        if not until_end_of:
            self._reader.end = log.end()
        self._pending = log.enter(self, holds=holds)

    @property
    def held(self) -> int:
        """The segment that it has open: those after it are still to come."""
        return self._held

    def _read_from(self, start: Start) -> None:
        self.segments = self._log.segments
        self._reader = LogReader(self.segments, start, streams=self._streams)
        self._held = self._reader.held

    def begin(self) -> None:
        """See where the log is now: what is dropped from here on is missing, and `chunks` will say so."""
        self._reader.begin()
        self._look_where()

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The log; a chunk of no stream means that there is no more for now.

        :raises Overtaken: what would come next was dropped; only of a log that does not wait.
        """
        log = self._log
        await asyncio.gather(*self._pending)
        while True:
            grown, complete = log._grown, log._is_gone or log._ends >= self._until
            while log._starts >= self._not_before and (chunks := self._reader.step()) is not None:
                self._look_where()
                for chunk in chunks:
                    yield chunk
                if not chunks:
                    await asyncio.sleep(0)
            if complete:
                return
            if not grown.is_set():
                yield _PAUSE
            await grown.wait()

    def ends_with(self, run: int, end: Position) -> None:
        """The run with this number has written all, up to there."""
        if self._until <= run and self._reader.end is None:
            self._reader.end = end

    def lost_its_log(self, ended: int) -> None:
        """The log goes that was written up to the end of this run; who waits for a later one will read another."""
        if self._until <= ended:
            return
        self._not_before = self._until
        self._reader.close()
        before = self._held
        self._read_from(Start(BEGINNING))
        if self._holds:
            self._log.moved(before, self._held)

    def _look_where(self) -> None:
        held = self._reader.held
        if held != self._held:
            before, self._held = self._held, held
            if self._holds:
                self._log.moved(before, held)

    def close(self) -> None:
        """Let go of the log; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        if self._holds:
            self._log.moved(self._held, None)
        self._log.leave(self)


_PAUSE: Final = Chunk(0, 0, memoryview(b""))
"""In `LogFollower.chunks`: nothing more for now; what was collected should go out."""


async def merged(chunks: AsyncIterator[Chunk]) -> AsyncIterator[LogChunk]:
    """Chunks of one stream that stand together, put together: far fewer frames for a process that writes bytewise.

    :raises Overtaken: after what came before it.
    """
    pieces: list[memoryview] = []
    stream, size = 0, 0
    overtaken: Overtaken | None = None
    try:
        async for chunk in chunks:
            if pieces and (chunk.stream != stream or size + len(chunk.data) > _BATCH):
                data = b"".join(pieces)
                pieces, size = [], 0  # before the client is waited for: who never reads shall cost little
                yield LogChunk(stream, data)
            if chunk.data and chunk.stream != NOTE:
                stream = chunk.stream
                pieces.append(chunk.data)
                size += len(chunk.data)
    except Overtaken as error:
        overtaken = error
    if pieces:
        yield LogChunk(stream, b"".join(pieces))
    if overtaken is not None:
        raise overtaken
