"""The session of wherry's own client (``version=3``): an archive, and what the client answers when it is called."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp.web_protocol import RequestPayloadError

from wherry.api.classic.query import NAMED
from wherry.api.http.hijack import RAW_STREAM, HijackedResponse, hijack
from wherry.build.exporters.tree import pack_directory
from wherry.build.sources.archive_session import ArchiveSession
from wherry.content.thread_stream import pieces_of
from wherry.content.threads import in_thread
from wherry.errors import NotFound, TooLarge, Unavailable, Unsupported

if TYPE_CHECKING:
    from wherry.api.classic.calls import Answer, ClientCalls
    from wherry.api.classic.context import Contexts
    from wherry.api.http.hijack import HangupWatch, Hijacked
    from wherry.build.model.session import ClientContent, Credentials, Selection, UsedDirectory
    from wherry.build.sources.contexts import ContextInUse
    from wherry.oci.digest import Digest

__all__ = ["CallingSession"]

_ARCHIVE: Final = "application/x-tar"
_BLOB: Final = "application/octet-stream"
_LONGEST_SIZE: Final = 20  #: digits
_AGENT: Final = "default"
_BLOCK: Final = 1 << 18
_MOST_CONNECTIONS: Final = 200
_GONE: Final = "the client of the build has gone"


class CallingSession(ArchiveSession):
    """A session over an unpacked context, whose client takes outputs, and has directories and agents. To be closed.

    :param calls: of the build.
    :param contexts: where directories that come are unpacked.
    :param watch: notices clients that have gone.
    :param context: see `ArchiveSession`, for this and the next two.
    :param takes: the numbers of the outputs that the client takes.
    :param directories: the names of the directories that the client has.
    :param agents: the IDs of the SSH agents that the client has.
    :param layouts: the names of the OCI layouts, and directories with cache, that the client has.
    """

    def __init__(
        self,
        calls: ClientCalls,
        contexts: Contexts,
        watch: HangupWatch,
        *,
        context: ContextInUse | None,
        credentials: Callable[[str], Credentials | None],
        secret_values: Mapping[str, bytes],
        takes: frozenset[str] = frozenset(),
        directories: frozenset[str] = frozenset(),
        agents: frozenset[str] = frozenset(),
        layouts: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(context, credentials, secret_values)
        self._calls = calls
        self._contexts = contexts
        self._takes = takes
        self._directories = directories
        self._agents = agents
        self._layouts = layouts
        self._watch = watch
        self._connections: set[AgentConnection] = set()
        self._receiving: dict[str, asyncio.Task[ContextInUse]] = {}
        self._kept = AsyncExitStack()

    async def close(self) -> None:
        """Remove what has come, and end connections; nobody may use the session any more."""
        for connection in list(self._connections):
            connection.close()
        for task in self._receiving.values():
            task.cancel()
        if self._receiving:
            await asyncio.wait(self._receiving.values())
            for task in self._receiving.values():
                if not task.cancelled():
                    task.exception()  # the build was told
        await self._kept.aclose()

    async def directory(self, name: str, selection: Selection, progress: Callable[[int], None]) -> UsedDirectory | None:
        """The context itself, or another directory, which the client sends for that, once."""
        if (called := self._called(name)) is None:
            return await super().directory(name, selection, progress)
        return await self._used(await self._received(called), selection, progress)

    async def sync(
        self, name: str, destination: Path, selection: Selection, progress: Callable[[int], None], *, session: str = ""
    ) -> None:
        """Link what is wanted of the context, or of another directory, which the client sends for that, once."""
        if (called := self._called(name)) is None:
            await super().sync(name, destination, selection, progress)
            return
        context = await self._received(called)
        progress(await in_thread(self._link, context.root, destination, selection))

    def _called(self, name: str) -> str | None:
        """What the client calls a directory that it has to be asked for; None: it is the context."""
        called = name.removeprefix(NAMED)
        return called if called != name and called in self._directories else None

    async def _received(self, name: str) -> ContextInUse:
        if name not in self._receiving:
            self._receiving[name] = asyncio.get_running_loop().create_task(self._receive(name))
        return await asyncio.shield(self._receiving[name])

    async def _receive(self, name: str) -> ContextInUse:
        async with self._calls.call("directory", name=name) as answer:
            body = answer.arrived.http.content
            return (await self._kept.enter_async_context(self._contexts.unpacked(body))).used

    def content(self, store: str) -> ClientContent:
        """One of the client's OCI layouts, or directories with cache."""
        kind, _, name = store.partition(":")
        if kind not in _STORES or name not in self._layouts:
            return super().content(store)
        return _STORES[kind](self._calls, name)

    async def send_file(self, exporter: str, attributes: dict[str, str], pieces: AsyncIterator[bytes]) -> None:
        """Send an archive to the client."""
        if exporter not in self._takes:
            await super().send_file(exporter, attributes, pieces)
        async with self._calls.call("output", number=exporter) as answer:
            await answer.send(pieces, _ARCHIVE)

    async def send_tree(self, exporter: str, root: Path, *, prefix: str = "", modified: int | None = None) -> None:
        """Send a directory's content to the client, as an archive."""
        if exporter not in self._takes:
            await super().send_tree(exporter, root, prefix=prefix, modified=modified)
        pack = partial(pack_directory, root=root, prefix=os.fsencode(prefix), modified=modified)
        async with self._calls.call("output", number=exporter) as answer, aclosing(pieces_of(pack)) as pieces:
            await answer.send(pieces, _ARCHIVE)

    async def ssh(self, identifier: str) -> AgentConnection:
        """A new connection to one of the client's agents.

        :raises TooLarge: there are too many.
        """
        identifier = identifier or _AGENT
        if identifier not in self._agents:
            raise NotFound(f"unset ssh forward key {identifier}")
        if len(self._connections) >= _MOST_CONNECTIONS:
            raise TooLarge("the build has too many connections to its client's SSH agents")
        answer = await self._calls.ask("agent", id=identifier)
        try:
            connection = AgentConnection(hijack(answer.arrived.http, self._watch, content_type=RAW_STREAM), answer)
        except ConnectionError as error:
            answer.close()
            raise Unavailable(_GONE) from error
        self._connections.add(connection)
        connection.ended = lambda: self._connections.discard(connection)
        return connection


class CalledLayout:
    """An OCI layout of the client's, who is asked for its blobs; `wherry.build.model.session.ClientContent`."""

    def __init__(self, calls: ClientCalls, name: str) -> None:
        self._calls = calls
        self._name = name

    async def size(self, digest: Digest) -> int | None:
        """The client is not asked that."""
        return None

    async def read(self, digest: Digest) -> AsyncIterator[bytes]:
        """A blob's bytes.

        :raises Unavailable: the client does not send it.
        """
        async with self._calls.call("blob", store=self._name, digest=str(digest)) as answer:
            try:
                async for piece in answer.arrived.http.content.iter_chunked(_BLOCK):
                    yield piece
            except (OSError, RequestPayloadError) as error:
                raise Unavailable(_GONE) from error

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Nothing is written there."""
        raise Unsupported("an OCI layout that is a context is only read")


class CalledCache(CalledLayout):
    """A directory of the client's that cache comes from, or goes to."""

    async def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has; None where there is none.

        :raises Unavailable: the client does not say it.
        """
        async with self._calls.call("size", store=self._name, digest=str(digest)) as answer:
            try:
                said = await answer.arrived.http.content.read(_LONGEST_SIZE)
            except (OSError, RequestPayloadError) as error:
                raise Unavailable(_GONE) from error
        return int(said) if said.isdigit() else None

    async def write(self, digest: Digest, size: int, pieces: AsyncIterator[bytes]) -> None:
        """Send a blob; the client stores it."""
        async with self._calls.call("store", store=self._name, digest=str(digest)) as answer:
            await answer.send(pieces, _BLOB)


_STORES: Final = {"oci": CalledLayout, "local": CalledCache}
"""What BuildKit's names for stores begin with."""


class AgentConnection:
    """A connection to an agent at the client's; `wherry.build.model.session.Connection`.

    :ivar ended: called once, when it is closed.
    """

    def __init__(self, connection: Hijacked, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer
        self._is_closed = False
        self.ended: Callable[[], object] = lambda: None

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        return await self._connection.read()

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            await self._connection.write(data)
        except ConnectionError as error:
            raise Unavailable(_GONE) from error

    def close(self) -> None:
        """End it."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.close()
            self._answer.respond(HijackedResponse())
            self.ended()
