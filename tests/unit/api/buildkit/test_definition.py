"""Definitions: ours go out and come back the same; a client's are checked."""

from __future__ import annotations

import pytest

from wherry.api.buildkit import definition as reading
from wherry.api.buildkit.definition import decode
from wherry.api.buildkit.encode_definition import encode
from wherry.api.buildkit.proto import llb_pb2 as pb
from wherry.build.model.graph import (
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    Copy,
    DiffOp,
    Edge,
    ExecOp,
    FileAction,
    FileOp,
    HostEntry,
    MakeDirectory,
    MakeFile,
    MergeOp,
    Metadata,
    NetworkMode,
    Owner,
    Remove,
    Secret,
    SecretEnv,
    SecurityMode,
    SourceOp,
    SourceRange,
    Ssh,
    Symlink,
    Tmpfs,
    Ulimit,
    Vertex,
)
from wherry.errors import InvalidInput, TooLarge, Unsupported
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

BASE = Vertex.of(
    SourceOp("docker-image://busybox", {"image.resolvemode": "local"}), platform=Platform("linux", "arm64")
)
EXEC = ExecOp(
    args=("/bin/sh", "-c", "make"),
    mounts=(
        BuildMount("/", Bind(), 0, "", 0),
        BuildMount("/src", Bind(), 1, "sub", readonly=True, content_key=False),
        BuildMount("/cache", Cache("id", CacheSharing.LOCKED)),
        BuildMount("/tmp", Tmpfs(65536)),
        BuildMount("/secret", Secret("s", 1, 2, 0o440, True)),
        BuildMount("/agent", Ssh("a", 3, 4, 0o600, True)),
    ),
    env=("A=b", "PATH=/bin"),
    cwd="/work",
    user="me:us",
    hostname="host",
    network=NetworkMode.NONE,
    security=SecurityMode.INSECURE,
    secret_env=(SecretEnv("s", "S", True),),
    extra_hosts=(HostEntry("a", "1.2.3.4"),),
    ulimits=(Ulimit("nofile", 1, 2),),
    cgroup_parent="/parent",
    shm_size=7,
    proxy_env=("HTTP_PROXY=http://p", "http_proxy=http://p"),
    devices=("vendor.com/gpu=0", "vendor.com/net=1?"),
    valid_exit_codes=(0, 3),
)
FILE = FileOp(
    (
        FileAction(
            Copy(
                "/a/*", "/b/", Chown(Owner(id=1), Owner(name="us", input=0)), 0o750, "u=rwX", True, True, True, False,
                False, True, 5, ("x",), ("y",), True, True,
            ),
            0,
            1,
        ),
        FileAction(MakeFile("/f", 0o600, b"\0data", Chown(user=Owner(id=0)), 7), 2),
        FileAction(MakeDirectory("/d", 0o755, True), 3),
        FileAction(Remove("/r", True, True), 4),
        FileAction(Symlink("/l", "to", Chown(), 9), 5, output=0),
    )
)  # fmt: skip


def whole() -> Edge:
    """A graph with everything."""
    step = Vertex.of(EXEC, (BASE.output(), Vertex.of(SourceOp("local://context")).output()))
    named = Vertex.of(
        ExecOp(("a",), (BuildMount("/", input=0, output=0), BuildMount("/o", input=0, output=1)), network="network:n"),
        (step.output(),),
        metadata=Metadata(
            name="[2/2] RUN true", ignore_cache=True, group=("g", "G", True), file="Dockerfile",
            ranges=(SourceRange(1, 2, 3, 4),),
        ),
    )  # fmt: skip
    files = Vertex.of(FILE, (named.output(1), step.output()))
    merged = Vertex.of(MergeOp((0, 1)), (files.output(), step.output()))
    return Vertex.of(DiffOp(-1, 0), (merged.output(),)).output()


def test_a_graph_comes_back_as_it_went() -> None:
    edge = whole()
    sources = {"Dockerfile": b"FROM a"}
    definition = pb.Definition.FromString(encode(edge, sources).SerializeToString())
    decoded = decode(definition)
    assert decoded.edge == edge
    assert decoded.sources == sources
    merged = edge.vertex.inputs[0].vertex
    named = decoded.edge.vertex.inputs[0].vertex.inputs[0].vertex.inputs[0].vertex
    assert (named.metadata.name, named.metadata.ignore_cache, named.metadata.group) == (
        "[2/2] RUN true",
        True,
        ("g", "G", True),
    )
    assert named.metadata.ranges == (SourceRange(1, 2, 3, 4),)
    step = merged.inputs[1].vertex
    back = decoded.edge.vertex.inputs[0].vertex.inputs[1].vertex
    assert back.op == step.op, "what is not part of a digest comes back as well"
    assert encode(decoded.edge).ops == definition.ops


@pytest.mark.parametrize(
    ("name", "network"), [("host", "host"), ("none", "none"), ("default", "default"), ("n", "network:n")]
)
def test_what_the_engine_takes_for_a_mode_is_that_mode_also_as_a_name(name: str, network: str) -> None:
    op = pb.Op.FromString(encode(Vertex.of(ExecOp(("a",), (BuildMount("/", output=0),))).output()).ops[0])
    op.exec.network_name = name
    data = op.SerializeToString()
    end = pb.Op(inputs=[pb.Input(digest=str(Digest.from_bytes(data)))]).SerializeToString()
    edge = decode(pb.Definition(ops=[data, end])).edge
    assert edge is not None
    assert isinstance(edge.vertex.op, ExecOp)
    assert edge.vertex.op.network == network


def test_an_empty_directory_is_an_empty_definition() -> None:
    assert encode(None) == pb.Definition()
    assert decode(pb.Definition()).edge is None


@pytest.mark.slow
def test_a_graph_of_thousands_is_no_deeper_than_one_of_few() -> None:
    vertex = BASE
    for number in range(5000):
        made = FileOp((FileAction(MakeFile(f"/{number}", 0o644, b""), 0, output=0),))
        vertex = Vertex.of(made, (vertex.output(), vertex.output()))
    definition = encode(vertex.output())
    assert decode(definition).edge == vertex.output()
    backwards = pb.Definition(ops=[*reversed(definition.ops[:-1]), definition.ops[-1]])
    assert decode(backwards).edge == vertex.output()


def definition_of(*ops: pb.Op, end: int = 0) -> pb.Definition:
    """A definition whose operations have no inputs but the last one, which has the first."""
    data = [op.SerializeToString(deterministic=True) for op in ops]
    wanted = str(Digest.from_bytes(data[-1]))
    data.append(pb.Op(inputs=[pb.Input(digest=wanted, index=end)]).SerializeToString(deterministic=True))
    return pb.Definition(ops=data)


SOURCE = pb.Op(source=pb.SourceOp(identifier="local://x"))
ONE = [pb.Input(digest=str(Digest.from_bytes(SOURCE.SerializeToString(deterministic=True))))]
ROOT = pb.Mount(dest="/", output=0)
META = pb.Meta(args=["a"])


@pytest.mark.parametrize(
    "definition",
    [
        pb.Definition(ops=[b"\xff"]),
        pb.Definition(ops=[b""]),
        pb.Definition(ops=[SOURCE.SerializeToString()]),
        definition_of(SOURCE, end=1),
        definition_of(SOURCE, end=-1),
        pb.Definition(ops=[pb.Op(inputs=[pb.Input(digest="sha256:no")]).SerializeToString()]),
        definition_of(pb.Op(source=pb.SourceOp())),
        definition_of(pb.Op(inputs=[pb.Input(digest="x")], source=SOURCE.source)),
        definition_of(pb.Op(inputs=[pb.Input(digest=ONE[0].digest, index=5)], source=SOURCE.source)),
        definition_of(pb.Op(merge=pb.MergeOp(inputs=[pb.MergeInput(input=7)]))),
        definition_of(pb.Op(diff=pb.DiffOp())),
        definition_of(pb.Op(exec=pb.ExecOp(mounts=[ROOT]))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[ROOT, pb.Mount(dest="/a", output=0)]))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[pb.Mount(dest="/", output=1 << 40)])), end=1 << 40),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[pb.Mount(dest="/", input=3)]))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[ROOT, pb.Mount(output=-1)]))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[pb.Mount(dest="/", mountType=9, input=-1)]))),
        definition_of(pb.Op(exec=pb.ExecOp(meta=META, mounts=[pb.Mount(dest="/", input=-1)], network=9))),
        definition_of(pb.Op(file=pb.FileOp())),
        definition_of(pb.Op(file=pb.FileOp(actions=[pb.FileAction(input=-1, secondaryInput=-1)]))),
        definition_of(pb.Op(file=pb.FileOp(actions=[pb.FileAction(input=0, rm=pb.FileActionRm(path="x"))]))),
    ],
)
def test_what_makes_no_sense_is_refused(definition: pb.Definition) -> None:
    with pytest.raises(InvalidInput):
        decode(definition)


@pytest.mark.parametrize("op", [pb.Op(build=pb.BuildOp()), pb.Op(passthrough=pb.PassthroughOp())])
def test_what_is_not_carried_out_is_refused(op: pb.Op) -> None:
    with pytest.raises(Unsupported):
        decode(definition_of(op))


def test_there_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    many = pb.Op(inputs=ONE * 10_001, merge=pb.MergeOp())
    with pytest.raises(TooLarge):
        decode(definition_of(SOURCE, many))
    with pytest.raises(TooLarge):
        decode(
            definition_of(
                pb.Op(exec=pb.ExecOp(meta=pb.Meta(args=["a"] * 10_001), mounts=[pb.Mount(dest="/", input=-1)]))
            )
        )
    monkeypatch.setattr(reading, "MOST_OPS", 1)
    with pytest.raises(TooLarge):
        decode(definition_of(SOURCE))


def test_a_place_in_a_file_that_is_not_there_is_no_place() -> None:
    definition = definition_of(SOURCE)
    digest = str(Digest.from_bytes(definition.ops[0]))
    definition.Source.locations[digest].locations.add(sourceIndex=5)
    edge = decode(definition).edge
    assert edge is not None
    assert edge.vertex.metadata.file == ""
    assert edge.vertex.metadata.name == "local://x"
