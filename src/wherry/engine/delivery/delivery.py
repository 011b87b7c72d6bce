"""The delivery of one container's log: reads, sends, and goes on from where the receiver has everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from wherry.content.threads import in_thread
from wherry.engine.delivery.place import Place, first_wanted, start_at
from wherry.engine.delivery.reader import PieceReader
from wherry.engine.log_drivers.entries import EntryCutter, Mark
from wherry.errors import WherryError
from wherry.keeper.log_reader import Overtaken

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from wherry.engine.container.log import ContainerLog
    from wherry.engine.log_drivers.contract import Entries, Sender

__all__ = ["Delivery"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)
_AHEAD: Final = 1 << 20  # bytes that are sent before it is known that the receiver has what was sent before
_FIRST_WAIT: Final = 0.1  # seconds until the next try
_LONGEST_WAIT: Final = 10.0
_FIRST_LOOK: Final = 0.02  # seconds until it is looked again whether the receiver has all
_LONGEST_LOOK: Final = 1.0
_PATIENCE: Final = 1.0  # seconds that a piece gets that is under way when everything ends


class _Message(NamedTuple):
    """What was made of a piece of the log."""

    payload: list[bytes]
    mark: Mark
    size: int


class Delivery:
    """Delivers until the container has ended, and the receiver has all that it wrote.

    :param name: of the container, for messages.
    :param holds: whether the container waits, when its log is full, until the receiver has come along.
    :param threads: in which logs are read, and messages made.
    """

    def __init__(
        self, log: ContainerLog, place: Place, sender: Sender, *, name: str, holds: bool, threads: Executor
    ) -> None:
        self._container_log = log
        self._place = place
        self._sender = sender
        self._name = name
        self._threads = threads
        self._mark = place.read()
        self._following: Mark | None = None  # what `_mark` becomes when the receiver has all that was sent
        self._ahead = 0
        self._last_run = log.present_or_next()
        self._failures = self._tries = 0  # since something arrived; since then, or since something was given up
        self._place_failed = False
        self._look = _FIRST_LOOK
        self.is_leaving = False
        """Whether it delivers nothing more, and is about to end."""
        self.progress = 0
        """Grows when something was sent, or arrived."""
        self._reader = PieceReader(log, first_wanted(self._mark).segment, holds=holds, overhead=sender.overhead)
        self.task: Final = asyncio.get_running_loop().create_task(self._deliver())
        """Done when nothing is left to be delivered."""

    @property
    def is_failing(self) -> bool:
        """Whether the receiver does not answer."""
        return self._failures > 0

    def expect_run(self) -> None:
        """The container is about to be started again."""
        self._last_run = self._container_log.present_or_next()

    def expect_no_run(self) -> None:
        """The container does not run, and nobody starts it."""
        self._last_run = 0
        self._container_log.has_grown()

    async def close(self, patience: float = _PATIENCE) -> None:
        """End it; what was not delivered will be by the next one.

        :param patience: seconds that a piece gets that is under way.
        """
        self.is_leaving = True
        self._container_log.has_grown()
        if patience and not self.is_failing:
            await asyncio.wait([self.task], timeout=patience)
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    # --- the task ---------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        try:
            while not self.is_leaving:
                try:
                    await self._send_all()
                except (OSError, WherryError) as error:
                    await self._failed(error)
        finally:
            self._reader.close()
            self._place.close()
            await self._sender.close()

    async def _send_all(self) -> None:
        await self._sender.open()
        cutter = await self._run(self._begin)
        while not self.is_leaving:
            grown, ended = self._container_log.grown, self._has_ended()  # before what is there is read
            message = await self._run(partial(self._next, cutter))
            if message is not None:
                await self._hand_over(message)
            elif self._reader.passes_end():
                await self._hand_over(await self._run(partial(self._message, cutter, list(cutter.flush()), 0)))
            elif ended:
                await self._hand_over(await self._run(partial(self._message, cutter, list(cutter.flush()), 0)))
                await self._drain()
                self.is_leaving |= self._has_ended()  # nobody has started it meanwhile
            else:
                await self._wait(grown)

    def _has_ended(self) -> bool:
        return self._reader.runs >= self._last_run

    async def _hand_over(self, message: _Message) -> None:
        if message.payload:
            await self._sender.send(message.payload)
            self._ahead += message.size
            self.progress += 1
        self._following, self._look = message.mark, _FIRST_LOOK
        if not self._note_drained() and self._ahead > _AHEAD:
            await self._drain()

    async def _drain(self) -> None:
        while not self._note_drained():
            await asyncio.sleep(self._look)
            self._look = min(2 * self._look, _LONGEST_LOOK)

    async def _wait(self, grown: asyncio.Event) -> None:
        """Wait for more; meanwhile the receiver may have got all."""
        while not grown.is_set():
            try:
                async with asyncio.timeout(None if self._note_drained() else self._look):
                    await grown.wait()
            except TimeoutError:
                self._look = min(2 * self._look, _LONGEST_LOOK)

    def _note_drained(self) -> bool:
        if self._following is None:
            return True
        if not self._sender.is_drained():
            return False
        if self._following != self._mark:
            self._put_down(self._following)
        self._mark, self._following, self._ahead = self._following, None, 0
        self.progress += 1
        self._reader.delivered(first_wanted(self._mark))
        if self._failures:
            _log.warning("logs reach their receiver again container=%s", self._name)
        self._failures = self._tries = 0
        return True

    def _put_down(self, mark: Mark) -> None:
        try:
            self._place.write(mark)
        except OSError as error:  # a full disk: what is delivered from now on will be so again by another daemon
            if not self._place_failed:
                _log.warning("cannot write how much of a log is delivered container=%s error=%s", self._name, error)
            self._place_failed = True

    async def _failed(self, error: Exception) -> None:
        if not self._failures:
            _log.warning("logs do not reach their receiver container=%s error=%s", self._name, error)
        await self._sender.close()
        self._failures += 1
        self._tries += 1
        self._following, self._ahead = None, 0
        if self._sender.max_retries is not None and self._tries > self._sender.max_retries:
            await self._run(self._give_up)
            self._tries = 0
        wait = min(_FIRST_WAIT * 2 ** min(self._failures, 10), _LONGEST_WAIT)
        await asyncio.sleep(wait if self._sender.retry_wait is None else max(self._sender.retry_wait, _FIRST_WAIT))

    # --- in a thread ------------------------------------------------------------------------------

    async def _run(self, function: Callable[[], T]) -> T:
        return await in_thread(function, executor=self._threads)

    def _begin(self) -> EntryCutter:
        start, has_lost = start_at(self._container_log.directory, self._mark)
        if has_lost:
            self._lost()
        self._reader.begin(start)
        return EntryCutter(None if has_lost else self._mark)

    def _next(self, cutter: EntryCutter) -> _Message | None:
        """What is to be sent of the next piece; None when there is none for now."""
        try:
            piece = self._reader.read()
        except Overtaken:
            self._lost()
            return self._message(cutter, list(cutter.flush()), 0)
        if not piece:
            return None
        entries = [found for segment, chunk in piece for found in cutter.feed(chunk, segment)]
        return self._message(cutter, entries, sum(len(chunk.data) for _, chunk in piece))

    def _message(self, cutter: EntryCutter, entries: Sequence[Entries], size: int) -> _Message:
        payload = self._sender.encode(entries) if entries else []
        return _Message(payload, cutter.mark(self._reader.position), size)

    def _give_up(self) -> None:
        """Pass over what could not be sent so many times."""
        message = self._next(self._begin())
        if message is not None and message.size:
            _log.warning("a part of a log is not sent any more container=%s bytes=%d", self._name, message.size)
            self._mark = message.mark

    def _lost(self) -> None:
        _log.warning("a part of a log was dropped before it was sent container=%s", self._name)
