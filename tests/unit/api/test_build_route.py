"""``POST /build`` over a real unix socket, and a builder that does what the test says."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import io
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from support.archives import member, tar
from support.build_service import FakeBuilds
from wherry.api.buildkit.proto.control_pb2 import StatusResponse
from wherry.api.classic import context
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.build import BuildRoutes
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.progress import LogProgress, VertexProgress
from wherry.build.model.request import PlannedStep
from wherry.layers.reuse import Reuse
from wherry.oci.digest import Digest

RUN = Digest.from_bytes(b"run")
STEP = VertexProgress(digest=RUN, name="[1/1] RUN true", started=1)
OUTPUT = LogProgress(vertex=RUN, stream=1, data=b"hello\n", at=2)
CONTEXT = tar([member("Dockerfile", b"FROM scratch\n"), member("a", b"1")])
ID = f"sha256:{'a' * 64}"


class Served:
    """A served builder and its client."""

    def __init__(self, builds: FakeBuilds, client: ClientSession, contexts: Path) -> None:
        self.builds, self.client, self.contexts = builds, client, contexts

    async def post(
        self, target: str, body: Any = b"", headers: dict[str, str] | None = None, **query: Any
    ) -> tuple[int, list[Any]]:
        """A request; the status and the lines of the answer."""
        given = [
            (name, one) for name, value in query.items() for one in (value if isinstance(value, list) else [value])
        ]
        async with self.client.post(f"http://x{target}", data=body, params=given, headers=headers) as answer:
            text = await answer.text()
            return answer.status, [json.loads(line) for line in text.splitlines()]

    async def gone(self) -> None:
        """Wait until nothing of a build is left."""
        async with asyncio.timeout(60):
            while self.builds.sessions or list(self.contexts.iterdir()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(root: Path) -> AsyncIterator[Served]:
    (root / "contexts").mkdir()
    (root / "builds").mkdir()
    builds, watch = FakeBuilds(root / "builds"), HangupWatch(asyncio.get_running_loop())
    builds.steps = (PlannedStep("RUN true", "RUN", 0, RUN, changes=True),)
    api = Api(Router(BuildRoutes(builds, root / "contexts", lambda: "172.17.0.1", watch).routes()), watch)
    server = await asyncio.get_running_loop().create_unix_server(api.connection, root / "socket")
    async with ClientSession(connector=UnixConnector(str(root / "socket"))) as client:
        yield Served(builds, client, root / "contexts")
    server.close()
    await api.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last context goes at once."""
    monkeypatch.setattr(context, "_KEPT", 0.0)


async def test_a_context_becomes_an_image_and_leaves_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP, OUTPUT]
        status, lines = await served.post("/build", CONTEXT, t=["a", "b:1"], buildargs='{"X": "1"}', memory="7")
        assert status == 200
        assert lines == [
            {"stream": "Step 1/1 : RUN true\n"},
            {"stream": f" ---> Running in {RUN.short}\n"},
            {"stream": "hello\n"},
            {"stream": f"Removing intermediate container {RUN.short}\n"},
            {"stream": " ---> aaaaaaaaaaaa\n"},
            {"aux": {"ID": ID}},
            {"stream": "Successfully built aaaaaaaaaaaa\n"},
            {"stream": "Successfully tagged a:latest\n"},
            {"stream": "Successfully tagged b:1\n"},
        ]
        [request] = served.builds.requests
        assert served.builds.contexts == [{"Dockerfile": b"FROM scratch\n", "a": b"1"}]
        assert (request.options, request.limits.memory) == ({"build-arg:X": "1"}, 7)
        await served.gone()


async def test_the_next_context_takes_the_files_of_the_last_one_which_go_some_time_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_KEPT", 3600.0)
    taken: list[bool] = []
    really = Reuse.take

    def take(reuse: Reuse, *arguments: Any) -> int | None:
        taken.append((found := really(reuse, *arguments)) is not None)
        return found

    monkeypatch.setattr(Reuse, "take", take)
    async with serving(tmp_path) as served:
        for files in ({"a": b"1", "b": b"2"}, {"a": b"1", "c": b"3"}, {"a": b"4"}):
            await served.post("/build", tar([member(name, data) for name, data in files.items()]))
            assert served.builds.contexts[-1] == files
            assert len(list(served.contexts.glob("contexts/*"))) == 1
        assert taken == [True, False, True]
        assert (await served.post("/build", CONTEXT[:1100]))[0] != 200
        await served.gone()
        monkeypatch.setattr(context, "_KEPT", 0.0)
        await served.post("/build", CONTEXT)
        await served.gone()


async def test_a_compressed_archive_and_a_bare_dockerfile_are_contexts_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.post("/build", gzip.compress(CONTEXT))
        await served.post("/build", b"FROM scratch\n", dockerfile="other")
        assert served.builds.contexts == [
            {"Dockerfile": b"FROM scratch\n", "a": b"1"},
            {"Dockerfile": b"FROM scratch\n"},
        ]
        assert served.builds.requests[1].options == {"filename": "Dockerfile"}


async def test_a_remote_context_needs_no_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.post("/build", remote="https://example.com/a.git")
        assert served.builds.contexts == []
        assert served.builds.requests[0].options == {"context": "https://example.com/a.git"}


async def test_a_quiet_build_says_the_id_and_a_failed_one_everything(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP, OUTPUT]
        assert (await served.post("/build", CONTEXT, q="1"))[1] == [{"stream": f"{ID}\n"}]
        served.builds.outcome = VertexFailed("no", vertex=RUN, exit_code=3)
        _, lines = await served.post("/build", CONTEXT, q="1")
        assert lines[0] == {"stream": "Step 1/1 : RUN true\n"}
        assert lines[-1]["errorDetail"]["code"] == 3


async def test_what_fails_before_the_first_line_has_a_status_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.outcome = DockerfileError("dockerfile parse error on line 1: unknown instruction: FORM")
        status, lines = await served.post("/build", CONTEXT)
        assert (status, lines) == (400, [{"message": "dockerfile parse error on line 1: unknown instruction: FORM"}])
        status, lines = await served.post("/build", gzip.compress(CONTEXT)[:50])
        assert status == 500
        assert "ends too early" in lines[0]["message"]
        status, lines = await served.post("/build", CONTEXT, t="UPPER")
        assert status == 400
        await served.gone()


async def test_what_fails_later_is_the_last_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP]
        sentence = 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
        served.builds.outcome = VertexFailed(sentence, vertex=RUN, exit_code=1)
        status, lines = await served.post("/build", CONTEXT)
        said = "The command '/bin/sh -c false' returned a non-zero code: 1"
        assert status == 200
        assert lines[-1] == {"errorDetail": {"code": 1, "message": said}, "error": said}
        await served.gone()


async def test_lines_come_while_the_build_runs(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        more = asyncio.Event()
        served.builds.events = [STEP, more, OUTPUT]
        async with served.client.post("http://x/build", data=CONTEXT) as answer:
            assert b"Step 1/1" in await answer.content.readline()
            more.set()
            assert b"hello" in await answer.content.read()


async def test_a_client_that_goes_ends_its_build(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP, asyncio.Event()]
        async with served.client.post("http://x/build", data=CONTEXT, params={"buildid": "mine"}) as answer:
            await answer.content.readline()
            answer.close()
        await served.gone()
        assert served.builds.cancelled == ["mine"]


async def test_a_client_that_goes_before_it_has_sent_its_context_leaves_nothing(tmp_path: Path) -> None:
    async def half() -> AsyncGenerator[bytes, None]:
        yield CONTEXT[:1100]
        async with asyncio.timeout(60):
            while not list(served.contexts.glob("contexts/*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        raise RuntimeError("gone")

    async with serving(tmp_path) as served:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the client makes of it
            await served.post("/build", half())
        await served.gone()
        assert served.builds.requests == []


async def test_the_clients_credentials_are_the_sessions(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        waiting = asyncio.Event()
        served.builds.events = [waiting]
        known = base64.b64encode(json.dumps({"localhost:5000": {"username": "me", "password": "p"}}).encode()).decode()
        build = asyncio.create_task(served.post("/build", CONTEXT, headers={"X-Registry-Config": known}))
        await served.builds.started.wait()
        [session] = served.builds.sessions.values()
        assert await session.credentials("localhost:5000") == ("me", "p", "")
        waiting.set()
        await build


async def test_a_context_may_come_with_a_request_of_its_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        (status, _), (given, _) = await asyncio.gather(
            served.post("/build", remote="upload-request", buildid="x"),
            served.post("/build", CONTEXT, buildid="upload-request:x"),
        )
        assert (status, given) == (200, 200)
        assert served.builds.contexts == [{"Dockerfile": b"FROM scratch\n", "a": b"1"}]
        await served.gone()


async def test_a_context_whose_client_goes_half_way_fails_its_build_and_leaves_nothing(tmp_path: Path) -> None:
    async def half() -> AsyncGenerator[bytes, None]:
        yield CONTEXT[:1100]
        async with asyncio.timeout(60):
            while not list(served.contexts.glob("contexts/*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        raise RuntimeError("gone")

    async with serving(tmp_path) as served:
        build, upload = await asyncio.gather(
            served.post("/build", remote="upload-request", buildid="x"),
            served.post("/build", half(), buildid="upload-request:x"),
            return_exceptions=True,
        )
        assert isinstance(upload, Exception)
        assert build == (400, [{"message": "the client went before it had sent its context"}])
        await served.gone()
        assert served.builds.requests == []


async def test_a_build_whose_client_goes_lets_its_context_go(tmp_path: Path) -> None:
    async def stalled() -> AsyncGenerator[bytes, None]:
        yield CONTEXT[:1100]
        async with asyncio.timeout(60):
            while not list(served.contexts.glob("contexts/*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        building.cancel()
        await asyncio.get_running_loop().create_future()

    async with serving(tmp_path) as served:
        building = asyncio.create_task(served.post("/build", remote="upload-request", buildid="x"))
        async with asyncio.timeout(60):
            await asyncio.gather(
                served.post("/build", stalled(), buildid="upload-request:x"), building, return_exceptions=True
            )
        await served.gone()


async def test_a_context_that_the_disk_does_not_hold_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    large = tar([member("Dockerfile", b"FROM scratch\n"), member("a", os.urandom(4 << 20))])
    async with serving(tmp_path) as served:
        with monkeypatch.context() as patched:
            for call in ("write", "pwrite", "writev", "pwritev"):
                patched.setattr(os, call, full)
            status, lines = await served.post("/build", io.BytesIO(large))
        assert (status, "no space left on device" in lines[0]["message"]) == (500, True)
        await served.gone()
        assert (await served.post("/build", CONTEXT))[0] == 200


async def test_a_context_of_the_clients_session_is_the_sessions(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.post("/build", remote="client-session", session="s")
        assert served.builds.requests[0].session == "s"
        assert (await served.post("/build", remote="client-session"))[0] == 400


async def test_a_build_is_cancelled_by_its_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await served.post("/build/cancel", id="x"))[0] == 200
        assert served.builds.cancelled == ["x"]
        assert await served.post("/build/cancel") == (400, [{"message": "build ID not provided"}])


async def test_a_context_that_stays_for_the_next_build_goes_with_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "_KEPT", 300.0)
    async with serving(tmp_path) as served:
        await served.post("/build", CONTEXT)
        async with asyncio.timeout(60):
            while not list(served.contexts.glob("contexts/spare*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await served.post("/build/prune")
        assert list(served.contexts.iterdir()) == []


async def test_the_cache_is_pruned_by_size_age_and_fields(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        given = {"type": ["regular"], "id": ["ab"], "unused-for": ["1h"], "shared": []}
        query = {"all": "1", "keep-storage": "5", "max-used-space": "6", "min-free-space": "7"}
        answer = await served.post("/build/prune", filters=json.dumps(given), **query)
        assert answer == (200, [{"CachesDeleted": ["one", "two"], "SpaceReclaimed": 3}])
        [options] = served.builds.pruned
        assert (options.all, options.reserved_space, options.max_used_space, options.min_free_space) == (True, 5, 6, 7)
        assert options.filters == ("id~=ab,shared,type==regular",)
        assert options.keep_duration == 3_600_000_000_000
        await served.post("/build/prune", **{"reserved-space": "9"})
        assert served.builds.pruned[1].reserved_space == 9
        for wrong in ({"nothing": ["1"]}, {"id": ["1", "2"]}, {"until": ["x"]}):
            assert (await served.post("/build/prune", filters=json.dumps(wrong)))[0] == 400


async def test_buildkits_messages_are_lines_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP, OUTPUT]
        status, lines = await served.post("/build", CONTEXT, version="2")
        traces = [StatusResponse.FromString(base64.b64decode(line["aux"])) for line in lines[:-1]]
        assert (status, {line["id"] for line in lines[:-1]}) == (200, {"moby.buildkit.trace"})
        assert [vertex.name for trace in traces for vertex in trace.vertices] == [STEP.name]
        assert [log.msg for trace in traces for log in trace.logs] == [b"hello\n"]
        assert lines[-1] == {"id": "moby.image.id", "aux": {"ID": ID}}
        served.builds.outcome = VertexFailed("no", vertex=RUN, exit_code=3)
        _, lines = await served.post("/build", CONTEXT, version="2")
        assert lines[-1] == {"errorDetail": {"code": 3, "message": "no"}, "error": "no"}
        await served.gone()


async def test_a_client_that_goes_ends_its_build_with_buildkits_messages_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.builds.events = [STEP, asyncio.Event()]
        async with served.client.post("http://x/build", data=CONTEXT, params={"version": "2"}) as answer:
            await answer.content.readline()
            answer.close()
        await served.gone()
        assert len(served.builds.cancelled) == 1
