"""HTTP/2 connections, either side of them, over h2: streams of bytes with headers and trailers.

h2 is the protocol; what is added is what it leaves to its users, asyncio and the windows, and speed: DATA frames, which
are nearly all that comes, never pass through h2, as it takes 30 us for each, and a context of 10,000 files comes in as
many frames. What h2 does for them is done here: it keeps no windows for data that comes in, and learns of a stream's
end by an empty frame.

Windows: a stream's is `STREAM_WINDOW`. Of a client's streams, which we open ourselves and read, the connection's window
is opened again as soon as data is there, so that none waits for another; of those that others open, when it was read,
or dropped with its stream.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import TYPE_CHECKING, Final

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder

from wherry.api.buildkit.streams import STREAM_WINDOW, Header, Stream, StreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Any

__all__ = ["STREAM_WINDOW", "Header", "Http2", "Stream", "StreamFailed"]

_log = logging.getLogger(__name__)

CONNECTION_WINDOW: Final = 64 << 20
HEADER_LIMIT: Final = 256 << 10  #: bytes of a list of headers, in HPACK's way of counting
MOST_STREAMS: Final = 100  #: that the other side may have open
MOST_TASKS: Final = 400  #: answers under way, those of cancelled streams included; beyond it the connection is ended
WRITE_LIMIT: Final = 1 << 20  #: bytes that may wait for the other side
HARD_WRITE_LIMIT: Final = 8 << 20  #: with so many nothing more is read: answers to pings add to them
BATCH: Final = 256 << 10  #: bytes of a stream that are sent at once
CLOSING: Final = 5.0  #: seconds in which the other side may take what is still to be sent, when a connection is closed

_PREFACE: Final = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD: Final = struct.Struct(">IBI")  #: length (3 bytes) and kind, flags, stream
_WINDOW_UPDATE: Final = struct.Struct(">IBII")
_HEAD_SIZE: Final = _HEAD.size
_LONGEST_FRAME: Final = 16384  #: what we announce, which is the least there is
_DATA: Final = 0
_END_STREAM: Final = 1
_PADDED: Final = 8
_NUMBER: Final = 0x7FFFFFFF  #: the bit before a stream's number means nothing


class _PlainEncoder(Encoder):
    """Headers as they are: hpack's Huffman code takes the square of a value's length, and an error has a Dockerfile.

    Whoever reads them takes either (RFC 7541, section 5.2).
    """

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        """Encode without Huffman's code, whatever is asked for."""
        return super().encode(headers, huffman=False)


class Http2(asyncio.Protocol):
    """One connection. It begins with `begin`.

    :param accept: answers a request of the other side's, which is the client then; None: we are the client.
    :param lost: called when the connection has ended, with the reason if there is one.
    """

    def __init__(
        self,
        accept: Callable[[Stream], Coroutine[Any, Any, None]] | None,
        lost: Callable[[Exception | None], None] = lambda _: None,
    ) -> None:
        self._accept = accept
        self._lost = lost
        self._client = accept is None
        self._h2 = H2Connection(H2Configuration(client_side=self._client, header_encoding=None))
        self._h2.encoder = _PlainEncoder()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._highest = 0
        self._partial = b""
        self._preface = 0 if self._client else _PREFACE
        self._held = 0
        self._unsaid = 0
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._tasks: dict[asyncio.Task[None], Stream] = {}
        self._deadline: asyncio.TimerHandle | None = None  #: of closing
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, transport: asyncio.Transport, early: bytes = b"") -> None:
        """Speak over a connection.

        :param early: what came already.
        """
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_LIMIT)
        transport.set_protocol(self)
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIMIT,
            **({SettingCodes.ENABLE_PUSH: 0} if self._client else {SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS}),
        }
        self._h2.local_settings = Settings(client=self._client, initial_values=values)
        self._h2.decoder.max_header_list_size = HEADER_LIMIT
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        self._flush()
        transport.resume_reading()
        if early:
            self.data_received(early)

    def close(self) -> None:
        """End it, telling the other side, which has `CLOSING` seconds to take what was said before."""
        if self._transport is not None and not self._transport.is_closing() and not self.closed.done():
            self._goodbye(ErrorCodes.NO_ERROR)
        self._close()

    def _close(self) -> None:
        """Close the transport: it sends what it holds first, which some never take."""
        if self._transport is None:
            return
        self._transport.close()
        if self._deadline is None and not self.closed.done():
            self._deadline = asyncio.get_running_loop().call_later(CLOSING, self._transport.abort)

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when it has ended, and so has everything that answered a request."""
        await asyncio.shield(self.closed)
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- for a client

    async def open(self, headers: Iterable[Header], *, end: bool = False) -> Stream:
        """Begin a request.

        :raises StreamFailed: the connection has ended.
        """
        await self._may_write.wait()
        while True:
            self._check()
            if self._h2.open_outbound_streams < self._h2.remote_settings.max_concurrent_streams:
                break
            await asyncio.wait([self.closed], timeout=0.05)  # a peer that allows fewer than it makes us open: rare
        stream = Stream(self, self._h2.get_next_available_stream_id())
        self._streams[stream.number] = stream
        self._highest = stream.number
        self.send_headers(stream, headers, end=end)
        return stream

    # --- for streams

    async def writable(self, stream: Stream) -> None:
        """Wait while too much waits for the other side."""
        await self._may_write.wait()
        if stream.error is not None:
            raise stream.error
        self._check()

    def send_headers(self, stream: Stream, headers: Iterable[Header], *, end: bool) -> None:
        """Send headers, or trailers."""
        try:
            self._h2.send_headers(stream.number, headers, end_stream=end)
        except ProtocolError as error:
            raise StreamFailed(str(error)) from error
        self._flush()
        self._forget_if_over(stream)

    async def send(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """Send data, as the windows of the other side allow."""
        rest = memoryview(data)
        while True:
            await self.writable(stream)
            rest = self._send_some(stream, rest, end=end)
            if not rest:
                return
            if self._window(stream) <= 0:
                await stream.sendable()

    def _window(self, stream: Stream) -> int:
        try:
            return self._h2.local_flow_control_window(stream.number)
        except ProtocolError as error:
            raise StreamFailed(str(error)) from error

    def _send_some(self, stream: Stream, rest: memoryview, *, end: bool) -> memoryview:
        room = min(self._window(stream), BATCH)
        try:
            while rest and room > 0:
                piece = rest[: min(room, self._h2.max_outbound_frame_size)]
                rest = rest[len(piece) :]
                room -= len(piece)
                self._h2.send_data(stream.number, bytes(piece), end_stream=end and not rest)
                end = end and bool(rest)
            if end and not rest:
                self._h2.end_stream(stream.number)
        except ProtocolError as error:
            raise StreamFailed(str(error)) from error
        self._flush()
        self._forget_if_over(stream)
        return rest

    def was_read(self, stream: Stream, size: int) -> None:
        """Data was read: open the windows again, a quarter at a time."""
        self._release(size)
        self._credit_stream(stream, size)

    def _release(self, size: int) -> None:
        """Data is held no more."""
        self._held -= size
        if not self._client:
            self._credit_connection(size)

    def _credit_stream(self, stream: Stream, size: int) -> None:
        stream.unsaid += size
        if stream.unsaid >= STREAM_WINDOW // 4 and not stream.ended and stream.number in self._streams:
            self._write(_WINDOW_UPDATE.pack(4 << 8 | 8, 0, stream.number, stream.unsaid))
            stream.unsaid = 0

    def _credit_connection(self, size: int) -> None:
        self._unsaid += size
        if self._unsaid >= CONNECTION_WINDOW // 4:
            self._write(_WINDOW_UPDATE.pack(4 << 8 | 8, 0, 0, self._unsaid))
            self._unsaid = 0

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """End a stream before its time."""
        if self._streams.pop(stream.number, None) is not None:
            try:
                self._h2.reset_stream(stream.number, code)
            except ProtocolError:
                pass  # it has ended already
            else:
                self._flush()
        stream.fail("the stream was reset")
        self._release(stream.drop())

    # --- from the transport

    def data_received(self, data: bytes) -> None:
        """Take what came apart into frames."""
        try:
            self._partial = self._frames(self._partial + data if self._partial else data)
        except (ProtocolError, ValueError, IndexError, UnicodeError) as error:
            # h2 and hpack raise these over what is no HTTP/2; it is the other side's mistake
            _log.debug("HTTP/2 connection ended: %s", error)
            self._partial = b""
            self._flush()
            self._close()
            return
        self._bound_output()

    def _frames(self, data: bytes) -> bytes:
        """Take whole frames; returns what is left."""
        end = len(data)
        if self._preface:
            if end < self._preface:
                return data
            self._to_h2(data[: self._preface])
            position = start = self._preface
            self._preface = 0
        else:
            position = start = 0
        while end - position >= _HEAD_SIZE:
            word, flags, number = _HEAD.unpack_from(data, position)
            if word >> 8 > _LONGEST_FRAME:
                self._to_h2(data[start : position + _HEAD_SIZE])
                raise ProtocolError("a frame is too long")
            stop = position + _HEAD_SIZE + (word >> 8)
            if stop > end:
                break
            number &= _NUMBER
            if word & 0xFF == _DATA and 0 < number <= self._highest:
                if start < position:
                    self._to_h2(data[start:position])
                self._data(number, data[position + _HEAD_SIZE : stop], flags)
                start = stop
            elif number > self._highest:  # opened by what h2 is told now; its data may follow
                self._to_h2(data[start:stop])
                start = stop
            position = stop
        if start < position:
            self._to_h2(data[start:position])
        return data[position:]

    def _data(self, number: int, data: bytes, flags: int) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.ended:  # one that was reset, or that is over
            self._credit_connection(len(data))
            return
        if flags & _PADDED:  # padding counts for the windows (RFC 9113, 6.1), and is taken at once
            size = len(data)
            data = _unpadded(data)
            self._credit_connection(size - len(data))
            self._credit_stream(stream, size - len(data))
        if data:
            stream.take(data)
            self._held += len(data)
            if stream.held > 2 * STREAM_WINDOW or self._held > 2 * CONNECTION_WINDOW:
                raise ProtocolError("the other side takes no notice of windows")
            if self._client:
                self._credit_connection(len(data))
        if flags & _END_STREAM:
            self._to_h2(_HEAD.pack(_DATA, _END_STREAM, number))

    def _to_h2(self, data: bytes) -> None:
        happened = self._h2.receive_data(data)
        for event in happened:
            self._happened(event)
        self._flush()

    def _happened(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            self._request(event)
        elif isinstance(event, events.ConnectionTerminated):
            self._close()
        elif isinstance(event, (events.RemoteSettingsChanged, events.WindowUpdated)):
            self._windows_changed(event)
        elif (stream := self._streams.get(getattr(event, "stream_id", None) or 0)) is not None:
            self._of_stream(stream, event)

    def _windows_changed(self, event: events.RemoteSettingsChanged | events.WindowUpdated) -> None:
        number = event.stream_id if isinstance(event, events.WindowUpdated) else 0
        for stream in self._streams.values() if not number else filter(None, [self._streams.get(number)]):
            stream.notify()

    def _of_stream(self, stream: Stream, event: events.Event) -> None:
        if isinstance(event, events.ResponseReceived):
            stream.headers = event.headers
            self._unmeasured(stream)
        elif isinstance(event, events.TrailersReceived):
            stream.trailers = event.headers
        elif isinstance(event, events.StreamEnded):
            stream.ended = True
            self._forget_if_over(stream)
        elif isinstance(event, events.StreamReset):
            self._was_reset(stream, event)
        stream.notify()

    def _was_reset(self, stream: Stream, event: events.StreamReset) -> None:
        """A reset without an error behind an answer's end means "spare me the rest", as Go's server does it."""
        del self._streams[stream.number]
        if not (self._client and stream.ended and event.error_code == ErrorCodes.NO_ERROR):
            stream.fail(f"the stream was reset by the other side (error {int(event.error_code)})")
            for task, of in self._tasks.items():
                if of is stream:
                    self._release(stream.drop())
                    task.cancel()

    def _request(self, event: events.RequestReceived) -> None:
        assert self._accept is not None
        if len(self._tasks) >= MOST_TASKS:
            raise ProtocolError("too many requests at once")
        stream = Stream(self, event.stream_id, event.headers)
        self._streams[stream.number] = stream
        self._highest = max(self._highest, stream.number)
        self._unmeasured(stream)
        task = asyncio.get_running_loop().create_task(self._accept(stream))
        self._tasks[task] = stream
        task.add_done_callback(self._answered)

    def _unmeasured(self, stream: Stream) -> None:
        """Headers may have told a length: h2 would compare it with data that it never sees, and end the connection."""
        if (known := self._h2.streams.get(stream.number)) is not None:
            known._expected_content_length = None

    def _answered(self, task: asyncio.Task[None]) -> None:
        stream = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("unexpected error in a request", exc_info=error, extra={"request": "HTTP/2"})
        self.reset(stream, ErrorCodes.NO_ERROR)

    def _forget_if_over(self, stream: Stream) -> None:
        """A stream that has ended on both sides is none any more."""
        known = self._h2.streams.get(stream.number)
        if stream.ended and (known is None or known.closed):
            self._streams.pop(stream.number, None)

    def eof_received(self) -> bool:
        """Nothing comes any more: what is under way cannot go on."""
        self._close()
        return False

    def pause_writing(self) -> None:
        """Too much waits for the other side."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """The other side takes again."""
        self._may_write.set()
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing of it goes on."""
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
        self._may_write.set()
        for stream in self._streams.values():
            stream.fail("the connection was lost")
        self._streams.clear()
        for task in self._tasks:
            task.cancel()
        self._lost(error)

    def _check(self) -> None:
        if self._transport is None or self._transport.is_closing() or self.closed.done():
            raise StreamFailed("the connection was lost")

    def _goodbye(self, code: ErrorCodes) -> None:
        try:
            self._h2.close_connection(code)
        except ProtocolError:
            return
        self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _bound_output(self) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() > HARD_WRITE_LIMIT:
            self._transport.pause_reading()


def _unpadded(data: bytes) -> bytes:
    """A padded frame's data: how much padding there is comes first.

    :raises ProtocolError: it is longer than the frame.
    """
    if not data or data[0] >= len(data):
        raise ProtocolError("a frame has more padding than it is long")
    return data[1 : len(data) - data[0]]
