"""HTTP/2 connections of ours, and the h2 library on the other side of a pair of sockets."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from support.grpc_peers import transport_of, until
from wherry.api.buildkit import http2
from wherry.api.buildkit.grpc import ClientCall, GrpcError
from wherry.api.buildkit.http2 import Http2, Stream, StreamFailed
from wherry.api.buildkit.proto.common_pb2 import BytesMessage

PATIENCE = 60  #: seconds that an end may take on a machine that is busy
WINDOW = 1 << 17
REQUEST = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/x")]
END_STREAM, PADDED = 1, 8


class Peer:
    """The other side.

    :ivar http: its protocol.
    """

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        self.http = H2Connection(H2Configuration(client_side=client))
        self.http.initiate_connection()
        self._connection = connection

    async def flush(self, more: bytes = b"") -> None:
        """Send what the protocol has to say, and bytes of one's own."""
        await asyncio.get_running_loop().sock_sendall(self._connection, self.http.data_to_send() + more)

    async def hear(self) -> list[events.Event]:
        """What comes next; nothing at the end."""
        async with asyncio.timeout(PATIENCE):
            data = await asyncio.get_running_loop().sock_recv(self._connection, 1 << 16)
        happened = self.http.receive_data(data) if data else []
        with suppress(BrokenPipeError):  # it may be the last that came
            await self.flush()
        return happened

    async def request(self) -> int:
        """Begin a request; the stream's number."""
        number = self.http.get_next_available_stream_id()
        self.http.send_headers(number, REQUEST)
        await self.flush()
        return number

    async def send(self, number: int, size: int) -> None:
        """Send data, waiting for the windows as long as it takes."""
        while size:
            room = min(size, self.http.local_flow_control_window(number), self.http.max_outbound_frame_size)
            if room:
                self.http.send_data(number, bytes(room))
                await self.flush()
                size -= room
            elif not await self.hear():
                raise AssertionError("the connection has ended")


@asynccontextmanager
async def connected(accept: Callable[[Stream], Awaitable[None]] | None) -> AsyncIterator[tuple[Http2, Peer]]:
    """Our side, and the other one."""
    ours, theirs = socket.socketpair()
    http = Http2(accept)  # type: ignore[arg-type]
    http.begin(await transport_of(ours))
    theirs.setblocking(False)
    try:
        yield http, Peer(theirs, client=accept is not None)
    finally:
        http.abort()
        async with asyncio.timeout(PATIENCE):
            await http.wait_closed()
        theirs.close()


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that are soon full."""
    monkeypatch.setattr(http2, "CONNECTION_WINDOW", WINDOW)
    monkeypatch.setattr(http2, "STREAM_WINDOW", WINDOW)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_windows")
async def test_what_a_request_sends_and_nobody_reads_keeps_no_later_one_waiting() -> None:
    async def refuse(stream: Stream) -> None:
        await until(lambda: stream.held >= WINDOW // 4)
        await stream.write_headers([(b":status", b"415")], end=True)

    async with connected(refuse) as (http, peer):
        for _ in range(16):
            number = await peer.request()
            async with asyncio.timeout(PATIENCE):
                await peer.send(number, WINDOW // 4)
                while not any(isinstance(event, events.StreamReset) for event in await peer.hear()):
                    pass
        assert http._held == 0


@pytest.mark.usefixtures("small_windows")
async def test_what_a_request_sent_before_it_was_reset_keeps_no_later_one_waiting() -> None:
    answering: list[Stream] = []

    async def wait(stream: Stream) -> None:
        answering.append(stream)
        await asyncio.get_running_loop().create_future()

    async with connected(wait) as (http, peer):
        for _ in range(16):
            number = await peer.request()
            async with asyncio.timeout(PATIENCE):
                await peer.send(number, WINDOW // 4)
            await until(lambda number=number: len(answering) == number // 2 + 1 and answering[-1].held >= WINDOW // 4)
            peer.http.reset_stream(number)
            await peer.flush()
            await until(lambda: answering[-1].error is not None)
        assert http._held == 0


async def test_answers_that_are_left_unread_are_not_held() -> None:
    async with connected(None) as (http, peer):
        await peer.flush()
        for _ in range(3):
            stream = await http.open([(name.encode(), value.encode()) for name, value in REQUEST])
            while not any(isinstance(event, events.RequestReceived) for event in await peer.hear()):
                pass
            peer.http.send_headers(stream.number, [(":status", "200")])
            await peer.send(stream.number, 10_000)
            await until(lambda stream=stream: stream.held == 10_000)
            stream.reset()
            assert (http._held, stream.held) == (0, 0)


def data_frame(number: int, data: bytes, padding: int, flags: int = 0) -> bytes:
    """A frame of data with padding behind it."""
    body = bytes((padding,)) + data + bytes(padding)
    return struct.pack(">IBI", len(body) << 8, flags | PADDED, number) + body


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("bit", [0, 1 << 31], ids=["plain", "reserved bit"])
async def test_padded_data_opens_the_windows_by_just_what_it_took(bit: int) -> None:
    read: asyncio.Queue[int] = asyncio.Queue()

    async def swallow(stream: Stream) -> None:
        while data := await stream.read():
            read.put_nowait(len(data))
        await stream.write_headers([(b":status", b"200")], end=True)

    async with connected(swallow) as (_, peer):
        number = await peer.request()
        taken = 0
        for count in range(100):  # nearly ten times the window
            end = END_STREAM if count == 99 else 0
            await peer.flush(data_frame(number | bit, bytes(10_000), 255, end))
            async with asyncio.timeout(PATIENCE):
                taken += await read.get()
        opened = await windows_until_the_end(peer)
    sent = 100 * 10_256
    assert taken == 1_000_000
    first = WINDOW - 65_535  # the connection's window is larger than HTTP/2 has it from the start
    assert first + sent - WINDOW // 4 - 10_256 <= opened[0] <= first + sent
    assert sent - WINDOW // 4 - 10_256 <= opened[1] <= sent


@pytest.mark.usefixtures("small_windows")
async def test_frames_of_nothing_but_padding_do_not_close_the_windows() -> None:
    async def swallow(stream: Stream) -> None:
        assert await stream.read() == b"data"
        await stream.write_headers([(b":status", b"200")], end=True)

    count = 4 * WINDOW // 256
    async with connected(swallow) as (_, peer):
        number = await peer.request()
        for _ in range(count):
            await peer.flush(data_frame(number, b"", 255))
        await peer.flush(data_frame(number, b"data", 0, END_STREAM))
        opened = await windows_until_the_end(peer)
    assert opened[0] >= WINDOW - 65_535 + count * 256 - WINDOW // 4
    assert opened[1] >= count * 256 - WINDOW // 4


async def windows_until_the_end(peer: Peer) -> dict[int, int]:
    """By how much the windows are opened, of the connection and of its first stream, until that ends."""
    opened = {0: 0, 1: 0}
    ended = False
    while not ended:
        for event in await peer.hear():
            if isinstance(event, events.WindowUpdated):
                opened[event.stream_id or 0] += event.delta
            ended = ended or isinstance(event, events.StreamEnded)
    return opened


@pytest.mark.parametrize("padding", [1, 255])
async def test_more_padding_than_there_is_frame_ends_the_connection(padding: int) -> None:
    async def swallow(stream: Stream) -> None:
        await stream.read()

    async with connected(swallow) as (http, peer):
        number = await peer.request()
        await peer.flush(struct.pack(">IBI", 1 << 8, PADDED, number) + bytes((padding,)))
        async with asyncio.timeout(PATIENCE):
            await http.wait_closed()


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["ours", "theirs", "half", "nonsense"])
async def test_a_connection_ends_though_the_other_side_reads_nothing(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(http2, "CLOSING", 0.05)
    under_way = asyncio.Event()

    async def wait(_: Stream) -> None:
        under_way.set()
        await asyncio.get_running_loop().create_future()

    async with connected(wait) as (http, peer):
        await peer.request()
        async with asyncio.timeout(PATIENCE):
            await under_way.wait()
        http._write(bytes(4 << 20))  # more than a socket holds
        if end == "ours":
            http.close()
        elif end == "theirs":
            peer.http.close_connection()
            await peer.flush()
        elif end == "half":
            peer._connection.shutdown(socket.SHUT_WR)
        else:
            await peer.flush(b"\xff" * 9)
        async with asyncio.timeout(PATIENCE):
            await http.wait_closed()


async def test_what_was_said_before_the_end_is_still_taken() -> None:
    async def answer(stream: Stream) -> None:
        await stream.write_headers([(b":status", b"200")])
        await stream.write(b"x" * 60_000, end=True)

    async with connected(answer) as (http, peer):
        await peer.request()
        await until(lambda: http._tasks)
        await until(lambda: not http._tasks)
        http.close()
        size, gone = 0, False
        while happened := await peer.hear():
            size += sum(len(event.data) for event in happened if isinstance(event, events.DataReceived))
            gone = gone or any(isinstance(event, events.ConnectionTerminated) for event in happened)
        assert (size, gone) == (60_000, True)


async def test_an_answer_that_is_no_grpc_fails_its_call_alone() -> None:
    """Go's server answers so where headers are too many: with a page, and its length."""
    async with connected(None) as (http, peer):
        await peer.flush()
        async with ClientCall(http, "/x", BytesMessage) as call:
            while not any(isinstance(event, events.RequestReceived) for event in await peer.hear()):
                pass
            page = b"<h1>HTTP Error 431</h1>"
            number = call.stream.number
            peer.http.send_headers(number, [(":status", "431"), ("content-length", str(len(page)))])
            peer.http.send_data(number, page, end_stream=True)
            await peer.flush()
            with pytest.raises(GrpcError, match="431"):
                async with asyncio.timeout(PATIENCE):
                    await call.finish()
        assert not http.closed.done()
        with pytest.raises(StreamFailed):
            await call.stream.write(b"more")


async def test_a_long_header_goes_out_as_it_is() -> None:
    """An error has the Dockerfile in a header: hpack would need a minute for Huffman's code of this one."""
    value = base64.b64encode(bytes(450_000))

    async def answer(stream: Stream) -> None:
        await stream.write_headers([(b":status", b"200"), (b"details", value)], end=True)

    async with connected(answer) as (http, peer):
        peer.http.decoder.max_header_list_size = 2 * len(value)
        await peer.request()
        found = None
        while found is None:
            for event in await peer.hear():
                if isinstance(event, events.ResponseReceived):
                    found = dict(event.headers)[b"details"]
        assert found == value
        assert value in http._h2.encoder.encode([(b"details", value)])
