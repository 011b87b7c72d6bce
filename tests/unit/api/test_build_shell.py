"""Shells in failed steps, over a real unix socket: who gets one, and what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.archives import member, tar
from support.build_service import FakeBuilds
from support.step_streams import EchoingStreams
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.build import BuildRoutes
from wherry.api.routes.build_shell import BuildShell, Shells
from wherry.build.model.errors import VertexFailed
from wherry.build.model.failure import Attend, Console
from wherry.build.model.progress import ShellProgress
from wherry.build.model.request import BuildRequest
from wherry.errors import CommandNotFound
from wherry.oci.digest import Digest

RUN = Digest.from_bytes(b"run")
CONTEXT = tar([member("Dockerfile", b"FROM scratch\n")])
WHY = 'process "false" did not complete successfully: exit code: 1'
PATIENCE = 60.0  # seconds


class Failed:
    """A step that has failed.

    :ivar ran: what was run in it.
    """

    def __init__(self, events: asyncio.Queue[Any] | None = None) -> None:
        self.vertex = RUN
        self.shell = ("/bin/sh",)
        self.ran: list[tuple[tuple[str, ...], Console]] = []
        self.streams = EchoingStreams()
        self.error: Exception | None = None
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self._events = events

    def announce(self) -> None:
        if self._events is not None:
            self._events.put_nowait(ShellProgress(RUN, WHY, 1))

    async def run(self, command: Sequence[str], console: Console, attend: Attend) -> None:
        self.ran.append((tuple(command), console))
        try:
            if self.error is not None:
                raise self.error
            self.running.set()
            await attend(self.streams)
        finally:
            self.over.set()


class FailingBuilds(FakeBuilds):
    """Every build fails in one step."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.steps: list[Failed] = []
        self.error: Exception | None = None

    async def build(self, request: BuildRequest) -> dict[str, str]:
        self.requests.append(request)
        queue = self._queue(request.ref)
        step = Failed(queue)
        step.error = self.error
        self.steps.append(step)
        try:
            if request.on_failure is not None:
                await request.on_failure(step)
            raise VertexFailed(WHY, vertex=RUN, exit_code=1)
        except asyncio.CancelledError:
            self.cancelled.append(request.ref)
            raise
        finally:
            queue.put_nowait(None)


class Served:
    """A served builder; every request has a connection of its own."""

    def __init__(self, builds: FailingBuilds, routes: BuildRoutes, socket: Path) -> None:
        self.builds, self.routes, self._socket = builds, routes, str(socket)
        self._writers: list[asyncio.StreamWriter] = []

    async def post(self, target: str, body: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A request whose answer's head was read; see `status`."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        self._writers.append(writer)
        upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if target.startswith("/wherry/build/shell?") else ""
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{upgrade}\r\n"
        writer.write(head.encode() + body)
        return reader, writer

    async def close(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def status(self, target: str) -> int:
        """The status of an answer."""
        reader, writer = await self.post(target)
        found = int((await reader.readline()).split()[1])
        writer.close()
        return found

    async def shell(self, token: str, query: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a shell."""
        reader, writer = await self.post(f"/wherry/build/shell?token={token}{query}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return reader, writer


class Building:
    """A build with a shell, as its client sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def token(self) -> str:
        """The token of the shell that it tells of."""
        message = await self._message()
        assert (message["aux"]["type"], message["aux"]["vertex"], message["aux"]["error"]) == ("shell", str(RUN), WHY)
        return str(message["aux"]["token"])

    async def fails(self) -> None:
        """It ends as it would without a shell."""
        assert (await self._message())["error"] == WHY

    async def _message(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self.reader.readline()
                assert line, "the answer has ended"
                found: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {}
                if found and found.get("aux", {}).get("type") != "build":
                    return found


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Served]:
    (root / "contexts").mkdir()
    (root / "builds").mkdir()
    builds, watch = FailingBuilds(root / "builds"), HangupWatch(asyncio.get_running_loop())
    routes = BuildRoutes(builds, root / "contexts", lambda: "", watch)
    api = Api(Router(routes.routes()), watch)
    server = await asyncio.get_running_loop().create_unix_server(api.connection, root / "socket")
    made = Served(builds, routes, root / "socket")
    try:
        yield made
    finally:
        await made.close()
        server.close()
        await api.close()


@asynccontextmanager
async def building(served: Served, query: str = "") -> AsyncIterator[Building]:
    """A build whose step fails."""
    reader, writer = await served.post(f"/build?version=3&onfailure=shell{query}", CONTEXT)
    try:
        yield Building(reader, writer)
    finally:
        writer.close()


async def gone(served: Served) -> None:
    """Wait until nothing is left of any shell."""
    async with asyncio.timeout(PATIENCE):
        while served.routes.shells.waiting or served.routes.shells.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- a shell --------------------------------------------------------------------------------------


async def test_a_client_gets_a_shell_and_then_its_build_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, building(served) as build:
        reader, writer = await served.shell(await build.token())
        writer.write(b"hello")
        assert await reader.readexactly(13) == b"\1\0\0\0\0\0\0\5HELLO"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await build.fails()
        [step] = served.builds.steps
        assert step.ran == [(("/bin/sh",), Console())]
        assert step.streams.closed
        await gone(served)


async def test_a_terminal_has_no_frames_and_the_size_that_the_client_says(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, building(served, '&shell=["bash","-l"]') as build:
        token = await build.token()
        assert await served.status(f"/wherry/build/shell/resize?token={token}&h=1&w=2") == 404
        reader, writer = await served.shell(token, "&tty=1&h=24&w=80")
        [step] = served.builds.steps
        await step.running.wait()
        assert await served.status(f"/wherry/build/shell/resize?token={token}&h=25&w=81") == 200
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.write(b"exit")
        assert await reader.read() == b""
        writer.close()
        await build.fails()
        assert step.ran == [(("bash", "-l"), Console(terminal=True, size=(24, 80)))]
        assert step.streams.sizes == [(25, 81)]


async def test_a_shell_that_cannot_run_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.error = CommandNotFound("exec: no such shell")
        async with building(served) as build:
            reader, writer = await served.shell(await build.token())
            assert await reader.read() == b"\2\0\0\0\0\0\0\x15exec: no such shell\r\n"
            writer.close()
            await build.fails()


@pytest.mark.parametrize("query", ["", "&onfailure=", "&onfailure=fail"])
async def test_without_being_asked_for_there_is_none(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as served:
        assert await served.status(f"/build?version=3&remote=git://x/y.git{query}") == 500
        assert served.builds.requests[0].on_failure is None


async def test_older_answers_have_no_shell_and_odd_actions_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await served.status("/build?version=1&onfailure=shell&remote=git://x/y.git") == 500
        assert served.builds.requests[0].on_failure is None
        assert await served.status("/build?version=3&onfailure=dance") == 400
        assert await served.status("/build?version=3&onfailure=shell&shell=sh") == 400


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_token_opens_one_shell_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, AsyncExitStack() as stack:
        one = await stack.enter_async_context(building(served))
        first = await one.token()  # its step is the first of all
        other = await stack.enter_async_context(building(served))
        second = await other.token()
        assert first != second
        assert len(bytes.fromhex(first)) == 32
        for wrong in ("", "x", first[:-1], first.upper()):
            assert await served.status(f"/wherry/build/shell?token={wrong}") == 404
        _, writer = await served.shell(first)
        assert await served.status(f"/wherry/build/shell?token={first}") == 404
        async with asyncio.timeout(PATIENCE):
            while not (running := [step for step in served.builds.steps if step.running.is_set()]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # whose step that is, only its build knows
        assert [step for step in served.builds.steps if step.ran] == running
        assert len(running) == 1
        writer.close()
        await one.fails()
        assert await served.status(f"/wherry/build/shell?token={first}") == 404
        assert await served.status(f"/wherry/build/shell/resize?token={first}&h=1&w=1") == 404


# --- going ----------------------------------------------------------------------------------------


async def test_a_client_that_leaves_its_shell_ends_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, building(served) as build:
        _, writer = await served.shell(await build.token())
        [step] = served.builds.steps
        await step.running.wait()
        writer.transport.abort()
        await build.fails()
        assert step.over.is_set()
        await gone(served)


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_client_that_leaves_its_build_ends_the_shell_too(tmp_path: Path, is_open: bool) -> None:
    async with serving(tmp_path) as served:
        async with building(served) as build:
            token = await build.token()
            if is_open:
                reader, writer = await served.shell(token)
                await served.builds.steps[0].running.wait()
        if is_open:
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            writer.close()
            assert served.builds.steps[0].over.is_set()
        await gone(served)
        assert len(served.builds.cancelled) == 1
        assert await served.status(f"/wherry/build/shell?token={token}") == 404


async def test_a_build_whose_client_does_not_come_fails_as_it_would_have(tmp_path: Path) -> None:
    shells, step = Shells(HangupWatch(asyncio.get_running_loop()), patience=0.01), Failed()
    shell = BuildShell(shells, ())
    await shell.offer(step)
    assert (step.ran, shells.waiting, shell.tokens) == ([], {}, {})


async def test_of_steps_that_fail_together_the_first_has_the_shell_and_the_others_wait(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, building(served) as build:
        token = await build.token()
        offer: Any = served.builds.requests[0].on_failure
        second = Failed()
        waiting = asyncio.create_task(offer(second))
        _, writer = await served.shell(token)
        await served.builds.steps[0].running.wait()
        assert not waiting.done()
        writer.write(b"exit")
        async with asyncio.timeout(PATIENCE):
            await waiting
        assert second.ran == []
        await build.fails()
        writer.close()
