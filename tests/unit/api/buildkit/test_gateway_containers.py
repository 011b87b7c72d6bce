"""Containers of a client that drives its build, asked for by another implementation of gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from support.fake_builds import FakeBuilds, FakeContainer
from support.grpc_peers import CONTROL, GATEWAY, Client, serving, until
from wherry.api.buildkit.proto import control_pb2, llb_pb2
from wherry.api.buildkit.proto import gateway_pb2 as pb
from wherry.build.model.errors import VertexFailed
from wherry.build.model.failure import Console, FailedMount, Leftover
from wherry.build.model.graph import (
    NO_INPUT,
    Bind,
    BuildMount,
    Cache,
    Edge,
    ExecOp,
    HostEntry,
    Secret,
    SecretEnv,
    SecurityMode,
    SourceOp,
    Tmpfs,
    Vertex,
)
from wherry.build.model.network import NetworkMode
from wherry.build.model.request import FrontResult, Ref
from wherry.build.model.snapshot import Snapshot
from wherry.errors import CommandNotFound, Forbidden
from wherry.oci.platform import Platform

BASE = Edge(Vertex.of(SourceOp("docker-image://docker.io/library/busybox:latest")))
ROOT = llb_pb2.Mount(dest="/", input=-1, output=-1)


class Driver:
    """A client that drives the build ``r1``."""

    def __init__(self, builds: FakeBuilds, client: Client, solve: asyncio.Task[Any]) -> None:
        self.builds, self.client, self.solve = builds, client, solve

    async def ask(self, method: str, request: Any) -> Any:
        """Call a method."""
        return await self.client.ask(GATEWAY + method, request, "r1")

    async def container(self, identifier: str = "c1", *mounts: llb_pb2.Mount, **more: Any) -> FakeContainer:
        """Make a container."""
        await self.ask("NewContainer", pb.NewContainerRequest(ContainerID=identifier, Mounts=mounts or [ROOT], **more))
        return self.builds.containers[-1]

    @asynccontextmanager
    async def processes(self) -> AsyncIterator[Any]:
        """A stream for processes."""
        async with self.client.exchange(GATEWAY + "ExecProcess", pb.ExecMessage, "r1") as stream:
            yield stream
            if not stream._end_done and not stream._cancel_done:
                await stream.cancel()

    async def says(self, messages: list[pb.ExecMessage]) -> None:
        """Say something about processes, and hear all."""
        async with self.processes() as stream, asyncio.timeout(60):
            for message in messages:
                await stream.send_message(message)
            while await stream.recv_message() is not None:
                pass


@asynccontextmanager
async def driving(**more: Any) -> AsyncIterator[Driver]:
    builds = FakeBuilds()
    builds.result = FrontResult(refs={"": Ref(edge=BASE)})
    async with serving(builds) as (_, client):
        solve = asyncio.create_task(client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r1", **more)))
        await client.ask(GATEWAY + "Ping", pb.PingRequest(), "r1")
        try:
            yield Driver(builds, client, solve)
        finally:
            solve.cancel()
            await asyncio.gather(solve, return_exceptions=True)


def init(
    process: str = "p1", container: str = "c1", *, fds: tuple[int, ...] = (0, 1, 2), **more: Any
) -> pb.ExecMessage:
    meta = llb_pb2.Meta(args=["sh"], env=["A=b"], cwd="/work", user="me")
    return pb.ExecMessage(ProcessID=process, Init=pb.InitMessage(ContainerID=container, Meta=meta, Fds=fds, **more))


def told(data: bytes = b"", *, process: str = "p1", eof: bool = False, fd: int = 0) -> pb.ExecMessage:
    return pb.ExecMessage(ProcessID=process, File=pb.FdMessage(Fd=fd, Data=data, EOF=eof))


async def next_of(stream: Any) -> tuple[str, str, Any]:
    """The next message: of which process, of which kind, and what."""
    async with asyncio.timeout(60):
        message = await stream.recv_message()
    kind = message.WhichOneof("Input")
    return message.ProcessID, kind, getattr(message, kind)


async def rest_of(stream: Any) -> list[tuple[str, str, Any]]:
    """All messages, up to ``Done``."""
    found = []
    while True:
        found.append(await next_of(stream))
        if found[-1][1] == "Done":
            return found


# --- containers -----------------------------------------------------------------------------------


async def test_clients_are_told_that_there_are_containers() -> None:
    async with driving() as driver:
        answer = await driver.ask("Ping", pb.PingRequest())
        found = {one.ID.removeprefix("gateway.exec.") for one in answer.FrontendAPICaps}
        assert found >= {"gateway.exec", "extrahosts", "filesystem", "secretenv", "signals"}


async def test_a_clients_debugger_gets_the_step_that_failed_and_what_it_has_left() -> None:
    """As buildx reads it: an operation in JSON without words of our own, and an ID for each mount, or none."""
    op = ExecOp(args=("sh",), mounts=(BuildMount("/", input=0, output=0), BuildMount("/c", Cache("c"))), shm_size=7)
    step = Vertex.of(op, [BASE])
    left = Leftover(Snapshot()), Leftover(Snapshot(), cache="c key")
    mounts = (FailedMount(Leftover(Snapshot()), left[0]), FailedMount(None, left[1]))
    async with driving() as driver:
        driver.builds.result = VertexFailed("exit code: 7", vertex=step.digest, exit_code=7, step=step, mounts=mounts)
        told = []
        for _ in range(2):
            with pytest.raises(GRPCError) as caught:
                await driver.ask("Solve", pb.SolveRequest(Frontend="dockerfile.v0"))
            [value] = [one.value for one in caught.value.details or () if one.type_url.endswith("errdefs.Solve+json")]
            told.append(json.loads(value))
        assert told[0] == told[1], "the same has the same name"
        [solve, _] = told
        assert solve["op"]["exec"]["meta"]["args"] == ["sh"]
        assert [mount["dest"] for mount in solve["op"]["exec"]["mounts"]] == ["/", "/c"]
        assert "shmSize" not in solve["op"]["exec"]
        assert solve["inputIDs"][1] == ""
        root, cache = solve["mountIDs"]
        made = await driver.container(
            "c1",
            llb_pb2.Mount(dest="/", input=-1, output=-1, resultID=root),
            llb_pb2.Mount(
                dest="/c", input=-1, output=-1, resultID=cache, mountType=3, cacheOpt=llb_pb2.CacheOpt(ID="c")
            ),
        )
        assert made.request.inputs == left
        assert driver.builds.builds["r1"].request.keeps_failed


async def test_files_of_a_container_are_read() -> None:
    async with driving() as driver:
        made = await driver.container()
        made.files = {"/file": b"content"}
        read = pb.ReadFileRequest(Ref="c1", FilePath="/file", MountIndex=0, Range=pb.FileRange(Offset=3, Length=2))
        assert (await driver.ask("ReadFileContainer", read)).Data == b"te"
        found = await driver.ask("StatFileContainer", pb.StatFileRequest(Ref="c1", Path="/file"))
        assert (found.stat.path, found.stat.size) == (b"/file", 7)
        found = await driver.ask("ReadDirContainer", pb.ReadDirRequest(Ref="c1", DirPath="/"))
        assert [one.path for one in found.entries] == [b"/file"]
        with pytest.raises(GRPCError, match="no such mount: 1"):
            await driver.ask("StatFileContainer", pb.StatFileRequest(Ref="c1", Path="/file", MountIndex=1))
        for method, kind in (("ReadFile", pb.ReadFileRequest), ("ReadDir", pb.ReadDirRequest)):
            with pytest.raises(GRPCError, match="not created") as caught:
                await driver.ask(f"{method}Container", kind(Ref="other"))
            assert caught.value.status is Status.NOT_FOUND


async def test_a_container_has_what_its_client_asks_for() -> None:
    async with driving() as driver:
        solved = await driver.ask("Solve", pb.SolveRequest(Frontend="dockerfile.v0", allowResultReturn=True))
        ref = solved.result.ref.id or solved.result.refDeprecated
        mounts = [
            llb_pb2.Mount(dest="/", input=-1, output=0, resultID=ref),
            llb_pb2.Mount(dest="/data", input=7, output=-1, resultID=ref, readonly=True, selector="x"),
            llb_pb2.Mount(dest="/empty", input=3, output=-1),
            llb_pb2.Mount(dest="/tmp", mountType=4, input=-1, output=-1),
            llb_pb2.Mount(dest="/cache", mountType=3, input=-1, output=-1, cacheOpt=llb_pb2.CacheOpt(ID="c")),
            llb_pb2.Mount(dest="/secret", mountType=1, input=-1, output=-1, secretOpt=llb_pb2.SecretOpt(ID="s")),
        ]
        made = await driver.container(
            "c1", *mounts, Network=2, hostname="h", extraHosts=[llb_pb2.HostIP(Host="a", IP="::1")],
            platform=llb_pb2.Platform(OS="linux", Architecture="arm64"),
        )  # fmt: skip
        asked = made.request
        assert asked.inputs == (BASE, BASE)
        assert [(one.target, type(one.kind), one.input) for one in asked.mounts] == [
            ("/", Bind, 0), ("/data", Bind, 1), ("/empty", Bind, NO_INPUT), ("/tmp", Tmpfs, NO_INPUT),
            ("/cache", Cache, NO_INPUT), ("/secret", Secret, NO_INPUT),
        ]  # fmt: skip
        assert [one.output for one in asked.mounts] == [-1] * 6, "nothing that is written there is kept"
        assert (asked.mounts[1].readonly, asked.mounts[1].selector) == (True, "x")
        assert (asked.network, asked.hostname, asked.extra_hosts) == (NetworkMode.NONE, "h", (HostEntry("a", "::1"),))
        assert asked.platform == Platform("linux", "arm64").normalised()


async def test_a_container_is_there_once_and_until_it_is_released() -> None:
    async with driving() as driver:
        made = await driver.container()
        with pytest.raises(GRPCError) as caught:
            await driver.container()
        assert caught.value.status is Status.ALREADY_EXISTS
        await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c1"))
        assert made.is_released
        with pytest.raises(GRPCError) as caught:
            await driver.ask("ReleaseContainer", pb.ReleaseContainerRequest(ContainerID="c1"))
        assert caught.value.status is Status.NOT_FOUND
        await driver.container()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"ContainerID": ""}, "needs an ID"),
        ({"ContainerID": "x" * 1000}, "needs an ID"),
        ({"Mounts": []}, "no root"),
        ({"Mounts": [llb_pb2.Mount(dest="/", mountType=4)]}, "no root"),
        ({"Mounts": [llb_pb2.Mount(dest="/", resultID="nothing")]}, "no such ref"),
        ({"Mounts": [ROOT, llb_pb2.Mount(dest="/x", mountType=9)]}, "invalid mount type"),
        ({"Network": 9}, "invalid network mode"),
        ({"Mounts": [ROOT] * 200_000}, "too many"),
    ],
)
async def test_a_container_that_makes_no_sense_is_refused(more: dict[str, Any], why: str) -> None:
    async with driving() as driver:
        with pytest.raises(GRPCError, match=why):
            await driver.ask("NewContainer", pb.NewContainerRequest(**{"ContainerID": "c", "Mounts": [ROOT], **more}))
        assert driver.builds.containers == []


async def test_what_a_build_may_not_do_is_refused_by_its_own_status() -> None:
    async with driving() as driver:
        driver.builds.container_failure = Forbidden("network.host is not allowed")
        with pytest.raises(GRPCError, match="not allowed") as caught:
            await driver.container(Network=1)
        assert caught.value.status is Status.PERMISSION_DENIED


# --- processes ------------------------------------------------------------------------------------


async def test_a_process_has_streams_an_exit_and_an_end() -> None:
    async with driving() as driver:
        made = await driver.container()
        made.ends.append(3)
        async with driver.processes() as stream:
            await stream.send_message(
                init(Tty=True, Security=1, secretenv=[llb_pb2.SecretEnv(ID="s", name="S", optional=True)])
            )
            assert await next_of(stream) == ("p1", "Started", pb.StartedMessage())
            await stream.send_message(pb.ExecMessage(ProcessID="p1", Resize=pb.ResizeMessage(Rows=5, Cols=70_000)))
            await stream.send_message(told(b"hello"))
            assert await next_of(stream) == ("p1", "File", pb.FdMessage(Fd=1, Data=b"HELLO"))
            await stream.send_message(told(eof=True))
            kinds = [(kind, what) for _, kind, what in await rest_of(stream)]
            assert [what.Fd for kind, what in kinds if kind == "File" and what.EOF] == [1, 2]
            [ended] = [what for kind, what in kinds if kind == "Exit"]
            assert (ended.Code, ended.Error.code, ended.Error.message) == (3, 2, "exit code: 3")
            await stream.end()
            assert await stream.recv_message() is None
        [process] = made.processes
        assert (process.args, process.env, process.cwd, process.user) == (("sh",), ("A=b",), "/work", "me")
        assert process.secret_env == (SecretEnv("s", "S", optional=True),)
        assert (process.security, process.console) == (SecurityMode.INSECURE, Console(terminal=True))
        assert made.streams[0].sizes == [(5, 0xFFFF)]


async def test_a_process_that_ends_well_has_no_error() -> None:
    async with driving() as driver:
        await driver.container()
        async with driver.processes() as stream:
            await stream.send_message(init(fds=()))
            [first, ended, _] = await rest_of(stream)
            assert first[1] == "Started"
            assert (ended[2].Code, ended[2].HasField("Error")) == (0, False)


async def test_several_processes_share_a_stream() -> None:
    async with driving() as driver:
        await driver.container()
        async with driver.processes() as stream:
            for name in ("p1", "p2"):
                await stream.send_message(init(name, fds=(0, 1)))
                assert (await next_of(stream))[:2] == (name, "Started")
            await stream.send_message(told(b"two", process="p2"))
            assert await next_of(stream) == ("p2", "File", pb.FdMessage(Fd=1, Data=b"TWO"))
            await stream.send_message(pb.ExecMessage(ProcessID="p2", Signal=pb.SignalMessage(Name="TERM")))
            assert {process for process, _, _ in await rest_of(stream)} == {"p2"}
            await stream.send_message(told(b"one", process="p1"))
            assert await next_of(stream) == ("p1", "File", pb.FdMessage(Fd=1, Data=b"ONE"))
        assert [one.signals for one in driver.builds.containers[0].streams] == [[], [15]]


async def test_a_process_that_cannot_run_says_why_after_it_has_begun() -> None:
    async with driving() as driver:
        made = await driver.container()
        made.ends.append(CommandNotFound("exec: no such program"))
        async with driver.processes() as stream:
            await stream.send_message(init())
            assert (await next_of(stream))[1] == "Started"
            [ended, _] = await rest_of(stream)
            assert (ended[2].Code, ended[2].Error.message) == (255, "exec: no such program")
            assert ended[2].Error.code != 0


async def test_output_that_nobody_asked_for_is_dropped() -> None:
    async with driving() as driver:
        await driver.container()
        async with driver.processes() as stream:
            await stream.send_message(init(fds=(0,)))
            await stream.send_message(told(b"hello"))
            await stream.send_message(told(eof=True))
            assert [kind for _, kind, _ in await rest_of(stream)] == ["Started", "Exit", "Done"]


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([pb.ExecMessage(Init=pb.InitMessage(ContainerID="c1"))], Status.INVALID_ARGUMENT),
        ([init(container="c2")], Status.NOT_FOUND),
        ([init(), init()], Status.ALREADY_EXISTS),
        ([told(b"x")], Status.NOT_FOUND),
        ([init(), told(b"x", fd=1)], Status.OUT_OF_RANGE),
        ([init(), pb.ExecMessage(ProcessID="p1", Signal=pb.SignalMessage(Name="DANCE"))], Status.INVALID_ARGUMENT),
        ([pb.ExecMessage(ProcessID="p1", Signal=pb.SignalMessage(Name="TERM"))], Status.NOT_FOUND),
        ([init(str(number)) for number in range(101)], Status.RESOURCE_EXHAUSTED),
    ],
)
async def test_messages_out_of_order_end_the_stream_and_all_in_it(
    messages: list[pb.ExecMessage], status: Status
) -> None:
    async with driving() as driver:
        made = await driver.container()
        with pytest.raises(GRPCError) as caught:
            await driver.says(messages)
        assert caught.value.status is status
        await until(lambda: made.running == 0)


async def test_a_client_that_goes_ends_its_processes() -> None:
    async with driving() as driver:
        made = await driver.container()
        async with driver.processes() as stream:
            await stream.send_message(init())
            assert (await next_of(stream))[1] == "Started"
            assert made.running == 1
            await stream.cancel()
        await until(lambda: made.running == 0)


async def test_the_end_of_what_a_client_says_ends_no_process() -> None:
    async with driving() as driver:
        await driver.container()
        async with driver.processes() as stream:
            await stream.send_message(init())
            await stream.send_message(told(b"hello"))
            await stream.send_message(told(b"", eof=True), end=True)
            kinds = [kind for _, kind, _ in await rest_of(stream)]
            assert kinds[0] == "Started"
            assert kinds[-2:] == ["Exit", "Done"]


async def test_input_that_is_not_read_waits_and_what_comes_too_late_is_dropped() -> None:
    async with driving() as driver:
        made = await driver.container()
        async with driver.processes() as stream:
            await stream.send_message(init(fds=(0,)))
            assert (await next_of(stream))[1] == "Started"

            async def broken(data: bytes) -> None:
                raise BrokenPipeError

            made.streams[0].write = broken  # type: ignore[method-assign]
            for _ in range(20):
                await stream.send_message(told(bytes(100_000)))
            await stream.send_message(pb.ExecMessage(ProcessID="p1", Signal=pb.SignalMessage(Name="KILL")))
            assert [kind for _, kind, _ in await rest_of(stream)] == ["Exit", "Done"]
        assert made.streams[0].signals == [9]
