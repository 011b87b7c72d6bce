"""Where a build's files and its Dockerfile come from."""

from __future__ import annotations

import io
import tarfile

import pytest

from support.fake_gateway import FakeGateway, solved, steps
from wherry.build.model.graph import Copy, FileAction, FileOp, SourceOp, Vertex
from wherry.errors import InvalidInput, TooLarge

GIT = "https://example.com/r.git#main"
URL = "https://example.com/context"
COPY_ALL = b"FROM scratch\nCOPY . /"


def archive() -> bytes:
    """A tar archive's beginning."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("Dockerfile"))
    return target.getvalue()


def source(name: str, found: dict[str, Vertex]) -> SourceOp:
    """The operation of a source."""
    op = found[name].op
    assert isinstance(op, SourceOp)
    return op


# --- the client's directories ---


async def test_the_dockerfile_and_what_is_beside_it_is_read_from_the_client() -> None:
    gateway = FakeGateway("FROM scratch")
    await solved("", gateway=gateway)
    op, path = gateway.reads[0]
    assert path == "Dockerfile"
    assert op == SourceOp(
        "local://dockerfile",
        {
            "local.sharedkeyhint": "dockerfile",
            "local.session": "session-1",
            "local.followpaths": '["Dockerfile","Dockerfile.dockerignore","dockerfile"]',
            "local.differ": "none",
        },
    )
    assert [path for _, path in gateway.reads] == ["Dockerfile", "Dockerfile.dockerignore", ".dockerignore"]


async def test_a_dockerfile_in_lower_case_is_taken_where_there_is_no_other() -> None:
    gateway = FakeGateway(files={("local://dockerfile", "sub/dockerfile"): COPY_ALL})
    assert list(steps(await solved("", {"filename": "sub/Dockerfile"}, gateway=gateway)))[-1] == "[1/1] COPY . /"


async def test_no_dockerfile_is_an_error_in_the_words_that_clients_know() -> None:
    with pytest.raises(InvalidInput, match=r"failed to read dockerfile: open X: no such file or directory"):
        await solved("FROM scratch", {"filename": "X"})


@pytest.mark.parametrize("text", [b"", b"\n", b"# nothing\n"])
async def test_a_dockerfile_that_says_nothing_is_an_error(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        await solved(text)


async def test_a_dockerfile_that_is_too_long_is_refused() -> None:
    with pytest.raises(TooLarge, match="the Dockerfile is longer than 16 MiB"):
        await solved(b"#" * (17 << 20))


async def test_patterns_of_dockerignore_are_for_the_client() -> None:
    files = {("local://context", ".dockerignore"): b"# no\n*.o\n\n!/a.o\n"}
    gateway = FakeGateway(COPY_ALL, files=files)
    context = source("[internal] load build context", steps(await solved("", gateway=gateway)))
    assert context.identifier == "local://context"
    assert context.attributes == {
        "local.sharedkeyhint": "context",
        "local.session": "session-1",
        "local.excludepatterns": '["*.o","!a.o"]',
    }


async def test_a_pattern_that_is_none_is_an_error_that_names_it_and_its_file() -> None:
    files = {("local://dockerfile", "Dockerfile.dockerignore"): b"a\n[b\n"}
    with pytest.raises(InvalidInput, match=r'^failed to read Dockerfile\.dockerignore: syntax error in pattern "\[b"$'):
        await solved("", gateway=FakeGateway(COPY_ALL, files=files))


async def test_a_dockerignore_for_the_dockerfile_alone_comes_first() -> None:
    files = {
        ("local://context", ".dockerignore"): b"a",
        ("local://dockerfile", "Dockerfile.dockerignore"): b"b",
    }
    gateway = FakeGateway(COPY_ALL, files=files)
    context = source("[internal] load build context", steps(await solved("", gateway=gateway)))
    assert context.attributes["local.excludepatterns"] == '["b"]'


async def test_a_directory_may_be_of_another_session() -> None:
    options = {"local-sessionid:context": "other", "local-sessionid:df": "third", "dockerfilekey": "df"}
    gateway = FakeGateway(files={("local://df", "Dockerfile"): COPY_ALL})
    context = source("[internal] load build context", steps(await solved("", options, gateway=gateway)))
    assert context.attributes["local.session"] == "other"
    assert gateway.reads[0][0].attributes["local.session"] == "third"


# --- elsewhere ---


async def test_a_git_repository_has_the_dockerfile_too() -> None:
    gateway = FakeGateway(files={("git://example.com/r.git#main", "Dockerfile"): COPY_ALL})
    found = steps(await solved("", {"context": GIT}, gateway=gateway))
    assert list(found) == [f"[internal] load git source {GIT}", "[1/1] COPY . /"]
    assert not any(op.identifier.startswith("local://") for op, _ in gateway.reads)


async def test_a_dockerfile_may_be_the_clients_though_the_context_is_elsewhere() -> None:
    gateway = FakeGateway(COPY_ALL)
    found = steps(await solved("", {"context": GIT, "dockerfilekey": "dockerfile"}, gateway=gateway))
    assert next(iter(found)) == f"[internal] load git source {GIT}"


async def test_the_password_of_a_repository_is_not_shown() -> None:
    gateway = FakeGateway(files={("git://example.com/r.git", "Dockerfile"): COPY_ALL})
    found = steps(await solved("", {"context": "https://user:secret@example.com/r.git"}, gateway=gateway))
    assert next(iter(found)) == "[internal] load git source https://xxxxx@example.com/r.git"


async def test_a_downloaded_archive_is_unpacked() -> None:
    gateway = FakeGateway(files={(URL, "context"): archive(), (URL, "Dockerfile"): COPY_ALL})
    found = steps(await solved("", {"context": URL}, gateway=gateway))
    assert list(found)[:2] == ["[internal] load remote build context", "[internal] unpack remote build context"]
    copy = Copy("/context", "/", unpack_archive=True, create_destination=False, allow_wildcard=False)
    assert found["[internal] unpack remote build context"].op == FileOp((FileAction(copy, secondary=0, output=0),))


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
async def test_a_compressed_archive_is_recognised(magic: bytes) -> None:
    gateway = FakeGateway(files={(URL, "context"): magic + b"x" * 600, (URL, "Dockerfile"): b"FROM scratch"})
    await solved("", {"context": URL}, gateway=gateway)


async def test_anything_else_that_is_downloaded_is_the_dockerfile() -> None:
    gateway = FakeGateway(files={(URL, "context"): b"FROM scratch\nCOPY context /"})
    result = await solved("", {"context": URL}, gateway=gateway)
    assert result.sources == {"context": b"FROM scratch\nCOPY context /"}
    assert list(steps(result)) == ["[internal] load remote build context", "[1/1] COPY context /"]


async def test_a_part_of_the_context_may_be_the_context() -> None:
    gateway = FakeGateway(files={(URL, "context"): archive(), (URL, "Dockerfile"): COPY_ALL})
    found = steps(await solved("", {"context": URL, "contextsubdir": "../a"}, gateway=gateway))
    assert list(found)[2] == "[internal] take /a as build context"


async def test_the_context_may_be_the_result_of_another_build() -> None:
    other = Vertex.of(SourceOp("docker-image://docker.io/library/x:latest")).output()
    found = await solved(COPY_ALL, inputs={"context": other})
    edge = found.refs[""].edge
    assert edge is not None
    assert edge.vertex.inputs == (other,)


# --- the frontend itself ---


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=docker/dockerfile:1\nFROM scratch",
        "# syntax = docker.io/docker/dockerfile:1.7-labs\nFROM scratch",
        "#syntax=docker/dockerfile-upstream:master\nFROM scratch",
        "#syntax=example.com/mirror/docker/dockerfile:1\nFROM scratch",
        f"# syntax=docker/dockerfile@sha256:{'0' * 64}\nFROM scratch",
    ],
)
async def test_the_frontend_that_everybody_asks_for_is_built_in(text: str) -> None:
    await solved(text)
    await solved("# syntax=example/other\nFROM scratch", {"build-arg:BUILDKIT_SYNTAX": "dockerfile.v0"})


async def test_another_frontend_is_an_error_that_says_so() -> None:
    with pytest.raises(InvalidInput, match="cannot be used"):
        await solved("# syntax=example/notdocker/dockerfile\nFROM scratch")
    with pytest.raises(InvalidInput, match="the frontend example/other:1 cannot be used") as caught:
        await solved("# syntax=example/other:1\nFROM scratch")
    assert caught.value.ranges[0].start_line == 1  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="the frontend a/b cannot be used"):
        await solved("FROM scratch", {"build-arg:BUILDKIT_SYNTAX": "a/b --x"})
    with pytest.raises(InvalidInput, match="the frontend a/b cannot be used"):
        await solved("FROM scratch", {"source": "a/b", "cmdline": "a/b"})
