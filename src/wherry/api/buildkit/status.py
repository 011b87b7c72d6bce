"""Control/Status: what happens during a build, in messages that clients take (below 4 MB)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from msgspec import structs

from wherry.api.buildkit.encode_definition import put_ranges
from wherry.api.buildkit.proto import control_pb2 as pb
from wherry.api.buildkit.proto.common_pb2 import Timestamp
from wherry.api.buildkit.status_errors import shorter
from wherry.build.model.progress import (
    LogProgress,
    Progress,
    ShellProgress,
    TransferProgress,
    VertexProgress,
    WarningProgress,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

__all__ = ["batches", "put", "timestamp"]

BATCH: Final = 1 << 20  #: bytes of events in one message; one event more may go in
LOG_PIECE: Final = 1 << 20  #: bytes of output in one event
TEXT: Final = 100_000  #: characters of a name or an error
MOST_WAITING: Final = 10_000  #: events that wait for a slow client,
WAITING: Final = 4 << 20  #: and bytes of output; a few more may come with the last one
INTERVAL: Final = 0.05  #: seconds in which events are gathered


def timestamp(nanoseconds: int) -> Timestamp:
    """A time."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=rest)


async def batches(events: AsyncIterator[Progress]) -> AsyncGenerator[pb.StatusResponse, None]:
    """Messages of many events each: the first goes at once, further ones are gathered for a moment."""
    waiting = _Waiting()
    reader = asyncio.create_task(waiting.fill(events))
    try:
        while await waiting.some():
            yield waiting.take()
            if not waiting.is_full:
                await asyncio.wait({reader}, timeout=INTERVAL)
        await reader
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


class _Waiting:
    """Events that have not gone yet."""

    def __init__(self) -> None:
        self._events: deque[Progress] = deque()
        self._size = 0  # bytes of output
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False

    async def fill(self, events: AsyncIterator[Progress]) -> None:
        """Read all events; waits while too many wait."""
        try:
            async for event in events:
                pieces = _pieces(event)
                self._events += pieces
                self._size += sum(map(_output, pieces))
                self._changed.set()
                if len(self._events) >= MOST_WAITING or self._size >= WAITING:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._changed.set()

    @property
    def is_full(self) -> bool:
        """Whether there is more than a message's worth."""
        return len(self._events) >= MOST_WAITING // 10 or self._size >= BATCH

    async def some(self) -> bool:
        """Wait for events; False: there are no more."""
        while not self._events and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return bool(self._events)

    def take(self) -> pb.StatusResponse:
        """One message."""
        message = pb.StatusResponse()
        size = 0
        while self._events and size < BATCH:
            event = self._events.popleft()
            self._size -= _output(event)
            size += put(message, event)
        self._room.set()
        return message


def _output(event: Progress) -> int:
    return len(event.data) if isinstance(event, LogProgress) else 0


def _pieces(event: Progress) -> list[Progress]:
    if isinstance(event, ShellProgress):
        return []  # BuildKit has no such thing
    if isinstance(event, LogProgress) and len(event.data) > LOG_PIECE:
        starts = range(0, len(event.data), LOG_PIECE)
        return [structs.replace(event, data=event.data[start : start + LOG_PIECE]) for start in starts]
    return [event]


def put(message: pb.StatusResponse, event: Progress) -> int:
    """Add an event to a message; about how many bytes it took."""
    if isinstance(event, VertexProgress):
        return _vertex(message.vertices.add(), event)
    if isinstance(event, LogProgress):
        message.logs.add(vertex=str(event.vertex), timestamp=timestamp(event.at), stream=event.stream, msg=event.data)
        return 100 + len(event.data)
    if isinstance(event, TransferProgress):
        return _transfer(message.statuses.add(), event)
    return _warning(message.warnings.add(), event) if isinstance(event, WarningProgress) else 0


def _vertex(vertex: pb.Vertex, event: VertexProgress) -> int:
    vertex.digest = str(event.digest)
    vertex.inputs.extend(str(digest) for digest in event.inputs[:10_000])
    vertex.name = event.name[:TEXT]
    vertex.cached = event.cached
    vertex.error = event.error[:TEXT]
    vertex.explanation = event.explanation[:TEXT]
    if event.started is not None:
        vertex.started.CopyFrom(timestamp(event.started))
    if event.completed is not None:
        vertex.completed.CopyFrom(timestamp(event.completed))
    if event.group is not None:
        vertex.progressGroup.id, vertex.progressGroup.name, vertex.progressGroup.weak = event.group
    if event.cost is not None:
        vertex.cost.CopyFrom(pb.Cost(cpu=event.cost.cpu, memory=event.cost.memory, written=event.cost.written))
    return 200 + 80 * len(vertex.inputs) + 4 * (len(vertex.name) + len(vertex.error) + len(vertex.explanation))


def _transfer(status: pb.VertexStatus, event: TransferProgress) -> int:
    status.ID = event.id[:TEXT]
    status.vertex = str(event.vertex)
    status.name = event.name[:TEXT]
    status.current = event.current
    status.total = event.total
    status.timestamp.CopyFrom(timestamp(event.at))
    if event.started is not None:
        status.started.CopyFrom(timestamp(event.started))
    if event.completed is not None:
        status.completed.CopyFrom(timestamp(event.completed))
    return 200 + len(status.ID) + len(status.name)


def _warning(warning: pb.VertexWarning, event: WarningProgress) -> int:
    warning.vertex = str(event.vertex)
    warning.level = event.level
    warning.short = event.short.encode()
    warning.detail.extend(line.encode() for line in event.detail)
    warning.url = event.url
    if event.source and event.ranges:
        warning.info.filename = event.file
        warning.info.data = shorter(event.source, event.ranges)
        warning.info.language = "Dockerfile"
        warning.ranges.extend(put_ranges(event.ranges))
    return 500 + len(warning.info.data) + sum(map(len, warning.detail))
