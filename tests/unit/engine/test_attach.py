"""One client at a process's streams: input that waits, output to its end, leaving by keys, letting go."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from support.containers import container_of
from wherry.docker.container_requests import ContainerConfig, HostConfig
from wherry.docker.streams import AttachOptions, LogChunk
from wherry.engine.container.container import Container, Definition
from wherry.engine.container.state import State, Status
from wherry.engine.streams.attach import ContainerAttachment, ExecAttachment, Input
from wherry.keeper.log_writer import LogWriter
from wherry.keeper.records import STDERR, STDOUT
from wherry.linux.fd import Fd

SMALL = 4096


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def take(attachment: ContainerAttachment | ExecAttachment, count: int) -> list[LogChunk]:
    """The first chunks."""
    found: list[LogChunk] = []
    async for chunk in attachment.output():
        found.append(chunk)
        if len(found) == count:
            break
    return found


# --- input ------------------------------------------------------------------------------------------------------------


async def test_input_waits_for_a_process_that_does_not_read_and_nothing_else_waits() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL)
    stdin, data = Input(writing), os.urandom(10 * SMALL)
    task = asyncio.ensure_future(stdin.write(data))
    await asyncio.sleep(0)
    assert not task.done()
    got = b""
    while len(got) < len(data):
        got += await asyncio.to_thread(os.read, reading, SMALL)
    await asyncio.wait_for(task, 5)
    assert got == data
    stdin.close()
    stdin.close()
    assert not is_open(writing)
    with pytest.raises(BrokenPipeError):
        await stdin.write(b"x")
    os.close(reading)


async def test_input_to_a_process_that_is_gone_is_a_broken_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stdin = Input(writing)
    with pytest.raises(BrokenPipeError):
        await stdin.write(b"x")
    stdin.close()
    os.mkfifo(tmp_path / "stdin")
    for name in ("stdin", "missing"):  # nobody reads it; there is none
        with pytest.raises(BrokenPipeError, match="no standard input"):
            Input.of_fifo(tmp_path / name)


async def test_input_to_a_terminal_goes_through_a_descriptor_of_its_own() -> None:
    master, slave = pty.openpty()
    stdin = Input.of_terminal(master)
    await stdin.write(b"hello\n")
    assert await asyncio.to_thread(os.read, slave, 100) == b"hello\n"
    stdin.close()
    assert is_open(master)
    os.close(master)
    os.close(slave)


# --- containers -------------------------------------------------------------------------------------------------------


class Attached:
    """A container whose log and input are the test's, and what the attachment asks for."""

    def __init__(self, root: Path, config: ContainerConfig) -> None:
        definition = Definition(
            id="c" * 64, created="2024-01-01T00:00:00Z", image="app", image_id="sha256:1", argv=["sh"], mounts=[],
            config=config, host=HostConfig(),
        )  # fmt: skip
        self.container: Container = container_of("web", definition, State(status=Status.RUNNING), root, root / "run")
        self.container.log._ask = self._ask  # type: ignore[assignment]
        self.writer = LogWriter(root / "logs", max_size=None, max_files=2)
        self.container.run_directory.mkdir()
        self.stdin = self.container.run_directory / "stdin"
        os.mkfifo(self.stdin)
        self.asked: list[str] = []

    async def _ask(self, op: str, **_: Any) -> None:
        self.asked.append(op)

    async def _close_stdin(self) -> None:
        self.asked.append("close-stdin")

    def attach(self, *, holds: bool = False, **options: Any) -> ContainerAttachment:
        return ContainerAttachment(
            self.container, self.container.log, AttachOptions(**options), holds=holds, close_stdin=self._close_stdin,
            on_detach=lambda: self.asked.append("detach"),
        )  # fmt: skip

    async def start(self) -> None:
        self.container.log.has_started()
        self.container.started.set()

    def write(self, data: bytes, stream: int = STDOUT) -> None:
        self.writer.append(stream, memoryview(data))
        self.container.log.has_grown()


def attached(root: Path, **config: Any) -> Attached:
    return Attached(root, ContainerConfig(open_stdin=True, **config))


async def test_a_client_gets_what_comes_until_the_exit_of_the_streams_that_it_wants(tmp_path: Path) -> None:
    one = attached(tmp_path)
    await one.start()
    one.write(b"before\n")
    client, late = one.attach(stderr=False), one.attach(logs=True)
    one.write(b"error\n", STDERR)
    one.write(b"after\n")
    one.container.log.has_finished()
    assert [chunk async for chunk in client.output()] == [(STDOUT, b"after\n")]
    assert b"".join([chunk.data async for chunk in late.output()]) == b"before\nerror\nafter\n"
    await client.close()
    await late.close()


async def test_a_client_that_does_not_stay_gets_the_log_only(tmp_path: Path) -> None:
    one = attached(tmp_path)
    await one.start()
    one.write(b"before\n")
    client = one.attach(logs=True, stream=False, holds=True)
    one.write(b"after\n")
    assert [chunk async for chunk in client.output()] == [(STDOUT, b"before\n")]
    assert "hold" not in one.asked  # the container waits for nobody who leaves at once
    await client.close()


async def test_input_waits_for_the_start(tmp_path: Path) -> None:
    one = attached(tmp_path)
    client = one.attach(stdin=True)
    writing = asyncio.ensure_future(client.write(b"early"))
    await asyncio.sleep(0)
    assert not writing.done()
    reading = os.open(one.stdin, os.O_RDONLY | os.O_NONBLOCK)
    await one.start()
    await asyncio.wait_for(writing, 5)
    assert os.read(reading, 100) == b"early"
    await client.close()
    assert os.read(reading, 100) == b""  # nobody writes there any more
    os.close(reading)


async def test_input_that_was_not_asked_for_goes_nowhere(tmp_path: Path) -> None:
    one = attached(tmp_path)
    await one.start()
    client = one.attach(stdin=False)
    await client.write(b"x")
    await client.close_stdin()
    await client.close()
    assert "close-stdin" not in one.asked


@pytest.mark.parametrize("once", [True, False])
async def test_the_end_of_the_input_is_passed_on_where_it_is_for_one_client(tmp_path: Path, once: bool) -> None:
    one = attached(tmp_path, stdin_once=once)
    await one.start()
    client = one.attach(stdin=True)
    await client.close_stdin()
    assert one.asked.count("close-stdin") == once
    await client.close()
    assert one.asked.count("close-stdin") == 2 * once  # also of a client that left without a word


async def test_the_keys_to_leave_by_are_no_input_and_end_nothing(tmp_path: Path) -> None:
    one = attached(tmp_path, tty=True, stdin_once=True)
    master, slave = pty.openpty()
    one.container.terminal = Fd(os.dup(master))
    await one.start()
    client = one.attach(stdin=True, detach_keys="ctrl-a,b")
    await client.write(b"hi\n\x01bnot this")
    await asyncio.wait_for(client.detached, 5)
    await asyncio.sleep(0)
    assert await asyncio.to_thread(os.read, slave, 100) == b"hi\n"
    await client.close()
    assert "detach" in one.asked
    assert "close-stdin" not in one.asked
    one.container.terminal.close()
    os.close(master)
    os.close(slave)


# --- execs ------------------------------------------------------------------------------------------------------------


class Exec:
    """An exec whose ends of the pipes are the test's."""

    def __init__(self, *, tty: bool = False) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.out, self.err, self.stdin = os.pipe(), os.pipe(), os.pipe()
        outputs = {self.out[0]: STDOUT, self.err[0]: STDERR}
        self.client = ExecAttachment(outputs, self.stdin[1], self.ended, tty=tty, detach_keys="")

    async def close(self) -> None:
        await self.client.close()
        assert not any(map(is_open, (self.out[0], self.err[0], self.stdin[1])))
        for fd in (self.out[1], self.err[1], self.stdin[0]):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
async def process() -> AsyncIterator[Exec]:
    made = Exec()
    yield made
    await made.close()


async def test_an_execs_output_comes_as_it_is_written_on_both_streams(process: Exec) -> None:
    taking = asyncio.ensure_future(take(process.client, 1))
    await asyncio.sleep(0)
    os.write(process.out[1], b"one")
    assert await asyncio.wait_for(taking, 5) == [(STDOUT, b"one")]
    os.write(process.err[1], b"two")
    process.ended.set_result(0)
    assert [chunk async for chunk in process.client.output()] == [(STDERR, b"two")]


async def test_what_is_in_the_pipes_at_the_exit_is_output_and_what_children_write_later_is_not(process: Exec) -> None:
    os.write(process.out[1], b"x" * (300 << 10) if fcntl.fcntl(process.out[1], fcntl.F_SETPIPE_SZ, 1 << 19) else b"")
    process.ended.set_result(0)  # its children have both pipes open still
    found = await asyncio.wait_for(take(process.client, 99), 5)
    assert sum(len(chunk.data) for chunk in found) == 300 << 10


async def test_an_exec_that_closes_its_streams_has_not_ended(process: Exec) -> None:
    os.close(process.out[1])
    os.close(process.err[1])
    taking = asyncio.ensure_future(take(process.client, 99))
    await asyncio.sleep(0.01)
    assert not taking.done()
    process.ended.set_result(3)
    assert await asyncio.wait_for(taking, 5) == []


async def test_an_exec_sees_the_end_of_its_input_unless_it_has_a_terminal(process: Exec) -> None:
    await process.client.write(b"in")
    await process.client.close_stdin()
    assert os.read(process.stdin[0], 10) == b"in"
    assert os.read(process.stdin[0], 10) == b""
    other = Exec(tty=True)
    await other.client.close_stdin()
    assert is_open(other.stdin[1])
    await other.client.write(b"\x10\x11")  # ctrl-p, ctrl-q
    assert other.client.detached.done()
    await other.close()


async def test_the_end_of_a_terminal_is_the_end_of_output() -> None:
    master, slave = pty.openpty()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    client = ExecAttachment({os.dup(master): STDOUT}, -1, ended, tty=True, detach_keys="")
    os.write(slave, b"bye")
    os.close(slave)
    threading.Timer(0.01, asyncio.get_running_loop().call_soon_threadsafe, (ended.set_result, 0)).start()
    assert await asyncio.wait_for(take(client, 99), 5) == [(STDOUT, b"bye")]
    await client.close()
    os.close(master)
