"""Sessions that are open: on a connection of their own, or inside of a call; and who waits for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from wherry.api.buildkit.http2 import Http2
from wherry.api.buildkit.proto.common_pb2 import BytesMessage
from wherry.api.buildkit.session import ClientSession
from wherry.content.threads import finished
from wherry.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wherry.api.buildkit.grpc import Call
    from wherry.build.model.service import BuildService

__all__ = ["Sessions"]

PATIENCE: Final = 30.0  #: seconds that a build waits for another one's session
CHUNK: Final = 256 << 10  #: bytes in one message of a tunnel
_HEADER: Final = "x-docker-expose-session-"


class Sessions:
    """The sessions of all clients."""

    def __init__(self, service: BuildService) -> None:
        self._service = service
        self._open: dict[str, ClientSession] = {}
        self._changed = asyncio.Event()

    async def serve(self, http: Http2, headers: Mapping[str, Sequence[str]]) -> None:
        """Let builds use a session until its connection ends; then nothing of these builds is left.

        A second one with the same ID is ended at once: who has guessed it shall not get what builds ask the other one.

        :param headers: what the client says of it; names in lower case.
        :raises InvalidInput: it has no ID.
        :raises TooLarge: there are too many.
        """
        identifier = _first(headers, "uuid")
        try:
            if not identifier:
                raise InvalidInput("no session ID in the request")
            if identifier in self._open:
                return
            await self._serve(http, identifier, headers)
        finally:
            http.close()

    async def _serve(self, http: Http2, identifier: str, headers: Mapping[str, Sequence[str]]) -> None:
        session = ClientSession(
            http,
            identifier,
            shared_key=_first(headers, "sharedkey"),
            methods=headers.get(_HEADER + "grpc-method", ()),
            find=self._find,
        )
        self._service.attach(session)
        self._open[identifier] = session
        self._changed.set()
        self._changed = asyncio.Event()
        try:
            await asyncio.shield(http.closed)
        finally:
            http.close()
            del self._open[identifier]
            await _shielded(self._service.detach(identifier))

    async def tunnel(self, call: Call[BytesMessage, BytesMessage]) -> None:
        """Control/Session: a connection inside of a call."""
        transport = _CallTransport(call)
        http = Http2(None)
        await call.begin()
        http.begin(transport)
        serving = asyncio.create_task(self.serve(http, call.metadata))
        pumps = [asyncio.create_task(transport.pump_in()), asyncio.create_task(transport.pump_out())]
        try:
            await asyncio.wait({serving, *pumps}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            transport.abort()
            for task in pumps:
                task.cancel()
            await _shielded(asyncio.gather(serving, *pumps, return_exceptions=True))
        serving.result()

    async def _find(self, identifier: str) -> ClientSession:
        try:
            async with asyncio.timeout(PATIENCE):
                while identifier not in self._open:
                    await self._changed.wait()
        except TimeoutError:
            raise Unavailable(f"no active session for {identifier[:100]}") from None
        return self._open[identifier]


def _first(headers: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(headers.get(_HEADER + name, ())), "")


async def _shielded(ending: Any) -> None:
    """Wait for an end also when cancelled meanwhile."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await finished(task)
        raise


class _CallTransport(asyncio.Transport):
    """A transport whose bytes are in the messages of a call."""

    def __init__(self, call: Call[BytesMessage, BytesMessage]) -> None:
        super().__init__()
        self._call = call
        self._protocol: asyncio.BaseProtocol | None = None
        self._out = bytearray()
        self._filled = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._lost = False
        self._high = 1 << 20
        self._paused = False

    async def pump_in(self) -> None:
        """Give the protocol what comes, to the end."""
        while (message := await self._call.receive()) is not None:
            await self._reading.wait()
            if isinstance(self._protocol, asyncio.Protocol) and not self._lost:
                self._protocol.data_received(message.data)

    async def pump_out(self) -> None:
        """Send what the protocol writes, to the end."""
        while True:
            while not self._out and not self._closing:
                self._filled.clear()
                await self._filled.wait()
            if not self._out:
                return
            data = bytes(self._out[:CHUNK])
            del self._out[: len(data)]
            await self._call.send(BytesMessage(data=data))
            if self._paused and len(self._out) < self._high // 4:
                self._paused = False
                if isinstance(self._protocol, asyncio.Protocol):
                    self._protocol.resume_writing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or self._high

    def get_write_buffer_size(self) -> int:
        return len(self._out)

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self._out += data
        self._filled.set()
        if len(self._out) > self._high and not self._paused:
            self._paused = True
            if isinstance(self._protocol, asyncio.Protocol):
                self._protocol.pause_writing()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._filled.set()
            self._reading.set()
            asyncio.get_running_loop().call_soon(self._lose)

    def abort(self) -> None:
        self._out.clear()
        self.close()
        self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            if self._protocol is not None:
                self._protocol.connection_lost(None)
