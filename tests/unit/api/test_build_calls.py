"""What a build asks of wherry's own client, over a real unix socket: outputs, directories, agents, for a token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession, UnixConnector

from support.archives import member, tar
from support.build_service import FakeBuilds
from wherry.api.classic import calling_session, calls, context
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.build import BuildRoutes
from wherry.build.model.request import BuildRequest
from wherry.build.model.session import BuildSession, Connection, Selection
from wherry.errors import NotFound, SystemFault, TooLarge, Unavailable
from wherry.oci.digest import Digest

CONTEXT = tar([member("Dockerfile", b"FROM scratch\n")])
PIECES = [bytes([number]) * 300_000 for number in range(20)]
OUTPUTS = json.dumps([{"Type": "tar"}, {"Type": "image"}, {"Type": "oci"}])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts go with their builds."""
    monkeypatch.setattr(context, "_KEPT", 0.0)


class Exporting(FakeBuilds):
    """Sends archives to the client.

    :ivar numbers: of the outputs.
    :ivar broken: whether there is an error in the middle of them.
    """

    numbers: tuple[str, ...] = ("0", "2")
    broken = False

    async def build(self, request: BuildRequest) -> dict[str, str]:
        self.requests.append(request)
        session = self.sessions[request.session]
        try:
            await self.work(session)
        except asyncio.CancelledError:
            self.cancelled.append(request.ref)
            raise
        finally:
            self._queue(request.ref).put_nowait(None)
        return {}

    async def work(self, session: BuildSession) -> None:
        """What this build does."""
        for number in self.numbers:
            await session.send_file(number, {}, self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in PIECES:
            yield piece
        if self.broken:
            raise SystemFault("the disk broke")


class Served:
    """A served builder and its client."""

    def __init__(self, builds: Exporting, client: ClientSession) -> None:
        self.builds, self.client = builds, client

    @asynccontextmanager
    async def building(self, **query: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of a build, as they come."""
        params = {"version": "3", "outputs": OUTPUTS, **query}

        async def lines(answer: ClientResponse) -> AsyncIterator[dict[str, Any]]:
            async for line in answer.content:
                yield json.loads(line)

        async with self.client.post("http://x/build", data=CONTEXT, params=params) as answer:
            yield lines(answer)

    async def answer(self, token: str, data: Any = None) -> tuple[int, bytes]:
        async with self.client.post(f"http://x/wherry/build/calls/{token}", data=data) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def serving(root: Path, builds: Exporting | None = None) -> AsyncIterator[Served]:
    (root / "contexts").mkdir()
    (root / "builds").mkdir()
    builds, watch = builds or Exporting(root / "builds"), HangupWatch(asyncio.get_running_loop())
    api = Api(Router(BuildRoutes(builds, root / "contexts", lambda: "", watch).routes()), watch)
    server = await asyncio.get_running_loop().create_unix_server(api.connection, root / "socket")
    async with ClientSession(connector=UnixConnector(str(root / "socket"))) as client:
        yield Served(builds, client)
    server.close()
    await api.close()


async def test_outputs_are_answers_to_who_has_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.building() as messages:
        got = []
        async for message in messages:
            assert "error" not in message
            if message["aux"].get("type") == "call":
                assert message["aux"]["kind"] == "output"
                token = message["aux"]["token"]
                assert len(token) >= 43  # 256 bits
                answers = await asyncio.gather(served.answer(token), served.answer(token))
                assert sorted(status for status, _ in answers) == [200, 404]
                got.append((message["aux"]["number"], max(body for _, body in answers if len(body) > 200)))
        assert got == [("0", b"".join(PIECES)), ("2", b"".join(PIECES))]
        assert (await served.answer(token))[0] == 404
        assert [one.type for one in served.builds.requests[0].exports] == ["tar", "moby", "oci"]


async def test_nobody_is_asked_for_an_output_that_he_does_not_take(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.numbers = ("1",)
        for query in ({}, {"version": "1", "outputs": '[{"Type": "tar"}]'}):
            async with served.building(**query) as messages:
                said = [message async for message in messages]
            assert "the client takes no files" in str(said)


async def test_an_output_that_breaks_off_looks_broken_off(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.building() as messages:
        served.builds.broken = True
        async for message in messages:
            if message.get("aux", {}).get("type") == "call":
                with pytest.raises(ClientError):
                    await served.answer(message["aux"]["token"])
        assert message["error"] == "the disk broke"


async def test_a_client_that_leaves_an_output_fails_its_build(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, served.building() as messages:
        async for message in messages:
            if message.get("aux", {}).get("type") == "call":
                url = f"http://x/wherry/build/calls/{message['aux']['token']}"
                answer = await served.client.post(url)
                await answer.content.readexactly(1000)
                answer.close()
        assert message["error"] == "the client of the build has gone"


async def test_a_build_that_ends_answers_nobody_any_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with served.building() as messages:
            async for message in messages:
                if message["aux"].get("type") == "call":
                    break
        async with asyncio.timeout(60):
            while not served.builds.cancelled:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await served.answer(message["aux"]["token"]))[0] == 404


async def test_a_client_that_does_not_answer_fails_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_PATIENCE", 0.01)
    async with serving(tmp_path) as served, served.building() as messages:
        said = [message async for message in messages]
        assert said[-1]["error"] == "the client of the build does not answer"
        token = next(one["aux"]["token"] for one in said if one.get("aux", {}).get("type") == "call")
        assert (await served.answer(token))[0] == 404


async def test_outputs_have_a_bound(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        query = {"version": "3", "outputs": json.dumps([{"Type": "tar"}] * 17)}
        async with served.client.post("http://x/build", data=CONTEXT, params=query) as answer:
            assert answer.status == 400


# --- directories ----------------------------------------------------------------------------------


class Syncing(Exporting):
    """Wants directories of the client's, several times at once.

    :ivar wanted: their names, as the frontend has them.
    :ivar got: what was in them.
    """

    wanted: tuple[str, ...] = ("context:lib", "context:lib")

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.got: list[set[str]] = []

    async def work(self, session: BuildSession) -> None:
        await asyncio.gather(*(self._take(session, number, name) for number, name in enumerate(self.wanted)))

    async def _take(self, session: BuildSession, number: int, name: str) -> None:
        target = self.root / f"{number}"
        target.mkdir()
        await session.sync(name, target, Selection(), lambda _: None)
        self.got.append({path.name for path in target.iterdir()})


@pytest.fixture
def syncing(tmp_path: Path) -> Syncing:
    return Syncing(tmp_path / "builds")


async def gone(root: Path) -> None:
    """Wait until nothing of contexts is left."""
    async with asyncio.timeout(60):
        while list((root / "contexts").iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_directory_is_sent_once_and_goes_with_its_build(tmp_path: Path, syncing: Syncing) -> None:
    async with serving(tmp_path, syncing) as served:
        async with served.building(directories='["lib"]', outputs="") as messages:
            said = []
            async for message in messages:
                said.append(message)
                if message["aux"].get("type") == "call":
                    assert (message["aux"]["kind"], message["aux"]["name"]) == ("directory", "lib")
                    assert (await served.answer(message["aux"]["token"], tar([member("a", b"1")])))[0] == 204
        assert [one["aux"]["type"] for one in said].count("call") == 1
        assert syncing.got == [{"a"}, {"a"}]
        assert syncing.requests[0].options == {"context:lib": "local:context:lib"}
        await gone(tmp_path)


@pytest.mark.parametrize(
    "content", [tar([member("../a", b"1"), member("b", b"2")])[:1100], tar([member("a", b"1")])[:512]]
)
async def test_a_directory_that_is_damaged_fails_the_build(tmp_path: Path, syncing: Syncing, content: bytes) -> None:
    async with serving(tmp_path, syncing) as served:
        async with served.building(directories='["lib"]') as messages:
            async for message in messages:
                if message.get("aux", {}).get("type") == "call":
                    with pytest.raises(ClientError):
                        await served.answer(message["aux"]["token"], content)
        assert "ends too early" in message["error"]
        await gone(tmp_path)


async def test_a_client_that_goes_while_it_sends_a_directory_leaves_nothing(tmp_path: Path, syncing: Syncing) -> None:
    async with serving(tmp_path, syncing) as served:
        stalls = asyncio.Event()

        async def half() -> AsyncIterator[bytes]:
            yield tar([member("a", b"1" * 1000)])[:700]
            async with asyncio.timeout(60):
                while len(list((tmp_path / "contexts/contexts").iterdir())) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            stalls.set()
            await asyncio.Event().wait()

        async with served.building(directories='["lib"]') as messages:
            async for message in messages:
                if message["aux"].get("type") == "call":
                    sending = asyncio.create_task(served.answer(message["aux"]["token"], half()))
                    await stalls.wait()
                    break
        with pytest.raises(ClientError):  # the build went first, and its calls with it
            await sending
        await gone(tmp_path)


@pytest.mark.parametrize("name", ["context:other", "other", "context:", "dockerfile:lib"])
async def test_nobody_is_asked_for_a_directory_that_he_has_not(tmp_path: Path, syncing: Syncing, name: str) -> None:
    syncing.wanted = (name,)
    async with serving(tmp_path, syncing) as served, served.building(directories='["lib"]') as messages:
        said = [message async for message in messages]
        assert "no local sources enabled" in str(said)


@pytest.mark.parametrize("given", ['["a"', '[""]', '["a\\u0000"]', json.dumps(["a"] * 65), json.dumps(["a" * 5000])])
async def test_names_of_directories_have_bounds(tmp_path: Path, given: str) -> None:
    async with (
        serving(tmp_path) as served,
        served.client.post("http://x/build", data=CONTEXT, params={"version": "3", "directories": given}) as answer,
    ):
        assert answer.status == 400


# --- OCI layouts ----------------------------------------------------------------------------------


class Reading(Exporting):
    """Reads blobs of the client's layouts.

    :ivar got: what came.
    """

    store = "oci:one"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.got: list[bytes] = []

    async def work(self, session: BuildSession) -> None:
        content = session.content(self.store)
        for number in (1, 2):
            digest = Digest.from_bytes(bytes([number]))
            self.got.append(b"".join([piece async for piece in content.read(digest)]))


async def test_blobs_of_a_layout_come_one_after_the_other(tmp_path: Path) -> None:
    builds, asked = Reading(tmp_path / "builds"), []
    async with serving(tmp_path, builds) as served, served.building(layouts='["one"]') as messages:
        async for message in messages:
            if message["aux"].get("type") == "call":
                asked.append((message["aux"]["kind"], message["aux"]["store"], message["aux"]["digest"]))
                body = b"x" * 600_000 if len(asked) == 1 else b""
                assert (await served.answer(message["aux"]["token"], body))[0] == 204
    assert asked == [("blob", "one", str(Digest.from_bytes(bytes([number])))) for number in (1, 2)]
    assert builds.got == [b"x" * 600_000, b""]


@pytest.mark.parametrize("store", ["oci:two", "one", "local:two", "local:", "other:one", "export"])
async def test_nobody_is_asked_for_a_layout_that_he_has_not(tmp_path: Path, store: str) -> None:
    builds = Reading(tmp_path / "builds")
    builds.store = store
    async with serving(tmp_path, builds) as served, served.building(layouts='["one"]') as messages:
        assert "no content store of the client's" in str([message async for message in messages])


class Caching(Exporting):
    """Asks for sizes in the client's directory with cache, and sends what is not there."""

    async def work(self, session: BuildSession) -> None:
        content = session.content("local:one")
        digest = Digest.from_bytes(b"1")
        self.sizes = [await content.size(digest) for _ in range(3)]

        async def pieces() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"c"

        await content.write(digest, 3, pieces())


async def test_a_directory_with_cache_says_sizes_and_takes_blobs(tmp_path: Path) -> None:
    builds, asked = Caching(tmp_path / "builds"), []
    said = iter([b"12", b"null", b"-1"])
    async with serving(tmp_path, builds) as served, served.building(layouts='["one"]') as messages:
        async for message in messages:
            if message["aux"].get("type") == "call":
                asked.append((kind := message["aux"]["kind"], message["aux"]["store"], message["aux"]["digest"]))
                answer = await served.answer(message["aux"]["token"], next(said) if kind == "size" else b"")
                assert answer == ((204, b"") if kind == "size" else (200, b"abc"))
    assert builds.sizes == [12, None, None]
    assert asked == [(kind, "one", str(Digest.from_bytes(b"1"))) for kind in ("size", "size", "size", "store")]


async def test_a_client_that_goes_in_the_middle_of_a_blob_fails_its_build(tmp_path: Path) -> None:
    builds = Reading(tmp_path / "builds")
    async with serving(tmp_path, builds) as served, served.building(layouts='["one"]') as messages:

        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise OSError("the file is gone")

        async for message in messages:
            if message.get("aux", {}).get("type") == "call":
                with pytest.raises((ClientError, OSError)):
                    await served.answer(message["aux"]["token"], broken())
        assert message["error"] == "the client of the build has gone"
        assert builds.got == []


# --- agents ---------------------------------------------------------------------------------------


class Asking(Exporting):
    """Asks an agent of the client's.

    :ivar talk: what is done with a session.
    """

    talk: Callable[[BuildSession], Coroutine[Any, Any, None]]

    async def work(self, session: BuildSession) -> None:
        await self.talk(session)


async def raw(root: Path, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the daemon that carries bytes, after the head of its answer."""
    reader, writer = await asyncio.open_unix_connection(root / "socket")
    writer.write(
        f"POST /wherry/build/calls/{token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def test_bytes_go_both_ways_between_a_step_and_the_clients_agent(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def talk(session: BuildSession) -> None:
        connection = await session.ssh("")
        await connection.write(b"question")
        heard.append(await connection.read())
        connection.close()
        connection.close()

    builds = Asking(tmp_path / "builds")
    builds.talk = talk
    async with serving(tmp_path, builds) as served, served.building(agents='["default"]') as messages:
        async for message in messages:
            if message["aux"].get("type") == "call":
                assert (message["aux"]["kind"], message["aux"]["id"]) == ("agent", "default")
                reader, writer = await raw(tmp_path, message["aux"]["token"])
                assert await reader.readexactly(8) == b"question"
                writer.write(b"answer")
                assert await reader.read() == b""  # closed
                writer.close()
        assert heard == [b"answer"]


async def without_end(connection: Connection) -> None:
    while True:
        await connection.write(b"x" * 65536)


async def test_a_client_that_goes_is_the_end_of_its_agent(tmp_path: Path) -> None:
    async def talk(session: BuildSession) -> None:
        connection = await session.ssh("a")
        assert await connection.read() == b""
        with pytest.raises(Unavailable, match="has gone"):
            await without_end(connection)

    builds = Asking(tmp_path / "builds")
    builds.talk = talk
    async with serving(tmp_path, builds) as served, served.building(agents='["a"]') as messages:
        async for message in messages:
            assert "error" not in message, message
            if message["aux"].get("type") == "call":
                _, writer = await raw(tmp_path, message["aux"]["token"])
                writer.close()


async def test_connections_to_agents_end_with_the_build(tmp_path: Path) -> None:
    async def talk(session: BuildSession) -> None:
        await session.ssh("a")  # and leave it open

    builds = Asking(tmp_path / "builds")
    builds.talk = talk
    async with serving(tmp_path, builds) as served, served.building(agents='["a"]') as messages:
        async for message in messages:
            if message["aux"].get("type") == "call":
                reader, writer = await raw(tmp_path, message["aux"]["token"])
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()


async def test_connections_to_agents_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling_session, "_MOST_CONNECTIONS", 2)

    async def talk(session: BuildSession) -> None:
        with pytest.raises(NotFound, match="unset ssh forward key other"):
            await session.ssh("other")
        first, _ = await session.ssh("a"), await session.ssh("a")
        with pytest.raises(TooLarge):
            await session.ssh("a")
        first.close()
        (await session.ssh("a")).close()

    builds = Asking(tmp_path / "builds")
    builds.talk = talk
    async with serving(tmp_path, builds) as served, served.building(agents='["a"]') as messages:
        writers, calls_seen = [], 0
        async for message in messages:
            assert "error" not in message, message
            if message["aux"].get("type") == "call":
                calls_seen += 1
                writers.append((await raw(tmp_path, message["aux"]["token"]))[1])
        for writer in writers:
            writer.close()
        assert calls_seen == 3
