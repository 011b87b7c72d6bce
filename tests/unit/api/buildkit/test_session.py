"""A client's session, served by another implementation of gRPC."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from support.fake_builds import FakeBuilds
from support.grpc_peers import CONTROL, Client, SessionOffer, serving, session_of
from wherry.api.buildkit import session as client_session
from wherry.api.buildkit.client_calls import headers_of
from wherry.api.buildkit.proto import common_pb2
from wherry.api.buildkit.session import MOST_VALUES
from wherry.build.model.session import Credentials, Selection
from wherry.errors import NotFound, Unavailable
from wherry.oci.digest import Digest


def tree_of(root: Path) -> dict[str, object]:
    """Everything below a directory: content, mode and time."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (content, 0 if path.is_symlink() else status.st_mode, status.st_mtime_ns)
    return found


def contents_of(root: Path) -> list[bytes]:
    """The contents of all files below a directory."""
    return [path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A client's directory."""
    root = tmp_path / "context"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_bytes(os.urandom(100_000))
    (root / "a" / "empty").touch(mode=0o755)
    (root / "a-b").write_text("sorts behind what is in a")
    (root / "ü").write_text("x")
    (root / "link").symlink_to("a/file")
    os.utime(root / "a", (5, 5))
    return root


async def test_a_directory_comes_and_then_only_what_differs(tmp_path: Path, context: Path) -> None:
    offer = SessionOffer()
    offer.directories["context"] = context
    there = tmp_path / "there"
    there.mkdir()
    received: list[int] = []
    async with session_of(FakeBuilds(), offer) as session:
        await session.sync("context", there, Selection(), received.append)
        assert tree_of(there) == tree_of(context)
        assert sum(received) == sum(map(len, contents_of(context)))
        first = len(offer.requested)
        assert first == 4
        await session.sync("context", there, Selection(), received.append)
        assert len(offer.requested) == first
        (context / "a" / "file").write_text("changed")
        (context / "a-b").unlink()
        (context / "ü").unlink()
        (context / "ü").mkdir()
        await session.sync("context", there, Selection(), received.append)
        assert len(offer.requested) == first + 1
        assert tree_of(there) == tree_of(context)


async def test_what_is_wanted_is_told_in_headers(tmp_path: Path, context: Path) -> None:
    offer = SessionOffer()
    offer.directories["context"] = context
    selection = Selection(include=("a", "b c"), exclude=("ü+ ",), follow=("x",))
    async with session_of(FakeBuilds(), offer) as session:
        await session.sync("context", tmp_path / "context", selection, lambda _: None)
    (metadata,) = offer.metadata
    assert metadata["include-patterns"] == ["a", "b c"]
    assert "include-patterns-encoded" not in metadata
    assert metadata["exclude-patterns"] == ["%C3%BC%2B+"]
    assert metadata["exclude-patterns-encoded"] == ["1"]
    assert metadata["followpaths"] == ["x"]


async def test_a_directory_that_the_client_has_not_is_not_found(tmp_path: Path) -> None:
    async with session_of(FakeBuilds(), SessionOffer()) as session:
        with pytest.raises(NotFound, match="no access allowed"):
            await session.sync("other", tmp_path, Selection(), lambda _: None)


async def test_a_directory_of_another_session_is_waited_for(tmp_path: Path, context: Path) -> None:
    builds = FakeBuilds()
    async with session_of(builds, SessionOffer()) as session:
        with pytest.raises(NotFound):
            await session.sync("context", tmp_path, Selection(), lambda _: None, session="s1")


async def test_secrets_and_credentials_are_asked_for() -> None:
    offer = SessionOffer()
    offer.secrets["key"] = b"value"
    offer.credentials = {"a": ("me", "word"), "b": ("", "token")}
    async with session_of(FakeBuilds(), offer) as session:
        assert (session.id, session.shared_key) == ("s1", "key")
        assert await session.secret("key") == b"value"
        with pytest.raises(NotFound, match="secret other: not found"):
            await session.secret("other")
        assert await session.credentials("a") == Credentials("me", "word")
        assert await session.credentials("b") == Credentials(token="token")
        assert await session.credentials("c") is None


async def test_an_agent_is_talked_to() -> None:
    offer = SessionOffer()
    async with session_of(FakeBuilds(), offer) as session:
        connection = await session.ssh("")
        await connection.write(b"hello")
        assert await connection.read() == b"hello"
        connection.close()
        with pytest.raises(NotFound, match="unset ssh forward key work"):
            await session.ssh("work")
    assert offer.metadata[0]["buildkit.ssh.id"] == ["default"]


async def test_a_context_from_standard_input_comes() -> None:
    offer = SessionOffer()
    offer.uploads["/abc"] = os.urandom(1_000_000)
    async with session_of(FakeBuilds(), offer) as session:
        pieces = [piece async for piece in session.upload("http://buildkit-session/abc")]
    assert b"".join(pieces) == offer.uploads["/abc"]
    assert offer.metadata[0]["urlhost"] == ["buildkit-session"]


async def test_an_archive_goes_to_the_client_in_messages_of_a_good_size() -> None:
    offer = SessionOffer()
    data = os.urandom(5_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:10]
        yield data[10:]

    async with session_of(FakeBuilds(), offer) as session:
        await session.send_file("1", {"containerimage.digest": "x"}, pieces())
    assert offer.files["1"] == data
    assert offer.metadata[0]["exporter-md-containerimage.digest"] == ["x"]


async def test_blobs_are_read_and_written() -> None:
    offer = SessionOffer()
    data = os.urandom(2_500_000)
    digest, other = Digest.from_bytes(data), Digest.from_bytes(b"other")
    offer.begun[f"wherry-{digest}"] = data[:1000]

    async def pieces(whole: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 300_000):
            yield whole[start : start + 300_000]

    async with session_of(FakeBuilds(), offer) as session:
        store = session.content("export")
        assert await store.size(digest) is None
        with pytest.raises(NotFound):
            [piece async for piece in store.read(digest)]
        await store.write(digest, len(data), pieces(data))
        assert offer.blobs[str(digest)] == data
        assert await store.size(digest) == len(data)
        assert b"".join([piece async for piece in store.read(digest)]) == data
        await store.write(digest, len(data), pieces(data))
        await store.write(other, 5, pieces(b"other"))
        assert offer.blobs[str(other)] == b"other"
    assert offer.metadata[0]["buildkit-attachable-store-id"] == ["export"]


async def test_a_client_that_goes_is_unavailable(tmp_path: Path) -> None:
    offer = SessionOffer()
    hanging = asyncio.Event()

    async def hang(_stream: object) -> None:
        hanging.set()
        await asyncio.Event().wait()

    offer.sender = hang
    builds = FakeBuilds()
    async with session_of(builds, offer) as session:
        sync = asyncio.create_task(session.sync("context", tmp_path, Selection(), lambda _: None))
        await hanging.wait()
    with pytest.raises(Unavailable, match="the client of the build has gone"):
        await sync
    assert builds.detached == ["s1"]
    with pytest.raises(Unavailable):
        await session.secret("x")


async def test_a_transfer_is_cancelled_at_once(tmp_path: Path) -> None:
    offer = SessionOffer()
    hanging = asyncio.Event()

    async def hang(_stream: object) -> None:
        hanging.set()
        await asyncio.Event().wait()

    offer.sender = hang
    async with session_of(FakeBuilds(), offer) as session:
        sync = asyncio.create_task(session.sync("context", tmp_path, Selection(), lambda _: None))
        await hanging.wait()
        sync.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sync
        offer.secrets["a"] = b"the connection goes on"
        assert await session.secret("a")


async def test_a_session_inside_of_a_call_is_one_as_well(tmp_path: Path, context: Path) -> None:
    builds = FakeBuilds()
    offer = SessionOffer()
    offer.directories["context"] = context
    there = tmp_path / "there"
    there.mkdir()
    async with serving(builds) as (_, client), Tunnel(client, offer):
        await builds.session_there.wait()
        session = builds.sessions["s9"]
        await session.sync("context", there, Selection(), lambda _: None)
    assert tree_of(there) == tree_of(context)
    assert builds.detached == ["s9"]


@pytest.mark.parametrize("way", ["sync", "send_tree"])
async def test_a_directory_that_is_opened_while_its_build_is_cancelled_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    begun, gate = threading.Event(), threading.Event()
    closed: list[object] = []
    name = {"sync": "TreeReceiver", "send_tree": "TreeSender"}[way]

    class Slow(getattr(client_session, name)):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.set()
            gate.wait()

        def close(self) -> None:
            super().close()
            closed.append(self)

    monkeypatch.setattr(client_session, name, Slow)
    async with session_of(FakeBuilds(), SessionOffer()) as session:
        if way == "sync":
            work = session.sync("context", tmp_path, Selection(), lambda _: None)
        else:
            work = session.send_tree("0", tmp_path)
        task = asyncio.create_task(work)
        await asyncio.to_thread(begun.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(closed) == 1


async def test_a_session_inside_of_a_call_without_an_id_is_refused() -> None:
    async with serving(FakeBuilds()) as (_, client):
        async with asyncio.timeout(60):
            with pytest.raises(GRPCError, match="no session ID in the request"):
                await client.listen(CONTROL + "Session", common_pb2.BytesMessage())


class Tunnel:
    """A client's session inside of Control/Session: its server is behind a socket of the client's own."""

    def __init__(self, client: Client, offer: SessionOffer) -> None:
        self._server = Server([offer])
        self._inner, self._outer = socket.socketpair()
        self._metadata = {"x-docker-expose-session-uuid": "s9"}
        self._call = client.channel.request(
            CONTROL + "Session", Cardinality.STREAM_STREAM, common_pb2.BytesMessage, common_pb2.BytesMessage,
            metadata=self._metadata,
        )  # fmt: skip

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._server._protocol_factory, self._inner)
        self._outer.setblocking(False)
        await self._call.__aenter__()
        await self._call.send_request()
        self._tasks = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]

    async def __aexit__(self, *exc: object) -> None:
        await self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call.__aexit__(None, None, None)
        self._outer.close()
        for handler in self._server._handlers:
            await handler.wait_closed()

    async def _up(self) -> None:
        while data := await asyncio.get_running_loop().sock_recv(self._outer, 65536):
            await self._call.send_message(common_pb2.BytesMessage(data=data))

    async def _down(self) -> None:
        async for message in self._call:
            await asyncio.get_running_loop().sock_sendall(self._outer, message.data)


def test_too_many_patterns_are_no_headers() -> None:
    from wherry.api.buildkit.session import _selected  # noqa: PLC0415

    few, _ = _selected("context", Selection(exclude=tuple("x" * MOST_VALUES)))
    many, _ = _selected("context", Selection(exclude=tuple("x" * (MOST_VALUES + 1))))
    assert len(few) == MOST_VALUES + 1
    assert len(many) == 1


async def test_what_too_many_patterns_leave_out_is_not_asked_for(tmp_path: Path, context: Path) -> None:
    offer = SessionOffer()
    offer.directories["context"] = context
    there = tmp_path / "there"
    there.mkdir()
    exclude = ("a-b", "a", "!a/empty", *(f"no{number}" for number in range(MOST_VALUES)))
    async with session_of(FakeBuilds(), offer) as session:
        await session.sync("context", there, Selection(exclude=exclude), lambda _: None)
    assert sorted(tree_of(there)) == ["a", "a/empty", "link", "ü"]
    assert len(offer.requested) == 2


def test_values_that_would_be_changed_on_their_way_are_escaped() -> None:
    assert headers_of({"A": ["x"]}) == [(b"a", b"x")]
    assert headers_of({"a": ["x", "\n"]}) == [(b"a", b"x"), (b"a", b"%0A"), (b"a-encoded", b"1")]
    assert headers_of({"a": [" x"]}) == [(b"a", b"+x"), (b"a-encoded", b"1")]
