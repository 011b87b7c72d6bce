"""A build from its beginning to its end, as those see it who stand outside."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, copy, image, local, logs, make_file, request, run, states
from wherry.build.cache.policy import BuilderSettings, CacheLimits, Space
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.executor import Output, Step, StepResult
from wherry.build.model.graph import Metadata, SourceRange, Vertex
from wherry.build.model.progress import WarningProgress
from wherry.build.model.request import BuildRequest, Export, FrontResult, Ref
from wherry.build.model.service import BuildRecord
from wherry.build.solver.resolution import Resolution
from wherry.errors import Conflict, InvalidInput, NotFound
from wherry.oci.digest import Digest


async def test_the_exporters_answer_is_the_builds(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = run(image("base"), "make")
        answer = await shop.builder.build(request("b", edge, exports=(Export("moby"),)))
        assert answer == {"exported": "moby"}
        [product] = shop.exporter.products
        assert shop.files.view(product.snapshots[""])["file"] == b"1"
        assert list(product.pins.values()) == [(("base", "sha256:00"),)]
        events = await shop.events("b")
        assert states(events)["exporting to image"].completed is not None
        [record] = shop.builder.records()
        assert record.exporter_response == {"exported": "moby"}
        assert (record.steps, record.completed_steps, record.error) == (3, 3, "")


async def test_an_exporter_that_there_is_not_and_one_that_fails(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        with pytest.raises(InvalidInput, match='exporter "x" could not be found'):
            await shop.build(make_file("/a", b""), exports=(Export("x"),))
        shop.exporter.error = InvalidInput("no")
        with pytest.raises(InvalidInput, match="no"):
            await shop.build(make_file("/a", b""), "b", exports=(Export("moby"),))
        assert states(await shop.events("b"))["exporting to image"].error == "no"


async def test_a_dockerfile_is_read_from_the_client_and_its_errors_have_their_place(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["docker.io/library/base:latest"] = {"file": b"1"}

        async def fail(_step: Step, _output: Output) -> StepResult:
            return StepResult(1)

        shop.executor.commands["false"] = fail
        dockerfile = b"FROM base\nRUN false\n"
        shop.builder.attach(ClientSession("s", dockerfile={"Dockerfile": dockerfile}))
        with pytest.raises(VertexFailed) as caught:
            await shop.builder.build(BuildRequest(ref="b", session="s"))
        assert caught.value.source == dockerfile
        assert caught.value.file == "Dockerfile"
        assert [found.start_line for found in caught.value.ranges] == [2]
        names = [name for name in states(await shop.events("b")) if name.startswith("[internal]")]
        assert "[internal] load build definition from Dockerfile" in names
        assert "[internal] load metadata for docker.io/library/base:latest" in names
        shop.builder.attach(ClientSession("t", dockerfile={"Dockerfile": b"FROM base\nRUM false\n"}))
        with pytest.raises(DockerfileError, match="RUM"):
            await shop.builder.build(BuildRequest(ref="c", session="t"))
        with pytest.raises(NotFound, match="unsupported frontend"):
            await shop.builder.build(BuildRequest(ref="d", frontend="other"))


async def test_a_build_has_one_thread_for_its_dockerfile_and_other_builds_do_not_wait_for_it(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        one, other = (shop.builder.begin(BuildRequest(ref=ref, frontend="dockerfile.v0")) for ref in ("a", "b"))
        names, begun, end = [], asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def work(name: str) -> None:
            names.append((name, threading.current_thread() is not threading.main_thread()))
            loop.call_soon_threadsafe(begun.set)
            if name == "first":
                end.wait()

        first = asyncio.create_task(one.in_thread(work, "first"))
        await begun.wait()
        second = asyncio.create_task(one.in_thread(work, "second"))
        await other.in_thread(work, "other")
        while_it_lasts = list(names)
        end.set()
        await asyncio.gather(first, second)
        assert while_it_lasts == [("first", True), ("other", True)]
        assert names[-1] == ("second", True)
        for build in (one, other):
            await build.fail(InvalidInput("over"))


async def test_what_the_frontend_does_for_a_client_is_in_threads_of_its_own(tmp_path: Path) -> None:
    """The event loop's threads are the whole daemon's."""
    loop = asyncio.get_running_loop()
    async with Workshop(tmp_path) as shop:
        shop.builder.attach(ClientSession("s", dockerfile={"Dockerfile": b"FROM scratch\nLABEL a=b\n"}))
        usual = ThreadPoolExecutor(1)
        loop.set_default_executor(usual)
        submitted = []
        usual.submit = lambda *work: submitted.append(work)  # type: ignore[method-assign, assignment]
        running = shop.builder.begin(BuildRequest(ref="b", session="s", frontend="dockerfile.v0"))
        result = await running.solve("dockerfile.v0", {"platform": "linux/amd64,linux/arm64"})
        assert set(result.refs) == {"linux/amd64", "linux/arm64"}
        assert submitted == []
        del usual.submit
        await running.fail(InvalidInput("over"))


async def test_a_client_drives_a_build_itself(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = shop.builder.begin(request("b"))
        assert shop.builder.running("b") is build
        with pytest.raises(Conflict):
            shop.builder.begin(request("b"))
        edge = make_file("/dir/a", b"content")
        result = await build.solve("", {}, definition=edge)
        assert shop.files.executed == 0
        assert await build.read_file(edge, "/dir/a", 2, 3) == b"nte"
        assert (await build.stat_file(edge, "/dir/a")).size == 7
        assert [one.path for one in await build.read_directory(edge, "/")] == ["dir/a"]
        assert await build.read_directory(None, "/") == []
        with pytest.raises(NotFound):
            await build.read_file(edge, "/none")
        build.warn(WarningProgress(vertex=Digest.from_bytes(b""), level=1, short="careful"))
        await build.finish(result)
        assert shop.files.executed == 1
        with pytest.raises(Conflict):
            await build.evaluate(edge)
        with pytest.raises(Conflict):
            await build.finish(FrontResult(refs={}))
        assert shop.builder.records()[0].warnings == 1


async def test_an_image_is_resolved(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {}
        build = shop.builder.begin(request("b"))
        assert (await build.resolve_image("base", "linux/amd64")).name == "base"
        with pytest.raises(NotFound):
            await build.resolve_image("none")
        await build.fail(InvalidInput("given up"))
        assert shop.builder.records()[0].error == "given up"


async def test_a_result_for_two_platforms_and_an_empty_one(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = shop.builder.begin(request("b", exports=(Export("moby"),)))
        refs = {"linux/amd64": Ref(edge=make_file("/a", b"1")), "linux/arm64": Ref(edge=None)}
        await build.finish(FrontResult(refs=refs))
        [product] = shop.exporter.products
        assert [len(snapshot.layers) for snapshot in product.snapshots.values()] == [1, 0]


async def test_a_directory_of_the_clients_is_copied_before_it_is_exported(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.builder.attach(ClientSession("s", context={"a": b"1"}))
        await shop.build(local(), session="s", exports=(Export("moby"),))
        [product] = shop.exporter.products
        assert [layer.number > 0 for layer in product.snapshots[""].layers] == [True]


# --- progress -------------------------------------------------------------------------------------


async def test_who_comes_late_sees_everything_also_after_a_restart(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:

        async def talk(_step: Step, output: Output) -> None:
            for number in range(2000):
                await output(1, b"%d\n" % number)

        shop.executor.commands["talk"] = talk
        events = await shop.build(run(make_file("/a", b""), "talk"), "b")
        assert logs(events) == b"".join(b"%d\n" % number for number in range(2000))
        await shop.builder.collected()
        assert await shop.events("b") == events
    async with Workshop(tmp_path, patience=0.01) as shop:
        assert await shop.events("b") == events
        with pytest.raises(NotFound, match="no such job"):
            await shop.events("none")


async def test_a_build_that_is_to_come_is_waited_for(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        watching = asyncio.create_task(shop.events("b"))
        await asyncio.sleep(0)
        await shop.build(make_file("/a", b""), "b")
        assert states(await watching)["mkfile /a"].completed is not None


async def test_all_vertices_are_announced_before_anything_is_done(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {"file": b"1"}
        edge = copy(run(image("base"), "one"), run(image("base"), "two"), "file", "/x")
        events = await shop.build(edge)
        assert [event.name for event in events[:4]] == ["docker-image://base", "RUN one", "RUN two", "COPY file /x"]
        assert all(event.started is None for event in events[:4])


# --- after builds ---------------------------------------------------------------------------------


async def test_a_collection_that_a_defect_ends_is_told_at_once_and_the_next_one_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = CacheLimits(max_used=Space(1000), reserved=Space(1))
    async with Workshop(tmp_path, BuilderSettings(limits=limits, collect_after=0)) as shop:
        disk, shop.disk = shop.disk, "a defect"  # type: ignore[assignment]
        await shop.build(make_file("/a", b"x" * 2000))
        await shop.builder.collected()
        [told] = [record for record in caplog.records if record.levelname == "ERROR"]
        assert (told.message, bool(told.exc_info)) == ("the build cache cannot be kept within its limits", True)
        shop.disk = disk
        await shop.build(make_file("/b", b""))
        await shop.builder.collected()
        assert sum(one.size for one in await shop.builder.disk_usage()) <= 1000


# --- history --------------------------------------------------------------------------------------


async def test_only_so_many_builds_are_remembered_beside_those_that_are_pinned(tmp_path: Path) -> None:
    settings = BuilderSettings(history=2, collect_after=0)
    async with Workshop(tmp_path, settings) as shop:
        await shop.build(make_file("/a", b""), "pinned")
        await shop.builder.update_record("pinned", pinned=True)
        for number in range(4):
            await shop.build(make_file("/a", b""), str(number))
            await shop.builder.collected()
        assert [record.ref for record in shop.builder.records()] == ["pinned", "2", "3"]
        assert len(list((tmp_path / "build/history").iterdir())) == 3
        await shop.builder.update_record("2", delete=True)
        with pytest.raises(NotFound):
            await shop.builder.update_record("2", pinned=True)
    async with Workshop(tmp_path, settings) as shop:
        assert [(record.ref, record.pinned) for record in shop.builder.records()] == [("pinned", True), ("3", False)]


async def test_a_question_of_a_client_is_in_no_list_and_its_end_can_be_asked_for(tmp_path: Path) -> None:
    async with Workshop(tmp_path, patience=0.2) as shop:
        changes = shop.builder.watch_records()
        await shop.builder.build(request("question", make_file("/a", b"1"), internal=True))
        await shop.builder.build(request("build", make_file("/a", b"1")))
        await shop.builder.collected()
        assert [record.ref for record in shop.builder.records()] == ["build"]
        assert (await anext(changes)).ref == "build"
        assert states(await shop.events("question"))
        for number in range(20):
            await shop.builder.build(request(f"more {number}", make_file("/a", b"1"), internal=True))
        await shop.builder.collected()
        with pytest.raises(NotFound):
            await shop.events("question")
    async with Workshop(tmp_path) as shop:
        assert [record.ref for record in shop.builder.records()] == ["build"]


async def test_a_build_that_goes_on_may_be_pinned_and_stays_so(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        build = shop.builder.begin(request("b", make_file("/a", b"")))
        await shop.builder.update_record("b", pinned=True)
        before = shop.builder.records()[0].generation
        await build.finish(FrontResult(refs={"": Ref(edge=make_file("/a", b""))}))
        await shop.builder.collected()
        [record] = shop.builder.records()
        assert record.pinned
        assert record.generation > before
        with pytest.raises(Conflict, match="pinned"):
            await shop.build(make_file("/a", b""), "b")
    async with Workshop(tmp_path) as shop:
        assert [record.pinned for record in shop.builder.records()] == [True]


async def test_a_build_in_which_nothing_happened_has_an_empty_log(tmp_path: Path) -> None:
    for _ in range(2):
        async with Workshop(tmp_path) as shop:
            if not shop.builder.records():
                await shop.builder.begin(request("b")).fail(InvalidInput("no"))
                await shop.builder.collected()
            assert await shop.events("b") == []
            assert [event async for event in shop.builder.log("b")] == []


async def test_a_build_whose_end_fails_is_over_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Workshop(tmp_path) as shop:
        close = Resolution.close

        async def fail(resolution: Resolution) -> None:
            await close(resolution)
            raise RuntimeError("nobody thought of this")

        monkeypatch.setattr(Resolution, "close", fail)
        await shop.build(make_file("/a", b""), "b")
        with pytest.raises(NotFound):
            shop.builder.running("b")
        [record] = shop.builder.records()
        assert record.error == "internal error: RuntimeError: nobody thought of this"
        assert "a build did not end in order" in caplog.text


async def test_changes_of_records_can_be_watched(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        changes = shop.builder.watch_records()
        await shop.build(make_file("/a", b""), "b")
        await shop.builder.collected()
        seen: list[BuildRecord] = [await anext(changes), await anext(changes)]
        assert [record.completed is None for record in seen] == [True, False]


async def test_a_ref_is_no_name_of_a_file(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        await shop.build(make_file("/a", b""), "../../../escape")
        await shop.builder.collected()
        assert len(list((tmp_path / "build/history").iterdir())) == 1


# --- the end --------------------------------------------------------------------------------------


async def test_the_builders_end_ends_its_builds(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        begun = asyncio.Event()

        async def hang(_step: Step, _output: Output) -> None:
            begun.set()
            await asyncio.Event().wait()

        shop.executor.commands["hang"] = hang
        build = asyncio.create_task(shop.builder.build(request("b", run(make_file("/a", b""), "hang"))))
        await begun.wait()
    with pytest.raises(Exception, match="context canceled"):
        await build
    assert not shop.executor.running


async def test_ranges_of_a_vertex_come_with_its_failure(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        place = SourceRange(3, 0, 3, 9)
        vertex = run(None, "false").vertex
        metadata = Metadata(name="RUN false", file="Dockerfile", ranges=(place,))

        async def fail(_step: Step, _output: Output) -> StepResult:
            return StepResult(137, out_of_memory=True)

        shop.executor.commands["false"] = fail
        with pytest.raises(VertexFailed, match="exit code: 137: cannot allocate memory") as caught:
            await shop.build(Vertex.of(vertex.op, (), metadata=metadata).output())
        assert (caught.value.file, caught.value.ranges, caught.value.exit_code) == ("Dockerfile", (place,), 137)
