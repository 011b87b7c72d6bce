"""``wherry build``: contexts, queries, displays, and a build at a builder that does what the test says."""

from __future__ import annotations

import asyncio
import io
import json
import os
import posix
import re
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.build_service import FakeBuilds
from wherry.api.http.hijack import HangupWatch
from wherry.api.http.routing import Router
from wherry.api.http.server import Api
from wherry.api.routes.build import BuildRoutes
from wherry.build.model.errors import DockerfileError, VertexFailed
from wherry.build.model.graph import SourceRange
from wherry.build.model.progress import Cost, LogProgress, Progress, VertexProgress, WarningProgress
from wherry.build.model.request import BuildRequest
from wherry.cli.build.context import DirectoryContext, is_remote
from wherry.cli.build.display import LiveDisplay, PlainDisplay, QuietDisplay, display_of
from wherry.cli.build.outputs import outputs_of
from wherry.cli.build.query import query_of, secrets_of
from wherry.cli.build.shell import attend, shell_query
from wherry.cli.commands.image.build import COMMAND
from wherry.cli.context import Context
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import parse
from wherry.cli.verbs import load
from wherry.client.client import Client
from wherry.errors import InvalidInput
from wherry.oci.digest import Digest

RUN, COPY = Digest.from_bytes(b"run"), Digest.from_bytes(b"copy")
ID = f"sha256:{'a' * 64}"
SECOND = 10**9


# --- contexts -------------------------------------------------------------------------------------


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(name))


def members(context: DirectoryContext) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.archive()))) as archive:
        return {member.name: member for member in archive}


def test_a_context_has_what_is_not_ignored(tmp_path: Path) -> None:
    write(tmp_path, "Dockerfile", "a/b/keep", "a/b/c", "a/d", "src/x.py", "src/x.pyc", "deep/er/y.pyc")
    (tmp_path / ".dockerignore").write_text("a\n!a/b/keep\n**/*.pyc\nDockerfile\n.dockerignore\n")
    assert list(members(DirectoryContext(str(tmp_path), ""))) == [
        ".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep", "deep", "deep/er", "src", "src/x.py"
    ]  # fmt: skip


def test_members_are_roots_and_keep_what_else_they_have(tmp_path: Path) -> None:
    write(tmp_path, "Dockerfile", "x")
    (tmp_path / "x").chmod(0o4751)
    os.utime(tmp_path / "x", (5, 5))
    (tmp_path / "link").symlink_to("/outside")
    os.mkfifo(tmp_path / "fifo")
    long, odd = "d/" + "n" * 200, os.fsdecode(b"\xff")
    write(tmp_path, long, odd)
    found = members(DirectoryContext(str(tmp_path), ""))
    assert (found["x"].mode, found["x"].mtime, found["x"].uid, found["x"].size) == (0o4751, 5, 0, 1)
    assert (found["link"].type, found["link"].linkname) == (tarfile.SYMTYPE, "/outside")
    assert "fifo" not in found
    assert {long, odd} <= set(found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[a", 'syntax error in pattern "[a"'), ("a\n" * 10_001, "too many patterns: 10000 are the most")],
)
def test_patterns_that_cannot_be_are_refused_in_a_sentence(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / ".dockerignore").write_text(text)
    with pytest.raises(Exit, match=re.escape(f"failed to read .dockerignore: {reason}")):
        DirectoryContext(str(tmp_path), "")


def test_a_dockerfile_may_be_elsewhere_with_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "context"
    write(root, "a", "b", "sub/Dockerfile[x]")
    (root / ".dockerignore").write_text("a")
    (tmp_path / "other").write_text("FROM scratch")
    (tmp_path / "other.dockerignore").write_text("*")
    inside = DirectoryContext(str(root), str(root / "sub/Dockerfile[x]"))
    assert inside.dockerfile == "sub/Dockerfile[x]"
    assert set(members(inside)) == {".dockerignore", "b", "sub", "sub/Dockerfile[x]"}
    outside = DirectoryContext(str(root), str(tmp_path / "other"))
    assert outside.dockerfile.startswith(".dockerfile.")
    assert set(members(outside)) == {outside.dockerfile, f"{outside.dockerfile}.dockerignore", ".dockerignore"}


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Exit, match=r"path .* not found"):
        DirectoryContext(str(tmp_path / "none"), "")
    with pytest.raises(Exit, match=r"Dockerfile .* does not exist"):
        DirectoryContext(str(tmp_path), "")


@pytest.mark.parametrize(
    ("context", "expected"),
    [("https://x/y.git", True), ("git@github.com:a/b", True), ("github.com/a/b", True), (".", False), ("/x", False)],
)
def test_an_address_is_no_directory(context: str, expected: bool) -> None:
    assert is_remote(context) == expected


# --- queries --------------------------------------------------------------------------------------


def query(*words: str) -> dict[str, object]:
    options, _ = parse(COMMAND.flags, words)
    return {
        name: value
        for name, value in query_of(options, "", "", outputs_of(options)).items()
        if value not in (None, False, [])
    }


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("fail", {}),
        ("shell", {"onfailure": "shell", "shell": None}),
        ("shell=bash -l", {"onfailure": "shell", "shell": '["bash","-l"]'}),
        ("shell=sh -c 'echo \"a b\"'", {"onfailure": "shell", "shell": '["sh","-c","echo \\"a b\\""]'}),
    ],
)
def test_a_failed_step_may_be_good_for_a_shell(word: str, expected: dict[str, object]) -> None:
    options, _ = parse(COMMAND.flags, ["--on-failure", word])
    assert shell_query(options, ".") == expected


@pytest.mark.parametrize(
    ("words", "context", "why"),
    [
        ("--on-failure dance", ".", "it is fail, shell or shell=COMMAND"),
        ("--on-failure fail=x", ".", "it is fail, shell or shell=COMMAND"),
        ("--on-failure shell=", ".", "a command is missing"),
        ("--on-failure shell='", ".", "no closing quotation"),
        ("--on-failure shell", "-", "needs standard input"),
        ("--on-failure shell -f -", ".", "needs standard input"),
    ],
)
def test_a_shell_needs_a_command_and_standard_input(words: str, context: str, why: str) -> None:
    options, _ = parse(COMMAND.flags, words.split())
    with pytest.raises(Exit, match=why):
        shell_query(options, context)


def test_a_table_makes_room_and_begins_again_below(capsys: pytest.CaptureFixture[str]) -> None:
    display = LiveDisplay()
    display.take(message("vertex", digest="b", name="[2/2] RUN x", started=time.time_ns()))
    display.pause()
    assert "RUN x" in capsys.readouterr().err
    display.resume()
    display.close()
    written = capsys.readouterr().err
    assert "FINISHED" in written
    assert not written.startswith("\x1b[2A"), "what was shown meanwhile is not drawn over"


def test_a_shell_that_is_over_already_is_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: Any = None
    attend(nothing, QuietDisplay(), {"type": "shell", "token": "", "vertex": "b"})
    assert capsys.readouterr().err == ""


def test_flags_become_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "1")
    monkeypatch.delenv("NOT_HERE", raising=False)
    words = "-t a -t b --build-arg A=b=c --build-arg FROM_HERE --build-arg NOT_HERE --label x --target s"
    more = "--no-cache --pull --platform linux/arm64 --network n --add-host h:1"
    limits = "--cache-from i --cache-from type=registry,ref=j -m 1k --ulimit nofile=1:2 --memory-swap -1 --shm-size 2k"
    found = query(*words.split(), *more.split(), *limits.split(), "-v", "/a:/b:ro", "--volume", "./c:/d")
    assert found == {
        "version": "3",
        "t": ["a", "b"],
        "buildargs": '{"A":"b=c","FROM_HERE":"1"}',
        "labels": '{"x":""}',
        "target": "s",
        "nocache": True,
        "pull": True,
        "platform": ["linux/arm64"],
        "networkmode": "n",
        "extrahosts": ["h:1"],
        "cachefrom": '["i","j"]',
        "memory": 1024,
        "memswap": -1,
        "shmsize": 2048,
        "ulimits": '[{"Name":"nofile","Hard":2,"Soft":1}]',
        "volumes": f'["/a:/b:ro","{Path.cwd()}/c:/d"]',
    }


def test_a_cache_with_options_is_imported_by_an_option_of_the_frontend() -> None:
    found = query("--cache-from", "type=registry,ref=j,mounts=true", "--cache-from", "i")
    assert found["cachefrom"] == '["i"]'
    [imported] = json.loads(json.loads(found["frontend"])["cache-imports"])
    assert imported == {"Type": "registry", "Attrs": {"ref": "j", "mounts": "true"}}


@pytest.mark.parametrize(
    ("words", "outputs"),
    [
        ("--squash --layers stage", [{"Type": "moby", "Attrs": {"layers": "stage"}}]),
        ("--squash", [{"Type": "moby", "Attrs": {"layers": "stage"}}]),
        ("--layers none", [{"Type": "moby", "Attrs": {"layers": "none"}}]),
        ("--push", [{"Type": "moby", "Attrs": {"push": "true"}}]),
        ("-o type=registry,name=x", [{"Type": "moby", "Attrs": {"name": "x", "push": "true"}}]),
        ("-o type=image,compression=zstd", [{"Type": "moby", "Attrs": {"compression": "zstd"}}]),
    ],
)
def test_outputs_say_what_becomes_of_the_image(words: str, outputs: list[Any]) -> None:
    assert json.loads(str(query(*words.split())["outputs"])) == outputs


@pytest.mark.parametrize(
    "words",
    [
        "--call nothing", "--call check,format=x", "--attest type=x", "-o type=local",
        "-o type=x,dest=x", "-o - -o -", "--cache-from type=gha", "--cache-to type=gha",
        "--build-context a", "--layers few", "--squash --layers none", "--layers all --squash",
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused(words: str) -> None:
    with pytest.raises(Exit):
        query(*words.split())
    assert query("--provenance", "false") == {"version": "3"}


def test_what_the_classic_builder_has_no_names_for_is_in_a_list_of_its_own() -> None:
    words = "--check --no-cache-filter a --no-cache-filter b --provenance mode=max --sbom true --allow network.host"
    found = query(*words.split(), "--build-context", "Base=docker-image://x", "--cache-to", "type=inline")
    assert json.loads(str(found["frontend"])) == {
        "requestid": "frontend.lint",
        "no-cache": "a,b",
        "context:base": "docker-image://x",
        "attest:provenance": "mode=max",
        "attest:sbom": "",
    }
    assert (found["allow"], found["cacheto"]) == ('["network.host"]', '[{"Type":"inline","Attrs":{}}]')
    assert query("--attest", "type=provenance,mode=min")["frontend"] == '{"attest:provenance":"mode=min"}'


def test_secrets_are_files_or_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1\n")
    monkeypatch.setenv("VARIABLE", "2")
    words = [f"id=a,src={tmp_path}/file", "id=b,env=VARIABLE", "id=VARIABLE"]
    options, _ = parse(COMMAND.flags, [f"--secret={word}" for word in words])
    assert secrets_of(options) == {"a": b"1\n", "b": b"2", "VARIABLE": b"2"}
    for word in ("src=x", "id=x,src=/nonexistent", "id=x,env=NONE_OF_THIS"):
        with pytest.raises(Exit, match="invalid --secret"):
            secrets_of(parse(COMMAND.flags, [f"--secret={word}"])[0])


# --- displays -------------------------------------------------------------------------------------


def message(kind: str, **members: object) -> dict[str, Any]:
    return {"id": "wherry.build", "aux": {"type": kind, **members}}


def test_steps_are_shown_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainDisplay() as display:
        for one in (
            message("vertex", digest="a", name="[1/2] FROM x", cached=True, started=1, completed=1),
            message("vertex", digest="b", name="[2/2] RUN \x1b[31my", started=SECOND),
            message("vertex", digest="c", name="[other 1/1] RUN z", started=SECOND),
            message("log", vertex="b", stream=1, data="one\nt", at=2 * SECOND),
            message("log", vertex="b", stream=1, data="wo\x1b[0m\x1b]0;x\x07\n50%\r100%\nrest", at=3 * SECOND),
            message("vertex", digest="c", name="[other 1/1] RUN z", started=SECOND, completed=SECOND, error="bad"),
            message("vertex", digest="b", name="[2/2] RUN y", started=SECOND, completed=4 * SECOND),
            message("warning", short="Rule: it is wrong (line 1)"),
        ):
            display.take(one)
    assert capsys.readouterr().err == (
        "#1 [1/2] FROM x\n#1 CACHED\n\n"
        "#2 [2/2] RUN \\x1b[31my\n#2 1.000 one\n#2 2.000 two\n#2 2.000 100%\n#2 ...\n\n"
        "#3 [other 1/1] RUN z\n#3 ERROR: bad\n\n"
        "#2 [2/2] RUN y\n#2 rest\n#2 DONE 3.0s\n"
        "\n 1 warning found:\n - Rule: it is wrong (line 1)\n"
    )


def test_steps_are_a_table_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    display = LiveDisplay()
    now = 10 * SECOND
    display.take(message("vertex", digest="a", name="[1/2] FROM x", cached=True, started=1, completed=1))
    display.take(message("vertex", digest="b", name="[2/2] RUN " + "y" * 100, started=8 * SECOND))
    display.take(message("vertex", digest="c", name="not begun"))
    display.take(message("log", vertex="b", stream=2, data="".join(f"line {number}\n" for number in range(9))))
    display.take(message("transfer", vertex="b", id="t", current=5, total=10))
    table = display.table(now, 60)
    assert table[0].endswith("(1/3)")
    assert table[1] == f"{' => CACHED [1/2] FROM x':<56}0.0s"
    assert table[2].startswith(" => [2/2] RUN yyy")
    assert table[2].endswith("y 5B/10B 2.0s")
    assert table[3:] == [f" => => # line {number}" for number in range(3, 9)]
    assert max(map(len, table)) <= 60
    display.close()
    assert "FINISHED" in capsys.readouterr().err


def test_a_display_has_to_be_known() -> None:
    with pytest.raises(ValueError, match="invalid progress mode"):
        display_of("fancy", quiet=False)


# --- a build --------------------------------------------------------------------------------------


@contextmanager
def builder(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], FakeBuilds] = FakeBuilds
) -> Iterator[FakeBuilds]:
    """A served builder, in a thread of its own."""
    (root / "contexts").mkdir()
    (root / "builds").mkdir()
    builds, place = make(root / "builds"), root / "socket"
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        watch = HangupWatch(loop)
        api = Api(Router(BuildRoutes(builds, root / "contexts", lambda: "", watch).routes()), watch)
        server = await loop.create_unix_server(api.connection, place)
        ready.set()
        await over.wait()
        server.close()
        await api.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        monkeypatch.setitem(posix.environ, b"WHERRY_HOST", f"unix://{place}".encode())
        monkeypatch.setenv("DOCKER_CONFIG", str(root / "none"))
        yield builds
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(60)
        loop.close()


def wherry(module: str, *words: str) -> int:
    """Run a verb."""
    verb = load(module)
    options, arguments = parse(verb.COMMAND.flags, words)
    context = Context(None, start=False)
    try:
        return verb.run(context, options, arguments)
    finally:
        context.client.close()


def events() -> list[Progress]:
    return [
        VertexProgress(digest=COPY, name="[1/2] COPY a b", started=1, completed=2, cached=True, explanation="the same"),
        VertexProgress(digest=RUN, name="[2/2] RUN x", started=SECOND),
        LogProgress(vertex=RUN, stream=1, data="é".encode()[:1], at=SECOND),
        LogProgress(vertex=RUN, stream=1, data="é\n".encode()[1:], at=2 * SECOND),
        WarningProgress(vertex=RUN, level=1, short="Rule: wrong"),
        VertexProgress(
            digest=RUN, name="[2/2] RUN x", started=SECOND, completed=3 * SECOND,
            explanation="new: argument A", cost=Cost(SECOND, 5000, 0),
        ),
    ]  # fmt: skip


def test_an_image_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    context = tmp_path / "context"
    write(context, "Dockerfile", "a", "ignored")
    (context / ".dockerignore").write_text("ignored")
    with builder(tmp_path, monkeypatch) as builds:
        builds.events = events()
        words = ["--iidfile", str(tmp_path / "iid"), "--metadata-file", str(tmp_path / "meta"), "--explain"]
        assert wherry("image.build", "-t", "x", *words, str(context)) == 0
        assert builds.contexts == [{"Dockerfile": b"Dockerfile", "a": b"a", ".dockerignore": b"ignored"}]
        assert builds.requests[0].options["filename"] == "Dockerfile"
    assert (tmp_path / "iid").read_text() == ID
    assert json.loads((tmp_path / "meta").read_text())["containerimage.config.digest"] == ID
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == (
        "#1 [1/2] COPY a b\n#1 CACHED\n\n"
        "#2 [2/2] RUN x\n#2 1.000 é\n#2 DONE 2.0s\n"
        "\n 1 warning found:\n - Rule: wrong\n"
        "[1/2] COPY a b\n    the same\n"
        "[2/2] RUN x\n    new: argument A (2.0s, CPU 1.0s, 5kB memory, 0B written)\n"
    )


def test_of_a_build_without_an_image_the_files_say_so_and_objects_are_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "context", "Dockerfile")
    iid, meta = tmp_path / "iid", tmp_path / "meta"
    iid.write_text("of an earlier build")
    with builder(tmp_path, monkeypatch) as builds:
        builds.outcome = InvalidInput("it fails")
        words = ["--iidfile", str(iid), "--metadata-file", str(meta), "--progress", "plain", str(tmp_path / "context")]
        with pytest.raises(InvalidInput, match="it fails"):
            wherry("image.build", *words)
        assert not iid.exists()
        builds.outcome = {"a": "eyJiIjogMX0=", "c": "dGV4dA==", "d": "plain é"}
        assert wherry("image.build", "-o", "type=cacheonly", *words) == 0
    assert iid.read_bytes() == b""
    found = json.loads(meta.read_text())
    assert found.pop("wherry.build.ref") == ""  # the builder has told of none
    assert found == {"a": {"b": 1}, "c": "dGV4dA==", "d": "plain é"}


def test_a_quiet_build_prints_the_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "context", "Dockerfile")
    with builder(tmp_path, monkeypatch) as builds:
        builds.events = events()
        assert wherry("image.build", "-q", str(tmp_path / "context")) == 0
    assert capsys.readouterr() == (f"{ID}\n", "")


def test_a_failed_build_shows_where_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "context", "Dockerfile")
    with builder(tmp_path, monkeypatch) as builds:
        builds.events = [
            VertexProgress(digest=RUN, name="[1/1] RUN x", started=1),
            LogProgress(vertex=RUN, stream=2, data=b"no\n", at=2),
            VertexProgress(digest=RUN, name="[1/1] RUN x", started=1, completed=2, error="exit code: 7"),
        ]
        builds.outcome = VertexFailed(
            "process did not complete", vertex=RUN, exit_code=7, file="Dockerfile", source=b"FROM x\nRUN x\n",
            ranges=(SourceRange(2, 0, 2, 5),),
        )  # fmt: skip
        assert wherry("image.build", "--progress", "quiet", str(tmp_path / "context")) == 1
    written = capsys.readouterr().err
    assert "------\n > [1/1] RUN x:\nno\n------\n" in written
    assert "Dockerfile:2\n" in written
    assert "   2 | >>> RUN x\n" in written
    assert written.endswith("ERROR: failed to build: process did not complete\n")


def test_a_check_prints_what_the_frontend_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "context", "Dockerfile")
    with builder(tmp_path, monkeypatch) as builds:
        builds.answer = {"result.txt": b"It is \x1b wrong\n", "result.statuscode": b"1", "result.json": b"{}"}
        assert wherry("image.build", "--check", "-q", str(tmp_path / "context")) == 1
        assert wherry("image.build", "--call", "check,format=json", "-q", str(tmp_path / "context")) == 1
        builds.answer = {"result.txt": b"", "result.statuscode": b"0"}
        assert wherry("image.build", "--check", "-q", str(tmp_path / "context")) == 0
        assert [request.exports for request in builds.requests] == [(), (), ()]
    assert capsys.readouterr().out == "It is \\x1b wrong\n{}\nCheck complete, no warnings found.\n"


def test_secrets_come_to_the_session_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "context", "Dockerfile", "outside")
    monkeypatch.setenv("TOKEN_HERE", "hidden")
    with builder(tmp_path, monkeypatch) as builds:
        builds.secrets = ["s", "none"]
        assert wherry("image.build", "-q", "--secret", "id=s,env=TOKEN_HERE", str(tmp_path / "context")) == 0
        assert builds.secrets_found == {"s": b"hidden"}
        assert "hidden" not in repr(builds.requests)


def test_a_dockerfile_from_elsewhere_is_shown_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "context", "x")
    write(tmp_path, "Other")
    with builder(tmp_path, monkeypatch) as builds:
        builds.events = events()
        builds.outcome = DockerfileError("no", source=b"FRM x\n", ranges=(SourceRange(1, 0, 1, 3),))
        builds.name_as_asked = True
        words = ["-f", str(tmp_path / "Other"), "--progress", "plain", str(tmp_path / "context")]
        assert wherry("image.build", *words) == 1
    assert f"{tmp_path}/Other:1\n" in capsys.readouterr().err


class _WithAgent(FakeBuilds):
    """Asks the client's agent for its keys, and then for what no step may ask."""

    heard: tuple[bytes, ...] = ()

    async def build(self, request: BuildRequest) -> dict[str, str]:
        connection = await self.sessions[request.session].ssh("mine")
        for question in (b"\0\0\0\x01\x0b", b"\0\0\0\x01\x13"):
            await connection.write(question)
            self.heard += (await connection.read(),)
        connection.close()
        return await super().build(request)


def test_a_build_asks_the_clients_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "context", "Dockerfile")
    asked: list[bytes] = []

    def answer() -> None:
        listener.accept()[0].close()  # whether there is one
        taken, _ = listener.accept()
        with taken:
            while question := taken.recv(100):
                asked.append(question)
                taken.sendall(b"\0\0\0\x05\x0c\0\0\0\0")

    with socket.socket(socket.AF_UNIX) as listener, builder(tmp_path, monkeypatch, _WithAgent) as builds:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        assert wherry("image.build", "-q", "--ssh", f"mine={tmp_path}/agent", str(tmp_path / "context")) == 0
        thread.join(60)
    assert asked == [b"\0\0\0\x01\x0b"]
    assert isinstance(builds, _WithAgent)
    assert builds.heard == (b"\0\0\0\x05\x0c\0\0\0\0", b"\0\0\0\x01\x05")


def test_unused_cache_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with builder(tmp_path, monkeypatch):
        assert wherry("builder.prune", "-a", "-f", "--filter", "until=24h", "--keep-storage", "1g") == 0
    assert "Total reclaimed space: " in capsys.readouterr().out


def test_entries_of_the_cache_are_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        {"ID": "a" * 20, "Type": "regular", "Size": 5000, "InUse": True, "LastUsedAt": None, "Description": "\x1bx"},
        {"ID": "b" * 20, "Type": "source.local", "Size": 7000, "Shared": True, "UsageCount": 3},
        {"ID": "c" * 20, "Type": "regular", "Size": 1000},
    ]

    class _System:
        def disk_usage(self) -> dict[str, Any]:
            return {"BuildCache": records}

    monkeypatch.setattr(Client, "system", _System())
    monkeypatch.setattr(Context, "client", Client())
    assert wherry("builder.du", "-v") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["bbbbbbbbbbbb", "source.local", "true", "7kB"],
        ["aaaaaaaaaaaa*", "regular", "false", "5kB"],
        ["cccccccccccc", "regular", "true", "1kB"],
    ]
    assert "\\x1bx" in lines[2]
    assert [line.split() for line in lines[4:]] == [
        ["Shared:", "7kB"], ["Private:", "6kB"], ["Reclaimable:", "1kB"], ["Total:", "13kB"]
    ]  # fmt: skip
    assert wherry("system.df", "-v") == 0
    assert "bbbbbbbbbbbb" in capsys.readouterr().out
