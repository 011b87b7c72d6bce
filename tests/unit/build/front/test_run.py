"""RUN: the command, its environment, its mounts, and how it is called."""

from __future__ import annotations

import pytest

from support.fake_gateway import FakeGateway, history, image_config, solved, steps
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import (
    NO_INPUT,
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    ExecOp,
    FileAction,
    FileOp,
    HostEntry,
    MakeDirectory,
    MakeFile,
    NetworkMode,
    Owner,
    Secret,
    SecretEnv,
    SecurityMode,
    SourceOp,
    Ssh,
    Tmpfs,
    Ulimit,
    Vertex,
)

ROOT = BuildMount("/", input=0, output=0)


async def last(instructions: str, options: dict[str, str] | None = None, gateway: FakeGateway | None = None) -> Vertex:
    """The last step of a stage that comes of busybox."""
    result = await solved(f"FROM busybox\n{instructions}", options, gateway=gateway)
    edge = result.refs[""].edge
    assert edge is not None
    return edge.vertex


async def command(instructions: str, options: dict[str, str] | None = None) -> ExecOp:
    """The operation of a RUN."""
    op = (await last(instructions, options)).op
    assert isinstance(op, ExecOp)
    return op


async def test_a_text_is_for_the_shell_and_a_list_is_not() -> None:
    assert await command("RUN make $X") == ExecOp(("/bin/sh", "-c", "make $X"), (ROOT,), env=("PATH=/bin",))
    assert (await command('RUN ["make", "$X"]')).args == ("make", "$X")


async def test_shell_says_what_runs_texts() -> None:
    assert (await command('SHELL ["bash", "-ec"]\nRUN make')).args == ("bash", "-ec", "make")


async def test_an_empty_command_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="arguments are required"):
        await command("RUN []")


async def test_options_of_the_build_are_those_of_each_step() -> None:
    op = await command(
        "RUN x",
        {
            "add-hosts": "a=10.0.0.1,B=::1",
            "ulimit": "nofile=10:20,core=0",
            "shm-size": "1024",
            "cgroup-parent": "/g",
            "hostname": "h",
            "force-network-mode": "none",
            "build-arg:HTTP_PROXY": "http://p",
        },
    )
    assert op.extra_hosts == (HostEntry("a", "10.0.0.1"), HostEntry("b", "::1"))
    assert op.ulimits == (Ulimit("nofile", 10, 20), Ulimit("core", 0, 0))
    assert (op.shm_size, op.cgroup_parent, op.hostname, op.network) == (1024, "/g", "h", NetworkMode.NONE)
    assert op.proxy_env == ("HTTP_PROXY=http://p", "http_proxy=http://p")
    assert op.env == ("PATH=/bin",)


async def test_proxies_and_limits_change_no_digest_and_no_history() -> None:
    plain = await last("RUN x")
    assert (
        await last("RUN x", {"build-arg:http_proxy": "p", "ulimit": "core=0", "shm-size": "5"})
    ).digest == plain.digest
    result = await solved("FROM busybox\nRUN x", {"build-arg:http_proxy": "p"})
    assert history(result)[-1] == "RUN /bin/sh -c x # buildkit"


async def test_a_proxy_that_is_declared_is_an_argument_like_others() -> None:
    result = await solved("FROM busybox\nARG http_proxy\nRUN x", {"build-arg:http_proxy": "p"})
    assert history(result)[-1] == "RUN |1 http_proxy=p /bin/sh -c x # buildkit"


async def test_only_arguments_that_are_declared_before_a_step_are_in_it() -> None:
    first = await last("RUN x\nARG A", {"build-arg:A": "1", "build-arg:B": "2"})
    assert first.digest == (await last("RUN x")).digest
    assert (await command("ARG A\nRUN x", {"build-arg:A": "1", "build-arg:B": "2"})).env == ("PATH=/bin", "A=1")


@pytest.mark.parametrize(
    ("flag", "network", "security"),
    [
        ("--network=none", NetworkMode.NONE, SecurityMode.SANDBOX),
        ("--network=host", NetworkMode.HOST, SecurityMode.SANDBOX),
        ("--network=default", NetworkMode.DEFAULT, SecurityMode.SANDBOX),
        ("--security=insecure", NetworkMode.DEFAULT, SecurityMode.INSECURE),
    ],
)
async def test_a_flag_says_where_traffic_goes_and_what_is_allowed(flag: str, network: str, security: str) -> None:
    op = await command(f"RUN {flag} x")
    assert (op.network, op.security) == (network, security)


async def test_a_device_that_may_be_absent_is_marked() -> None:
    assert (await command("RUN --device=a/b=c --device=a/b=d,required x")).devices == ("a/b=c?", "a/b=d")


# --- mounts ---


async def test_a_bind_shows_the_context_and_only_what_is_used_is_fetched() -> None:
    vertex = await last("RUN --mount=target=/src,source=./a/../b x")
    assert isinstance(vertex.op, ExecOp)
    assert vertex.op.mounts == (ROOT, BuildMount("/src", Bind(), input=1, selector="/b", readonly=True))
    context = vertex.inputs[1].vertex.op
    assert isinstance(context, SourceOp)
    assert context.attributes["local.followpaths"] == '["b"]'


async def test_a_bind_of_an_image_is_relative_to_the_working_directory() -> None:
    images = {"docker.io/library/tools:latest": image_config()}
    gateway = FakeGateway("FROM busybox\nWORKDIR /w\nRUN --mount=from=tools,target=t,rw x", images=images)
    edge = (await solved("", gateway=gateway)).refs[""].edge
    assert edge is not None
    assert isinstance(edge.vertex.op, ExecOp)
    assert edge.vertex.op.mounts[1] == BuildMount("/w/t", Bind(), input=1)


async def test_the_same_source_is_one_input() -> None:
    vertex = await last("RUN --mount=target=/a,source=x --mount=target=/b,source=y z")
    assert len(vertex.inputs) == 2


async def test_mounts_are_in_the_order_of_their_places() -> None:
    op = await command("RUN --mount=type=tmpfs,target=/a/b --mount=type=tmpfs,target=/a,size=1k x")
    assert [(mount.target, mount.kind) for mount in op.mounts[1:]] == [("/a", Tmpfs(1024)), ("/a/b", Tmpfs())]


@pytest.mark.parametrize(
    ("flags", "cache"),
    [
        ("target=/c", Cache("/c")),
        ("target=/c,id=x,sharing=locked", Cache("x", CacheSharing.LOCKED)),
        ("target=/c/../d,sharing=private", Cache("/d", CacheSharing.PRIVATE)),
    ],
)
async def test_a_cache_is_known_by_its_id_or_its_place(flags: str, cache: Cache) -> None:
    op = await command(f"RUN --mount=type=cache,{flags} x")
    assert (op.mounts[1].kind, op.mounts[1].input, op.mounts[1].readonly) == (cache, NO_INPUT, False)


async def test_caches_may_have_a_name_space() -> None:
    op = await command("RUN --mount=type=cache,target=/c x", {"build-arg:BUILDKIT_CACHE_MOUNT_NS": "n"})
    assert op.mounts[1].kind == Cache("n//c")


async def test_the_owner_of_a_cache_is_that_of_its_first_content() -> None:
    vertex = await last("RUN --mount=type=cache,target=/c,uid=5,gid=6,mode=0700 x")
    assert isinstance(vertex.op, ExecOp)
    assert vertex.op.mounts[1] == BuildMount("/c", Cache("/c"), input=1, selector="/cache")
    action = MakeDirectory("/cache", 0o700, chown=Chown(Owner(5), Owner(6)))
    assert vertex.inputs[1].vertex.op == FileOp((FileAction(action, output=0),))


async def test_a_secret_is_a_file_or_a_variable_and_not_in_the_name_of_the_step() -> None:
    result = await solved(
        "FROM busybox\n"
        "RUN --mount=type=secret,id=a --mount=type=secret,id=b,target=t,uid=1,mode=0444,required "
        "--mount=type=secret,id=c,env=C use $C"
    )
    name, vertex = list(steps(result).items())[-1]
    assert isinstance(vertex.op, ExecOp)
    assert vertex.op.mounts[1:] == (
        BuildMount("/run/secrets/a", Secret("a", optional=True)),
        BuildMount("/t", Secret("b", uid=1, mode=0o444)),
    )
    assert vertex.op.secret_env == (SecretEnv("c", "C", optional=True),)
    assert name.endswith("use ****")


async def test_an_agent_has_a_socket_that_a_variable_names() -> None:
    op = await command("RUN --mount=type=ssh x")
    assert op.mounts[1:] == (BuildMount("/run/buildkit/ssh_agent.0", Ssh("default", optional=True)),)
    assert op.env == ("PATH=/bin", "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0")
    given = await command("ENV SSH_AUTH_SOCK=/x\nRUN --mount=type=ssh,id=k,target=/s,required x")
    assert given.mounts[1:] == (BuildMount("/s", Ssh("k")),)
    assert given.env[-1] == "SSH_AUTH_SOCK=/x"


async def test_values_of_mounts_are_expanded() -> None:
    op = await command("ARG D=/data\nRUN --mount=type=cache,target=$D x")
    assert op.mounts[1].target == "/data"


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        ("target=/", 'invalid mount target "/"'),
        ("type=cache,target=/x/..", "invalid mount target"),
        ("type=ssh,source=/x", "ssh does not support source"),
        ("type=nothing,target=/x", "unsupported mount type"),
        ("from=later,target=/x", 'cannot mount from stage "later" to "/x"'),
    ],
)
async def test_a_wrong_mount_is_an_error_at_its_step(mount: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        await solved(f"FROM busybox AS a\nRUN --mount={mount} x\nFROM busybox AS later", {"target": "a"})
    assert caught.value.ranges[0].start_line == 2


# --- heredocs ---


async def test_a_heredoc_is_the_command() -> None:
    result = await solved("FROM busybox\nRUN <<EOF\none\ntwo\nEOF")
    name, vertex = list(steps(result).items())[-1]
    assert isinstance(vertex.op, ExecOp)
    assert vertex.op.args == ("/bin/sh", "-c", "one\ntwo\n")
    assert name == "[2/2] RUN <<EOF (one...)"
    assert history(result)[-1] == "RUN /bin/sh -c one\ntwo\n # buildkit"


async def test_tabs_of_a_heredoc_go_where_it_says_so() -> None:
    assert (await command("RUN <<-EOF\n\tone\n\tEOF")).args[-1] == "one\n"


async def test_a_heredoc_that_names_its_program_is_a_file() -> None:
    vertex = await last("RUN <<SCRIPT\n#!/usr/bin/env python3\nprint()\nSCRIPT")
    assert isinstance(vertex.op, ExecOp)
    assert vertex.op.args == ("/bin/sh", "-c", "/dev/pipes/SCRIPT")
    assert vertex.op.mounts == (ROOT, BuildMount("/dev/pipes/", input=1, readonly=True))
    data = b"#!/usr/bin/env python3\nprint()\n"
    assert vertex.inputs[1].vertex.op == FileOp((FileAction(MakeFile("/SCRIPT", 0o755, data), output=0),))


async def test_heredocs_beside_a_command_are_for_the_shell() -> None:
    op = await command("RUN cat <<A <<B\none\nA\ntwo\nB")
    assert op.args[-1] == "cat <<A <<B\none\nA\ntwo\nB"


# --- names ---


async def test_the_name_of_a_step_has_the_values_of_its_variables() -> None:
    result = await solved("FROM busybox\nARG V=3\nRUN fetch $V $UNSET '$V'")
    assert list(steps(result))[-1] == "[2/2] RUN fetch 3 $UNSET '$V'"


async def test_no_cache_is_for_all_stages_or_for_some() -> None:
    text = "FROM busybox AS a\nRUN 1\nFROM a AS b\nRUN 2"
    every = steps(await solved(text, {"no-cache": ""}))
    some = steps(await solved(text, {"no-cache": "x,A"}))
    assert [one.metadata.ignore_cache for one in every.values()] == [False, True, True]
    assert [one.metadata.ignore_cache for one in some.values()] == [False, True, False]
