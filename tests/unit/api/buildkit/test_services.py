"""BuildKit's services, asked by another implementation of gRPC, over a scripted builder."""

from __future__ import annotations

import asyncio
import json

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from support.fake_builds import FakeBuilds
from support.grpc_peers import CONTROL, GATEWAY, Client, serving
from wherry.api.buildkit.builds import Bridges
from wherry.api.buildkit.encode_definition import encode
from wherry.api.buildkit.proto import common_pb2, control_pb2, gateway_pb2, llb_pb2
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.graph import Edge, SourceOp, SourceRange, Vertex
from wherry.build.model.progress import Cost, LogProgress, TransferProgress, VertexProgress, WarningProgress
from wherry.build.model.request import BuildRequest, FrontResult, Ref
from wherry.build.model.service import BuildRecord, CacheRecord
from wherry.errors import InvalidInput, Unavailable
from wherry.oci.digest import Digest

BASE = Edge(Vertex.of(SourceOp("docker-image://docker.io/library/busybox:latest")))
DIGEST = Digest.from_bytes(b"x")


async def begun(client: Client, ref: str = "r1", **more: object) -> asyncio.Task[object]:
    """A build that its client drives, which has begun."""
    request = control_pb2.SolveRequest(Ref=ref, **more)
    solve = asyncio.create_task(client.ask(CONTROL + "Solve", request))
    await client.ask(GATEWAY + "Ping", gateway_pb2.PingRequest(), ref)
    return solve


def details_of(error: GRPCError) -> dict[str, dict[str, object]]:
    """The details of an error, by the ends of their types."""
    found = {}
    for detail in error.details or ():
        found[detail.type_url.rpartition("/")[2]] = json.loads(detail.value)
    return found


async def test_the_worker_has_the_label_by_which_buildx_knows_what_the_daemon_can() -> None:
    async with serving(FakeBuilds()) as (_, client):
        answer = await client.ask(CONTROL + "ListWorkers", control_pb2.ListWorkersRequest())
        labels = dict(answer.record[0].Labels)
        assert labels["org.mobyproject.buildkit.worker.snapshotter"] == "overlayfs"
        assert labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"] == "172.17.0.1"
        assert [(one.OS, one.Architecture) for one in answer.record[0].platforms] == [("linux", "amd64")]
        assert [one.Name for one in answer.record[0].CDIDevices] == [
            "vendor.example/kind=one",
            "vendor.example/kind=two",
        ]
        assert not any(one.AutoAllow for one in answer.record[0].CDIDevices)
        info = await client.ask(CONTROL + "Info", control_pb2.InfoRequest())
        assert info.buildkitVersion.version.startswith("v0.")


async def test_health_is_answered_and_unknown_methods_are_refused() -> None:
    async with serving(FakeBuilds()) as (_, client):
        answer = await client.ask("/grpc.health.v1.Health/Check", common_pb2.HealthCheckRequest())
        assert answer.status == 1
        with pytest.raises(GRPCError) as caught:
            await client.ask("/grpc.health.v1.Health/Heal", common_pb2.HealthCheckRequest(), "r1")
        assert caught.value.status is Status.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("epoch", "expected"), [("1700000000", {"source-date-epoch": "1700000000"}), ("context", {}), ("", {})]
)
async def test_exporters_are_told_a_date_and_no_name_of_one(epoch: str, expected: dict[str, str]) -> None:
    builds = FakeBuilds()
    builds.result = FrontResult(refs={"": Ref(edge=BASE)})
    async with serving(builds) as (_, client):
        attributes = {"build-arg:SOURCE_DATE_EPOCH": epoch}
        solve = await begun(client, Exporters=[control_pb2.Exporter(Type="moby")], FrontendAttrs=attributes)
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result()), "r1")
        await solve
    assert builds.builds["r1"].request.exports[0].attributes == expected


async def test_a_client_drives_its_build() -> None:
    builds = FakeBuilds()
    builds.result = FrontResult(refs={"": Ref(edge=BASE, config=b'{"os":"linux"}')}, metadata={"version": b"1"})
    builds.response = {"containerimage.digest": str(DIGEST)}
    async with serving(builds) as (_, client):
        exporter = control_pb2.Exporter(Type="moby", Attrs={"name": "a"})
        solve = await begun(client, Session="s1", Exporters=[exporter], Entitlements=["network.host"])
        request = gateway_pb2.SolveRequest(
            Frontend="dockerfile.v0", FrontendOpt={"target": "x"}, allowResultReturn=True, allowResultArrayRef=True
        )
        answer = await client.ask(GATEWAY + "Solve", request, "r1")
        config = json.loads(answer.result.metadata["containerimage.config"])
        assert config == {"os": "linux", "rootfs": {"type": "layers", "diff_ids": None}}
        assert answer.result.metadata["version"] == b"1"
        assert len(answer.result.ref.definition.ops) == 2
        await client.ask(GATEWAY + "Evaluate", gateway_pb2.EvaluateRequest(Ref=answer.result.ref.id), "r1")
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=answer.result), "r1")
        assert dict((await solve).ExporterResponse) == builds.response
    build = builds.builds["r1"]
    assert build.request.session == "s1"
    assert build.request.exports[0].attributes == {"name": "a"}
    assert build.request.entitlements == {"network.host"}
    assert build.asked == [("solve", "dockerfile.v0", {"target": "x"}, {}, None), ("evaluate", BASE)]
    assert build.finished is not None
    assert build.finished.refs[""] == Ref(edge=BASE, config=b'{"os":"linux"}')
    assert build.finished.metadata == {"version": b"1"}
    assert build.failed is None


async def test_several_platforms_come_back_in_their_order() -> None:
    builds = FakeBuilds()
    refs = {"linux/arm64": Ref(edge=BASE, config=b"{}"), "linux/amd64": Ref(edge=None, config=b"[]", base_config=b"1")}
    builds.result = FrontResult(refs=refs)
    async with serving(builds) as (_, client):
        solve = await begun(client)
        request = gateway_pb2.SolveRequest(allowResultReturn=True, allowResultArrayRef=True)
        answer = await client.ask(GATEWAY + "Solve", request, "r1")
        listed = json.loads(answer.result.metadata["refs.platforms"])["Platforms"]
        assert listed[0] == {"ID": "linux/arm64", "Platform": {"architecture": "arm64", "os": "linux"}}
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=answer.result), "r1")
        await solve
    finished = builds.builds["r1"].finished
    assert finished is not None
    assert list(finished.refs.items()) == list(refs.items())


async def test_a_whole_build_needs_no_gateway() -> None:
    builds = FakeBuilds()
    builds.response = {"image.name": "a"}
    async with serving(builds) as (_, client):
        request = control_pb2.SolveRequest(Ref="r1", Frontend="dockerfile.v0", FrontendAttrs={"memory": "1000"})
        assert (await client.ask(CONTROL + "Solve", request)).ExporterResponse == {"image.name": "a"}
        await client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r2", Definition=encode(BASE)))
        gateway = control_pb2.SolveRequest(
            Ref="r3", Frontend="gateway.v0", FrontendAttrs={"source": "docker/dockerfile:1"}
        )
        await client.ask(CONTROL + "Solve", gateway)
    first, second, third = builds.whole
    assert (first.frontend, first.limits.memory) == ("dockerfile.v0", 1000)
    assert (second.frontend, second.definition) == ("", BASE)
    assert third.frontend == "dockerfile.v0"


async def test_a_failed_step_is_told_with_its_place() -> None:
    builds = FakeBuilds()
    where = (SourceRange(2, 0, 2, 5),)
    builds.failure = VertexFailed(
        "process did not complete successfully: exit code: 3", vertex=DIGEST, exit_code=3, file="Dockerfile",
        source=b"FROM a\nRUN b\n", ranges=where,
    )  # fmt: skip
    async with serving(builds) as (_, client):
        with pytest.raises(GRPCError) as caught:
            await client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r1", Frontend="dockerfile.v0"))
    assert caught.value.message == "process did not complete successfully: exit code: 3"
    details = details_of(caught.value)
    assert details["errdefs.Vertex+json"] == {"digest": str(DIGEST)}
    assert details["errdefs.Source+json"]["ranges"] == [
        {"start": {"line": 2, "character": 0}, "end": {"line": 2, "character": 5}}
    ]
    assert details["gatewayapi.ExitMessage+json"] == {"Code": 3}


async def test_what_a_client_says_that_failed_is_answered_to_it_with_the_details() -> None:
    builds = FakeBuilds()
    builds.result = DockerfileError("unknown instruction: FOO", source=b"FOO", ranges=(SourceRange(1, 0, 1, 3),))
    async with serving(builds) as (_, client):
        solve = await begun(client)
        with pytest.raises(GRPCError) as first:
            await client.ask(GATEWAY + "Solve", gateway_pb2.SolveRequest(Frontend="dockerfile.v0"), "r1")
        said = common_pb2.Status(code=2, message="failed to solve: unknown instruction: FOO")
        said.details.add(type_url="github.com/moby/buildkit/errdefs.Source+json", value=b"{}")
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(error=said), "r1")
        with pytest.raises(GRPCError) as second:
            await solve
    assert "errdefs.Source+json" in details_of(first.value)
    assert second.value.message == "failed to solve: unknown instruction: FOO"
    assert details_of(second.value) == {"errdefs.Source+json": {}}
    assert builds.builds["r1"].failed is not None


async def test_an_internal_solve_is_no_build_and_its_status_ends_with_it() -> None:
    builds = FakeBuilds()
    builds.going_on = asyncio.Event()  # the builder would wait for ever for a build that it does not know
    async with serving(builds) as (_, client):
        solve = await begun(client, Internal=True)
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result()), "r1")
        await solve
        assert builds.builds == {}
        # a client that is slow asks when it has ended
        assert await client.listen(CONTROL + "Status", control_pb2.StatusRequest(Ref="r1")) == []
        again = await begun(client, "r2", Internal=True)
        status = asyncio.create_task(client.listen(CONTROL + "Status", control_pb2.StatusRequest(Ref="r2")))
        await client.ask(GATEWAY + "Ping", gateway_pb2.PingRequest(), "r2")
        await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result()), "r2")
        await again
        assert await status == []


async def test_everything_of_a_build_is_told_and_the_status_ends() -> None:
    builds = FakeBuilds()
    warning = WarningProgress(
        vertex=DIGEST, level=1, short="short", detail=("long",), url="u", file="Dockerfile", source=b"FROM a",
        ranges=(SourceRange(1, 0, 1, 4),),
    )  # fmt: skip
    builds.events = [
        VertexProgress(
            digest=DIGEST, name="[1/2] FROM a", started=1_500_000_000, group=("g", "G", True), cost=Cost(cpu=7)
        ),
        LogProgress(vertex=DIGEST, stream=2, data=b"hello", at=2_000_000_001),
        LogProgress(vertex=DIGEST, stream=1, data=bytes(3 << 20), at=3),
        TransferProgress(id="sha256:x", vertex=DIGEST, name="layer", current=5, total=10, at=4, started=5, completed=6),
        warning,
        VertexProgress(digest=DIGEST, name="[1/2] FROM a", completed=3, cached=True, error="no", inputs=(DIGEST,)),
    ]
    async with serving(builds) as (_, client):
        messages = await client.listen(CONTROL + "Status", control_pb2.StatusRequest(Ref="r1"))
    vertices = [one for message in messages for one in message.vertices]
    assert (vertices[0].started.seconds, vertices[0].started.nanos) == (1, 500_000_000)
    assert vertices[0].progressGroup.id == "g"
    assert vertices[0].cost.cpu == 7
    assert not vertices[0].cost.HasField("memory")
    assert (vertices[1].cached, vertices[1].error, list(vertices[1].inputs)) == (True, "no", [str(DIGEST)])
    logs = [one for message in messages for one in message.logs]
    assert logs[0].msg == b"hello"
    assert sum(len(one.msg) for one in logs[1:]) == 3 << 20
    assert max(message.ByteSize() for message in messages) < 4 << 20
    (transfer,) = [one for message in messages for one in message.statuses]
    assert (transfer.current, transfer.total, transfer.completed.nanos) == (5, 10, 6)
    (told,) = [one for message in messages for one in message.warnings]
    assert (told.short, list(told.detail), told.info.data) == (b"short", [b"long"], b"FROM a")


async def test_files_of_a_result_are_read() -> None:
    builds = FakeBuilds()
    builds.result = FrontResult(refs={"": Ref(edge=BASE)})
    builds.files = {"/a": b"0123456789"}
    async with serving(builds) as (_, client):
        solve = await begun(client)
        answer = await client.ask(GATEWAY + "Solve", gateway_pb2.SolveRequest(allowResultReturn=True), "r1")
        ref = answer.result.refDeprecated
        whole = await client.ask(GATEWAY + "ReadFile", gateway_pb2.ReadFileRequest(Ref=ref, FilePath="/a"), "r1")
        assert whole.Data == b"0123456789"
        part = gateway_pb2.ReadFileRequest(Ref=ref, FilePath="/a", Range=gateway_pb2.FileRange(Offset=2, Length=3))
        assert (await client.ask(GATEWAY + "ReadFile", part, "r1")).Data == b"234"
        listed = await client.ask(GATEWAY + "ReadDir", gateway_pb2.ReadDirRequest(Ref=ref, DirPath="/"), "r1")
        assert [(one.path, one.mode, one.size) for one in listed.entries] == [(b"/a", 0o600, 10)]
        found = await client.ask(GATEWAY + "StatFile", gateway_pb2.StatFileRequest(Ref=ref, Path="/a"), "r1")
        assert found.stat.size == 10
        for wrong in (
            gateway_pb2.ReadFileRequest(Ref=ref, FilePath="/b"),
            gateway_pb2.ReadFileRequest(Ref="?", FilePath="/a"),
        ):
            with pytest.raises(GRPCError):
                await client.ask(GATEWAY + "ReadFile", wrong, "r1")
        solve.cancel()
        await asyncio.gather(solve, return_exceptions=True)


async def test_images_are_resolved_and_warnings_shown() -> None:
    builds = FakeBuilds()
    async with serving(builds) as (_, client):
        solve = await begun(client, FrontendInputs={"base": encode(BASE)})
        request = gateway_pb2.ResolveImageConfigRequest(Ref="busybox", ResolveMode="local")
        request.Platform.OS, request.Platform.Architecture = "linux", "arm64"
        answer = await client.ask(GATEWAY + "ResolveImageConfig", request, "r1")
        assert answer.Digest == str(Digest.from_bytes(b"busybox"))
        meta = gateway_pb2.ResolveSourceMetaRequest()
        meta.Source.identifier = "docker-image://busybox"
        assert (await client.ask(GATEWAY + "ResolveSourceMeta", meta, "r1")).Image.Config == b"{}"
        inputs = await client.ask(GATEWAY + "Inputs", gateway_pb2.InputsRequest(), "r1")
        assert len(inputs.Definitions["base"].ops) == 2
        await client.ask(GATEWAY + "Warn", gateway_pb2.WarnRequest(level=1, short=b"careful"), "r1")
        solve.cancel()
        await asyncio.gather(solve, return_exceptions=True)
    asked = builds.builds["r1"].asked
    assert asked[0] == ("resolve", "busybox", "linux/arm64", "local")
    assert asked[-1][0] == "warn"


async def test_the_history_is_told_and_watched() -> None:
    builds = FakeBuilds()
    builds.history = [
        BuildRecord(ref="a", created=1, completed=2, error="no", steps=3, pinned=True),
        BuildRecord(ref="b", created=1),
    ]
    async with serving(builds) as (_, client):
        everything = control_pb2.BuildHistoryRequest(EarlyExit=True)
        events = await client.listen(CONTROL + "ListenBuildHistory", everything)
        assert [(one.type, one.record.Ref) for one in events] == [(1, "a"), (0, "b")]
        assert (events[0].record.error.message, events[0].record.numTotalSteps) == ("no", 3)
        active = control_pb2.BuildHistoryRequest(EarlyExit=True, ActiveOnly=True)
        assert [one.record.Ref for one in await client.listen(CONTROL + "ListenBuildHistory", active)] == ["b"]
        watched = control_pb2.BuildHistoryRequest(Ref="c")
        async with client.call(CONTROL + "ListenBuildHistory", watched, stream=True) as stream:
            await stream.send_message(watched, end=True)
            builds.changes.put_nowait(BuildRecord(ref="c", created=1))
            assert (await stream.recv_message()).record.Ref == "c"
            await stream.cancel()
        await client.ask(CONTROL + "UpdateBuildHistory", control_pb2.UpdateBuildHistoryRequest(Ref="a", Pinned=True))
        await client.ask(CONTROL + "UpdateBuildHistory", control_pb2.UpdateBuildHistoryRequest(Ref="a", Delete=True))
        await client.ask(CONTROL + "UpdateBuildHistory", control_pb2.UpdateBuildHistoryRequest(Ref="a", Finalize=True))
    assert builds.updated == [("a", True, False), ("a", None, True)]


async def test_the_cache_is_listed_and_pruned() -> None:
    builds = FakeBuilds()
    builds.cache = [
        CacheRecord(id="x", size=5, last_used=7, parents=("y",)),
        CacheRecord(id="y", kind="exec.cachemount"),
    ]
    async with serving(builds) as (_, client):
        usage = await client.ask(CONTROL + "DiskUsage", control_pb2.DiskUsageRequest())
        assert [(one.ID, one.Size, one.RecordType) for one in usage.record] == [
            ("x", 5, "regular"),
            ("y", 0, "exec.cachemount"),
        ]
        gone = await client.listen(CONTROL + "Prune", control_pb2.PruneRequest(all=True, filter=["id==x"]))
        assert [one.ID for one in gone] == ["x", "y"]
    assert builds.pruned[0].all
    assert builds.pruned[0].filters == ("id==x",)


async def test_a_build_ends_when_its_client_goes() -> None:
    builds = FakeBuilds()
    async with serving(builds) as (_, client):
        solve = await begun(client)
        client.close()
        await builds.ended.wait()
        with pytest.raises((StreamTerminatedError, GRPCError)):
            await solve
    assert builds.builds["r1"].failed is not None


async def test_a_whole_build_ends_when_its_call_is_cancelled() -> None:
    builds = FakeBuilds()
    builds.going_on = asyncio.Event()
    async with serving(builds) as (_, client):
        request = control_pb2.SolveRequest(Ref="r1", Frontend="dockerfile.v0")
        async with client.call(CONTROL + "Solve", request) as stream:
            await stream.send_message(request, end=True)
            await builds.building.wait()
            await stream.cancel()
        await builds.ended.wait()


@pytest.mark.parametrize(
    "request_",
    [
        control_pb2.SolveRequest(),
        control_pb2.SolveRequest(Ref="r", FrontendAttrs={"memory": "many"}),
        control_pb2.SolveRequest(
            Ref="r", SourcePolicy=control_pb2.SourcePolicy(rules=[control_pb2.SourceRule(action=3)])
        ),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(request_: control_pb2.SolveRequest) -> None:
    async with serving(FakeBuilds()) as (_, client):
        with pytest.raises(GRPCError):
            await client.ask(CONTROL + "Solve", request_)


async def test_an_error_that_nobody_thought_of_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    builds = FakeBuilds()
    builds.failure = RuntimeError("oh")
    async with serving(builds) as (_, client):
        with pytest.raises(GRPCError) as caught:
            await client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r1", Frontend="dockerfile.v0"))
    assert caught.value.status is Status.INTERNAL
    assert "unexpected error in a request" in caplog.text


async def test_an_error_of_ours_has_a_code() -> None:
    builds = FakeBuilds()
    builds.failure = InvalidInput("wrong\nlines: ü")
    async with serving(builds) as (_, client):
        with pytest.raises(GRPCError) as caught:
            await client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r1", Frontend="dockerfile.v0"))
    assert (caught.value.status, caught.value.message) == (Status.INVALID_ARGUMENT, "wrong\nlines: ü")


async def test_a_large_message_goes_both_ways() -> None:
    builds = FakeBuilds()
    builds.response = {"x": "y" * 3_000_000}
    async with serving(builds) as (_, client):
        request = control_pb2.SolveRequest(
            Ref="r1", Frontend="dockerfile.v0", FrontendAttrs={"build-arg:A": "a" * 3_000_000}
        )
        answer = await client.ask(CONTROL + "Solve", request)
    assert len(answer.ExporterResponse["x"]) == 3_000_000
    assert len(builds.whole[0].options["build-arg:A"]) == 3_000_000


async def test_a_name_that_is_no_utf_8_is_in_an_errors_text_and_in_its_details() -> None:
    builds = FakeBuilds()
    ranges = (SourceRange(2, 0, 2, 1),)
    builds.failure = VertexFailed(
        "lstat /\udcff: no such file", vertex=Digest.from_bytes(b""), file="Dockerfile", source=b"a\nb\n", ranges=ranges
    )
    async with serving(builds) as (_, client):
        with pytest.raises(GRPCError) as caught:
            await client.ask(CONTROL + "Solve", control_pb2.SolveRequest(Ref="r", Frontend="dockerfile.v0"))
    assert caught.value.message == "lstat /\ufffd: no such file"
    assert len(caught.value.details) == 2


async def test_a_call_that_comes_late_begins_no_build() -> None:
    builds = FakeBuilds()
    bridges = Bridges(builds)
    async with bridges.opened(BuildRequest(ref="r1"), {}, internal=True) as bridge:
        pass
    with pytest.raises(Unavailable, match="the build r1 has ended"):
        _ = bridge.running
    assert builds.builds == {}


async def test_a_client_may_not_ask_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.api.buildkit.results.MOST_HELD", 100_000)
    builds = FakeBuilds()
    text = llb_pb2.SourceInfo(filename="a", data=bytes(60_000))
    calls = {
        "Solve": gateway_pb2.SolveRequest(Definition=llb_pb2.Definition(Source=llb_pb2.Source(infos=[text]))),
        "Warn": gateway_pb2.WarnRequest(info=text),
    }
    async with serving(builds) as (_, client):
        for name, request in calls.items():
            solve = await begun(client, name)
            await client.ask(GATEWAY + name, request, name)
            with pytest.raises(GRPCError, match="the client asks too much of its build"):
                await client.ask(GATEWAY + name, request, name)
            await client.ask(GATEWAY + "Return", gateway_pb2.ReturnRequest(result=gateway_pb2.Result()), name)
            await solve
    assert [len(builds.builds[name].asked) for name in calls] == [1, 1]


async def test_what_is_too_long_for_a_client_is_left_out_of_lists() -> None:
    builds = FakeBuilds()
    builds.history = [BuildRecord(ref="r1", created=1, completed=2, options={"build-arg:a": "x" * (5 << 20)})]
    builds.cache = [CacheRecord(id=f"{number}", size=1, description="x" * 5000) for number in range(1000)]
    async with serving(builds) as (_, client):
        [event] = await client.listen(CONTROL + "ListenBuildHistory", control_pb2.BuildHistoryRequest(EarlyExit=True))
        usage = await client.ask(CONTROL + "DiskUsage", control_pb2.DiskUsageRequest())
    assert (event.record.Ref, event.ByteSize() < 4 << 20) == ("r1", True)
    assert (len(usage.record), usage.ByteSize() < 4 << 20) == (1000, True)


async def test_a_source_policy_is_the_builds() -> None:
    rule = control_pb2.SourceRule(
        action=2,
        selector=control_pb2.SourceSelector(
            identifier="docker-image://(.*)",
            match_type=2,
            constraints=[control_pb2.SourceConstraint(key="k", value="v", condition=1)],
        ),
        updates=control_pb2.SourceUpdate(identifier="docker-image://mirror/$1", attrs={"k": "v"}),
    )
    builds = FakeBuilds()
    async with serving(builds) as (_, client):
        await client.ask(
            CONTROL + "Solve",
            control_pb2.SolveRequest(
                Ref="r1", Frontend="dockerfile.v0", SourcePolicy=control_pb2.SourcePolicy(rules=[rule])
            ),
        )
    [request] = builds.whole
    assert request.policy.applied(SourceOp("docker-image://a")) == SourceOp("docker-image://mirror/a", {"k": "v"})
