"""DNS over TCP: messages with their length in front, several at a time if the client likes (RFC 7766)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

__all__ = ["Connection"]

IDLE_SECONDS: Final = 10.0
"""From one whole message to the next. A client that sends byte by byte gets no more time than one that sends
nothing."""
MAX_MESSAGE: Final = 4096
PER_TURN: Final = 16
"""Messages that are looked at before the event loop sees to others."""
PAUSE: Final = 0.001

Handle = Callable[[bytes, Callable[[bytes], None]], None]


class Connection(asyncio.BufferedProtocol):
    """One client's connection; holds no more than a message or two, and reads no further while the client does not.

    :param handle: is given each message, and a function that takes its answer.
    :param gone: called when it is closed.
    """

    def __init__(self, handle: Handle, gone: Callable[[Connection], None]) -> None:
        self._handle = handle
        self._gone = gone
        self._buffer = bytearray(MAX_MESSAGE + 2)
        self._filled = 0
        self._open_questions = 0
        self._writable = True
        self._ended = False
        self._transport: asyncio.Transport | None = None
        self._later: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock."""
        self._transport = cast(asyncio.Transport, transport)
        self._restart_clock()

    def _restart_clock(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.abort)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport writes what arrives; never empty, because a whole message is taken out at once."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the bytes that were received."""
        self._filled += nbytes
        self._work()

    def _work(self) -> None:
        """Look at whole messages: a few now, the rest after the others' turn."""
        self._later = None
        for _ in range(PER_TURN):
            message = self._next_message() if self._writable else None
            if message is None:
                break
            self._restart_clock()
            self._open_questions += 1
            self._handle(message, self._answer)
        self._go_on()

    def _next_message(self) -> bytes | None:
        if self._filled < 2:
            return None
        length = int.from_bytes(self._buffer[:2], "big")
        if length > MAX_MESSAGE:
            self._end()
            return None
        if self._filled < 2 + length:
            return None
        message = bytes(self._buffer[2 : 2 + length])
        self._filled -= 2 + length
        self._buffer[: self._filled] = self._buffer[2 + length : 2 + length + self._filled]
        return message

    def _go_on(self) -> None:
        """Read, wait, or close: what is there to be done now."""
        if self._transport is None or self._transport.is_closing():
            return
        whole = self._filled >= 2 and self._filled >= 2 + int.from_bytes(self._buffer[:2], "big")
        if whole or not self._writable:
            self._transport.pause_reading()
            if self._writable and self._later is None:
                self._later = asyncio.get_running_loop().call_later(PAUSE, self._work)
        elif not self._ended:
            self._transport.resume_reading()
        elif not self._open_questions:
            self._transport.close()

    def _answer(self, data: bytes) -> None:
        self._open_questions -= 1
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(len(data).to_bytes(2, "big") + data)
        if self._ended:
            self._go_on()

    def _end(self) -> None:
        self._filled = 0
        if self._transport is not None:
            self._transport.close()

    def eof_received(self) -> bool:
        """The client sends no more; it still gets its answers."""
        self._ended = True
        self._go_on()
        return True

    def pause_writing(self) -> None:
        """The client does not read: stop reading, too."""
        self._writable = False
        self._go_on()

    def resume_writing(self) -> None:
        """The client reads again: go on."""
        self._writable = True
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the connection was closed."""
        self._transport = None
        for timer in (self._idle, self._later):
            if timer is not None:
                timer.cancel()
        self._gone(self)

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()
