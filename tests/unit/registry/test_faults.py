"""What goes wrong: processes that die, clients that leave, crawl, or come in hundreds, bytes that make no sense."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.registry_harness import Answer, digest, registry
from support.registry_process import running
from wherry.cli.commands.registry import check, gc, serve
from wherry.oci.digest import Digest
from wherry.registry.server import ranges, routes
from wherry.registry.server.access.passwords import credentials
from wherry.registry.server.errors import Refusal
from wherry.registry.server.main import main, parser

BIG = 20_000_000
MUCH = 160  # MiB


async def ask(session: aiohttp.ClientSession, method: str, url: str, **more: object) -> Answer:
    async with session.request(method, url, **more) as response:  # type: ignore[arg-type]
        return Answer(response, await response.read())


async def drip(data: bytes, told: asyncio.Event, hold: asyncio.Event) -> AsyncIterator[bytes]:
    """Half of it; the rest when that is allowed."""
    half = len(data) // 2
    for at in range(0, half, 1 << 20):
        yield data[at : min(half, at + (1 << 20))]
    told.set()
    await hold.wait()
    yield data[half:]


@pytest.mark.slow
@pytest.mark.once
async def test_a_registry_that_is_killed_during_a_push_goes_on_where_it_was(tmp_path: Path) -> None:
    data = os.urandom(BIG)
    async with aiohttp.ClientSession() as session:
        with running("--root", str(tmp_path)) as first:
            where = (await ask(session, "POST", f"{first.url}/v2/a/blobs/uploads/")).headers["Location"]
            told, never = asyncio.Event(), asyncio.Event()  # set when it is too late
            pushing = asyncio.create_task(ask(session, "PATCH", first.url + where, data=drip(data, told, never)))
            await told.wait()
            await asyncio.to_thread(wait_for_bytes, tmp_path / "uploads", BIG // 4)
            await asyncio.to_thread(first.kill)
            never.set()
            with contextlib.suppress(aiohttp.ClientError):
                await pushing
        with running("--root", str(tmp_path)) as second:
            given_digest = digest(data)
            assert (await ask(session, "HEAD", f"{second.url}/v2/a/blobs/{given_digest}")).status == 404
            arrived = int((await ask(session, "GET", second.url + where)).headers["Range"].split("-")[1]) + 1
            assert BIG // 4 <= arrived <= BIG // 2
            rest = drip(data[arrived:], asyncio.Event(), set_event())
            answer = await ask(session, "PUT", f"{second.url}{where}?digest={given_digest}", data=rest)
            assert answer.status == 201
            assert (await ask(session, "GET", f"{second.url}/v2/a/blobs/{given_digest}")).body == data
            assert await asyncio.to_thread(second.end) == 0
    assert await asyncio.to_thread(main, ["check", "--root", str(tmp_path)]) == 0


def set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def wait_for_bytes(directory: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while sum(path.stat().st_size for path in directory.iterdir()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.once
async def test_a_registry_that_is_killed_again_and_again_shows_nothing_damaged(tmp_path: Path) -> None:
    """Pushes and collections are under way each time; whatever was answered with 201 is there afterwards."""
    config = tmp_path / "registry.toml"
    config.write_text('[gc]\ninterval = "50ms"\ngrace = "1h"\nuntagged = true\n')
    root = tmp_path / "root"
    stored: set[str] = set()
    for _ in range(4):
        with running("--root", str(root), "--config", str(config)) as server:
            pushing = asyncio.create_task(push_on(server.url, stored))
            await asyncio.sleep(0.25)  # not waited for: the moment of the kill is to be any
            await asyncio.to_thread(server.kill)
            await pushing
        assert await asyncio.to_thread(main, ["check", "--root", str(root)]) == 0
    assert stored
    with running("--root", str(root)) as server:
        async with aiohttp.ClientSession() as session:
            for blob in stored:
                answer = await ask(session, "GET", f"{server.url}/v2/a/blobs/{blob}")
                assert digest(answer.body) == blob


async def push_on(url: str, stored: set[str]) -> None:
    """Push until the registry is gone."""
    async with aiohttp.ClientSession() as session:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            while True:
                data = os.urandom(200_000)
                answer = await ask(session, "POST", f"{url}/v2/a/blobs/uploads/?digest={digest(data)}", data=data)
                if answer.status == 201:
                    stored.add(digest(data))


@pytest.mark.slow
@pytest.mark.once
async def test_two_hundred_clients_at_once_are_all_served(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    with running("--root", str(tmp_path), "--workers", "2") as server:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def client(number: int) -> None:
                own = data + b"%d" % number
                url = f"{server.url}/v2/repo{number % 7}/blobs"
                pushed = await ask(session, "POST", f"{url}/uploads/?digest={digest(own)}", data=own)
                assert pushed.status == 201
                assert (await ask(session, "GET", f"{url}/{digest(own)}")).body == own

            await asyncio.gather(*(client(number) for number in range(200)))
        assert await asyncio.to_thread(server.end) == 0


@pytest.mark.slow
async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with running("--root", str(tmp_path), "--workers", "2") as server:
        children = await asyncio.to_thread(children_of, server.process.pid)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(now := children_of(server.process.pid)) < 2 or children[0] in now:  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.02)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for _ in range(10):
                assert (await ask(session, "GET", f"{server.url}/v2/")).status == 200


@pytest.mark.slow
async def test_workers_end_when_the_process_that_watches_them_is_killed(tmp_path: Path) -> None:
    with running("--root", str(tmp_path), "--workers", "2") as server:
        children = await asyncio.to_thread(children_of, server.process.pid)
        server.kill()
        async with asyncio.timeout(20):
            while any(is_registry(pid) for pid in children):  # noqa: ASYNC110 - a process that is not ours
                await asyncio.sleep(0.02)


def is_registry(pid: int) -> bool:
    try:
        return b"wherry.registry.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_client_that_leaves_in_the_middle_leaves_what_it_sent(tmp_path: Path) -> None:
    async with registry(tmp_path) as lab:
        where = (await lab.ask("POST", "/v2/a/blobs/uploads/")).headers["Location"]
        host, port = lab.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b"x" * 400)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(20):
            while (await lab.ask("GET", where)).headers["Range"] != "0-399":  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.01)
        data = b"x" * 400 + b"y" * 5
        assert (await lab.ask("PUT", f"{where}?digest={digest(data)}", data=b"y" * 5)).status == 201


async def test_a_client_that_sends_nothing_for_too_long_is_let_go() -> None:
    async with registry(limits={"idle": "200ms"}) as lab:
        where = (await lab.ask("POST", "/v2/a/blobs/uploads/")).headers["Location"]
        host, port = lab.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc".encode())
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n")
        assert b" 408 " in head
        writer.close()
        await writer.wait_closed()
        assert (await lab.ask("GET", where)).headers["Range"] == "0-2"


async def test_two_that_append_to_one_upload_do_not_mix(tmp_path: Path) -> None:
    async with registry(tmp_path) as lab:
        where = (await lab.ask("POST", "/v2/a/blobs/uploads/")).headers["Location"]
        told, hold = asyncio.Event(), asyncio.Event()
        slow = asyncio.create_task(lab.ask("PATCH", where, data=drip(b"a" * 3_000_000, told, hold)))
        await told.wait()
        await asyncio.to_thread(wait_for_bytes, tmp_path / "uploads", 1 << 20)
        answer = await lab.ask("PATCH", where, data=b"b" * 10)
        assert answer.status == 409
        hold.set()
        assert (await slow).status == 202
        data = b"a" * 3_000_000
        assert (await lab.ask("PUT", f"{where}?digest={digest(data)}")).status == 201


async def test_a_full_disk_is_said_and_leaves_the_registry_working(tmp_path: Path) -> None:
    from wherry.errors import OutOfSpace  # noqa: PLC0415 - only here

    async with registry(tmp_path) as lab:
        storage = lab.assembly.registry.catalog.storage
        write = storage.write

        async def full(key: str, data: bytes) -> None:
            raise OutOfSpace("cannot write an object", cause="no space left on device")

        storage.write = full  # type: ignore[method-assign]
        answer = await lab.push_blob("a", b"data")
        assert (answer.status, answer.code) == (507, "UNAVAILABLE")
        storage.write = write  # type: ignore[method-assign]
        assert (await lab.ask("HEAD", f"/v2/a/blobs/{digest(b'data')}")).status == 404
        assert (await lab.push_blob("a", b"data")).status == 201


@pytest.mark.slow
@pytest.mark.once
async def test_memory_stays_flat_while_much_is_moved(tmp_path: Path) -> None:
    piece = os.urandom(1 << 20)

    async def much() -> AsyncIterator[bytes]:
        for _ in range(MUCH):
            yield piece

    with running("--root", str(tmp_path)) as server:
        async with aiohttp.ClientSession() as session:
            before = peak_memory(server.process.pid)
            where = (await ask(session, "POST", f"{server.url}/v2/a/blobs/uploads/")).headers["Location"]
            assert (await ask(session, "PATCH", server.url + where, data=much())).status == 202
            given_digest = digest(piece * MUCH)
            assert (await ask(session, "PUT", f"{server.url}{where}?digest={given_digest}")).status == 201
            async with session.get(f"{server.url}/v2/a/blobs/{given_digest}") as response:
                async for _ in response.content.iter_chunked(1 << 20):
                    pass
            assert peak_memory(server.process.pid) - before < MUCH << 20 >> 2


def peak_memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


def test_a_registry_that_cannot_listen_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for address in ("nonsense", "127.0.0.1:99999", "127.0.0.1:x"):
        assert main(["serve", "--addr", address, "--root", str(tmp_path)]) == 1
    assert "invalid address" in capsys.readouterr().err
    with running("--root", str(tmp_path)) as server:
        assert main(["serve", "--addr", server.address, "--root", str(tmp_path)]) == 1
    assert "unable to listen" in capsys.readouterr().err
    assert main(["serve"]) == 1
    assert "--root" in capsys.readouterr().err


def test_a_mistyped_directory_is_no_empty_registry(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for verb in ("gc", "check"):
        assert main([verb, "--root", str(tmp_path / "nothing")]) == 1
        assert "there is no registry in" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (["--addr", "0.0.0.0:99999"], True),
        (["--addr", ":99999"], True),
        (["--addr", "127.0.0.1:99999"], False),
        (["--addr", "[::1]:99999"], False),
        (["--addr", "0.0.0.0:99999", "--read-only"], False),
        (["--addr", "0.0.0.0:99999", "--proxy", "http://127.0.0.1:1"], False),
    ],
)
def test_who_lets_everybody_push_is_told(
    flags: list[str], warned: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert main(["serve", "--root", str(tmp_path), *flags]) == 1  # there is no such port
    assert ("may push and delete" in caplog.text) is warned


def test_the_command_line_and_the_program_have_the_same_flags() -> None:
    verbs = parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for module, verb in ((serve, "serve"), (gc, "gc"), (check, "check")):
        theirs = {option for option in verbs[verb]._option_string_actions if option.startswith("--")} - {"--help"}  # type: ignore[index]
        assert {f"--{flag.name}" for flag in module.COMMAND.flags} == theirs


# -- fuzzing ----------------------------------------------------------------------------------------------

PATHS = st.builds(
    "/v2/{}/{}/{}{}".format,
    st.text("abz./%_-", max_size=30),
    st.sampled_from(["manifests", "blobs", "tags"]),
    st.text("aZ09_:.-é٣", max_size=20),
    st.sampled_from(["", "\n"]),
)
NUMBERS = st.just("") | st.integers(0, 10**30).map(str) | st.text("0123٣", max_size=5)
RANGES = st.lists(st.builds("{}-{}{}".format, NUMBERS, NUMBERS, st.sampled_from([",", "", "\n"])), max_size=4).map(
    lambda found: "bytes=" + "".join(found)
)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80) | PATHS)
def test_any_path_means_something_or_nothing(path: str) -> None:
    try:
        found = routes.target(path)
    except Refusal as refusal:
        if refusal.code != "NAME_INVALID":
            raise
        return
    if found is not None and found.name:
        assert routes.repository(found.name) == found.name
        assert not set(found.name.split("/")) & {"", ".", ".."}
        assert not any(part.startswith("_") for part in found.name.split("/"))
        assert "/" not in found.what


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | RANGES, st.integers(0, 2**40))
def test_any_range_is_inside_or_refused(header: str, size: int) -> None:
    try:
        found = ranges.parts(header, size)
    except Refusal as refusal:
        if refusal.status != 416:
            raise
        return
    assert all(one.start >= 0 and one.length > 0 and one.start + one.length <= size for one in found)
    assert sum(one.length for one in found) <= size


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_chunk_range_digest_or_password_is_read_or_refused(text: str) -> None:
    for read in (ranges.chunk_range, routes.digest):
        with contextlib.suppress(Refusal):
            found = read(text)
            assert found is None or isinstance(found, ranges.Part | Digest)
    assert credentials(f"Basic {text}") is None or ":" not in credentials(f"Basic {text}")[0]  # type: ignore[index]
    assert isinstance(ranges.same(text, "x"), bool)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_manifest_or_one(data: bytes) -> None:
    from wherry.registry.server.catalog import StoredManifest  # noqa: PLC0415 - only here
    from wherry.registry.server.manifests import parse  # noqa: PLC0415 - only here

    with contextlib.suppress(Refusal):
        parse(StoredManifest(Digest.from_bytes(data), "application/vnd.oci.image.manifest.v1+json", data))
