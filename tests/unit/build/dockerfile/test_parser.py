"""Dockerfiles become instructions."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.build.dockerfile.instructions import (
    Add,
    Arg,
    ArgPair,
    Cmd,
    CommandLine,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Heredoc,
    InlineFile,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Pair,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
    expanded,
)
from wherry.build.dockerfile.parser import KEYWORDS, parse, parse_trigger
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange

_T = TypeVar("_T", bound=Instruction)


BAD_NAME = 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols'


def one(text: str, kind: type[_T]) -> _T:
    """The instruction behind a FROM."""
    instruction = parsed(f"FROM x\n{text}\n").stages[0].instructions[0]
    assert isinstance(instruction, kind)
    return instruction


def parsed(text: str) -> Dockerfile:
    return parse(text.encode())


def refused(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parsed(text)
    return caught.value


# --- stages ---------------------------------------------------------------------------------------


def test_stages_have_what_follows_them() -> None:
    dockerfile = parsed("ARG A=1\nFROM a AS One\nRUN x\nFROM --platform=$P one\nCMD y\n")
    assert [arg.pairs for arg in dockerfile.args] == [(ArgPair("A", "1"),)]
    first, second = dockerfile.stages
    assert (first.from_.image, first.from_.alias, first.from_.alias_written) == ("a", "one", "One")
    assert (second.from_.image, second.from_.platform, second.from_.alias) == ("one", "$P", "")
    assert [type(one) for one in dockerfile.instructions] == [
        Arg, type(first.from_), Run, type(second.from_), Cmd
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the Dockerfile cannot be empty"),
        ("# nothing\n\n", "file with no instructions"),
        ("ARG a\n", "dockerfile contains no stages to build"),
        ("RUN x\nFROM y\n", "no build stage in current context"),
        ("FROM\n", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        ("FROM a b c\n", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a AS 1b\n",
            f"dockerfile parse error on line 1: {BAD_NAME}",
        ),
        ("FRM a\n", "dockerfile parse error on line 1: unknown instruction: FRM (did you mean FROM?)"),
        ("FROM a\ncopi b c\n", "dockerfile parse error on line 2: unknown instruction: copi (did you mean copy?)"),
        ("FROM a\nfoobar\n", "dockerfile parse error on line 2: unknown instruction: foobar"),
        ("FROM a\nRUN --mont=x y\n", "dockerfile parse error on line 2: unknown flag: --mont (did you mean mount?)"),
    ],
)
def test_what_is_no_dockerfile_is_refused(text: str, message: str) -> None:
    assert refused(text).message == message


# --- lines ----------------------------------------------------------------------------------------


def test_lines_are_continued_over_comments_and_empty_lines() -> None:
    dockerfile = parsed("FROM x\nRUN a \\\n  # comment\n\n  b \\  \n c\nRUN d")
    first, second = dockerfile.stages[0].instructions
    assert first.original == "RUN a   b  c"
    assert first.ranges == (SourceRange(2, 0, 6, 2),)
    assert second.original == "RUN d"
    assert [one.range.start_line for one in dockerfile.empty_continuations] == [6]


def test_an_escaped_escape_character_does_not_continue() -> None:
    first, second = parsed("FROM x\nRUN a\\\\\nRUN b\\ c\n").stages[0].instructions
    assert (first.original, second.original) == ("RUN a\\\\", "RUN b\\ c")


def test_a_file_may_end_in_a_continuation() -> None:
    assert one("RUN a \\", Run).command.args == ("a",)


def test_marks_and_ends_of_windows_do_not_disturb() -> None:
    dockerfile = parse(b"\xef\xbb\xbf# escape=`\r\nFROM x\r\nRUN a `\r\n  b\r\n")
    assert dockerfile.escape == "`"
    assert dockerfile.stages[0].instructions[0].original == "RUN a   b"


def test_keywords_are_taken_in_any_case() -> None:
    dockerfile = parsed("from x as y\nrUn z\n")
    assert dockerfile.stages[0].from_.as_keyword == "as"
    assert dockerfile.stages[0].instructions[0].keyword == "rUn"


def test_comments_right_above_belong_to_an_instruction() -> None:
    text = "# A is for x\n# other\nARG A=1 B\n\n# far\n\n# stage is it\nFROM a AS stage\n# old\n#\n# b\nRUN x\n"
    dockerfile = parsed(text)
    assert dockerfile.args[0].comments == ("A is for x", "other")
    assert dockerfile.args[0].pairs == (ArgPair("A", "1", "is for x"), ArgPair("B"))
    assert dockerfile.stages[0].from_.comments == ("stage is it",)
    assert dockerfile.stages[0].from_.description == "is it"
    assert dockerfile.stages[0].instructions[0].comments == ("b",)


def test_directives_come_before_all_else() -> None:
    dockerfile = parsed("#!/usr/bin/env x\n# syntax = docker/dockerfile:1 \n#ESCAPE=`\n# check=skip=all\nFROM x\n")
    assert [(one.name, one.value) for one in dockerfile.directives] == [
        ("syntax", "docker/dockerfile:1"), ("escape", "`"), ("check", "skip=all")
    ]  # fmt: skip
    found = dockerfile.directive("check")
    assert found is not None
    assert found.range.start_line == 4
    assert dockerfile.stages[0].from_.comments == ()


@pytest.mark.parametrize("before", ["# a comment\n", "\n", "ARG x\n", "# unknown=x\n"])
def test_directives_are_comments_behind_anything_else(before: str) -> None:
    dockerfile = parsed(before + "# escape=`\nFROM x\n")
    assert dockerfile.escape == "\\"
    assert dockerfile.directives == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# syntax=a\n# syntax=b\nFROM a", "only one syntax parser directive can be used"),
    ],
)
def test_wrong_directives_are_refused(text: str, message: str) -> None:
    assert refused(text).message == message


# --- heredocs -------------------------------------------------------------------------------------


def test_heredocs_of_run() -> None:
    run = one("RUN <<A cat <<-'B' 3<<\"C\" # x\na $v\nA\n\tb\n\tB\nC\n", Run)
    assert run.command == CommandLine(("<<A cat <<-'B' 3<<\"C\" # x",), True)
    assert run.heredocs == (
        Heredoc("A", "a $v\n"), Heredoc("B", "\tb\n", False, True), Heredoc("C", "", False, False, 3)
    )  # fmt: skip
    assert run.ranges == (SourceRange(2, 0, 7, 1),)


def test_heredocs_of_copy_are_files() -> None:
    copy = one('COPY <<a <<-"b" c /d/\n# a\nRUN\na\n\t\tx\n\ty\nb\n', Copy)
    assert copy.sources == ("c",)
    assert copy.files == (InlineFile("a", "# a\nRUN\n"), InlineFile("b", "x\ny\n", False))
    assert copy.destination == "/d/"


def test_what_only_looks_like_a_heredoc_is_none() -> None:
    assert one('RUN echo "<<A" $((1<<2)) <<<B', Run).heredocs == ()
    assert one('RUN ["cat", "<<A"]', Run).heredocs == ()
    assert one("ENV A=<<B", Env).pairs == (Pair("A", "<<B"),)


def test_a_heredoc_has_to_end() -> None:
    error = refused("FROM x\nRUN <<A\nb\n")
    assert error.message == "unterminated heredoc"
    assert error.ranges == (SourceRange(2, 0, 3, 1),)


def test_a_heredoc_is_no_destination() -> None:
    assert refused("FROM x\nCOPY a <<B\nB\n").message.endswith("COPY cannot accept a heredoc as a destination")


def test_onbuild_has_its_heredocs() -> None:
    trigger = one("ONBUILD RUN <<A\nx\nA\n", Onbuild).trigger
    assert trigger == "RUN <<A\nx\nA"
    run = parse_trigger(trigger, (SourceRange(7, 0, 7, 1),))
    assert isinstance(run, Run)
    assert run.heredocs == (Heredoc("A", "x\n"),)
    assert run.ranges == (SourceRange(7, 0, 7, 1),)


# --- instructions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("a  b", CommandLine(("a  b",), True)),
        ('["a", "b\\u00e9"]', CommandLine(("a", "bé"), False)),
        ("[]", CommandLine((), False)),
        ("['a']", CommandLine(("['a']",), True)),
        ('["a", ]', CommandLine(('["a", ]',), True)),
        ('["a"] b', CommandLine(('["a"] b',), True)),
        ("[ -e x ]", CommandLine(("[ -e x ]",), True)),
        ("[" * 5000, CommandLine(("[" * 5000,), True)),
        ("", CommandLine((), True)),
    ],
)
@pytest.mark.parametrize(("keyword", "kind"), [("RUN", Run), ("CMD", Cmd), ("ENTRYPOINT", Entrypoint)])
def test_commands_are_in_exec_form_or_for_a_shell(
    keyword: str, kind: type[Run | Cmd | Entrypoint], rest: str, expected: CommandLine
) -> None:
    assert one(f"{keyword} {rest}", kind).command == expected


@pytest.mark.parametrize("rest", ["[1]", '["a", ["b"]]', '["a", null]'])
def test_the_exec_form_has_strings_only(rest: str) -> None:
    assert refused(f"FROM x\nRUN {rest}").message.startswith("when using JSON array syntax, arrays must be comprised")


def test_flags_of_run() -> None:
    run = one(
        'RUN --mount=type=cache,target=/a --mount="type=tmpfs,target=/b c" --network=none --security=insecure'
        " --device=v.com/d,required -- --x",
        Run,
    )
    assert run.mounts == ("type=cache,target=/a", "type=tmpfs,target=/b c")
    assert (run.network, run.network_given, run.security) == ("none", True, "insecure")
    assert [(device.name, device.required) for device in run.devices] == [("v.com/d", True)]
    assert run.command.args == ("--x",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RUN --network=nne x", 'invalid network mode "nne"'),
        ("RUN --security=x y", 'security "x" is not valid'),
        ("RUN --network x", "missing a value on flag: --network"),
        ("RUN --network=none --network=host x", "duplicate flag specified: --network"),
        ("RUN --mount=from=$x y", "'from' doesn't support variable expansion, define alias stage instead"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =x", "ENV names can not be blank"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("SHELL x", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK X y", 'Unknown type "X" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=x CMD x", 'time: invalid duration "x"'),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
def test_wrong_instructions_are_refused(text: str, message: str) -> None:
    assert refused(f"FROM x\n{text}\n").message == f"dockerfile parse error on line 2: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ENV x", "ENV must have two arguments"),
        ("LABEL a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
    ],
)
def test_wrong_pairs_are_refused(text: str, message: str) -> None:
    assert refused(f"FROM x\n{text}\n").message == message


def test_flags_of_copy_and_add() -> None:
    copy = one("COPY --from=b --chown=u:$G --chmod=u=rwX --link --exclude=a --exclude=b --parents ./x/./y /z", Copy)
    assert (copy.from_, copy.chown, copy.chmod, copy.link, copy.parents) == ("b", "u:$G", "u=rwX", True, True)
    assert (copy.exclude, copy.sources, copy.destination) == (("a", "b"), ("./x/./y",), "/z")
    add = one('ADD --checksum=sha256:1 --keep-git-dir --unpack=false ["a b", "c", "d/"]', Add)
    assert (add.checksum, add.keep_git_dir, add.unpack) == ("sha256:1", True, False)
    assert (add.sources, add.destination) == (("a b", "c"), "d/")
    assert one("ADD a b", Add).unpack is None


@pytest.mark.parametrize(
    ("rest", "pairs"),
    [
        ("a=b", [Pair("a", "b")]),
        ("a=\"b c\" d='e f' g=h\\ i", [Pair("a", '"b c"'), Pair("d", "'e f'"), Pair("g", "h\\ i")]),
        ("a b c", [Pair("a", "b c", True)]),
        ("a=", [Pair("a", "")]),
        ("a=b=c", [Pair("a", "b=c")]),
        ('a="b\\" c"', [Pair("a", '"b\\" c"')]),
    ],
)
def test_pairs_are_kept_as_they_are_written(rest: str, pairs: list[Pair]) -> None:
    assert one(f"ENV {rest}", Env).pairs == tuple(pairs)
    assert one(f"LABEL {rest}", Label).pairs == tuple(pairs)


def test_arguments_may_have_defaults() -> None:
    assert one('ARG a b= c="d e"', Arg).pairs == (ArgPair("a"), ArgPair("b", ""), ArgPair("c", '"d e"'))


def test_the_rest() -> None:
    assert one("EXPOSE 80 443/udp", Expose).ports == ("443/udp", "80")
    assert one("USER a b", User).user == "a b"
    assert one("VOLUME /a /b", Volume).paths == ("/a", "/b")
    assert one('VOLUME ["/a b"]', Volume).paths == ("/a b",)
    assert one("WORKDIR /a b", Workdir).path == "/a b"
    assert one("STOPSIGNAL SIGINT", Stopsignal).signal == "SIGINT"
    assert one("MAINTAINER me <x>", Maintainer).author == "me <x>"
    assert one('SHELL ["sh", "-c"]', Shell).args == ("sh", "-c")
    assert one("HEALTHCHECK none", Healthcheck).test == ("NONE",)
    assert one("HEALTHCHECK CMD a b", Healthcheck).test == ("CMD-SHELL", "a b")
    health = one(
        'HEALTHCHECK --interval=1s --timeout=2ms --start-period=1m --start-interval=0 --retries=3 CMD ["a"]',
        Healthcheck,
    )
    assert health.test == ("CMD", "a")
    assert (health.interval, health.timeout, health.start_period) == (10**9, 2 * 10**6, 60 * 10**9)
    assert (health.start_interval, health.retries) == (0, 3)


@pytest.mark.parametrize("trigger", ["", "RUN a\nRUN b", "FROM x", "ONBUILD RUN x", "NOPE x", "COPY x"])
def test_a_wrong_trigger_is_refused(trigger: str) -> None:
    where = (SourceRange(3, 0, 3, 5),)
    with pytest.raises(DockerfileError) as caught:
        parse_trigger(trigger, where)
    assert caught.value.ranges == where


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("FROM x\n  FRM y\n", SourceRange(2, 2, 2, 5)),
        ("FROM x\nRUN a \\\n  --b\nCOPY \\\n  --frm=x a b\n", SourceRange(5, 2, 5, 9)),
        ("FROM x\nCOPY \\\n  a\nRUN y\n", SourceRange(2, 0, 3, 3)),
    ],
)
def test_an_error_says_where(text: str, where: SourceRange) -> None:
    assert refused(text).ranges == (where,)


# --- expansion of instructions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("ENV a=$b", "pairs", (Pair("a", "W$b"),)),
        ("LABEL a=$b", "pairs", (Pair("a", "W$b"),)),
        ("USER $u", "user", "W$u"),
        ("WORKDIR $d", "path", "W$d"),
        ("STOPSIGNAL $s", "signal", "W$s"),
        ("VOLUME $a b", "paths", ("W$a", "b")),
        ("COPY $a b", "sources", ("W$a",)),
        ("COPY --chown=$a a b", "chown", "W$a"),
        ("COPY --chmod=$a a b", "chmod", "W$a"),
        ("COPY <<a b\n$x\na", "files", (InlineFile("a", "R$x\n"),)),
        ("COPY <<'a' b\n$x\na", "files", (InlineFile("a", "$x\n", False),)),
        ("ADD --checksum=$a a b", "checksum", "W$a"),
        ("RUN $a", "command", CommandLine(("$a",), True)),
    ],
)
def test_words_of_instructions_are_expanded(text: str, name: str, value: object) -> None:
    instruction = one(text, Instruction)
    done = expanded(
        instruction,
        lambda word: "W" + word if "$" in word else word,
        lambda text: "R" + text,
    )
    assert getattr(done, name) == value


# --- bounds ---------------------------------------------------------------------------------------


def test_a_dockerfile_has_a_largest_size() -> None:
    with pytest.raises(DockerfileError, match="larger than 16 MiB"):
        parse(b"#" * (17 << 20))


def test_a_line_has_a_largest_length() -> None:
    assert "dockerfile line greater than max allowed size of 65535" in refused("FROM x\nRUN " + "a" * 65_536).message


def test_instructions_have_a_largest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.build.dockerfile.parser.INSTRUCTIONS_LIMIT", 10)
    assert "more than 10 instructions" in refused("FROM x\n" + "CMD\n" * 10).message


def test_many_stages_are_read() -> None:
    assert len(parsed("FROM x\n" * 2000).stages) == 2000


_PIECES = st.sampled_from(
    [
        *KEYWORDS, *map(str.lower, KEYWORDS), " ", "  ", "\n", "\r\n", "\\", "\\\n", "`", "#", "# escape=`\n", "<<A",
        "<<-'B'", "A\n", "B\n", "[", "]", '"', "'", "=", "--from=a", "--mount=type=cache,target=", "--", "-", "$a",
        "${a:-", "}", "CMD", "AS", "é", "\x00", "\u2028", "\xa0", "1", "/", ",",
    ]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=40))
def test_whatever_is_written_is_read_or_refused(pieces: list[str]) -> None:
    for text in ("".join(pieces), "FROM x\n" + "".join(pieces)):
        try:
            dockerfile = parsed(text)
        except DockerfileError:
            continue
        for instruction in dockerfile.instructions:
            if isinstance(instruction, Onbuild):
                with suppress(DockerfileError):
                    parse_trigger(instruction.trigger)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_they_are_read_or_refused(data: bytes) -> None:
    for text in (data, b"FROM x\nRUN " + data):
        try:
            parse(text)
        except DockerfileError:
            continue
