"""What a build asks of wherry's own client (``version=3``): the client answers with a request of its own.

How it goes on the wire::

    client                                                daemon
      POST /build?version=3...                    ---->
                                                  <----   {"aux": {"type": "call", "kind": "output", "token": T, ...}}
      POST /wherry/build/calls/T                  ---->   to be had once, by whoever read the token
                                                  <----   the output, as the body of the answer

A token is known to the client of the build alone, and good until the build ends. While a call waits, everything else
of the build goes on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wherry.api.classic.events import message
from wherry.api.http.answers import empty, open_stream
from wherry.content.threads import finished
from wherry.docker.progress import ProgressMessage
from wherry.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from wherry.api.http.request import ApiRequest

__all__ = ["Answer", "Calls", "ClientCalls", "merged"]

_PATIENCE: Final = 60.0  # seconds for the client's request
_WAITING: Final = 64  # events
_GONE: Final = "the client of the build has gone"

T = TypeVar("T")


class Calls:
    """The calls of all builds that wait for an answer."""

    def __init__(self) -> None:
        self._waiting: dict[str, Answer] = {}

    def of_build(self) -> ClientCalls:
        """Those of one build."""
        return ClientCalls(self._waiting)

    async def serve(self, request: ApiRequest) -> StreamResponse:
        """A client's answer: whoever called does what is to be done with it.

        :raises NotFound: nobody asked for it.
        """
        answer = self._waiting.pop(request.path["token"], None)
        if answer is None or answer.request.done():
            raise NotFound("no build asks for this")
        answer.request.set_result(request)
        return await asyncio.shield(answer.response)


class Answer:
    """A client's answer to one call."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.request: asyncio.Future[ApiRequest] = loop.create_future()
        self.response: asyncio.Future[StreamResponse] = loop.create_future()

    @property
    def arrived(self) -> ApiRequest:
        """The client's request."""
        return self.request.result()

    def respond(self, response: StreamResponse | None = None) -> None:
        """Let the client know that this is over."""
        if not self.response.done():
            self.response.set_result(response or empty())

    async def send(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        """Send a body; the client sees whether it is whole.

        :raises Unavailable: the client does not take it.
        """
        try:
            response = await open_stream(self.arrived.http, content_type)
            async for piece in pieces:
                await response.write(piece)
        except ConnectionError as error:
            raise Unavailable(_GONE) from error
        self.respond(response)

    def close(self) -> None:
        """What was not finished is cut off."""
        if self.request.done() and not self.request.cancelled() and not self.response.done():
            if (transport := self.arrived.http.transport) is not None:
                transport.abort()
            self.response.set_exception(ConnectionResetError(_GONE))
            self.response.exception()  # the handler may have gone, and nobody will ask
        self.request.cancel()
        self.response.cancel()


class ClientCalls:
    """The calls of one build.

    :ivar messages: what the client is to be told.
    """

    def __init__(self, waiting: dict[str, Answer]) -> None:
        self.messages: asyncio.Queue[ProgressMessage] = asyncio.Queue()
        self._waiting = waiting

    async def ask(self, kind: str, **members: Any) -> Answer:
        """Ask for something; whoever asks ends the answer by `Answer.respond`, or closes it.

        :raises Unavailable: no answer comes.
        """
        token, answer = secrets.token_urlsafe(32), Answer()
        self._waiting[token] = answer
        self.messages.put_nowait(message("call", kind=kind, token=token, **members))
        try:
            async with asyncio.timeout(_PATIENCE):
                await answer.request
        except TimeoutError:
            answer.close()
            raise Unavailable("the client of the build does not answer") from None
        except BaseException:
            answer.close()
            raise
        finally:
            self._waiting.pop(token, None)
        return answer

    @asynccontextmanager
    async def call(self, kind: str, **members: Any) -> AsyncIterator[Answer]:
        """Ask for something; the block has the answer, and its end is the answer's.

        :raises Unavailable: no answer comes.
        """
        answer = await self.ask(kind, **members)
        try:
            yield answer
            answer.respond()
        finally:
            answer.close()


async def merged(
    events: AsyncGenerator[T, None], messages: asyncio.Queue[ProgressMessage]
) -> AsyncGenerator[T | ProgressMessage, None]:
    """Events until their end, and messages as they come. To be closed."""
    found: deque[T | ProgressMessage] = deque()
    changed, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for event in events:
            found.append(event)
            changed.set()
            if len(found) >= _WAITING:
                room.clear()
                await room.wait()

    async def listen() -> None:
        while True:
            found.append(await messages.get())
            changed.set()

    async with aclosing(events):
        reader, listener = asyncio.ensure_future(read()), asyncio.ensure_future(listen())
        reader.add_done_callback(lambda _: changed.set())
        try:
            while found or not reader.done():
                if found:
                    yield found.popleft()
                    room.set()
                else:
                    changed.clear()
                    await changed.wait()
            reader.result()
        finally:
            for task in (reader, listener):
                task.cancel()
                await finished(task)
