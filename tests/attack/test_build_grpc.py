"""Who speaks BuildKit's gRPC and means no good: frames that are none, messages without end, trees that lie, a client
that reads nothing or goes, at each phase.

The services run here over a builder that builds nothing; connections are pairs of sockets.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from support.fake_builds import FakeBuilds
from support.grpc_peers import CONTROL, GATEWAY, Client, SessionOffer, devices, serving, session_of, transport_of, until
from wherry.api.buildkit import http2
from wherry.api.buildkit.definition import decode
from wherry.api.buildkit.doors import Doors
from wherry.api.buildkit.gomode import DIRECTORY, SYMLINK
from wherry.api.buildkit.grpc import framed
from wherry.api.buildkit.http2 import Http2
from wherry.api.buildkit.proto import common_pb2, control_pb2, fsutil_pb2, gateway_pb2, llb_pb2
from wherry.build.model.progress import LogProgress
from wherry.build.model.session import Selection
from wherry.errors import InvalidInput, Unavailable, WherryError
from wherry.oci.digest import Digest

PLANTED = Path(tempfile.gettempdir()) / "wherry-planted"
PATIENCE = 60  #: seconds that an end may take on a machine that is busy
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


@pytest.fixture(autouse=True)
def nothing_unexpected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a client sends is never an error of ours."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@asynccontextmanager
async def attacked(builds: FakeBuilds | None = None) -> AsyncIterator[tuple[socket.socket, Http2]]:
    """A socket to our services, and their side of it."""
    doors = Doors(builds or FakeBuilds(), list, lambda: "", devices)
    ours, theirs = socket.socketpair()
    http = doors.open(await transport_of(ours), b"", lambda _: None)
    theirs.setblocking(False)
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    try:
        yield theirs, http
    finally:
        theirs.close()
        async with asyncio.timeout(PATIENCE):
            await http.wait_closed()
            await doors.close()
        assert trouble == []


def client_side() -> H2Connection:
    """A client's protocol."""
    http = H2Connection(H2Configuration(client_side=True))
    http.initiate_connection()
    return http


def call(http: H2Connection, path: str, *messages: bytes, end: bool = True) -> int:
    """A call's frames, in the protocol's buffer."""
    number = http.get_next_available_stream_id()
    http.send_headers(number, [(":path", path), *REQUEST])
    for message in messages:
        http.send_data(number, message)
    if end:
        http.end_stream(number)
    return number


async def send(connection: socket.socket, data: bytes) -> bool:
    """Send bytes; False: the other side has had enough."""
    try:
        await asyncio.get_running_loop().sock_sendall(connection, data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


async def read_to_the_end(connection: socket.socket) -> bytes:
    """All that comes until the connection ends."""
    pieces = []
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):
            while piece := await asyncio.get_running_loop().sock_recv(connection, 1 << 16):
                pieces.append(piece)
    return b"".join(pieces)


# --- frames ---------------------------------------------------------------------------------------


def spoiled(seed: int) -> bytes:
    """Some calls, with some bytes that are others, missing or too many."""
    chance = random.Random(seed)
    http = client_side()
    for _ in range(3):
        path = chance.choice([CONTROL + "Solve", CONTROL + "Session", CONTROL + "Status", "/x"])
        request = control_pb2.SolveRequest(Ref="r", Frontend="f").SerializeToString()
        call(http, path, framed(request), end=chance.random() < 0.5)
    data = bytearray(http.data_to_send())
    for _ in range(chance.randrange(1, 12)):
        place = chance.randrange(24, len(data))
        if seed % 3 == 0:
            data[place] = chance.randrange(256)
        elif seed % 3 == 1:
            del data[place : place + chance.randrange(1, 9)]
        else:
            data[place:place] = chance.randbytes(chance.randrange(1, 12))
    return bytes(data)


@pytest.mark.parametrize("first", range(0, 300, 100))
async def test_frames_that_are_spoiled_do_no_harm(first: int) -> None:
    for seed in range(first, first + 100):
        async with attacked() as (connection, _):
            await send(connection, spoiled(seed))


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4,
        PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        PREFACE + b"\x00\x00\x04\x00\x00\x00\x00\x00\x01data",
        PREFACE + b"\x00\x00\x04\x00\x00\x00\x00\x00\x00data",
        PREFACE + b"\x00\x00\x04\x00\x00\x7f\xff\xff\xffdata",
        PREFACE + b"\x00\x00\x03\x01\x04\x00\x00\x00\x01\xff\xff\xff",
        PREFACE + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        PREFACE + b"\x00\x00\x05\x06\x00\x00\x00\x00\x00short",
    ],
)
async def test_what_is_no_http_2_ends_the_connection(data: bytes) -> None:
    async with attacked() as (connection, _):
        await send(connection, data)
        await read_to_the_end(connection)


async def test_headers_without_end_end_the_connection() -> None:
    async with attacked() as (connection, _):
        await send(connection, PREFACE + b"\x00\x00\x00\x01\x00\x00\x00\x00\x01")
        frame = b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + bytes(16384)
        for _ in range(1000):
            if not await send(connection, frame):
                break
        else:
            pytest.fail("16 MB of headers were taken")


async def test_a_header_that_is_expanded_a_million_times_ends_the_connection() -> None:
    """HPACK names an earlier header by one byte (CVE-2016-6581)."""
    literal = b"\x40\x01x" + b"\x7f\x81\x1e" + b"y" * 4096
    frames = b"\x00" + struct.pack(">H", len(literal)) + b"\x01\x04\x00\x00\x00\x01" + literal
    bomb = b"\xbe" * 16384
    frames += b"\x00\x40\x00\x01\x04\x00\x00\x00\x03" + bomb
    async with attacked() as (connection, _):
        await send(connection, PREFACE + frames)
        await read_to_the_end(connection)


async def test_who_takes_no_notice_of_windows_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "STREAM_WINDOW", 1 << 16)
    monkeypatch.setattr(http2, "CONNECTION_WINDOW", 1 << 17)
    http = client_side()
    number = call(http, CONTROL + "Info", framed(b""), end=False)  # it takes one message, and reads no other
    async with attacked() as (connection, ours):
        await send(connection, http.data_to_send())
        frame = struct.pack(">IBI", 16384 << 8, 0, number) + bytes(16384)
        status = call(http, CONTROL + "Session", end=False)
        await send(connection, http.data_to_send())
        flood = struct.pack(">IBI", 16384 << 8, 0, status) + b"\x00\x7f\xff\xff\xff" + bytes(16379)
        for _ in range(10_000):
            if not await send(connection, flood + frame):
                break
        else:
            pytest.fail("300 MB were taken")
        assert ours._held <= 3 << 17


async def test_streams_that_are_opened_and_reset_at_once_are_no_work_without_end() -> None:
    """CVE-2023-44487: a stream that was reset counts no more, but its answer may take its time to end."""
    slow = SlowToEnd()
    http = client_side()
    request = framed(control_pb2.StatusRequest(Ref="r").SerializeToString())
    async with attacked(slow) as (connection, ours):
        assert ours._transport is not None
        while slow.count < 2 * http2.MOST_TASKS:
            numbers = [call(http, CONTROL + "Status", request) for _ in range(50)]
            wanted = slow.count + len(numbers)
            await send(connection, http.data_to_send())
            await until(lambda wanted=wanted: slow.count >= wanted or ours._transport.is_closing())
            if ours._transport.is_closing():
                break
            for number in numbers:
                http.reset_stream(number)
            await send(connection, http.data_to_send())
        slow.may_end.set()
    assert slow.count <= http2.MOST_TASKS


class SlowToEnd(FakeBuilds):
    """Progress whose reader is not let go when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.may_end = asyncio.Event()

    async def progress(self, ref: str) -> AsyncIterator[LogProgress]:  # type: ignore[override]
        self.count += 1
        try:
            yield LogProgress(vertex=Digest.from_bytes(b""), stream=1, data=b"x", at=1)
            await asyncio.get_running_loop().create_future()
        finally:
            await self.may_end.wait()


async def test_pings_whose_answers_are_never_read_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2, "HARD_WRITE_LIMIT", 512 << 10)
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)

    async def flood(connection: socket.socket) -> None:
        while await send(connection, ping * 1000):
            pass

    async with attacked() as (connection, ours):
        await send(connection, PREFACE)
        assert ours._transport is not None
        flooding = asyncio.create_task(flood(connection))
        await until(lambda: not ours._transport.is_reading())
        assert ours._transport.get_write_buffer_size() < 2 * http2.HARD_WRITE_LIMIT
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"\x00\xff\xff\xff\xff", b"8"),
        (b"\x01\x00\x00\x00\x01x", b"12"),
        (b"\x00\x00\x00\x00\x03\xff\xff\xff", b"13"),
        (b"\x00\x00\x00", b"13"),
        (b"", b"13"),
    ],
)
async def test_messages_that_are_none_are_refused(message: bytes, status: bytes) -> None:
    http = client_side()
    async with attacked() as (connection, _):
        call(http, CONTROL + "Solve", message)
        await send(connection, http.data_to_send())
        assert await status_of(connection, http) == status


async def status_of(connection: socket.socket, http: H2Connection) -> bytes:
    """The status that the next call ends with."""
    found: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while not found:
            data = await asyncio.get_running_loop().sock_recv(connection, 65536)
            assert data, "the connection has ended"
            for event in http.receive_data(data):
                found += [value for name, value in getattr(event, "headers", None) or () if name == b"grpc-status"]
    return found[0]


async def test_a_definition_that_is_nested_without_end_is_no_message() -> None:
    definition = b""
    for _ in range(4000):  # Definition.Source.infos.definition
        for field in (0x1A, 0x12, 0x1A):
            definition = bytes((field,)) + _varint(len(definition)) + definition
    request = b"\x0a\x01r" + b"\x12" + _varint(len(definition)) + definition
    http = client_side()
    async with attacked() as (connection, _):
        call(http, CONTROL + "Solve", *_pieces(framed(request)))
        await send(connection, http.data_to_send())
        assert await status_of(connection, http) == b"13"
        call(http, CONTROL + "Info", framed(b""))
        await send(connection, http.data_to_send())
        assert await status_of(connection, http) == b"0"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _pieces(data: bytes) -> list[bytes]:
    assert len(data) < 65_536, "a window"
    return [data[start : start + 16384] for start in range(0, len(data), 16384)]


def test_a_graph_that_fans_out_without_end_is_walked_once() -> None:
    """Each vertex has the one below it ten times: there are 10^60 ways through it."""
    ops = [llb_pb2.Op(source=llb_pb2.SourceOp(identifier="local://x")).SerializeToString()]
    for number in range(60):
        below = llb_pb2.Input(digest=str(Digest.from_bytes(ops[-1])))
        merge = llb_pb2.MergeOp(inputs=[llb_pb2.MergeInput(input=each) for each in range(10)])
        op = llb_pb2.Op(inputs=[below] * 10, merge=merge)
        op.constraints.filter.append(str(number))
        ops.append(op.SerializeToString())
    end = llb_pb2.Op(inputs=[llb_pb2.Input(digest=str(Digest.from_bytes(ops[-1])))])
    assert decode(llb_pb2.Definition(ops=[*ops, end.SerializeToString()])).edge is not None


# --- clients that read nothing, or go --------------------------------------------------------------


async def test_output_for_a_client_that_reads_nothing_waits() -> None:
    made = 0

    class Endless(FakeBuilds):
        async def progress(self, ref: str) -> AsyncIterator[LogProgress]:  # type: ignore[override]
            nonlocal made
            while True:
                made += 1
                yield LogProgress(vertex=Digest.from_bytes(b""), stream=1, data=bytes(10_000), at=1)
                await asyncio.sleep(0)

    http = client_side()
    async with attacked(Endless()) as (connection, _):
        call(http, CONTROL + "Status", framed(control_pb2.StatusRequest(Ref="r").SerializeToString()))
        await send(connection, http.data_to_send())
        before = -1
        async with asyncio.timeout(PATIENCE):
            while made != before:
                before = made
                await asyncio.sleep(0.5)
        assert made < 30_000


@pytest.mark.parametrize("phase", range(6))
async def test_a_client_may_go_at_any_time(phase: int) -> None:
    builds = FakeBuilds()
    builds.going_on = asyncio.Event()
    async with serving(builds) as (_, client):
        tasks = [asyncio.create_task(ask(path, request)) for ask, path, request in _phases(client)[: phase + 1]]
        for _ in range(20):
            await asyncio.sleep(0)
        if phase:
            async with asyncio.timeout(PATIENCE):
                await builds.begun.wait()
        client.close()
        if builds.builds:
            async with asyncio.timeout(PATIENCE):
                await builds.ended.wait()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks, return_exceptions=True)
    assert all(build.failed is not None for build in builds.builds.values())


def _phases(client: Client) -> list[tuple[Callable[[str, Any], Any], str, Any]]:
    async def ask(path: str, request: Any) -> None:
        await client.ask(path, request, "r")

    async def listen(path: str, request: Any) -> None:
        await client.listen(path, request)

    return [
        (ask, CONTROL + "Info", control_pb2.InfoRequest()),
        (ask, CONTROL + "Solve", control_pb2.SolveRequest(Ref="r")),
        (ask, GATEWAY + "Ping", gateway_pb2.PingRequest()),
        (listen, CONTROL + "Status", control_pb2.StatusRequest(Ref="r")),
        (ask, GATEWAY + "Solve", gateway_pb2.SolveRequest(Frontend="dockerfile.v0")),
        (listen, CONTROL + "ListenBuildHistory", control_pb2.BuildHistoryRequest()),
    ]


async def test_nobody_takes_a_session_that_is_there() -> None:
    builds = FakeBuilds()
    offer = SessionOffer()
    offer.secrets["a"] = b"mine"
    async with session_of(builds, offer) as session:
        doors = builds.sessions["s1"]
        assert doors is session
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        sessions = session._find.__self__
        http = Http2(None)
        http.begin(await transport_of(ours))
        await sessions.serve(http, {"x-docker-expose-session-uuid": ["s1"]})
        await read_to_the_end(theirs)
        theirs.close()
        assert builds.sessions["s1"] is session
        assert await session.secret("a") == b"mine"


# --- directories that lie -------------------------------------------------------------------------

Stat, Packet = fsutil_pb2.Stat, fsutil_pb2.Packet


def file(path: str, size: int = 1) -> Any:
    return Packet(stat=Stat(path=path.encode(), mode=0o644, size=size))


async def _escapes(stream: Any) -> None:
    where = os.fsencode(PLANTED.parent)
    await stream.send_message(Packet(stat=Stat(path=b"l", mode=SYMLINK | 0o777, linkname=where)))
    await stream.send_message(file(f"l/{PLANTED.name}"))
    await stream.send_message(Packet())


async def _never_ends(stream: Any) -> None:
    number = 0
    while True:
        await stream.send_message(file(f"{number:09}", 0))
        number += 1
        if number == 1000:
            await stream.send_message(file("0"))


async def _sends_what_nobody_wants(stream: Any) -> None:
    while True:
        await stream.send_message(Packet(type=2, ID=7, data=bytes(32768)))


async def _ends_at_once(stream: Any) -> None:
    await stream.send_initial_metadata()


async def _ends_in_a_file(stream: Any) -> None:
    await stream.send_message(file("f", 100))
    await stream.send_message(Packet())
    await stream.recv_message()
    await stream.send_message(Packet(type=2, ID=0, data=b"half"))


async def _says_goodbye_first(stream: Any) -> None:
    await stream.send_message(Packet(type=3))


async def _fails(stream: Any) -> None:
    await stream.send_message(Packet(type=4, data=b"x" * 1_000_000))


async def _has_names_that_are_no_utf_8(stream: Any) -> None:
    await stream.send_message(Packet(stat=Stat(path=b"\xff" * 300, mode=DIRECTORY | 0o755)))


async def _goes_too_deep(stream: Any) -> None:
    for depth in range(1, 600):
        await stream.send_message(Packet(stat=Stat(path=b"/".join([b"d"] * depth), mode=DIRECTORY | 0o755)))


@pytest.mark.parametrize(
    "sender",
    [_escapes, _never_ends, _sends_what_nobody_wants, _ends_at_once, _ends_in_a_file, _says_goodbye_first, _fails,
     _has_names_that_are_no_utf_8, _goes_too_deep],
)  # fmt: skip
async def test_a_directory_that_lies_is_refused_and_the_session_goes_on(
    tmp_path: Path, sender: Callable[[Any], Any]
) -> None:
    offer = SessionOffer()
    offer.sender = sender
    offer.secrets["a"] = b"b"
    before = len(os.listdir("/proc/self/fd"))
    async with session_of(FakeBuilds(), offer) as session:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((InvalidInput, Unavailable, WherryError)):
                await session.sync("context", tmp_path, Selection(), lambda _: None)
            assert await session.secret("a") == b"b"
    assert PLANTED.name not in os.listdir(PLANTED.parent)
    async with asyncio.timeout(PATIENCE):
        while len(os.listdir("/proc/self/fd")) > before:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)  # the other side of the session closes its socket in its own time


async def test_a_session_whose_answers_are_spoiled_ends(tmp_path: Path) -> None:
    for seed in range(60):
        builds = FakeBuilds()
        doors = Doors(builds, list, lambda: "", devices)
        ours, theirs = socket.socketpair()
        headers = {"x-docker-expose-session-uuid": ["s"]}
        serve = asyncio.create_task(doors.session(await transport_of(ours), b"", headers, lambda _: None))
        await builds.session_there.wait()
        asked = asyncio.create_task(builds.sessions["s"].secret("a"))
        await asyncio.sleep(0)
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        theirs.setblocking(False)
        for _ in range(3):
            with suppress(BlockingIOError):
                server.receive_data(theirs.recv(1 << 16))
            await asyncio.sleep(0)
        with suppress(Exception):  # it may not have come yet
            server.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
            server.send_data(1, framed(common_pb2.BytesMessage(data=b"x").SerializeToString()))
            server.send_headers(1, [("grpc-status", "0")], end_stream=True)
        data = bytearray(server.data_to_send())
        chance = random.Random(seed)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        await send(theirs, bytes(data))
        await asyncio.sleep(0)
        theirs.close()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(asked, return_exceptions=True)
            await serve
        assert builds.detached == ["s"]
