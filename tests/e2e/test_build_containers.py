"""Containers of a client that drives its build (BuildKit's gateway), on a real daemon: what `buildx debug` does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from support.busybox import busybox_daemon
from support.daemons import Daemon
from support.grpc_peers import CONTROL, GATEWAY, Client
from support.needs import need
from wherry.api.buildkit.encode_definition import encode
from wherry.api.buildkit.proto import control_pb2, llb_pb2
from wherry.api.buildkit.proto import gateway_pb2 as pb
from wherry.build.model.graph import NO_OUTPUT, BuildMount, Cache, Edge, ExecOp, SourceOp, Vertex

pytestmark = need("root", "busybox", "overlay", "namespaces")

PATIENCE = 120.0  # seconds
BASE = Vertex.of(SourceOp("docker-image://docker.io/library/busybox:latest")).output()


@pytest.fixture(scope="module")
def daemon(busybox_archive: bytes) -> Iterator[Daemon]:
    """One for all of these."""
    with busybox_daemon(busybox_archive) as one:
        yield one


def made_by(script: str) -> Edge:
    """What a step leaves on the base."""
    op = ExecOp(args=("/bin/sh", "-c", script), mounts=(BuildMount("/", input=0, output=0),), network="none")
    return Vertex.of(op, [BASE]).output()


class Driver:
    """A client that drives a build."""

    def __init__(self, client: Client, ref: str) -> None:
        self.client, self.ref = client, ref
        self.has_left = self.has_finished = False

    def leave(self) -> None:
        """End the connection."""
        self.has_left = True
        self.client.close()

    async def ask(self, method: str, request: Any) -> Any:
        """Call a method."""
        async with asyncio.timeout(PATIENCE):
            return await self.client.ask(GATEWAY + method, request, self.ref)

    async def finish(self) -> None:
        """The build has all that it needs."""
        if not self.has_finished:
            self.has_finished = True
            await self.ask("Return", pb.ReturnRequest(result=pb.Result()))

    async def result(self, edge: Edge) -> str:
        """The ID of what an edge gives."""
        request = pb.SolveRequest(Definition=encode(edge, {}), allowResultReturn=True, allowResultArrayRef=True)
        return str((await self.ask("Solve", request)).result.ref.id)

    async def container(self, *mounts: llb_pb2.Mount, **more: Any) -> None:
        """Make the container ``c``."""
        await self.ask("NewContainer", pb.NewContainerRequest(ContainerID="c", Mounts=mounts, **more))

    @asynccontextmanager
    async def processes(self) -> AsyncIterator[Processes]:
        """A stream for processes."""
        async with self.client.exchange(GATEWAY + "ExecProcess", pb.ExecMessage, self.ref) as stream:
            yield Processes(stream)
            if not (stream._end_done or stream._cancel_done or self.has_left):
                await stream.cancel()
            elif self.has_left:
                stream._cancel_done = True


class Processes:
    """A stream, and what came through it: output by process, and exits."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.output: dict[str, bytes] = {}
        self.exits: dict[str, pb.ExitMessage] = {}
        self.done: set[str] = set()

    async def start(self, name: str, *args: str, tty: bool = False, security: int = 0, **meta: Any) -> None:
        """Start a process; it has begun when this returns."""
        init = pb.InitMessage(
            ContainerID="c", Meta=llb_pb2.Meta(args=args, **meta), Fds=[0, 1, 2], Tty=tty, Security=security
        )
        await self.say(name, Init=init)
        self.output[name] = b""
        await self.until(lambda: name in self.begun)

    @property
    def begun(self) -> set[str]:
        """The processes that have begun."""
        return self._begun

    _begun: set[str]

    async def say(self, name: str, **members: Any) -> None:
        """Send a message."""
        await self.stream.send_message(pb.ExecMessage(ProcessID=name, **members))

    async def types(self, name: str, text: str, *, eof: bool = False) -> None:
        """Send input."""
        await self.say(name, File=pb.FdMessage(Fd=0, Data=text.encode(), EOF=eof))

    async def sees(self, name: str, text: str) -> None:
        """Wait for output."""
        await self.until(lambda: text.encode() in self.output[name])

    async def ends(self, name: str) -> int:
        """Wait for the end; the exit code."""
        await self.until(lambda: name in self.done)
        return int(self.exits[name].Code)

    async def until(self, condition: Any) -> None:
        """Take messages until something is so."""
        self._begun = getattr(self, "_begun", set())
        async with asyncio.timeout(PATIENCE):
            while not condition():
                message = await self.stream.recv_message()
                assert message is not None, "the stream has ended"
                self._take(message)

    def _take(self, message: pb.ExecMessage) -> None:
        name, kind = message.ProcessID, message.WhichOneof("Input")
        if kind == "Started":
            self._begun.add(name)
        elif kind == "File":
            self.output[name] += message.File.Data
        elif kind == "Exit":
            self.exits[name] = message.Exit
        else:
            assert kind == "Done"
            self.done.add(name)


@asynccontextmanager
async def driving(daemon: Daemon, **more: Any) -> AsyncIterator[Driver]:
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(str(daemon.socket))
    client, ref = Client(connected), os.urandom(8).hex()
    solve = asyncio.create_task(client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref=ref, **more)))
    await client.ask(GATEWAY + "Ping", pb.PingRequest(), ref)
    try:
        yield (driver := Driver(client, ref))
        if not driver.has_left:
            await driver.finish()
            await solve
    finally:
        solve.cancel()
        await asyncio.gather(solve, return_exceptions=True)
        client.close()


def root(ref: str, **more: Any) -> llb_pb2.Mount:
    return llb_pb2.Mount(dest="/", input=-1, output=-1, resultID=ref, **more)


async def nothing_runs(mark: str) -> None:
    """Wait until no process sleeps for so long."""
    await until(lambda: not any(mark in words for words in _sleepers()), "nothing runs")


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: that does not come"
        await asyncio.sleep(0.05)


def _sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"sleep":
            found.append(words[1].decode())
    return found


async def test_a_result_is_looked_at_and_nothing_that_is_written_stays(daemon: Daemon) -> None:
    async with driving(daemon) as driver:
        made = await driver.result(made_by("echo made > /file"))
        data = llb_pb2.Mount(dest="/data", input=-1, output=-1, resultID=made, readonly=True)
        for _ in range(2):
            await driver.container(root(made), data, Network=2, hostname="there")
            async with driver.processes() as processes:
                await processes.start("p", "/bin/sh", env=["A=b"], cwd="/tmp", user="1234")
                await processes.types("p", "cat /file /data/file; hostname; id -u; pwd; echo $A; ls /sys/class/net\n")
                await processes.types("p", "echo x > /data/x || echo refused; ls /new; exit 3\n")
                assert await processes.ends("p") == 3
                assert processes.exits["p"].Error.message == "exit code: 3"
                words = processes.output["p"].decode().split()
                assert words[:7] == ["made", "made", "there", "1234", "/tmp", "b", "lo"]
                assert "refused" in words
            await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c"))
            await driver.container(root(made))
            async with driver.processes() as processes:
                await processes.start("p", "/bin/sh", "-c", "echo new > /new; cat /new")
                assert (await processes.ends("p"), processes.output["p"]) == (0, b"new\n")
            await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c"))


async def test_a_container_is_opened_in_a_step_that_failed_and_its_files_are_read(daemon: Daemon) -> None:
    """As `buildx debug --on=error build` does."""
    async with driving(daemon) as driver:
        mounts = (
            BuildMount("/", input=0, output=0),
            BuildMount("/cache", Cache("kept")),
            BuildMount("/data", input=0, output=NO_OUTPUT, selector="/etc"),
        )
        script = "echo left > /left; rm /etc/group; echo 1 > /cache/1; echo 2 > /data/2; exit 7"
        op = ExecOp(args=("/bin/sh", "-c", script), mounts=mounts, network="none")
        identifier = await driver.result(Vertex.of(op, [BASE]).output())
        with pytest.raises(GRPCError, match="exit code: 7") as caught:
            await driver.ask("Evaluate", pb.EvaluateRequest(Ref=identifier))
        [value] = [one.value for one in caught.value.details or () if one.type_url.endswith("errdefs.Solve+json")]
        told = json.loads(value)
        for ids, shown in ((told["mountIDs"], b"left\n1\n2\n1\n"), (told["inputIDs"], b"1\n0\n")):
            taken = [llb_pb2.Mount() for _ in ids]
            for mount, ours, result in zip(taken, told["op"]["exec"]["mounts"], ids, strict=True):
                ParseDict({**ours, "input": -1, "output": -1, "resultID": result}, mount)
            await driver.container(*taken, Network=2)
            async with driver.processes() as processes:
                await processes.start("p", "/bin/sh")
                await processes.types("p", "cat /left /cache/1 /data/2 2>/dev/null; test -e /etc/group; echo $?\n")
                await processes.types("p", "echo 3 > /left; mkfifo /fifo; ln -s /etc/../../../left /to; echo rea''dy\n")
                await processes.sees("p", "ready")
                assert shown in processes.output["p"]

                async def read(path: str, mount: int = 0) -> bytes:
                    request = pb.ReadFileRequest(Ref="c", FilePath=path, MountIndex=mount)
                    return bytes((await driver.ask("ReadFileContainer", request)).Data)

                assert (await read("/left"), await read("/to"), await read("/1", 1)) == (b"3\n", b"3\n", b"1\n")
                assert await read("/../passwd", 2) == await read("/etc/passwd")
                with pytest.raises(GRPCError, match="not a regular file"):
                    await read("/fifo")
            await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c"))


async def test_a_terminal_signals_and_a_second_process_beside_it(daemon: Daemon) -> None:
    async with driving(daemon) as driver:
        await driver.container(root(await driver.result(BASE)))
        async with driver.processes() as processes:
            await processes.start("shell", "/bin/sh", "-i", tty=True)
            await processes.say("shell", Resize=pb.ResizeMessage(Rows=33, Cols=99))
            await processes.types("shell", "stty size; tty; echo $TERM; echo here > /here\r")
            for text in ("33 99\r\n", "/dev/pts/0\r\n", "xterm\r\n"):
                await processes.sees("shell", text)
            await processes.start("cat", "/bin/sh", "-c", "cat /here; cat /proc/1/comm; exec sleep 98761")
            await processes.sees("cat", "here\nsh\n")
            await processes.say("cat", Signal=pb.SignalMessage(Name="KILL"))
            assert await processes.ends("cat") == 137
            await processes.start("lost", "/no/such/program")
            assert await processes.ends("lost") == 255
            assert "/no/such/program" in processes.exits["lost"].Error.message
            await processes.start("sleeper", "sleep", "98762")
            await processes.types("shell", "exit 4\r")
            assert await processes.ends("shell") == 4
            assert await processes.ends("sleeper") == 137, "the first process was the container"
            await processes.start("late", "true")
            assert await processes.ends("late") == 255
        await nothing_runs("9876")


@pytest.mark.parametrize("by", ["release", "the end of the build", "the end of the client"])
async def test_what_runs_ends_with_its_container(daemon: Daemon, by: str) -> None:
    mark = f"77{os.getpid()}{len(by)}"
    async with driving(daemon) as driver:
        await driver.container(root(await driver.result(BASE)))
        async with driver.processes() as processes:
            await processes.start("p", "/bin/sh")
            await processes.types(
                "p", f"trap '' TERM; sleep {mark} & setsid sleep {mark} & echo rea''dy; sleep {mark}\n"
            )
            await processes.sees("p", "ready")
            await until(lambda: _sleepers().count(mark) == 3, "they run")
            if by == "release":
                await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c"))
                assert await processes.ends("p") == 255
            elif by == "the end of the build":
                await driver.finish()
                assert await processes.ends("p") == 255
            else:
                driver.leave()
    await nothing_runs(mark)


async def test_a_container_may_do_what_its_build_may(daemon: Daemon) -> None:
    async with driving(daemon) as driver:
        base = await driver.result(BASE)
        with pytest.raises(GRPCError, match=r"network\.host is not allowed") as caught:
            await driver.container(root(base), Network=1)
        assert caught.value.status is Status.PERMISSION_DENIED
        await driver.container(root(base))
        async with driver.processes() as processes:
            await processes.start("p", "/bin/true", security=1)
            assert await processes.ends("p") == 255
            assert "security.insecure is not allowed" in processes.exits["p"].Error.message
    async with driving(daemon, Entitlements=["network.host"]) as driver:
        await driver.container(root(await driver.result(BASE)), Network=1)
        async with driver.processes() as processes:
            await processes.start("p", "/bin/true")
            assert await processes.ends("p") == 0


async def test_a_flood_that_nobody_reads_waits(daemon: Daemon) -> None:
    async with driving(daemon) as driver:
        await driver.container(root(await driver.result(BASE)))
        before = memory_of(daemon)
        async with driver.processes() as processes:
            await processes.start("p", "yes", "a-flood")
            [pid] = await flooding()
            await until(lambda: waits_to_write(pid), "it waits")
            assert memory_of(daemon) - before < 100 << 20


async def flooding() -> list[Path]:
    """The process that floods."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = [one.parent for one in Path("/proc").glob("[0-9]*/cmdline") if b"\0a-flood\0" in _words(one)]
        return bool(found)

    await until(look, "it floods")
    return found


def _words(cmdline: Path) -> bytes:
    try:
        return cmdline.read_bytes()
    except OSError:
        return b""


def waits_to_write(process: Path) -> bool:
    """Whether a process sleeps in a write, and goes on sleeping there."""

    def written() -> str:
        return next(line for line in (process / "io").read_text().splitlines() if line.startswith("wchar"))

    before = written()
    time.sleep(0.5)
    return written() == before and int(before.split()[1]) > 64 << 10


def memory_of(daemon: Daemon) -> int:
    """The memory of the daemon, in bytes."""
    pid = int((daemon.root / "run" / "wherryd.pid").read_text())
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
