"""The delivery of logs: nothing is lost, whatever becomes of the receiver, of the daemon, or of the log."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from support.log_receivers import STDERR, STDOUT, Receiver, subject, written_log
from wherry.engine.log_drivers.contract import Entries
from wherry.engine.log_drivers.entries import EntryCutter
from wherry.engine.log_drivers.gelf_sender import GelfSender
from wherry.engine.log_drivers.json_lines import JsonFileSender
from wherry.engine.log_drivers.syslog_sender import SyslogSender
from wherry.keeper.log_reader import Chunk


def syslog_to(receiver: Receiver, root: Path) -> SyslogSender:
    return SyslogSender(subject(root, "syslog", syslog_address=f"tcp://127.0.0.1:{receiver.port}"))


def texts(data: bytes) -> list[str]:
    return [line.partition("]: ")[2] for line in data.decode().splitlines()]


async def test_what_is_written_arrives_in_order_and_the_end_of_the_container_ends_the_delivery(tmp_path: Path) -> None:
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        await log.deliver(syslog_to(receiver, tmp_path))
        log.write(b"one\ntw")
        log.write(b"o\nthree")
        log.write(b"oops\n", STDERR)
        await log.end()
        await receiver.until(lambda: receiver.data.count(b"\n") == 4)
        assert texts(receiver.data) == ["one", "two", "oops", "three"]
        assert receiver.data.startswith(b"<30>")
        assert b"<27>" in receiver.data
    await receiver.close()


async def test_a_receiver_that_comes_back_gets_what_it_has_missed(tmp_path: Path) -> None:
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        await log.deliver(syslog_to(receiver, tmp_path))
        log.write(b"one\n")
        await receiver.until(lambda: b"one" in receiver.data)
        await receiver.close()
        log.write(b"two\n")
        again = Receiver()
        await again.listen(port=receiver.port)
        await log.end()
        await again.until(lambda: b"two" in again.data)
        assert texts(again.data)[-1:] == ["two"]
    await again.close()


async def test_another_daemon_goes_on_within_a_line(tmp_path: Path) -> None:
    """As after ``kill -9``: nothing is told to the first delivery."""
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        first = await log.deliver(syslog_to(receiver, tmp_path))
        log.write(b"one\ntw")
        await receiver.until(lambda: b"one" in receiver.data)
        while not await asyncio.to_thread(log.place.exists):  # noqa: ASYNC110 - it comes: the receiver has the line
            await asyncio.sleep(0.001)
        first.task.cancel()
        await asyncio.wait([first.task])
        log.write(b"o\n")
        await log.deliver(syslog_to(receiver, tmp_path))
        await log.end()
        await receiver.until(lambda: b"two" in receiver.data)
        assert texts(receiver.data) == ["one", "two"]
    await receiver.close()


async def test_a_log_waits_for_its_delivery_and_one_that_does_not_drops_the_oldest(tmp_path: Path) -> None:
    receiver = Receiver()
    await receiver.listen()
    for holds in (True, False):
        root = tmp_path / str(holds)
        root.mkdir()
        async with written_log(root, max_size=4096, max_files=2) as log:
            sender = syslog_to(receiver, root)
            allowed = asyncio.Event()
            send = sender.send

            async def later(pieces: list[bytes], allowed: asyncio.Event = allowed, send=send) -> None:  # type: ignore[no-untyped-def]
                await allowed.wait()
                await send(pieces)

            sender.send = later  # type: ignore[method-assign]
            await log.deliver(sender, holds=holds)
            await asyncio.sleep(0)
            written = 0
            try:
                for number in range(200):
                    log.write(b"%099d\n" % number)
                    written += 1
            except BlockingIOError:
                assert holds
            assert holds == (written < 200)
            allowed.set()
            await log.end()
            want = b"%099d\n" % (written - 1)
            await receiver.until(lambda want=want: receiver.data.endswith(want))  # type: ignore[misc]
            numbers = [int(text) for text in texts(receiver.data)]
            if holds:
                assert numbers == list(range(written))
            else:
                assert numbers[0] == 0 or numbers[0] > 0
                assert numbers == sorted(numbers)
            receiver.data.clear()
    await receiver.close()


def test_long_lines_are_cut_as_docker_cuts_them_wherever_the_chunks_end() -> None:
    line = bytes(range(65, 91)) * 2000
    data = b"a\n" + line + b"\nb\n" + line[:16384] + b"\nend"
    expected = [b"a", line[:16384], line[16384:32768], line[32768:49152], line[49152:], b"b", line[:16384], b"", b"end"]
    for size in (37, 100, 16384, 16385, len(data)):
        cutter = EntryCutter()
        found = []
        for at in range(0, len(data), size):
            found += cutter.feed(Chunk(1, 7, memoryview(data[at : at + size]), 0, 40 + at), 3)
        found += cutter.flush()
        assert [text for entries in found for text in entries.lines()] == expected, size
        parts = [entries.part for entries in found if entries.part]
        assert [(part.ordinal, part.last) for part in parts] == [
            (1, False), (2, False), (3, False), (4, True), (1, False), (2, True), (1, False)
        ]  # fmt: skip
        assert len({part.id for part in parts}) == 3


async def test_the_file_is_dockers_and_rotates(tmp_path: Path) -> None:
    async with written_log(tmp_path) as log:
        asked = subject(tmp_path, tag="{{.Name}}", labels="tier", max_size="8k", max_file="3", compress="true")
        await log.deliver(JsonFileSender(asked))
        log.write(b'plain\n"quoted"\t<\x00\xff>\n')
        await asyncio.sleep(0)
        for number in range(400):
            log.write(b"%d\n" % number)
        await log.end()
    files = sorted(name for name in os.listdir(tmp_path) if "json" in name)
    assert files == ["container-json.log", "container-json.log.1.gz", "container-json.log.2.gz"]
    last = [json.loads(text) for text in asked.file.read_text().splitlines()]
    assert last[-1]["log"] == "399\n"
    assert last[-1]["attrs"] == {"tag": "web", "tier": "front"}
    assert last[-1]["stream"] == "stdout"
    assert asked.file.stat().st_size <= 8192


async def test_a_container_that_is_started_again_is_delivered_on_and_its_last_line_is_its_own(tmp_path: Path) -> None:
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        delivery = await log.deliver(syslog_to(receiver, tmp_path))
        log.write(b"one")
        log.log.has_finished(log.writer.position)
        delivery.expect_run()
        log.log.has_started()
        log.write(b"two\n")
        await log.end()
        await receiver.until(lambda: b"two" in receiver.data)
        assert texts(receiver.data) == ["one", "two"]
    await receiver.close()


async def test_what_a_receiver_never_takes_is_given_up_after_as_many_tries_as_asked_for(tmp_path: Path) -> None:
    receiver = Receiver()
    await receiver.listen()
    port = receiver.port
    await receiver.close()
    async with written_log(tmp_path) as log:
        sender = GelfSender(
            subject(
                tmp_path, "gelf", gelf_address=f"tcp://127.0.0.1:{port}", gelf_tcp_max_reconnect="1",
                gelf_tcp_reconnect_delay="0",
            )
        )  # fmt: skip
        await log.deliver(sender)
        log.write(b"lost\n")
        given_up = asyncio.Event()
        give_up = log.delivery._give_up  # type: ignore[union-attr]
        loop = asyncio.get_running_loop()

        def note() -> None:
            give_up()
            loop.call_soon_threadsafe(given_up.set)

        log.delivery._give_up = note  # type: ignore[union-attr, method-assign]
        async with asyncio.timeout(30):
            await given_up.wait()
        again = Receiver()
        await again.listen(port=port)
        log.write(b"kept\n")
        await log.end()
        await again.until(lambda: again.data.endswith(b"\0"))
        assert b"lost" not in again.data
        assert b"kept" in again.data
    await again.close()


async def test_what_goes_along_with_each_line_does_not_add_up(tmp_path: Path) -> None:
    """An image's command may have a megabyte, and its container writes lines of nothing."""
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        address = f"tcp://127.0.0.1:{receiver.port}"
        sender = GelfSender(replace(subject(tmp_path, "gelf", gelf_address=address), argv=["x" * (1 << 20)]))
        sizes: list[int] = []
        encode = sender.encode

        def noted(batch: Sequence[Entries]) -> list[bytes]:
            sizes.append(sum(map(len, pieces := encode(batch))))
            return pieces

        sender.encode = noted  # type: ignore[method-assign]
        await log.deliver(sender)
        log.write(b"x\n" * 40)
        await log.end()
        assert sum(sizes) > 40 << 20
        assert max(sizes) < 3 << 20
    await receiver.close()


async def test_a_full_disk_is_not_kept_full_by_a_file_that_was_to_be_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sender = JsonFileSender(subject(tmp_path, max_size="1k", max_file="3", compress="true"))
    batch = [Entries(STDOUT, 1, b"0123456789" * 70 + b"\n")]
    await sender.open()
    await sender.send(sender.encode(batch))
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        await sender.send(sender.encode(batch))
    await sender.close()
    assert sorted(os.listdir(tmp_path)) == ["container-json.log.1"]
    monkeypatch.undo()
    await sender.open()
    for _ in range(2):
        await sender.send(sender.encode(batch))
    await sender.close()
    name = "container-json.log"
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.1.gz", f"{name}.2"]


async def test_what_comes_between_a_look_at_the_log_and_the_end_is_not_forgotten(tmp_path: Path) -> None:
    """The delivery has just seen that there is nothing, and the container writes and exits before it can say so."""
    receiver = Receiver()
    await receiver.listen()
    async with written_log(tmp_path) as log:
        delivery = await log.deliver(syslog_to(receiver, tmp_path))
        read = delivery._reader.read
        looked, loop = 0, asyncio.get_running_loop()

        def look() -> object:
            nonlocal looked
            piece = read()
            looked += 1
            if looked == 1:
                assert piece == []
                log.writer.append(1, memoryview(b"late\n"))
                loop.call_soon_threadsafe(log.log.has_finished, log.writer.position)
            return piece

        delivery._reader.read = look  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(30):
            await delivery.task
        await receiver.until(lambda: b"late" in receiver.data)
    await receiver.close()
