"""Checks of Dockerfiles."""

from __future__ import annotations

import pytest

from wherry.build.dockerfile import checks
from wherry.build.dockerfile.check_options import CheckOptions
from wherry.build.dockerfile.checks import Finding
from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.instructions import Instruction, Workdir
from wherry.build.dockerfile.parser import parse
from wherry.build.dockerfile.rules import RULES
from wherry.build.dockerfile.suggestions import nearest
from wherry.build.model.patterns import PatternMatcher
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform


def found(text: str) -> list[tuple[str, int, str]]:
    return [
        (one.rule.name, one.ranges[0].start_line, one.message)
        for one in checks.check(parse(text.encode()))
        if not one.rule.experimental
    ]


def one(text: str) -> Instruction:
    return parse(f"FROM x\n{text}\n".encode()).stages[0].instructions[0]


def said(finding: Finding | None) -> str:
    return f"{finding.rule.name}: {finding.message}" if finding else ""


def test_there_are_22_rules_with_pages() -> None:
    assert len({rule.name for rule in RULES}) == 22
    assert [rule.name for rule in RULES if not rule.url] == ["InvalidBaseImagePlatform"]
    assert [rule.name for rule in RULES if rule.experimental] == ["InvalidDefinitionDescription"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a AS b\nRUN x\n", []),
        ("FROM a AS Bb\n", [("StageNameCasing", 1, "Stage name 'Bb' should be lowercase")]),
        ("FROM a as b\n", [("FromAsCasing", 1, "'as' and 'FROM' keywords' casing do not match")]),
        ("from a AS b\n", [("FromAsCasing", 1, "'AS' and 'from' keywords' casing do not match")]),
        ("FROM a\nRUN x \\\n\n  y\n", [("NoEmptyContinuation", 4, "Empty continuation line")]),
        (
            "FROM a\nMAINTAINER me\n",
            [("MaintainerDeprecated", 2, "Maintainer instruction is deprecated in favor of using label")],
        ),
        (
            "FROM a AS b\nFROM a AS B\n",
            [
                ("StageNameCasing", 2, "Stage name 'B' should be lowercase"),
                ("DuplicateStageName", 2, 'Duplicate stage name "b", stage names should be unique'),
            ],
        ),
        (
            "FROM a AS scratch\n",
            [("ReservedStageName", 1, 'Stage name should not use the same name as reserved stage "scratch"')],
        ),
        (
            "FROM a\nRUN x\nrun y\n",
            [
                (
                    "ConsistentInstructionCasing",
                    3,
                    "Command 'run' should match the case of the command majority (uppercase)",
                )
            ],
        ),
        (
            "from a\nrun x\nRun y\n",
            [
                (
                    "ConsistentInstructionCasing",
                    3,
                    "Command 'Run' should match the case of the command majority (lowercase)",
                )
            ],
        ),
    ],
)
def test_the_text_is_checked(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert found(text) == expected


def test_descriptions_name_what_they_describe() -> None:
    text = b"# A is\nARG A\n# other\nARG B C\n# b is\nFROM a AS b\n# no\nFROM a AS c\n# far\n\nFROM a AS d\n"
    messages = [one.message for one in checks.check(parse(text))]
    assert messages == [
        "Comment for ARG should follow the format: `# <arg_key> <description>`",
        "Comment for FROM should follow the format: `# c <description>`",
    ]


def test_bases_need_a_default() -> None:
    dockerfile = parse(b"ARG TAG\nARG OK=busybox\nFROM busybox:$TAG\nFROM $OK AS x\nFROM $NONE\nFROM a:$P\n")
    findings = checks.invalid_default_bases(dockerfile, {"P": "1"}, Lexer())
    assert [one.message for one in findings] == [
        "Default value for ARG busybox:$TAG results in empty or invalid base image name",
        "Default value for ARG $NONE results in empty or invalid base image name",
    ]


def test_undefined_variables_have_suggestions() -> None:
    run = one("WORKDIR $DIRR/$x")
    assert list(map(said, checks.undefined_variables(run, ["DIRR", "x"], ["DIR", "PATH"]))) == [
        "UndefinedVar: Usage of undefined variable '$DIRR' (did you mean $DIR?)",
        "UndefinedVar: Usage of undefined variable '$x'",
    ]
    assert checks.undefined_variables(run, ["BUILDKIT_SBOM_SCAN_STAGE"], []) == []


def test_undeclared_arguments_of_from_have_suggestions() -> None:
    from_ = parse(b"FROM $VERSIONS").stages[0].from_
    assert list(map(said, checks.undefined_in_from(from_, ["VERSIONS", "B"], ["VERSION", "B"]))) == [
        "UndefinedArgInFrom: FROM argument 'VERSIONS' is not declared (did you mean VERSION?)"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "FROM --platform=$TARGETPLATFORM a",
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant",
        ),
        ("FROM --platform=$BUILDPLATFORM a", ""),
        (
            "FROM --platform=linux/arm64 a",
            'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/arm64"',
        ),
        ("FROM --platform=linux/arm64 a AS x-arm64", ""),
        ("FROM --platform=x/y/z/w a", ""),
    ],
)
def test_platforms_of_from_are_checked(text: str, expected: str) -> None:
    from_ = parse(text.encode()).stages[0].from_
    known = {"TARGETPLATFORM": "linux/amd64", "BUILDPLATFORM": "linux/amd64"}
    platform = Lexer().word(from_.platform, known)
    redundant = checks.redundant_platform(from_, platform, known["TARGETPLATFORM"])
    assert said(redundant or checks.const_platform(from_, platform)).removesuffix(
        " as this is the default behavior"
    ) == (expected)


def test_a_base_is_for_the_platform() -> None:
    from_ = parse(b"FROM a").stages[0].from_
    arm, amd = Platform("linux", "arm64", "v8"), Platform("linux", "amd64")
    assert said(checks.base_platform(from_, "a", amd, arm)) == (
        "InvalidBaseImagePlatform: "
        'Base image a was pulled with platform "linux/arm64", expected "linux/amd64" for current build'
    )
    assert checks.base_platform(from_, "a", amd, Platform("linux", "amd64", "v2")) is None


@pytest.mark.parametrize(
    ("ignored", "path", "expected"),
    [
        (["a"], "a/b", True),
        (["a"], "./a/", True),
        (["a", "!a/b"], "a/b", False),
        (["a"], "b", False),
        (["*"], ".", True),
        (["a*"], ".", False),
        ([".*"], ".", False),
    ],
)
def test_files_that_are_ignored_cannot_be_copied(ignored: list[str], path: str, expected: bool) -> None:
    finding = checks.ignored_file(one("COPY a b"), path, PatternMatcher(ignored))
    assert (finding is not None) == expected


def test_an_ignored_file_is_named() -> None:
    finding = checks.ignored_file(one("ADD a b"), "./a", PatternMatcher(["a"]))
    assert said(finding) == 'CopyIgnoredFile: Attempting to Add file "a" that is excluded by .dockerignore'


@pytest.mark.parametrize("name", ["API_KEY", "github_token", "AUTH", "DB_PASSWORD", "secret_x", "credentials"])
def test_names_of_secrets_are_found(name: str) -> None:
    assert said(checks.secret_name(one(f"ENV {name}=x"), name)) == (
        f'SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "{name}")'
    )


@pytest.mark.parametrize("name", ["AUTHOR", "PUBLIC_KEY", "PASSWORD_FILE", "TOKEN_VERSION", "KEYS", "MONKEY"])
def test_other_names_are_no_secrets(name: str) -> None:
    assert checks.secret_name(one(f"ARG {name}"), name) is None


def test_the_rest() -> None:
    assert said(checks.legacy_pair(one("ENV a b"))) == (
        'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format'
    )
    workdir = one("WORKDIR a")
    assert isinstance(workdir, Workdir)
    assert said(checks.relative_workdir(workdir)) == (
        'WorkdirRelativePath: Relative workdir "a" can have unexpected results if the base image changes'
    )
    assert said(checks.shell_form(one("cmd a"))) == (
        "JSONArgsRecommended: JSON arguments recommended for cmd to prevent unintended behavior related to OS signals"
    )
    first, second = parse(b"FROM x\nCMD a\nCMD b").stages[0].instructions
    again = checks.given_again(second, first)
    assert again.ranges[0].start_line == 2
    assert said(again).startswith("MultipleInstructionsDisallowed: Multiple CMD instructions should not be used")
    assert said(checks.expose_protocol(first, "80/TCP")).startswith("ExposeProtoCasing: Defined protocol '80/TCP'")
    assert said(checks.expose_format(first, "80:80")).endswith("found '80:80'")


# --- options --------------------------------------------------------------------------------------


def wanted(options: CheckOptions) -> set[str]:
    return {rule.name for rule in RULES if options.wants(rule)}


ALL = {rule.name for rule in RULES}
USUAL = ALL - {"InvalidDefinitionDescription"}


@pytest.mark.parametrize(
    ("text", "names", "error"),
    [
        ("", USUAL, False),
        ("skip=UndefinedVar, FromAsCasing", USUAL - {"UndefinedVar", "FromAsCasing"}, False),
        ("skip=all;error=true", set(), True),
        ("experimental=all", ALL, False),
        (" error = true ; experimental = InvalidDefinitionDescription", ALL, True),
        ("skip=all;experimental=all", {"InvalidDefinitionDescription"}, False),
    ],
)
def test_options_say_what_is_checked(text: str, names: set[str], error: bool) -> None:
    options = CheckOptions.parse(text)
    assert wanted(options) == names
    assert options.error == error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'invalid check option "skip"'),
        ("skp=x", 'invalid check option "skp"'),
        ("error=x", 'failed to parse check option "error=x"'),
    ],
)
def test_wrong_options_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        CheckOptions.parse(text)
    assert caught.value.message.startswith(message)


def test_a_comment_may_switch_a_rule_off_for_one_instruction() -> None:
    options = CheckOptions.parse("skip=UndefinedVar")
    assert wanted(options.with_comments(["about", "check = skip=FromAsCasing because"])) == (
        USUAL - {"UndefinedVar", "FromAsCasing"}
    )
    assert options.with_comments(["check=nonsense", "checked"]) == options


# --- suggestions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("FORM", ["FROM", "RUN"], "FROM"),
        ("form", ["FROM"], "from"),
        ("From", ["FROM"], ""),
        ("xyz", ["FROM"], ""),
        ("copyy", ["COPY", "CMD"], "copy"),
        ("a", ["abc", "ab"], "ab"),
        ("", ["ab"], "ab"),
        ("abcdef", ["abxdyf", "abcdxx"], "abxdyf"),
    ],
)
def test_the_nearest_word_is_suggested(word: str, known: list[str], expected: str) -> None:
    assert nearest(word, known, case_sensitive=False) == expected
