"""Shells in failed steps: ``POST /wherry/build/shell`` is the client's way to the one that its build has told it of.

Of wherry's own; how it goes::

    client                                                             daemon
      POST /build?version=3&onfailure=shell                      ---->
                                                                 <---- {"aux": {"type": "shell", "token": "...", ...}}
      POST /wherry/build/shell?token=...&tty=1&h=24&w=80         ---->  another connection, which is hijacked
      POST /wherry/build/shell/resize?token=...&h=50&w=80        ---->
                                                                 <---- end of file: the shell has ended
                                                                 <---- {"error": ...}: so has the build, as without it
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from wherry.api.http.answers import empty
from wherry.api.http.hijack import HangupWatch, HijackedResponse, content_type, frame, hijack
from wherry.api.http.routing import Route
from wherry.api.routes.attach import pump_connection
from wherry.api.routes.containers import terminal_size
from wherry.build.model.failure import Console
from wherry.errors import NotFound, WherryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.web import StreamResponse

    from wherry.api.http.hijack import Hijacked
    from wherry.api.http.request import ApiRequest
    from wherry.build.model.failure import FailedStep, StepStreams
    from wherry.oci.digest import Digest

__all__ = ["BuildShell", "Shells"]

_PATIENCE: Final = 60.0  # seconds for the client to come


class Shells:
    """The shells that wait for their clients, and those that run.

    :param patience: seconds for which one waits.
    """

    def __init__(self, watch: HangupWatch, *, patience: float = _PATIENCE) -> None:
        self.patience: Final = patience
        self.waiting: Final[dict[str, _Shell]] = {}
        self.running: Final[dict[str, _Shell]] = {}
        self._watch = watch

    def routes(self) -> list[Route]:
        """Return the operations."""
        return [
            Route("POST", "/wherry/build/shell", self.open, streaming=True),
            Route("POST", "/wherry/build/shell/resize", self.resize),
        ]

    async def open(self, request: ApiRequest) -> StreamResponse:
        """Serve a shell over the taken-over connection. A token is good for one of them."""
        token, terminal = request.text("token"), request.flag("tty")
        size = terminal_size(request) if request.text("h") or request.text("w") else (0, 0)
        shell = self.waiting.pop(token, None)
        if shell is None:
            raise NotFound("no shell waits for this token")
        self.running[token] = shell
        try:
            kind = content_type(tty=terminal, version=request.version)
            shell.come(hijack(request.http, self._watch, content_type=kind), Console(terminal, size))
            await shell.over.wait()
        finally:
            del self.running[token]
            shell.end()
        return HijackedResponse()

    async def resize(self, request: ApiRequest) -> StreamResponse:
        """Tell a shell's terminal its size."""
        shell = self.running.get(request.text("token"))
        if shell is None:
            raise NotFound("no shell runs that has this token")
        shell.resize(*terminal_size(request))
        return empty(200)


class BuildShell:
    """The shell of one build: in the first of its steps that fails, as the build fails with it.

    :ivar tokens: of the shell that waits or runs, by its step's vertex; for the build's own client.
    :param command: to be run; empty: the step's own shell.
    """

    def __init__(self, shells: Shells, command: Sequence[str]) -> None:
        self.tokens: Final[dict[Digest, str]] = {}
        self._shells = shells
        self._command = tuple(command)
        self._is_offered = False
        self._over = asyncio.Event()

    async def offer(self, step: FailedStep) -> None:
        """Offer a shell, and wait until it is over, or nobody has come; `wherry.build.model.failure.OnFailure`."""
        if self._is_offered:
            await self._over.wait()  # else the build would fail under the shell
            return
        self._is_offered = True
        token = self.tokens[step.vertex] = secrets.token_hex(32)
        shell = self._shells.waiting[token] = _Shell()
        try:
            step.announce()
            await asyncio.wait([shell.client], timeout=self._shells.patience)
            self._shells.waiting.pop(token, None)
            if shell.client.done() and not shell.client.cancelled():
                connection, console = shell.client.result()
                await shell.serve(connection, step, self._command or step.shell, console)
        finally:
            self._shells.waiting.pop(token, None)
            del self.tokens[step.vertex]
            shell.end()
            self._over.set()


class _Shell:
    """One shell: its client is to come, there, or has left."""

    def __init__(self) -> None:
        self.client: Final[asyncio.Future[tuple[Hijacked, Console]]] = asyncio.get_running_loop().create_future()
        self.over: Final = asyncio.Event()
        self._size = (0, 0)
        self._streams: StepStreams | None = None

    def come(self, connection: Hijacked, console: Console) -> None:
        """Its client is there."""
        self._size = console.size
        self.client.set_result((connection, console))

    def end(self) -> None:
        """It is over, or nobody wants it any more."""
        if not self.client.cancel() and not self.client.cancelled():
            self.client.result()[0].close()
        self.over.set()

    def resize(self, height: int, width: int) -> None:
        """Its terminal has a size, or will have it."""
        self._size = (height, width)
        if self._streams is not None:
            self._streams.resize(height, width)

    async def serve(self, connection: Hijacked, step: FailedStep, command: Sequence[str], console: Console) -> None:
        """Run it; that it cannot run is said where its output would be."""

        async def attend(streams: StepStreams) -> None:
            self._streams = streams
            if self._size != console.size:
                streams.resize(*self._size)
            try:
                await pump_connection(connection, streams, raw=console.terminal)
            finally:
                self._streams = None

        try:
            await step.run(command, console, attend)
        except WherryError as error:
            text = f"{error}\r\n".encode()
            with suppress(ConnectionError):
                await connection.head_taken()
                await connection.write(*((text,) if console.terminal else frame(2, text)))
