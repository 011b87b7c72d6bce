"""The two conversations of DiffCopy: a receiver or a sender of a tree talks to the client."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.grpc import GrpcError
from wherry.api.buildkit.http2 import StreamFailed
from wherry.api.buildkit.proto.fsutil_pb2 import Packet
from wherry.api.buildkit.receive_tree import ERR, FIN, REQ
from wherry.content.threads import in_thread
from wherry.errors import InvalidInput, SystemFault, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from wherry.api.buildkit.grpc import ClientCall
    from wherry.api.buildkit.receive_tree import TreeReceiver
    from wherry.api.buildkit.send_tree import TreeSender

__all__ = ["receive", "send"]

SMALL: Final = 64 << 10  #: bytes of which more are waited for, before another thread is asked to take them
FIRST_ROUNDS: Final = 8  #: so often they are not: little is there, and nobody shall wait for it
GATHERING: Final = 0.002  #: seconds
PATIENCE: Final = 1.0  #: seconds that a client may take to be told of an error


async def receive(call: ClientCall[Packet], receiver: TreeReceiver, progress: Callable[[int], None]) -> None:
    """Let a receiver have what comes, and send what it wants to say at the same time: a client that waits for us to
    take its files takes none of our requests."""
    replies: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
    writer = asyncio.create_task(_reply(call, replies))
    rounds, data = 0, b""
    try:
        while not receiver.is_done:
            rounds += 1
            if rounds > FIRST_ROUNDS and len(data) < SMALL:
                await asyncio.sleep(GATHERING)  # clients send entries one by one, to hand each over costs more than it
            data = await call.read()
            if not data:
                raise Unavailable("the client ended the transfer early")
            before = receiver.received
            said = await in_thread(receiver.feed, data)
            progress(receiver.received - before)
            if said:
                replies.put_nowait((said, receiver.has_finished))
            if writer.done():
                writer.result()
    except (InvalidInput, SystemFault, TooLarge) as error:
        writer.cancel()
        with suppress(GrpcError, StreamFailed, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await call.send(Packet(type=ERR, data=str(error).encode()[:4096]), end=True)
        raise
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


async def _reply(call: ClientCall[Packet], replies: asyncio.Queue[tuple[bytes, bool]]) -> None:
    while True:
        data, end = await replies.get()
        await call.write(data, end=end)
        if end:
            return


async def send(call: ClientCall[Packet], sender: TreeSender) -> None:
    """Send a tree: entries, and beside them what the client asks for."""
    wanted: asyncio.Queue[int | None] = asyncio.Queue()
    writing = asyncio.create_task(_write_tree(call, sender, wanted))
    reading = asyncio.create_task(_read_requests(call, wanted))
    try:
        done, _ = await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await call.send(Packet(type=FIN), end=True)
        await call.finish()
    finally:
        for task in (writing, reading):
            task.cancel()
        await asyncio.gather(writing, reading, return_exceptions=True)


async def _write_tree(call: ClientCall[Packet], sender: TreeSender, wanted: asyncio.Queue[int | None]) -> None:
    await _write_all(call, sender.entries())
    while (number := await wanted.get()) is not None:
        await _write_all(call, sender.content(number))


async def _write_all(call: ClientCall[Packet], pieces: Generator[bytes]) -> None:
    with closing(pieces):  # the file that it reads
        while data := await in_thread(next, pieces, b""):
            await call.write(data)


async def _read_requests(call: ClientCall[Packet], wanted: asyncio.Queue[int | None]) -> None:
    """Queue what the client asks for, until it has all that it wants."""
    while (packet := await call.receive()) is not None:
        if packet.type == REQ:
            wanted.put_nowait(packet.ID)
        elif packet.type == ERR:
            raise SystemFault(f"error from receiver: {packet.data[:4096].decode(errors='replace')}")
        elif packet.type == FIN:
            wanted.put_nowait(None)
            return
    raise Unavailable("the client ended the transfer early")
