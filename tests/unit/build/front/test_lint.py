"""What checks find becomes warnings, or an error."""

from __future__ import annotations

import pytest

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
