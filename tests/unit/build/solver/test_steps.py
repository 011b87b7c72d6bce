"""RUN: what a step mounts, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.build_fakes import ClientSession, Workshop, copy, image, logs, make_file, request, run
from support.needs import need
from wherry.build.model.errors import VertexFailed
from wherry.build.model.executor import Output, Step
from wherry.build.model.graph import (
    NO_OUTPUT,
    BuildMount,
    Cache,
    CacheSharing,
    Edge,
    HostDirectory,
    NetworkMode,
    Secret,
    SecretEnv,
    SecurityMode,
    Ssh,
    Tmpfs,
)
from wherry.build.model.request import BuildRequest
from wherry.build.solver.private_files import _listen
from wherry.build.solver.stubs import remove_stubs
from wherry.errors import Forbidden, InvalidInput, NotFound


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    async with Workshop(tmp_path) as made:
        made.sources.images["base"] = {"file": b"1"}
        made.session = ClientSession("s")
        made.builder.attach(made.session)
        yield made


async def step_of(shop: Workshop, edge: Edge) -> Step:
    """Run a step; what it was."""
    await shop.build(edge, session="s")
    return shop.executor.steps[-1]


async def test_a_secret_is_a_file_in_memory_that_goes_with_the_step(shop: Workshop, tmp_path: Path) -> None:
    shop.session.secrets["token"] = b"s3cr3t"
    seen: dict[str, object] = {}

    def look(step: Step) -> None:
        [mount] = step.mounts
        status = os.stat(mount.source)
        seen.update(path=mount.source, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, readonly=mount.readonly)
        seen["data"] = Path(mount.source).read_bytes()

    async def play(step: Step, output: Output) -> None:
        look(step)

    shop.executor.commands["make"] = play
    mount = BuildMount("/run/secrets/token", Secret("token", uid=os.getuid(), gid=os.getgid(), mode=0o440))
    await step_of(shop, run(image("base"), "make", mount, secret_env=(SecretEnv("token", "TOKEN"),)))
    assert (seen["data"], seen["mode"], seen["readonly"]) == (b"s3cr3t", 0o440, True)
    assert str(seen["path"]).startswith(str(tmp_path / "private"))
    assert "TOKEN=s3cr3t" in shop.executor.steps[-1].env
    assert os.listdir(tmp_path / "private") == []
    await shop.builder.collected()
    assert _files_with(tmp_path, b"s3cr3t") == []


def _files_with(root: Path, text: bytes) -> list[Path]:
    found = []
    for directory, _, names in os.walk(root):
        for path in (Path(directory, name) for name in names):
            # one has just been removed, as the journal of a database, or is no file
            with suppress(OSError):
                if path.is_file() and text in path.read_bytes():
                    found.append(path)
    return found


@need("root")  # files of other users are made
async def test_another_secret_is_the_same_step(shop: Workshop) -> None:
    edge = run(image("base"), "make", BuildMount("/run/secrets/a", Secret("a")))
    for value in (b"1", b"2"):
        shop.session.secrets["a"] = value
        await shop.build(edge, session="s")
    assert shop.executor.ran["make"] == 1


async def test_a_secret_that_the_client_lacks(shop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(VertexFailed, match="secret a: not found"):
        await step_of(shop, run(image("base"), "make", BuildMount("/a", Secret("a"))))
    step = await step_of(shop, run(image("base"), "make", BuildMount("/a", Secret("a", optional=True))))
    assert step.mounts == ()
    shop.session.secrets["a"] = b"x" * (501 << 10)
    with pytest.raises(VertexFailed, match="invalid secret size"):
        await step_of(shop, run(image("base"), "make", BuildMount("/a", Secret("a"))))
    assert os.listdir(tmp_path / "private") == []
    assert not shop.drafts()


class Echo:
    """An agent that says what it hears."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = False

    async def read(self) -> bytes:
        return await self.queue.get()

    async def write(self, data: bytes) -> None:
        self.queue.put_nowait(data.upper())

    def close(self) -> None:
        self.closed = True


@need("root")  # files of other users are made
async def test_an_agents_socket_leads_to_the_client(shop: Workshop, tmp_path: Path) -> None:
    agents: list[Echo] = []

    async def ssh(identifier: str) -> Echo:
        agents.append(Echo())
        return agents[-1]

    shop.session.ssh = ssh

    async def play(step: Step, output: Output) -> None:
        reader, writer = await asyncio.open_unix_connection(step.mounts[0].source)
        writer.write(b"hello")
        await output(1, await reader.readexactly(5))
        writer.close()

    shop.executor.commands["make"] = play
    events = await shop.build(run(image("base"), "make", BuildMount("/agent", Ssh("default"))), session="s")
    assert logs(events) == b"HELLO"
    assert all(agent.closed for agent in agents)
    assert os.listdir(tmp_path / "private") == []


async def test_an_agent_that_the_client_lacks(shop: Workshop) -> None:
    with pytest.raises(VertexFailed, match="unset ssh forward key"):
        await step_of(shop, run(image("base"), "make", BuildMount("/agent", Ssh("default"))))
    step = await step_of(shop, run(image("base"), "make", BuildMount("/agent", Ssh("default", optional=True))))
    assert step.mounts == ()


async def test_mounts_inside_of_others_come_after_them(shop: Workshop) -> None:
    mounts = [
        BuildMount("/a/b/c", Tmpfs(size=4096)),
        BuildMount("/a", input=1, readonly=True, selector="sub"),
        BuildMount("/a/b", Cache("x", CacheSharing.LOCKED)),
    ]
    step = await step_of(shop, run(image("base"), "make", *mounts, inputs=[make_file("/sub/file", b"1")]))
    assert [(one.target, one.kind) for one in step.mounts] == [("/a", "overlay"), ("/a/b", "bind"), ("/a/b/c", "tmpfs")]
    bind, _, memory = step.mounts
    assert (bind.readonly, bind.selector) == (True, "sub")
    assert bind.overlay is not None
    assert bind.overlay.upper == ""
    assert memory.options == ("size=4096",)


async def test_what_is_written_to_a_mount_that_is_no_output_is_lost(shop: Workshop) -> None:
    mount = BuildMount("/src", input=1, output=NO_OUTPUT)
    step = await step_of(shop, run(image("base"), "make", mount, inputs=[make_file("/sub/file", b"1")]))
    [source] = step.mounts
    assert source.overlay is not None
    assert source.overlay.upper
    assert not shop.drafts()


async def test_a_writable_mount_can_be_an_output_of_its_own(shop: Workshop) -> None:
    def fill(step: Step) -> None:
        assert step.mounts[0].overlay is not None
        Path(step.mounts[0].overlay.upper, "result").write_bytes(b"made")

    async def play(step: Step, output: Output) -> None:
        fill(step)

    shop.executor.commands["make"] = play
    edge = run(image("base"), "make", BuildMount("/out", output=1))
    build = shop.builder.begin(request("b", session="s"))
    assert await build.read_file(Edge(edge.vertex, 1), "/result") == b"made"
    await build.fail(InvalidInput("enough"))


async def test_two_steps_with_the_same_two_locked_mounts_do_not_wait_for_each_other_for_ever(shop: Workshop) -> None:
    one, two = BuildMount("/1", Cache("1", CacheSharing.LOCKED)), BuildMount("/2", Cache("2", CacheSharing.LOCKED))
    edges = [run(image("base"), "first", one, two), run(image("base"), "second", two, one)]
    await asyncio.gather(*(shop.builder.build(request(str(n), edge, session="s")) for n, edge in enumerate(edges)))
    assert shop.executor.ran == {"first": 1, "second": 1}


async def test_environment_of_proxies_secrets_and_the_step(shop: Workshop) -> None:
    step = await step_of(shop, run(image("base"), "make", env=("A=1",), proxy_env=("HTTP_PROXY=p",)))
    assert step.env == ("HTTP_PROXY=p", "A=1")


# --- entitlements ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"network": NetworkMode.HOST}, "network.host"),
        ({"network": "network:host"}, "network.host"),
        ({"security": SecurityMode.INSECURE}, "security.insecure"),
        ({"devices": ("x",)}, "device"),
    ],
)
async def test_what_needs_an_entitlement_is_refused_without_it(
    shop: Workshop, options: dict[str, object], name: str
) -> None:
    edge = run(image("base"), "make", **options)
    with pytest.raises(VertexFailed, match=rf"^{name} is not allowed$"):
        await shop.build(edge, session="s")
    if name == "security.insecure":
        with pytest.raises(Forbidden, match=r"granting entitlement security\.insecure is not allowed by build daemon"):
            await shop.build(edge, session="s", entitlements=frozenset({name}))
        return
    await shop.build(edge, session="s", entitlements=frozenset({name}))
    assert shop.executor.ran["make"] == 1


async def test_a_step_sees_of_this_machine_what_its_build_may_and_the_path_counts_for_the_cache(shop: Workshop) -> None:
    def edge(source: str, *, readonly: bool = False) -> Edge:
        return run(image("base"), "make", BuildMount("/x", HostDirectory(source), readonly=readonly))

    with pytest.raises(VertexFailed, match="directories of the host are not allowed"):
        await shop.build(edge("/a"), session="s", binds=frozenset({"/b"}))
    assert shop.executor.ran["make"] == 0
    for source in ("/a", "/b", "/a"):
        await shop.build(edge(source), session="s", binds=frozenset({"/a", "/b"}))
    assert shop.executor.ran["make"] == 2
    assert [[mount.source for mount in step.mounts] for step in shop.executor.steps] == [["/a"], ["/b"]]
    with pytest.raises(VertexFailed, match="directories of the host are not allowed"):
        await shop.build(edge("/a"), session="s")  # although the cache has it
    client = {"volumes": '["/etc:/x"]'}  # of BuildKit's: nobody but POST /build says what may be seen
    with pytest.raises(Forbidden, match="directories of the host are not allowed"):
        await shop.builder.begin(BuildRequest(ref="b", session="s")).solve("dockerfile.v0", client)


@pytest.mark.parametrize("network", ["host", "network:host"])
async def test_what_another_build_was_allowed_is_not_given_to_one_that_was_not(shop: Workshop, network: str) -> None:
    await shop.build(run(image("base"), "make", network="host"), session="s", entitlements=frozenset({"network.host"}))
    assert shop.executor.ran["make"] == 1
    edge = run(run(image("base"), "make", network=network), "more")
    with pytest.raises(VertexFailed, match=r"^network\.host is not allowed$"):
        await shop.build(edge, session="s")
    assert shop.executor.ran["more"] == 0
    await shop.build(edge, session="s", entitlements=frozenset({"network.host"}))
    assert shop.executor.ran == {"make": 1, "more": 1}  # however it is written, it is the same step


@pytest.mark.parametrize(
    ("options", "joins", "message"),
    [
        ({"network": "network:container:web"}, "", "the network of a container is not allowed"),
        ({"network": "network:container:web"}, "db", "the network of a container is not allowed"),
        ({"network": "container:web"}, "", "the network of a container is not allowed"),
    ],
)
async def test_what_no_entitlement_allows(shop: Workshop, options: dict[str, object], joins: str, message: str) -> None:
    edge = run(image("base"), "make", **options)
    entitlements = frozenset({"network.host", "device"})
    with pytest.raises(VertexFailed, match=f"^{message}$"):
        await shop.build(edge, session="s", entitlements=entitlements, joins=joins)
    assert not shop.executor.ran


async def test_the_container_that_a_request_names_itself_may_be_joined(shop: Workshop) -> None:
    await shop.build(run(image("base"), "make", network="network:container:web"), session="s", joins="web")
    assert shop.executor.steps[0].op.network == "network:container:web"


async def test_an_entitlement_that_there_is_not(shop: Workshop) -> None:
    with pytest.raises(InvalidInput, match="unknown entitlement x"):
        await shop.build(image("base"), entitlements=frozenset({"x"}))


# --- errors ---------------------------------------------------------------------------------------


async def test_a_missing_base_is_a_sentence(shop: Workshop) -> None:
    with pytest.raises(VertexFailed, match="nothing: not found"):
        await shop.build(run(image("nothing"), "make"))


async def test_a_file_that_is_not_there_is_told_in_buildkits_words(shop: Workshop) -> None:
    with pytest.raises(VertexFailed, match=r'failed to compute cache key: .* of ref .*: "/none": not found'):
        await shop.build(copy(None, image("base"), "none", "/x"))


# --- stubs ----------------------------------------------------------------------------------------


def test_places_that_were_made_for_mounts_are_removed_and_nothing_else(tmp_path: Path) -> None:
    upper, lower, outside = tmp_path / "upper", tmp_path / "lower", tmp_path / "outside"
    for path in (upper / "run/secrets", upper / "kept/in", upper / "var", lower / "var", lower / "there", outside):
        path.mkdir(parents=True)
    (upper / "run/secrets/token").touch()
    (upper / "kept/in/file").write_text("written by the step")
    (upper / "full").write_text("x")
    (upper / "there").mkdir()
    (upper / "link").symlink_to(outside)
    (outside / "place").touch()
    os.utime(upper, ns=(1, 2))
    targets = ["/run/secrets/token", "/kept/in", "/full", "/there", "/link/place", "/var/x/../../..", "/nothing/here"]
    remove_stubs(upper, [str(lower)], targets)
    left = sorted(str(path.relative_to(upper)) for path in upper.rglob("*"))
    assert left == ["full", "kept", "kept/in", "kept/in/file", "link", "there", "var"]
    assert (outside / "place").exists()
    assert upper.stat().st_mtime_ns == 2


def test_a_socket_of_a_long_name_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    with _listen(deep / "1", Ssh("default", uid=os.getuid(), gid=os.getgid())) as listener:
        assert stat.S_ISSOCK((deep / "1").stat().st_mode)
        assert listener.family == socket.AF_UNIX


async def test_no_secret_without_a_session(tmp_path: Path) -> None:
    async with Workshop(tmp_path) as shop:
        shop.sources.images["base"] = {}
        with pytest.raises(VertexFailed, match="secret a: not found"):
            await shop.build(run(image("base"), "make", BuildMount("/a", Secret("a"))))
        with pytest.raises(NotFound):
            shop.builder.running("build 1")
