"""COPY and ADD: what is copied, from where, to where and as whose."""

from __future__ import annotations

import pytest

from support.fake_gateway import FakeGateway, history, solved, steps
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import (
    NO_INPUT,
    Chown,
    Copy,
    FileAction,
    FileOp,
    MakeFile,
    MergeOp,
    Owner,
    SourceOp,
    Vertex,
)
from wherry.build.model.request import FrontResult

CHECKSUM = "sha256:" + "0" * 64


def from_context(source: str, destination: str, **more: object) -> Copy:
    """A copy as COPY asks for it."""
    fields: dict[str, object] = {"follow_symlink": True, "contents_only": True, "allow_empty_wildcard": True}
    return Copy(source, destination, **(fields | more))  # type: ignore[arg-type]


async def last(instructions: str, base: str = "busybox") -> Vertex:
    """The last step of a stage."""
    return top(await solved(f"FROM {base}\n{instructions}"))


def top(result: FrontResult) -> Vertex:
    """The vertex of a result."""
    edge = result.refs[""].edge
    assert edge is not None
    return edge.vertex


def copied(vertex: Vertex) -> Copy:
    """The copy that is a vertex's only action."""
    assert isinstance(vertex.op, FileOp)
    (action,) = vertex.op.actions
    assert isinstance(action.action, Copy)
    return action.action


async def test_several_sources_are_actions_upon_each_other() -> None:
    vertex = await last("COPY a b /c/")
    assert vertex.op == FileOp((
        FileAction(from_context("/a", "/c/"), input=0, secondary=1),
        FileAction(from_context("/b", "/c/"), input=2, secondary=1, output=0),
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("written", "source"),
    [("../../etc", "/etc"), (".", "/"), ("/x/./y/", "/x/y"), ("a*/b", "/a*/b"), ("a//b", "/a/b")],
)
async def test_a_source_is_inside_of_the_context(written: str, source: str) -> None:
    assert copied(await last(f"COPY {written} /d/")).source == source


@pytest.mark.parametrize(
    ("written", "destination"),
    [
        (".", "/w/"),
        ("./", "/w/"),
        ("x", "/w/x"),
        ("x/", "/w/x/"),
        ("/x/.", "/x/"),
        ("../x", "/x"),
        ("../../..", "/"),
        ("/", "/"),
        ("/a/../b/", "/b/"),
    ],
)
async def test_a_destination_is_relative_to_the_working_directory(written: str, destination: str) -> None:
    assert copied(await last(f"WORKDIR /w\nCOPY a {written}")).destination == destination


async def test_only_what_is_copied_is_fetched_from_the_client() -> None:
    vertex = await last("COPY a /x\nADD b/*.txt ./c /y/\nCOPY --from=busybox /no /z")
    found = steps(await solved("FROM busybox\nCOPY a /x\nADD b/*.txt ./c /y/\nCOPY --from=busybox /no /z"))
    context = found["[internal] load build context"].op
    assert isinstance(vertex.op, FileOp)
    assert isinstance(context, SourceOp)
    assert context.attributes["local.followpaths"] == '["a","b/*.txt","c"]'


async def test_all_is_fetched_where_all_is_copied() -> None:
    context = steps(await solved("FROM busybox\nCOPY a /x\nCOPY . /y"))["[internal] load build context"].op
    assert isinstance(context, SourceOp)
    assert "local.followpaths" not in context.attributes


@pytest.mark.parametrize(
    ("flag", "chown"),
    [
        ("5", Chown(Owner(5))),
        ("5:6", Chown(Owner(5), Owner(6))),
        ("app", Chown(Owner(name="app", input=0))),
        ("app:6", Chown(Owner(name="app", input=0), Owner(6))),
        (":6", Chown(None, Owner(6))),
    ],
)
async def test_names_of_owners_are_looked_up_where_files_go(flag: str, chown: Chown) -> None:
    assert copied(await last(f"COPY --chown={flag} a b")).chown == chown


@pytest.mark.parametrize(
    ("flag", "mode", "text"),
    [
        ("755", 0o755, ""),
        ("07777", 0o7777, ""),
        ("u=rwX,go=rX", -1, "u=rwX,go=rX"),
        ("+x", -1, "+x"),
        ("g=u", -1, "g=u"),
    ],
)
async def test_a_mode_is_a_number_or_a_text(flag: str, mode: int, text: str) -> None:
    copy = copied(await last(f"ARG M={flag}\nCOPY --chmod=$M a b"))
    assert (copy.mode, copy.mode_text) == (mode, text)


@pytest.mark.parametrize("flag", ["10000", "888", "u~x", "17777777777777777777", "x" * 5000])
async def test_a_wrong_mode_is_an_error(flag: str) -> None:
    with pytest.raises(DockerfileError, match="invalid chmod parameter"):
        await last(f"COPY --chmod={flag} a b")


async def test_exclude_and_parents_are_for_the_copy() -> None:
    copy = copied(await last("COPY --parents --exclude=*.o --exclude=x a/./b/c /d/"))
    assert (copy.source, copy.exclude, copy.parents) == ("/a/./b/c", ("*.o", "x"), True)
    assert copied(await last("COPY --parents ../a/b /d/")).source == "/a/b"


async def test_a_link_does_not_depend_on_what_is_below() -> None:
    vertex = await last("RUN x\nCOPY --link a /b")
    assert vertex.op == MergeOp((0, 1))
    assert vertex.metadata.name == "[3/3] LINK COPY --link a /b"
    copy = vertex.inputs[1].vertex
    assert copy.op == FileOp((FileAction(from_context("/a", "/b"), NO_INPUT, 0, output=0),))
    assert copy.metadata.name == "[3/3] COPY --link a /b"
    assert copy.metadata.group == (copy.metadata.name, copy.metadata.name, True)
    assert copy.digest == (await last("COPY --link a /b")).inputs[1].vertex.digest


async def test_a_link_upon_nothing_is_just_a_copy() -> None:
    assert isinstance((await last("COPY --link a /b", "scratch")).op, FileOp)


async def test_a_link_whose_owner_has_a_name_needs_what_is_below() -> None:
    assert copied(await last("COPY --link --chown=app a /b")).chown == Chown(Owner(name="app", input=0))


async def test_a_link_whose_mode_is_given_is_no_link() -> None:
    vertex = await last("COPY --link --chmod=600 a /b")
    assert isinstance(vertex.op, FileOp)
    assert len(vertex.inputs) == 2  # what is below, and the context


async def test_a_file_that_is_written_in_the_dockerfile_is_copied() -> None:
    vertex = await last('ARG V=1\nCOPY --chmod=600 <<EOF <<"RAW" /d/\nv=$V\nEOF\nv=$V\nRAW')
    assert vertex.op == FileOp((
        FileAction(Copy("/EOF", "/d/", mode=0o600, allow_wildcard=False), 0, 1),
        FileAction(Copy("/RAW", "/d/", mode=0o600, allow_wildcard=False), 3, 2, output=0),
    ))  # fmt: skip
    data = [vertex.inputs[number].vertex.op for number in (1, 2)]
    assert data == [
        FileOp((FileAction(MakeFile("/EOF", 0o644, b"v=1\n"), output=0),)),
        FileOp((FileAction(MakeFile("/RAW", 0o644, b"v=$V\n"), output=0),)),
    ]


# --- ADD ---


async def test_add_unpacks_local_archives_unless_told_not_to() -> None:
    assert copied(await last("ADD a.tar /d/")).unpack_archive
    assert not copied(await last("ADD --unpack=false a.tar /d/")).unpack_archive
    assert not copied(await last("COPY a.tar /d/")).unpack_archive


async def test_add_fetches_urls_and_does_not_unpack_them_unless_told() -> None:
    vertex = await last(f"ADD --checksum={CHECKSUM} https://example.com/d/f%20x.tgz?y=z#w /d/")
    assert copied(vertex) == Copy("/f x.tgz", "/d/", allow_wildcard=False)
    source = vertex.inputs[1].vertex
    assert source.op == SourceOp(
        "https://example.com/d/f%20x.tgz?y=z#w", {"http.filename": "f x.tgz", "http.checksum": CHECKSUM}
    )
    assert copied(await last("ADD --unpack=true https://example.com/x.tgz /d/")).unpack_archive


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com/", "https://example.com/..", "http://["])
async def test_a_url_without_a_file_gets_a_name(url: str) -> None:
    assert copied(await last(f"ADD {url} /d/")).source == "/__unnamed__"


async def test_add_checks_out_git_repositories() -> None:
    vertex = await last("ADD --keep-git-dir=true https://example.com/r.git?submodules=false#v1:sub /d")
    assert copied(vertex) == Copy("/", "/d", contents_only=True, allow_wildcard=False)
    source = vertex.inputs[1].vertex.op
    assert isinstance(source, SourceOp)
    assert source.identifier == "git://example.com/r.git#v1:sub"
    assert source.attributes["git.fullurl"] == "https://example.com/r.git"
    assert source.attributes["git.keepgitdir"] == "true"
    assert source.attributes["git.skipsubmodules"] == "true"


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ("COPY https://example.com/x /d", "source can't be a URL for COPY"),
        ("COPY https://example.com/x.git /d", "source can't be a git ref for COPY"),
        (f"ADD --checksum={CHECKSUM} a /d", r"checksum requires HTTP\(S\) or Git sources"),
        (f"ADD --checksum={CHECKSUM} a b /d/", "checksum can't be specified for multiple sources"),
        ("ADD --checksum=abc https://example.com/x /d", "digest"),
        ("ADD https://example.com/x.git?nope=1 /d", 'unexpected query "nope"'),
        ("ADD --keep-git-dir=true https://example.com/x.git?keep-git-dir=0 /d", "inconsistent keep-git-dir"),
        ("ADD --checksum=ab https://example.com/x.git?checksum=cd /d", 'checksum mismatch "ab" != "cd"'),
    ],
)
async def test_a_wrong_source_is_an_error(instruction: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        await last(instruction)


async def test_a_repository_on_this_machine_is_not_for_dockerfiles() -> None:
    assert copied(await last("ADD file:///root/x.git /d")).source == "/file:/root/x.git"


async def test_history_has_the_words_of_the_instruction() -> None:
    result = await solved(
        "FROM busybox\nCOPY --chown=1 --chmod=755 --link a b /c/\nADD x /y\nCOPY <<EOF /f\nEOF",
        gateway=FakeGateway("FROM busybox\nCOPY --chown=1 --chmod=755 --link a b /c/\nADD x /y\nCOPY <<EOF /f\nEOF"),
    )
    assert history(result)[1:] == [
        "COPY --chown=1 --chmod=755 a b /c/ # buildkit",
        "ADD x /y # buildkit",
        "COPY <<EOF /f # buildkit",
    ]
