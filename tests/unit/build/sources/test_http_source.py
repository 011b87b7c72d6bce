"""Files of web servers as sources."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from support.build_sources import ClientSession, Drafts, Memory, content_of, request_for
from wherry.build.sources.http import HttpSource
from wherry.errors import CorruptData, InvalidInput, NotFound, SystemFault, WherryError

MINE = {"http__uid": str(os.getuid()), "http__gid": str(os.getgid())}

ODD = {
    "/nothing": (404, ""), "/broken": (500, ""), "/short": (200, ""), "/moved": (302, "/file.txt"),
    "/loop": (302, "/loop"), "/elsewhere": (302, "file:///etc/passwd"),
}  # fmt: skip


class Server:
    """A web server with one file, which remembers what it was asked."""

    def __init__(self) -> None:
        self.data = b"content"
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []
        self.conditional = True
        self.target = ""
        self.address = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(dict(request.headers))
        if request.path == "/short":
            assert request.transport is not None
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            request.transport.close()
        if request.path == "/redirect":
            return web.Response(status=302, headers={"Location": self.target})
        if request.path in ODD:
            status, target = ODD[request.path]
            return web.Response(status=status, headers={"Location": target} if target else {})
        known = {request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")} - {None}
        if self.conditional and known & {self.headers.get("ETag"), self.headers.get("Last-Modified")}:
            return web.Response(status=304, headers=self.headers)
        return web.Response(body=self.data, headers=self.headers)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    """A server of the test's own."""
    server = Server()
    runner = web.ServerRunner(web.Server(server.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


class Fetched:
    """One use of a source, from open to close."""

    def __init__(self, source: HttpSource, url: str, session: Any = None, **attributes: str) -> None:
        self._fetch = source.open(request_for(url, session, **{**MINE, **attributes}))

    async def both(self) -> tuple[str, dict[str, str], Path]:
        """The key and the files."""
        try:
            key = await self._fetch.key()
            snapshot = await self._fetch.snapshot()
            return key.key, content_of(snapshot), Path(snapshot.layers[0].path)
        finally:
            await self._fetch.close()

    async def key(self) -> str:
        """The key alone."""
        try:
            return (await self._fetch.key()).key
        finally:
            await self._fetch.close()


@asynccontextmanager
async def source_of(root: Path) -> AsyncIterator[HttpSource]:
    """A source; nothing unfinished is left of it."""
    drafts = Drafts(root)
    source = HttpSource(drafts, Memory())
    try:
        yield source
    finally:
        await source.close()
    assert not drafts.open


async def test_a_file_becomes_a_layer_with_its_name_mode_and_time(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        server.headers = {"Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
        _, files, path = await Fetched(source, f"{server.address}/a/file.txt?x=1").both()
        status = (path / "file.txt").stat()
        assert files == {"file.txt": "content"}
        assert (status.st_mode & 0o7777, status.st_mtime) == (0o600, 1420070400)
        _, files, path = await Fetched(source, f"{server.address}/x", http__filename="other", http__perm="0755").both()
        assert files == {"other": "content"}
        assert (path / "other").stat().st_mode & 0o7777 == 0o755


async def test_what_has_not_changed_is_not_fetched_again(tmp_path: Path) -> None:
    for headers in ({"ETag": '"1"'}, {"Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}):
        async with (
            serving() as server,
            source_of(tmp_path / str(len(headers["ETag" if "ETag" in headers else "Last-Modified"]))) as source,
        ):
            server.headers = headers
            keys = [await Fetched(source, f"{server.address}/file.txt").key() for _ in range(2)]
            drafts = source.drafts
            assert isinstance(drafts, Drafts)
            assert (keys[0] == keys[1], drafts.begun) == (True, 1)
            server.data, server.headers = b"other", {"ETag": '"2"', "Last-Modified": "Fri, 02 Jan 2015 00:00:00 GMT"}
            assert await Fetched(source, f"{server.address}/file.txt").key() != keys[0]


async def test_a_server_that_ignores_the_condition_is_understood_by_its_etag(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        server.headers, server.conditional = {"ETag": '"1"'}, False
        keys = {await Fetched(source, f"{server.address}/file.txt").key() for _ in range(2)}
        assert isinstance(source.drafts, Drafts)
        assert (len(keys), source.drafts.begun) == (1, 1)


async def test_what_is_known_but_not_here_any_more_is_fetched(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        server.headers = {"ETag": '"1"'}
        await Fetched(source, f"{server.address}/file.txt").key()
        _, files, _ = await Fetched(source, f"{server.address}/file.txt").both()
        assert files == {"file.txt": "content"}


async def test_a_checksum_is_checked_and_makes_asking_needless(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        url, right = f"{server.address}/file.txt", f"sha256:{hashlib.sha256(b'content').hexdigest()}"
        await Fetched(source, url, http__checksum=right).both()
        asked = len(server.asked)
        await Fetched(source, url, http__checksum=right).key()
        assert len(server.asked) == asked
        with pytest.raises(CorruptData, match=r"digest mismatch .* \(expected: sha256:0000"):
            await Fetched(source, url, http__checksum=f"sha256:{'0' * 64}").key()


async def test_name_mode_owner_and_time_are_part_of_the_key(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        keys = [
            await Fetched(source, f"{server.address}/file.txt").key(),
            await Fetched(source, f"{server.address}/other.txt").key(),
            await Fetched(source, f"{server.address}/file.txt", http__perm="0644").key(),
        ]
        server.headers = {"Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
        keys.append(await Fetched(source, f"{server.address}/file.txt").key())
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename=".."', "file.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve", "naïve"),
        ("nonsense;;;=", "file.txt"),
        ("a" * 10_000, "file.txt"),
    ],
)
async def test_the_server_may_name_the_file_but_not_its_place(tmp_path: Path, disposition: str, name: str) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        server.headers = {"Content-Disposition": disposition}
        _, files, _ = await Fetched(source, f"{server.address}/file.txt").both()
        assert set(files) == {name}


@pytest.mark.parametrize(
    ("path", "name"), [("", "download"), ("/..", "download"), ("/a%2f..%2f..%2fb", "b"), ("/a/b/", "b")]
)
async def test_an_address_without_a_usable_name_gives_one(tmp_path: Path, path: str, name: str) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        _, files, _ = await Fetched(source, server.address + path).both()
        assert set(files) == {name}


async def test_redirects_are_followed_within_http(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        _, files, _ = await Fetched(source, f"{server.address}/moved").both()
        assert files == {"moved": "content"}
        with pytest.raises(InvalidInput, match="stopped after 10 redirects"):
            await Fetched(source, f"{server.address}/loop").key()
        with pytest.raises(InvalidInput, match="redirects to 'file:///etc/passwd'"):
            await Fetched(source, f"{server.address}/elsewhere").key()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("http://host:99999/", SystemFault),
        ("http://[::1", SystemFault),
        ("http://[::1]:x/", SystemFault),
        ("http://a..b/", SystemFault),
        (f"http://{'a' * 70}.b/", SystemFault),
        ("http://\xff/", SystemFault),
        ("http://127.0.0.1:0/", SystemFault),
        ("", InvalidInput),
        ("//", InvalidInput),
        ("ftp://me:secret@host/", InvalidInput),
    ],
)
async def test_a_redirect_to_no_address_is_an_error_of_the_servers(
    tmp_path: Path, target: str, kind: type[Exception]
) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        server.target = target
        with pytest.raises(kind, match=r'Get "http://127.0.0.1') as caught:
            await Fetched(source, f"{server.address}/redirect").key()
        assert "secret" not in str(caught.value)


async def test_a_file_that_changes_between_key_and_files_is_refused(tmp_path: Path) -> None:
    """Its content, its name or its time: all are in the key."""
    headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
    changes: list[tuple[bytes, dict[str, str]]] = [
        (b"other", headers),
        (b"content", {**headers, "Last-Modified": "Fri, 02 Jan 2015 00:00:00 GMT"}),
        (b"content", {**headers, "Content-Disposition": "attachment; filename=other"}),
    ]
    for number, (data, changed) in enumerate(changes):
        async with serving() as server, source_of(tmp_path / str(number)) as source:
            server.headers = headers
            await Fetched(source, f"{server.address}/file.txt").key()
            fetch = source.open(request_for(f"{server.address}/file.txt", **MINE))
            await fetch.key()
            server.data, server.headers = data, changed
            with pytest.raises(CorruptData, match="has changed since the server was asked about it"):
                await fetch.snapshot()
            await fetch.close()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/nothing", NotFound, "with status 404 Not Found"),
        ("/broken", SystemFault, "with status 500"),
        ("/short", WherryError, "short"),
    ],
)
async def test_a_server_that_fails_is_told_of(tmp_path: Path, path: str, kind: type[Exception], words: str) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        with pytest.raises(kind, match=words):
            await Fetched(source, server.address + path).key()


async def test_a_password_of_an_address_is_sent_and_shown_to_nobody(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        address = server.address.replace("://", "://me:secret@")
        fetch = source.open(request_for(f"{address}/file.txt", **MINE))
        key = await fetch.key()
        await fetch.close()
        assert server.asked[-1]["Authorization"].startswith("Basic ")
        assert isinstance(source.memory, Memory)
        assert "secret" not in repr(key) + repr(source.memory.known)
        with pytest.raises(NotFound) as caught:
            await Fetched(source, f"{address}/nothing").key()
        assert "secret" not in str(caught.value)


async def test_a_token_in_the_place_of_a_user_is_shown_to_nobody(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        address = server.address.replace("://", "://t0ken@")
        fetch = source.open(request_for(f"{address}/file.txt", **MINE))
        key = await fetch.key()
        await fetch.close()
        assert server.asked[-1]["Authorization"].startswith("Basic ")
        assert "t0ken" not in repr(key)
        for path in ("/nothing", "/broken", "/short", "/loop", "/elsewhere"):
            with pytest.raises(WherryError) as caught:
                await Fetched(source, address + path).key()
            assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://t0ken@h:99999/", "http://me:t0ken@[::1/", "http://me:t0/ken@h/", "http://t0ken@/"]
)
def test_a_token_of_a_wrong_address_is_shown_to_nobody(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        HttpSource(Drafts(tmp_path), Memory()).open(request_for(url))
    assert not {"t0ken", "t0", "ken@"} & set(str(caught.value).replace(":", " ").replace("/", " ").split())
    assert "t0" not in str(caught.value)


async def test_a_file_whose_making_is_cancelled_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go, opened = threading.Event(), threading.Event(), list[int]()
    really = os.open

    def slow(path: Any, *arguments: Any, **more: Any) -> int:
        fd = really(path, *arguments, **more)
        if Path(os.fsdecode(path)).name == "file.txt":
            opened.append(fd)
            began.set()
            go.wait(60)
        return fd

    monkeypatch.setattr(os, "open", slow)
    async with serving() as server, source_of(tmp_path) as source:
        task = asyncio.ensure_future(Fetched(source, f"{server.address}/file.txt").key())
        await asyncio.to_thread(began.wait, 60)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert opened
        for fd in opened:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)


async def test_a_secret_of_the_clients_authorizes(tmp_path: Path) -> None:
    async with serving() as server, source_of(tmp_path) as source:
        session = ClientSession()
        session.secrets["HTTP_AUTH_TOKEN_127.0.0.1"] = b"t0ken\n"
        await Fetched(source, f"{server.address}/file.txt", session).key()
        assert server.asked[-1]["Authorization"] == "Bearer t0ken"
        session.secrets["mine"] = b"Basic abc"
        await Fetched(source, f"{server.address}/file.txt", session, http__authheadersecret="mine").key()
        assert server.asked[-1]["Authorization"] == "Basic abc"
        session.secrets["mine"] = b"a\r\nX-Evil: 1"
        with pytest.raises(InvalidInput, match="no value of a header"):
            await Fetched(source, f"{server.address}/file.txt", session, http__authheadersecret="mine").key()


async def test_what_a_client_uploads_is_asked_of_the_client(tmp_path: Path) -> None:
    async with source_of(tmp_path) as source:
        session, url = ClientSession(), "http://buildkit-session/abc"
        session.uploads[url] = [b"up", b"load"]
        _, files, _ = await Fetched(source, url, session, http__filename="context").both()
        assert files == {"context": "upload"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"http__filename": "../x"},
        {"http__filename": "a/b"},
        {"http__filename": "x" * 300},
        {"http__perm": "99999"},
        {"http__perm": "rw"},
        {"http__uid": "-1"},
        {"http__checksum": "sha256:abc"},
        {"http__checksum": "md5:abc"},
        {"http__sig.pubkey": "x"},
    ],
)
def test_attributes_that_make_no_sense_are_refused(tmp_path: Path, attributes: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        HttpSource(Drafts(tmp_path), Memory()).open(request_for("http://localhost/x", **attributes))


@pytest.mark.parametrize(
    "url", ["http://", "https:///x", "http://[::1", "http://localhost:99999/x", "http://" + "x" * 9000]
)
def test_addresses_that_are_none_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput):
        HttpSource(Drafts(tmp_path), Memory()).open(request_for(url))
