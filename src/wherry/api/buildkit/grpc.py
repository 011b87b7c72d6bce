"""gRPC over HTTP/2: messages, metadata, status (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md); both sides of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from enum import IntEnum
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import quote, unquote

from google.protobuf.message import DecodeError, Message
from h2.errors import ErrorCodes

from wherry.api.buildkit.http2 import Http2, Stream, StreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from wherry.api.buildkit.http2 import Header

__all__ = [
    "MESSAGE_LIMIT",
    "Call",
    "ClientCall",
    "Code",
    "GrpcError",
    "Messages",
    "Metadata",
    "Method",
    "Server",
    "framed",
]

_log = logging.getLogger(__name__)

MESSAGE_LIMIT: Final = 16 << 20  #: bytes of a message that comes (BuildKit's own limit for what it is sent)

Metadata = dict[str, list[str]]
M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)


class Code(IntEnum):
    """Codes of a status."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class GrpcError(Exception):
    """A call ended with a status that is not OK.

    :param details: a serialised google.rpc.Status; empty: there are none.
    """

    def __init__(self, code: int, message: str = "", details: bytes = b"") -> None:
        super().__init__(message or f"status {code}")
        self.code = code
        self.message = message
        self.details = details


# --- messages -------------------------------------------------------------------------------------


def framed(message: bytes) -> bytes:
    """A message as it goes on the wire."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Messages:
    """Takes a stream of bytes apart into messages.

    :param limit: of one, in bytes.
    """

    def __init__(self, limit: int = MESSAGE_LIMIT) -> None:
        self._limit = limit
        self._partial = b""
        self._chunks: list[bytes] = []  #: the rest of a long message, joined when it is whole
        self._missing = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; the messages that are whole with them.

        :raises GrpcError: one is too long, or compressed.
        """
        if self._missing > len(data):
            self._chunks.append(data)
            self._missing -= len(data)
            return []
        if self._chunks:
            data = b"".join((*self._chunks, data))
            self._chunks.clear()
        elif self._partial:
            data = self._partial + data
        self._missing = 0
        return self._whole(data)

    def _whole(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        position, end = 0, len(data)
        while end - position >= 5:
            length = int.from_bytes(data[position + 1 : position + 5], "big")
            if data[position]:
                raise GrpcError(Code.UNIMPLEMENTED, "grpc: compressed messages are not taken")
            if length > self._limit:
                text = f"grpc: received message larger than max ({length} vs. {self._limit})"
                raise GrpcError(Code.RESOURCE_EXHAUSTED, text)
            stop = position + 5 + length
            if stop > end:
                self._chunks = [data[position:]]
                self._missing = stop - end
                self._partial = b""
                return messages
            messages.append(data[position + 5 : stop])
            position = stop
        self._partial = data[position:]
        return messages

    @property
    def is_between(self) -> bool:
        """Whether no message has begun."""
        return not self._partial and not self._chunks


def parse(kind: type[M], data: bytes) -> M:
    """A message.

    :raises GrpcError: it is none of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise GrpcError(Code.INTERNAL, f"grpc: failed to unmarshal the received message: {error}") from error


# --- metadata and status --------------------------------------------------------------------------


def metadata_of(headers: Iterable[Header]) -> Metadata:
    """Metadata, as text; what is not UTF-8 in it is replaced."""
    found: Metadata = {}
    for name, value in headers:
        if not name.startswith(b":"):
            found.setdefault(name.decode("ascii", "replace"), []).append(value.decode("utf-8", "replace"))
    return found


def _raise_for_status(headers: Sequence[Header]) -> None:
    """Raise what an answer's last headers say.

    :raises GrpcError: the status is not OK, or there is none.
    """
    last = dict(headers)
    status = last.get(b"grpc-status")
    if status == b"0":
        return
    if status is None or not status.isdigit():
        http = last.get(b":status", b"").decode("ascii", "replace")
        raise GrpcError(Code.UNAVAILABLE, f"unexpected HTTP status code received from server: {http or 'none'}")
    message = unquote(last.get(b"grpc-message", b"").decode("ascii", "replace"), errors="replace")
    raise GrpcError(int(status[:4]), message, decode_binary(last.get(b"grpc-status-details-bin", b"")))


def decode_binary(value: bytes) -> bytes:
    """The value of a header whose name ends in ``-bin``; nothing if it is no base64."""
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return b""


# --- a server -------------------------------------------------------------------------------------


class Call(Generic[M, R]):
    """One request of the other side's, and its answer.

    :param metadata: of the request.
    """

    def __init__(self, stream: Stream, metadata: Metadata, request: type[M]) -> None:
        self.metadata = metadata
        self._stream = stream
        self._request = request
        self._messages = Messages()
        self._waiting: list[bytes] = []
        self._has_begun = False

    def first(self, name: str) -> str:
        """The first value of a piece of metadata; empty: there is none."""
        return next(iter(self.metadata.get(name, ())), "")

    async def receive(self) -> M | None:
        """The next message; None at the end."""
        while not self._waiting:
            data = await self._stream.read()
            if not data:
                if not self._messages.is_between:
                    raise GrpcError(Code.INTERNAL, "grpc: a message is cut off")
                return None
            self._waiting = self._messages.feed(data)[::-1]
        return parse(self._request, self._waiting.pop())

    async def send(self, *messages: R) -> None:
        """Send messages."""
        await self.begin()
        await self._stream.write(b"".join([framed(message.SerializeToString()) for message in messages]))

    async def begin(self) -> None:
        """Send the answer's headers, if that was not done yet."""
        if not self._has_begun:
            self._has_begun = True
            await self._stream.write_headers(_ANSWER)

    async def end(self, code: int = Code.OK, message: str = "", details: bytes = b"") -> None:
        """End the answer with a status."""
        headers = [(b"grpc-status", str(int(code)).encode())]
        if message:
            headers.append((b"grpc-message", quote(message, safe=_MESSAGE_SAFE).encode()))
        if details:
            headers.append((b"grpc-status-details-bin", base64.b64encode(details).rstrip(b"=")))
        await self._stream.write_headers(headers if self._has_begun else [*_ANSWER, *headers], end=True)


_ANSWER: Final = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_MESSAGE_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Method(Generic[M, R]):
    """One method of a service.

    :param answer: of one that takes one message and gives one.
    :param stream: of any other one.
    """

    def __init__(
        self,
        request: type[M],
        answer: Callable[[M, Call[M, R]], Awaitable[R]] | None = None,
        stream: Callable[[Call[M, R]], Awaitable[None]] | None = None,
    ) -> None:
        self._request = request
        self._answer = answer
        self._stream = stream

    async def serve(
        self,
        stream: Stream,
        metadata: Metadata,
        translate: Callable[[Exception], GrpcError],
        before: Callable[[], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        call: Call[M, R] = Call(stream, metadata, self._request)
        try:
            await before()
            await self._run(call)
        except asyncio.CancelledError:
            raise
        except StreamFailed:
            return  # whom to tell
        except Exception as error:  # the outermost layer: every error becomes a status here
            reported = error if isinstance(error, GrpcError) else translate(error)
            await call.end(reported.code, reported.message, reported.details)
        else:
            await call.end()

    async def _run(self, call: Call[M, R]) -> None:
        if self._stream is not None:
            await self._stream(call)
            return
        assert self._answer is not None
        message = await call.receive()
        if message is None:
            raise GrpcError(Code.INTERNAL, "grpc: no message was sent")
        await call.send(await self._answer(message, call))


class Server:
    """Answers requests: `accept` is what `Http2` is given.

    :param methods: by path.
    :param translate: makes a status of an error.
    :param before: is waited for before each call.
    """

    def __init__(
        self,
        methods: Mapping[str, Method[Message, Message]],
        translate: Callable[[Exception], GrpcError],
        before: Callable[[], Awaitable[None]],
    ) -> None:
        self._methods = methods
        self._translate = translate
        self._before = before

    async def accept(self, stream: Stream) -> None:
        """Answer one request."""
        headers = dict(stream.headers or ())
        try:
            if headers.get(b":method") != b"POST" or not headers.get(b"content-type", b"").startswith(
                b"application/grpc"
            ):
                await stream.write_headers([(b":status", b"415")], end=True)
                return
            path = headers.get(b":path", b"").decode("ascii", "replace")
            method = self._methods.get(path)
            if method is None:
                call: Call[Message, Message] = Call(stream, {}, Message)
                await call.end(Code.UNIMPLEMENTED, f"unknown method {path.rpartition('/')[2][:200]}")
                return
            await method.serve(stream, metadata_of(stream.headers or ()), self._translate, self._before)
        except StreamFailed:
            pass  # whoever asked has gone


# --- a client -------------------------------------------------------------------------------------


class ClientCall(Generic[R]):
    """A call of a method of the other side's: a context; left early, the call is ended.

    :param answer: the class of what comes back.
    """

    def __init__(self, http: Http2, path: str, answer: type[R], metadata: Iterable[Header] = ()) -> None:
        self._http = http
        self._headers = [*_REQUEST, (b":path", path.encode()), *_GRPC, *metadata]
        self._answer = answer
        self._messages = Messages()
        self._waiting: list[bytes] = []
        self._stream: Stream | None = None

    async def __aenter__(self) -> ClientCall[R]:
        self._stream = await self._http.open(self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.reset(ErrorCodes.CANCEL if error is not None else ErrorCodes.NO_ERROR)

    @property
    def stream(self) -> Stream:
        """What it is carried by."""
        assert self._stream is not None
        return self._stream

    async def send(self, *messages: Message, end: bool = False) -> None:
        """Send messages.

        :param end: these are the last ones.
        :raises GrpcError: the other side has ended the call.
        """
        await self.write(b"".join([framed(message.SerializeToString()) for message in messages]), end=end)

    async def write(self, data: bytes, *, end: bool = False) -> None:
        """Send messages that are framed already."""
        try:
            await self.stream.write(data, end=end)
        except StreamFailed:
            await self._status_or_raise()
            raise

    async def receive(self) -> R | None:
        """The next message; None at the end.

        :raises GrpcError: the call ended with an error.
        """
        while not self._waiting:
            data = await self.read()
            if not data:
                return None
            self._waiting = self._messages.feed(data)[::-1]
        return parse(self._answer, self._waiting.pop())

    async def read(self) -> bytes:
        """What came, in pieces that are not messages; nothing at the end.

        :raises GrpcError: the call ended with an error.
        """
        data = await self.stream.read()
        if not data:
            _raise_for_status(await self.stream.end())
        return data

    async def finish(self) -> None:
        """Wait for the end, throwing away what still comes.

        :raises GrpcError: the call ended with an error.
        """
        _raise_for_status(await self.stream.end())

    async def _status_or_raise(self) -> None:
        """The other side has ended the call while we sent: what it said counts."""
        if self.stream.ended:
            await self.finish()
            raise GrpcError(Code.UNKNOWN, "the other side takes nothing more")


_REQUEST: Final = ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"))
_GRPC: Final = ((b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"user-agent", b"wherry"))


async def unary(http: Http2, path: str, request: Message, answer: type[R], metadata: Iterable[Header] = ()) -> R:
    """Call a method that takes one message and gives one.

    :raises GrpcError: it ended with an error.
    """
    call = ClientCall(http, path, answer, metadata)
    async with call:
        await call.send(request, end=True)
        result = await call.receive()
        if result is None:
            raise GrpcError(Code.INTERNAL, "grpc: no message came")
        await call.finish()
        return result
