"""What checks find becomes warnings, or an error."""

from __future__ import annotations

import json

import pytest

from support.fake_gateway import FakeGateway, solved
from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.parser import parse
from wherry.build.front.lint import Lint
from wherry.build.front.ports import PortWord
from wherry.build.model.errors import DockerfileError
from wherry.oci.digest import Digest

VERTEX = Digest("sha256:" + "0" * 64)
TEXT = b"from a as B\n"


def linted(text: bytes, options: str | None = None) -> Lint:
    dockerfile = parse(text)
    lint = Lint.of(dockerfile, options, ["ignored"])
    lint.dockerfile(dockerfile, {}, Lexer())
    return lint


def rules(lint: Lint) -> list[str]:
    return [one.rule for one in lint.violations]


def test_a_warning_names_the_rule_and_the_line() -> None:
    (warning,) = linted(TEXT).warnings(VERTEX, "Dockerfile", TEXT)
    assert warning.short == "StageNameCasing: Stage name 'B' should be lowercase (line 1)"
    assert warning.detail == ("Stage names should be lowercase",)
    assert warning.url.endswith("/stage-name-casing/")
    assert warning.source == TEXT


def test_what_goes_with_all_warnings_together_is_bounded() -> None:
    text = b"FROM a\n" + b"run x\n" * 400 + b"RUN x\n" * 401 + b"#" * 20_000
    warnings = linted(text).warnings(VERTEX, "Dockerfile", text)
    assert len(warnings) > 200
    assert not any(one.source for one in warnings)


def test_a_large_dockerfile_does_not_go_with_each_warning() -> None:
    (warning,) = linted(TEXT).warnings(VERTEX, "Dockerfile", b" " * 100_000)
    assert warning.source == b""


def test_the_directive_counts_unless_the_client_says_otherwise() -> None:
    text = b"# check=skip=StageNameCasing why\n" + TEXT
    assert rules(linted(text)) == []
    assert rules(linted(text, "")) == ["StageNameCasing"]
    assert rules(linted(TEXT, "skip=all")) == []


def test_a_comment_above_counts_for_one_instruction() -> None:
    assert rules(linted(b"# about\n# check=skip=StageNameCasing\n" + TEXT + TEXT)) == [
        "StageNameCasing",
        "DuplicateStageName",
    ]


def test_violations_may_be_errors() -> None:
    linted(TEXT).raise_if_wanted()
    linted(b"from a\n", "error=true").raise_if_wanted()
    with pytest.raises(DockerfileError, match="lint violation found for rules: StageNameCasing"):
        linted(TEXT, "error=true").raise_if_wanted()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(DockerfileError, match='failed to parse check options: invalid check option "x"') as caught:
        linted(b"# check=x\n" + TEXT)
    assert caught.value.ranges[0].start_line == 1


def test_the_voiceless_find_nothing() -> None:
    lint = linted(TEXT, "error=true").silent()
    lint.dockerfile(parse(TEXT), {}, Lexer())
    lint.raise_if_wanted()
    assert lint.violations == []


def test_hostile_dockerfiles_have_no_more_violations_than_a_bound() -> None:
    assert len(linted(b"from a\n" + b"Run x\n" * 2000).violations) == 1000


def test_ports_and_files_are_looked_at() -> None:
    lint = linted(b"FROM a\nEXPOSE x\n")
    instruction = parse(b"FROM a\nEXPOSE x\n").stages[0].instructions[0]
    lint.port(PortWord.parse("80/TCP"), instruction)
    lint.port(PortWord.parse("127.0.0.1:80:80"), instruction)
    lint.port(PortWord.parse("80/udp"), instruction)
    lint.ignored_file(instruction, "ignored/x")
    lint.ignored_file(instruction, "other")
    assert rules(lint) == ["ExposeProtoCasing", "ExposeInvalidFormat", "CopyIgnoredFile"]


# --- in a build ---


async def warned(text: str, options: dict[str, str] | None = None, **more: object) -> list[str]:
    """The warnings of a build."""
    gateway = FakeGateway(text, **more)  # type: ignore[arg-type]
    await solved("", options, gateway=gateway)
    return [warning.short for warning in gateway.warnings]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("FROM busybox\nENV A=$B", "UndefinedVar: Usage of undefined variable '$B' (line 2)"),
        (
            "FROM busybox\nENV NAME=1\nENV A=$NAMES",
            "UndefinedVar: Usage of undefined variable '$NAMES' (did you mean $NAME?) (line 3)",
        ),
        ("ARG AA=busybox\nFROM ${AA}${ZZZ}", "UndefinedArgInFrom: FROM argument 'ZZZ' is not declared (line 2)"),
        (
            "FROM --platform=$TARGETPLATFORM busybox",
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant",
        ),
        (
            "FROM --platform=linux/arm64 busybox",
            'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/arm64"',
        ),
        ("FROM busybox\nARG TOKEN", "SecretsUsedInArgOrEnv"),
        ("FROM busybox\nENV a b", "LegacyKeyValueFormat"),
        ("FROM busybox\nWORKDIR a", "WorkdirRelativePath"),
        ("FROM busybox\nCMD a", "JSONArgsRecommended"),
        ('FROM busybox\nCMD ["a"]\nCMD ["b"]', "MultipleInstructionsDisallowed"),
        ("FROM busybox\nEXPOSE 80/TCP", "ExposeProtoCasing"),
        ("FROM busybox\nEXPOSE 1:2", "ExposeInvalidFormat"),
    ],
)
async def test_a_build_warns(text: str, warning: str) -> None:
    found = await warned(text)
    assert any(one.startswith(warning) for one in found), found


async def test_a_base_that_needs_a_build_argument_is_spoken_of() -> None:
    (warning,) = await warned("ARG A\nFROM busybox:$A", {"build-arg:A": "latest"})
    assert warning.startswith("InvalidDefaultArgInFrom")


async def test_a_file_that_is_not_in_the_context_is_spoken_of() -> None:
    files = {("local://context", ".dockerignore"): b"*.o"}
    assert await warned("FROM busybox\nCOPY a.o /x\nCOPY --from=busybox b.o /x", files=files) == [
        'CopyIgnoredFile: Attempting to Copy file "a.o" that is excluded by .dockerignore (line 2)'
    ]


async def test_a_base_for_another_platform_is_spoken_of() -> None:
    (warning,) = await warned("FROM busybox", {"platform": "linux/arm64"})
    assert warning.startswith("InvalidBaseImagePlatform: Base image busybox was pulled with platform")


async def test_what_is_declared_without_a_value_is_not_undefined() -> None:
    assert await warned("FROM busybox\nARG A\nENV B=$A") == []


async def test_warnings_come_once_for_several_platforms_and_even_if_the_build_fails() -> None:
    gateway = FakeGateway("FROM busybox\nCMD a\nEXPOSE x")
    with pytest.raises(DockerfileError, match="invalid containerPort"):
        await solved("", {"platform": "linux/amd64,linux/riscv64"}, gateway=gateway)
    names = [warning.short.partition(":")[0] for warning in gateway.warnings]
    assert names.count("JSONArgsRecommended") == 1


async def test_warnings_are_errors_where_that_is_wanted() -> None:
    with pytest.raises(DockerfileError, match="lint violation found for rules: JSONArgsRecommended"):
        await solved("# check=error=true\nFROM busybox\nCMD a")
    with pytest.raises(DockerfileError, match="lint violation"):
        await solved("FROM busybox\nCMD a", {"build-arg:BUILDKIT_DOCKERFILE_CHECK": "error=true"})


async def test_the_subrequest_says_what_was_found() -> None:
    result = await solved("FROM busybox\nCMD a\n", {"requestid": "frontend.lint"})
    document = json.loads(result.metadata["result.json"])
    assert [one["ruleName"] for one in document["warnings"]] == ["JSONArgsRecommended"]
    assert document["warnings"][0]["location"]["ranges"][0]["start"] == {"line": 2}
    assert result.metadata["result.statuscode"] == b"1"
    assert result.metadata["result.txt"].decode().splitlines()[1:] == [
        "WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        "Dockerfile:2",
        "--------------------",
        "   1 |     FROM busybox",
        "   2 | >>> CMD a",
        "   3 |     ",
        "--------------------",
    ]


async def test_a_great_many_findings_are_not_all_kept() -> None:
    gateway = FakeGateway("FROM busybox\n" + "ENV A=$B\n" * 1500)
    await solved("", gateway=gateway)
    assert len(gateway.warnings) == 1000


def test_variables_are_looked_for_only_where_that_is_wanted() -> None:
    text = b"FROM a\n# check=skip=UndefinedVar\nWORKDIR /$x\nWORKDIR /$y\n"
    lint = linted(text)
    for instruction in parse(text).stages[0].instructions:
        lint.undefined_variables(instruction, ["x"], {"y": ""})
    lint.undefined_in_from(parse(b"FROM $x\n").stages[0].from_, ["x", "y"], {"y": ""})
    assert rules(lint) == ["UndefinedVar", "UndefinedArgInFrom"]
