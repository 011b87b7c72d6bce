"""One suite for every storage: files, memory, a bucket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from support.registry_bucket import make_bucket, s3_server
from wherry.errors import Conflict, NotFound
from wherry.registry.storage import filesystem
from wherry.registry.storage.contract import Progress, Storage
from wherry.registry.storage.filesystem import FilesystemStorage
from wherry.registry.storage.memory import MemoryStorage

BIG = 12 << 20  # more than one part of a multipart upload
_numbers = itertools.count()


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    pytest.importorskip("aiobotocore")
    session = pytest.importorskip("botocore.session")
    descriptions = session.create_loader()  # of services, in megabytes of JSON: each client would read them anew
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "create_loader", lambda *_: descriptions)
        yield url


@pytest.fixture(params=["files", "memory", "bucket"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    made: Storage
    if request.param == "files":
        made = FilesystemStorage(tmp_path)
    elif request.param == "memory":
        made = MemoryStorage()
    else:
        made = bucket(request.getfixturevalue("bucket_url"), f"bucket{next(_numbers)}", make=True)
    yield made
    await made.close()


def bucket(url: str, name: str, *, make: bool = False) -> Storage:
    from wherry.registry.storage.s3 import S3Storage  # noqa: PLC0415 - an extra

    if make:
        make_bucket(url, name)
    return S3Storage(name, prefix="here", endpoint=url, access_key="test", secret_key="test")


async def pieces(*data: bytes, broken: bool = False) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece
    if broken:
        raise ConnectionResetError("gone")


async def whole(storage: Storage, key: str, start: int = 0, length: int | None = None) -> bytes:
    content = await storage.open(key, start, length)
    try:
        found = b"".join([piece async for piece in content.chunks()])
    finally:
        await content.close()
    assert content.size == len(found)
    return found


def ignore(piece: bytes) -> None:
    """Nothing."""


async def size_of(storage: Storage, upload: str) -> int:
    return (await storage.uploaded(upload)).size


async def append(
    storage: Storage, upload: str, size: int, data: AsyncIterator[bytes], tap: Callable[[bytes], object]
) -> int:
    """Append to an upload that is said to have `size` bytes."""
    at = await storage.uploaded(upload)
    return (await storage.append(upload, at._replace(size=size), data, tap)).size


async def uploaded(storage: Storage, upload: str) -> bytes:
    at = await storage.complete(upload, await storage.uploaded(upload))
    return b"".join([piece async for piece in storage.contents(upload, at)])


async def finish(storage: Storage, upload: str, key: str) -> None:
    await storage.finish(upload, key, await storage.uploaded(upload))


async def keys(storage: Storage, prefix: str) -> list[str]:
    return [entry.key async for entry in storage.entries(prefix)]


async def test_what_was_written_is_read_and_replaced(storage: Storage) -> None:
    await storage.write("a/b/c", b"one")
    assert await storage.read("a/b/c") == b"one"
    await storage.write("a/b/c", b"another")
    assert await storage.read("a/b/c") == b"another"
    found = await storage.stat("a/b/c")
    assert found.size == 7
    assert abs(found.modified - time.time()) < 60


async def test_what_is_not_there_is_not_found(storage: Storage) -> None:
    await storage.write("a/b/c", b"one")
    for key in ("x", "a/b", "a/b/c/d"):
        for ask in (storage.read, storage.stat, storage.open, storage.touch):
            with pytest.raises(NotFound):
                await ask(key)
    await storage.delete("x/y")


async def test_what_was_deleted_is_gone_and_can_be_written_again(storage: Storage) -> None:
    await storage.write("a/b/c", b"one")
    await storage.delete("a/b/c")
    with pytest.raises(NotFound):
        await storage.read("a/b/c")
    await storage.write("a/b/c", b"two")
    assert await storage.read("a/b/c") == b"two"


async def test_parts_of_an_object_are_read(storage: Storage) -> None:
    await storage.write("x/part", bytes(range(100)))
    assert await whole(storage, "x/part") == bytes(range(100))
    assert await whole(storage, "x/part", 90) == bytes(range(90, 100))
    assert await whole(storage, "x/part", 3, 4) == bytes([3, 4, 5, 6])
    await storage.write("x/empty", b"")
    assert await whole(storage, "x/empty", 0, 0) == b""


async def test_a_deleted_object_that_is_open_can_be_read_to_its_end(storage: Storage) -> None:
    await storage.write("x/part", b"0123456789")
    content = await storage.open("x/part")
    await storage.delete("x/part")
    assert b"".join([piece async for piece in content.chunks()]) == b"0123456789"
    await content.close()


async def test_a_listing_has_the_order_of_the_keys(storage: Storage) -> None:
    named = ["l/a", "l/a-b/x", "l/a/x", "l/a0/x", "l/b/y/z", "l/b.c"]
    for key in named[1:]:
        await storage.write(key, b"1")
    await storage.write("lx", b"1")
    assert await keys(storage, "l/") == sorted(named[1:])
    assert await keys(storage, "l/b/") == ["l/b/y/z"]
    assert await keys(storage, "nothing/") == []


async def test_touching_makes_an_object_young(storage: Storage) -> None:
    await storage.write("x/y", b"1")
    if isinstance(storage, FilesystemStorage):
        os.utime(storage.root / "x/y", (1, 1))
    before = (await storage.stat("x/y")).modified
    await storage.touch("x/y")
    after = await storage.stat("x/y")
    assert after.modified >= before
    assert abs(after.modified - time.time()) < 60
    assert await storage.read("x/y") == b"1"


async def test_an_upload_becomes_an_object(storage: Storage) -> None:
    seen: list[bytes] = []
    await storage.begin("one")
    assert await size_of(storage, "one") == 0
    assert await append(storage, "one", 0, pieces(b"abc", b"def"), seen.append) == 6
    assert await append(storage, "one", 6, pieces(b"ghi"), seen.append) == 9
    assert await size_of(storage, "one") == 9
    assert b"".join(seen) == b"abcdefghi"
    await finish(storage, "one", "blobs/sha256/x")
    assert await whole(storage, "blobs/sha256/x") == b"abcdefghi"
    with pytest.raises(NotFound):
        await storage.uploaded("one")
    assert [name async for name, _ in storage.uploads()] == []


async def test_an_empty_upload_becomes_an_empty_object(storage: Storage) -> None:
    await storage.begin("none")
    await finish(storage, "none", "blobs/sha256/none")
    assert (await storage.stat("blobs/sha256/none")).size == 0


@pytest.mark.slow
async def test_a_large_upload_in_uneven_chunks_is_whole_at_the_end(storage: Storage) -> None:
    data = os.urandom(BIG)
    await storage.begin("big")
    at = 0
    for cut in (1, 5 << 20, 6 << 20, (6 << 20) + 10, BIG):
        chunk = data[at:cut]
        split = [chunk[i : i + 100_000] for i in range(0, len(chunk), 100_000)]
        assert await append(storage, "big", at, pieces(*split), ignore) == cut
        assert await size_of(storage, "big") == cut
        at = cut
    assert await uploaded(storage, "big") == data
    await finish(storage, "big", "blobs/sha256/big")
    assert await whole(storage, "blobs/sha256/big") == data
    assert await whole(storage, "blobs/sha256/big", BIG - 5) == data[-5:]


@pytest.mark.slow
async def test_an_upload_that_breaks_off_goes_on_where_it_was(storage: Storage) -> None:
    await storage.begin("cut")
    with pytest.raises(ConnectionResetError):
        await append(storage, "cut", 0, pieces(b"abc", broken=True), ignore)
    assert await size_of(storage, "cut") == 3
    with pytest.raises(ConnectionResetError):
        await append(storage, "cut", 3, pieces(b"x" * (6 << 20), b"y", broken=True), ignore)
    size = await size_of(storage, "cut")
    assert size == 4 + (6 << 20)
    await append(storage, "cut", size, pieces(b"z"), ignore)
    await finish(storage, "cut", "blobs/sha256/cut")
    assert await whole(storage, "blobs/sha256/cut") == b"abc" + b"x" * (6 << 20) + b"yz"


async def test_appending_elsewhere_than_at_the_end_is_a_conflict(storage: Storage) -> None:
    await storage.begin("gap")
    await append(storage, "gap", 0, pieces(b"abc"), ignore)
    for offset in (0, 2, 4):
        with pytest.raises(Conflict):
            await append(storage, "gap", offset, pieces(b"x"), ignore)
    assert await size_of(storage, "gap") == 3


async def test_two_cannot_append_at_the_same_time(storage: Storage) -> None:
    await storage.begin("two")

    async def interrupted() -> AsyncIterator[bytes]:
        yield b"a"
        with pytest.raises(Conflict):
            await append(storage, "two", 0, pieces(b"x"), ignore)
        with pytest.raises(Conflict):
            await storage.finish("two", "blobs/sha256/two", Progress(0))
        yield b"b"

    await append(storage, "two", 0, interrupted(), ignore)
    assert await uploaded(storage, "two") == b"ab"


async def test_an_aborted_upload_is_gone_whatever_it_had(storage: Storage) -> None:
    await storage.begin("away")
    await append(storage, "away", 0, pieces(b"x" * BIG, b"y"), ignore)
    assert [name async for name, _ in storage.uploads()] == ["away"]
    await storage.abort("away")
    await storage.abort("away")
    with pytest.raises(NotFound):
        await storage.uploaded("away")
    with pytest.raises(NotFound):
        await append(storage, "away", 0, pieces(b"x"), ignore)
    with pytest.raises(NotFound):
        await finish(storage, "away", "blobs/sha256/away")
    assert [name async for name, _ in storage.uploads()] == []


@pytest.mark.slow
async def test_an_upload_goes_on_at_another_instance(bucket_url: str) -> None:
    one = bucket(bucket_url, "shared", make=True)
    two = bucket(bucket_url, "shared")
    await one.begin("moving")
    await append(one, "moving", 0, pieces(b"a" * (6 << 20), b"b"), ignore)
    assert await size_of(two, "moving") == 1 + (6 << 20)
    await append(two, "moving", 1 + (6 << 20), pieces(b"c"), ignore)
    await finish(one, "moving", "blobs/sha256/moved")
    assert await whole(two, "blobs/sha256/moved") == b"a" * (6 << 20) + b"bc"
    await one.close()
    await two.close()


async def test_what_is_finished_grew_no_more_since_its_digest_was_known(storage: Storage) -> None:
    await storage.begin("late")
    at = await storage.append("late", await storage.uploaded("late"), pieces(b"good"), ignore)
    await append(storage, "late", 4, pieces(b"bad"), ignore)
    with pytest.raises(Conflict):
        await storage.finish("late", "blobs/sha256/late", at)
    with pytest.raises(Conflict):
        await storage.complete("late", at)
    with pytest.raises(NotFound):
        await storage.stat("blobs/sha256/late")


async def test_who_opened_an_upload_before_it_was_finished_appends_to_nothing(storage: Storage) -> None:
    """The appending waits for its first piece while the upload becomes an object, or is refused before that."""
    await storage.begin("held")
    held = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await held.wait()
        yield b"more"

    appending = asyncio.create_task(append(storage, "held", 0, waiting(), ignore))
    await asyncio.sleep(0)
    with contextlib.suppress(Conflict):
        await finish(storage, "held", "blobs/sha256/held")
    held.set()
    with contextlib.suppress(NotFound, Conflict):
        await appending
    with contextlib.suppress(NotFound):
        assert await whole(storage, "blobs/sha256/held") == b""


async def test_a_file_that_was_opened_in_time_and_locked_too_late_is_not_written(tmp_path: Path) -> None:
    storage, other = FilesystemStorage(tmp_path), FilesystemStorage(tmp_path)
    await storage.begin("race")
    await append(storage, "race", 0, pieces(b"good"), ignore)
    flock = fcntl.flock

    def publish_first(fd: int, how: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcntl, "flock", flock)
            other._finish("race", "blobs/sha256/good", Progress(4))
        flock(fd, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", publish_first)
        with pytest.raises(NotFound):
            await storage.append("race", Progress(4), pieces(b"bad"), ignore)
    assert await whole(storage, "blobs/sha256/good") == b"good"


async def test_an_upload_that_is_cancelled_takes_no_more_bytes(storage: Storage) -> None:
    await storage.begin("gone")

    async def cancelled() -> AsyncIterator[bytes]:
        yield b"a" * (9 << 20)
        await storage.abort("gone")
        for _ in range(4):
            yield b"b" * (9 << 20)

    with pytest.raises(NotFound):
        await append(storage, "gone", 0, cancelled(), ignore)


async def test_a_file_is_closed_when_nobody_writes_to_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FilesystemStorage(tmp_path)
    await storage.begin("cancelled")
    begun, go = threading.Event(), threading.Event()
    written: list[int] = []

    def slowly(fd: int, offset: int, *_: object) -> int:
        begun.set()
        go.wait()
        written.append(os.pwrite(fd, b"x", offset))
        return offset + 1

    monkeypatch.setattr(filesystem, "_put", slowly)
    task = asyncio.create_task(storage.append("cancelled", Progress(0), pieces(bytes(filesystem.CHUNK)), ignore))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == [1]


@pytest.mark.slow
async def test_two_instances_that_append_at_once_do_not_pass_off_one_for_the_other(bucket_url: str) -> None:
    """A bucket has no locks: what each believes to have uploaded is told apart by ETags."""
    one, two = bucket(bucket_url, "mixed", make=True), bucket(bucket_url, "mixed")
    for size in (5, 9 << 20, (9 << 20) + 5):
        name = f"mixed{size}"
        await one.begin(name)
        start = await one.uploaded(name)
        entered, go = asyncio.Event(), asyncio.Event()

        async def held(
            size: int = size, entered: asyncio.Event = entered, go: asyncio.Event = go
        ) -> AsyncIterator[bytes]:
            entered.set()
            await go.wait()
            yield b"x" * size

        bad = asyncio.create_task(two.append(name, start, held(), ignore))
        await entered.wait()
        good = await one.append(name, start, pieces(b"g" * size), ignore)
        go.set()
        await asyncio.gather(bad, return_exceptions=True)
        with contextlib.suppress(Conflict, NotFound):
            await one.finish(name, f"blobs/sha256/{size}", good)
            assert await whole(one, f"blobs/sha256/{size}") == b"g" * size
    await one.close()
    await two.close()


async def test_files_leave_nothing_half_done_behind(tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path)
    await storage.write("a/b/c", b"1")
    await storage.begin("one")
    await append(storage, "one", 0, pieces(b"x"), ignore)
    await finish(storage, "one", "blobs/sha256/x")
    await storage.delete("a/b/c")
    files = await asyncio.to_thread(lambda: [path.name for path in tmp_path.rglob("*") if path.is_file()])
    assert files == ["x"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "a/b").exists()


def test_what_a_dead_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path)
    for name, age in (("object-old", 7200), ("object-new", 0)):
        (tmp_path / "tmp" / name).write_bytes(b"x")
        os.utime(tmp_path / "tmp" / name, (time.time() - age, time.time() - age))
    storage.sweep(3600)
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["object-new"]


async def test_keys_never_lead_out_of_the_directory(tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path / "inside")
    (tmp_path / "secret").write_bytes(b"secret")
    for key in ("../secret", "a/../../secret", "/etc/passwd", "a\0b"):
        with pytest.raises(NotFound):
            await storage.read(key)


async def test_a_blob_of_an_engine_is_taken_without_a_copy(tmp_path: Path) -> None:
    engine = tmp_path / "content"
    (engine / "blobs/sha256").mkdir(parents=True)
    (engine / "blobs/sha256/abc").write_bytes(b"bytes")
    storage = FilesystemStorage(tmp_path / "registry", engine)
    assert await storage.adopt("blobs/sha256/abc")
    assert (tmp_path / "registry/blobs/sha256/abc").stat().st_ino == (engine / "blobs/sha256/abc").stat().st_ino
    assert not await storage.adopt("blobs/sha256/none")
    assert not await storage.adopt("repositories/x")
