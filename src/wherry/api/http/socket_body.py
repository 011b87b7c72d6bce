"""Bodies that are read from the socket itself, beside aiohttp.

An archive comes in chunks of 32 KiB from Go's clients. aiohttp's parser takes 30 microseconds for each, on the event
loop: a second for a gigabyte, more than everything else that is done with it. So the bodies of the operations that take
archives stay in the socket: aiohttp is told the head, and later that the body is empty; the thread that unpacks the
archive receives, and takes off the framing (RFC 9112, 7.1).

That needs to be sure where a request begins. A connection is understood as long as all that came on it were whole
requests, one at a time, as clients send them; anything else leaves the connection to aiohttp for good. So does TLS,
whose bytes are not those of the socket.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from wherry.api.http.bodies import BodyReader, ThreadBody, abandoned
from wherry.linux.fd import Fd

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import StreamResponse

    Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]

__all__ = ["ChunkedBody", "HttpConnection", "HttpServer", "body_of"]

_RECEIVE: Final = 1 << 17
_AT_ONCE: Final = 1024  #: lines of framing, 2 ms: the event loop waits for so many, or takes them off itself
_MAX_LINE: Final = 4096  # bytes of a chunk's size with its extensions, or of a trailer
_MAX_TRAILERS: Final = 64
_END: Final = b"0\r\n\r\n"
_HEAD_END: Final = b"\r\n\r\n"

_ARCHIVE: Final = re.compile(
    rb"(?:PUT|POST) (?:/v1\.[0-9]+)?/(?:containers/[^ ?]+/archive|images/load|wherry/volumes/import)"
    rb"(?:\?[^ ]*)? HTTP/1\.1\r\n"
)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_OTHERWISE: Final = re.compile(rb"\r\n(?:content-length|expect|upgrade|trailer)[ \t]*:", re.IGNORECASE)
_FRAMED: Final = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class ChunkedBody:
    """Takes the framing off a body in chunks; extensions and trailers are passed over.

    :ivar ended: its end has come.
    :ivar is_broken: it is no body in chunks, so nobody knows where the next request would begin.
    :ivar at: how far the last buffer was taken.
    :ivar rest: what came behind its end.
    """

    def __init__(self) -> None:
        self.ended = self.is_broken = False
        self.at = 0
        self.rest = b""
        self._left = 0  # bytes of the chunk that are still to come
        self._line = b""  # the beginning of a line whose end has not come
        self._take = self._take_size
        self._trailers = 0

    def feed(self, data: bytes | bytearray, count: int, begin: int = 0) -> list[memoryview]:
        """Take the first bytes of a buffer, but not many lines at once; the content in them, without a copy.

        :param begin: these were taken before.
        :raises ValueError: it is no body in chunks.
        """
        if self.is_broken:
            raise ValueError("what is behind a bad chunk is none")
        self.is_broken = True  # until this has come to its end
        pieces = self._taken(data, count, begin)
        self.is_broken = False
        return pieces

    def _taken(self, data: bytes | bytearray, count: int, begin: int) -> list[memoryview]:
        view, pieces, at, lines = memoryview(data), list[memoryview](), begin, 0
        while at < count and not self.ended and lines < _AT_ONCE:
            if self._left:
                size = min(self._left, count - at)
                pieces.append(view[at : at + size])
                self._left -= size
                at += size
                continue
            lines += 1
            end = data.find(b"\n", at, count) + 1
            self._line += data[at : end or count]
            if len(self._line) > _MAX_LINE:
                raise ValueError("a line of a chunked body is too long")
            at = end or count
            if end:
                line, self._line = bytes(self._line), b""
                self._take(line)
        self.at = at
        if self.ended:
            self.rest = bytes(view[at:count])
        return pieces

    def _take_size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise ValueError(f"bad size of a chunk: {line[:20]!r}")
        self._left = int(found[1], 16)
        self._take = self._take_end if self._left else self._take_trailer

    def _take_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise ValueError("a chunk is longer than its size")
        self._take = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self._trailers += 1
        if self._trailers > _MAX_TRAILERS:
            raise ValueError("too many trailers")
        if not line.endswith(b"\r\n"):  # the end of the trailers for some, and not for others
            raise ValueError(f"bad end of a trailer: {line[-20:]!r}")
        self.ended = line == b"\r\n"


class SocketBody(ThreadBody):
    """A body for another thread, which receives it itself.

    :param source: the connection's socket, which does not block; it belongs to this object.
    :param early: what the event loop has received of the body.
    :param over: called on the event loop when the body's end was received.
    :ivar framing: is the event loop's after :meth:`abandon`.
    """

    def __init__(self, source: socket.socket, early: bytes, over: Callable[[], object]) -> None:
        super().__init__()
        self._source = source
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._wake = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._lock = threading.Lock()
        self._is_waiting = False
        self._is_abandoned = False
        self._buffer = bytearray()
        self._data: bytes | bytearray = early  # what has come, of which the framing is off up to `_at`
        self._at, self._end = 0, len(early)
        self.framing = ChunkedBody()

    def abandon(self) -> None:
        """Let nobody read on: a read that waits for the client ends. From the event loop."""
        was_abandoned, self._is_abandoned = self._is_abandoned, True  # before the lock: a thread would take it again
        with self._lock:
            if self._is_waiting and not was_abandoned:
                os.eventfd_write(self._wake.fileno(), 1)
            self._close_unused()

    def _close_unused(self) -> None:
        """Close the files, unless a thread waits for them: then that does it."""
        if self._is_abandoned and not self._is_waiting:
            self._wake.close()
            self._source.close()

    def take_framed(self) -> bytes:
        """What was received, and nobody has taken the framing off; after :meth:`abandon`."""
        framed, self._at = bytes(self._data[self._at : self._end]), self._end
        return framed

    def _next(self) -> bytes:
        """Receive what there is; none at the body's end."""
        while not self.framing.ended:
            pieces = self._received()
            if pieces is None:
                self._wait()
            elif pieces:
                return pieces
        return b""

    def _received(self) -> bytes | None:
        """What has come; None where nothing has. One at a time: the event loop goes on with what is behind."""
        with self._lock:
            if self._is_abandoned:
                raise abandoned()
            if self._at == self._end and not self._receive():
                self._is_waiting = True
                return None
            return self._content()

    def _receive(self) -> bool:
        if not self._buffer:
            self._buffer = bytearray(_RECEIVE)
        try:
            count = self._source.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if not count:
            raise ConnectionResetError("the client has left")
        self._data, self._at, self._end = self._buffer, 0, count
        return True

    def _content(self) -> bytes:
        try:
            content = b"".join(self.framing.feed(self._data, self._end, self._at))
        except ValueError as error:
            raise OSError(str(error)) from error
        self._at = self.framing.at
        if self.framing.ended:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._over)
        return content

    def _wait(self) -> None:
        try:
            waiting = select.poll()
            waiting.register(self._source.fileno(), select.POLLIN)
            waiting.register(self._wake.fileno(), select.POLLIN)
            waiting.poll()
        finally:
            with self._lock:
                self._is_waiting = False
                self._close_unused()


class HttpConnection(RequestHandler):
    """aiohttp's side of a connection, but for the bodies that are archives."""

    __slots__ = ("_body", "_discards", "_unanswered", "_understood")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._understood = True  # whether what came so far were whole requests
        self._unanswered = 0  # of these
        self._body: SocketBody | None = None
        self._discards = False

    def take_body(self) -> SocketBody | None:
        """The body of the request that is being answered, if it stays in the socket."""
        return None if self._discards else self._body

    def data_received(self, data: bytes) -> None:
        if self._discards:
            self._discard(data)
            return
        # One behind a request that is being answered would be taken for that one's body.
        if self._understood and not self._unanswered and (head := self._head_of_archive(data)):
            self._unanswered += 1
            self._begin(data, head)
            return
        self._understood = self._understood and _is_whole(data)
        self._unanswered += self._understood
        super().data_received(data)

    def connection_lost(self, error: BaseException | None) -> None:
        self._forget()
        super().connection_lost(error)

    def _body_is_over(self) -> None:
        """Read on, while the request is answered: a client that leaves is noticed."""
        if self._body is not None and not self._discards and self._body.framing.ended:
            self._go_on()

    def drain_body(self) -> None:
        """Go on behind a request: what of its body was not read is read and thrown away."""
        self._unanswered -= self._unanswered > 0
        body = self._body
        if body is None or self._discards:
            return
        body.abandon()  # from here on no thread receives
        if body.framing.ended:
            self._go_on()
            return
        self._discards = True
        self._discard(body.take_framed())

    def _head_of_archive(self, data: bytes) -> int:
        """How long the head of a request is whose body stays in the socket; 0: it does not."""
        end = data.find(_HEAD_END) + len(_HEAD_END)
        if end < len(_HEAD_END) or not _ARCHIVE.match(data) or self.transport is None:
            return 0
        plain = self.transport.get_extra_info("sslcontext") is None
        simple = _CHUNKED.search(data, 0, end) is not None and _OTHERWISE.search(data, 0, end) is None
        return end if plain and simple and len(_FRAMED.findall(data, 0, end)) == 1 else 0

    def _begin(self, data: bytes, head: int) -> None:
        transport = self.transport
        assert transport is not None
        own = transport.get_extra_info("socket").fileno()
        transport.pause_reading()
        self._body = SocketBody(socket.socket(fileno=os.dup(own)), data[head:], self._body_is_over)
        super().data_received(data[:head])

    def _discard(self, data: bytes, begin: int = 0) -> None:
        """Look for the end of a body that nobody wants, and let others have their turn meanwhile.

        Where the framing is broken there is none: what comes is dropped, and aiohttp ends the connection soon
        (`lingering_time`), once the client has had time to read the answer.
        """
        if self._body is None or self.transport is None:
            return  # the connection has ended
        framing = self._body.framing
        with suppress(ValueError):
            framing.feed(data, len(data), begin)
        if framing.ended:
            self._go_on()
        elif framing.at < len(data) and not framing.is_broken:
            self.transport.pause_reading()
            self._loop.call_soon(self._discard, data, framing.at)
        else:
            self.transport.resume_reading()

    def _go_on(self) -> None:
        """The body has ended, for aiohttp as well; what came behind it is the next request."""
        assert self._body is not None
        rest = self._body.framing.rest
        self._forget()
        super().data_received(_END)
        if self.transport is not None:
            self.transport.resume_reading()
        if rest:
            self.data_received(rest)

    def _forget(self) -> None:
        body, self._body, self._discards = self._body, None, False
        if body is not None:
            body.abandon()


def _is_whole(data: bytes) -> bool:
    """Whether it is one request from its beginning to its end."""
    end = data.find(_HEAD_END) + len(_HEAD_END)
    if end < len(_HEAD_END) or _FRAMED.search(data, 0, end):
        return False
    found = _LENGTH.findall(data, 0, end)
    return len(found) <= 1 and len(data) == end + sum(map(int, found))


class HttpServer(Server):
    """Makes such connections.

    :param options: aiohttp's, of a connection.
    """

    def __init__(self, handler: Handler, *, handler_cancellation: bool, **options: Any) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation)
        self._options = {**options, "loop": asyncio.get_running_loop()}

    def __call__(self) -> HttpConnection:
        return HttpConnection(self, **self._options)


def body_of(request: BaseRequest) -> ThreadBody:
    """A request's body, for another thread."""
    connection = request.protocol
    body = connection.take_body() if isinstance(connection, HttpConnection) else None
    return BodyReader(request.content) if body is None else body
