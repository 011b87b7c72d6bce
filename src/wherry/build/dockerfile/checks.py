"""Checks of a Dockerfile: `check` makes those that its text decides; the others are asked by whoever builds.

Each function gives what it found, or None. Whether a rule is wanted at all is said by `CheckOptions.wants`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile import rules
from wherry.build.dockerfile.expansion import Expansion, Lexer
from wherry.build.dockerfile.instructions import Add, Arg, Dockerfile, From, Instruction, Maintainer, Workdir
from wherry.build.dockerfile.rules import Rule
from wherry.build.dockerfile.suggestions import nearest
from wherry.build.model.graph import SourceRange
from wherry.build.model.patterns import PatternMatcher
from wherry.docker.quoting import quoted
from wherry.docker.reference import Reference
from wherry.errors import InvalidInput, TooLarge
from wherry.oci.platform import Platform

__all__ = [
    "Finding", "base_platform", "check", "const_platform", "expose_format", "expose_protocol", "given_again",
    "ignored_file", "invalid_default_bases", "legacy_pair", "redundant_platform", "relative_workdir", "secret_name",
    "shell_form", "undefined_in_from", "undefined_variables",
]  # fmt: skip

_NAMES_LIMIT: Final = 50  #: names of one instruction that are spoken of
_KNOWN_LIMIT: Final = 1000  #: names among which a similar one is looked for
_LONGEST_REFERENCE: Final = 1000
_RESERVED: Final = ("context", "scratch")
_NO_VARIABLES: Final = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
_ROOT_PATTERNS: Final = ("*", "**", "**/*")
_SECRETS: Final = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRETS: Final = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


class Finding(Struct, frozen=True):
    """What a check found.

    :param comments: those above the instruction, which may say that the rule does not count.
    """

    rule: Rule
    message: str
    ranges: tuple[SourceRange, ...]
    comments: tuple[str, ...] = ()


def _found(rule: Rule, message: str, instruction: Instruction) -> Finding:
    return Finding(rule, message, instruction.ranges, instruction.comments)


# --- decided by the text --------------------------------------------------------------------------


def check(dockerfile: Dockerfile) -> list[Finding]:
    """The checks that the text alone decides, in the order in which it is written."""
    findings = [
        Finding(rules.NO_EMPTY_CONTINUATION, "Empty continuation line", (one.range,))
        for one in dockerfile.empty_continuations
    ]
    for instruction in dockerfile.instructions:
        findings += _of_instruction(instruction)
    return [*findings, *_stage_names(dockerfile), *_casing(dockerfile)]


def _of_instruction(instruction: Instruction) -> Iterator[Finding]:
    if isinstance(instruction, Maintainer):
        message = "Maintainer instruction is deprecated in favor of using label"
        yield _found(rules.MAINTAINER_DEPRECATED, message, instruction)
    elif isinstance(instruction, From):
        if instruction.alias_written != instruction.alias:
            message = f"Stage name '{instruction.alias_written}' should be lowercase"
            yield _found(rules.STAGE_NAME_CASING, message, instruction)
        if instruction.alias and not _same_case(instruction.keyword, instruction.as_keyword):
            message = f"'{instruction.as_keyword}' and '{instruction.keyword}' keywords' casing do not match"
            yield _found(rules.FROM_AS_CASING, message, instruction)
        if instruction.alias:
            yield from _description("FROM", [instruction.alias], instruction)
    elif isinstance(instruction, Arg):
        yield from _description("ARG", [pair.name for pair in instruction.pairs], instruction)


def _same_case(keyword: str, other: str) -> bool:
    """Whether two keywords are both in capitals, or both not; one that is mixed is another rule's matter."""
    if keyword.islower():
        return other.islower()
    return other.isupper() or not keyword.isupper()


def _description(keyword: str, names: Sequence[str], instruction: Instruction) -> Iterator[Finding]:
    if not instruction.comments or instruction.comments[-1].partition(" ")[0] in names:
        return
    name = names[0] if len(names) == 1 else "<arg_key>"
    message = f"Comment for {keyword} should follow the format: `# {name} <description>`"
    yield _found(rules.INVALID_DEFINITION_DESCRIPTION, message, instruction)


def _stage_names(dockerfile: Dockerfile) -> Iterator[Finding]:
    seen = set()
    for stage in dockerfile.stages:
        name = stage.from_.alias
        if name in _RESERVED:
            message = f"Stage name should not use the same name as reserved stage {quoted(name)}"
            yield _found(rules.RESERVED_STAGE_NAME, message, stage.from_)
        if name in seen:
            message = f"Duplicate stage name {quoted(name)}, stage names should be unique"
            yield _found(rules.DUPLICATE_STAGE_NAME, message, stage.from_)
        if name:
            seen.add(name)


def _casing(dockerfile: Dockerfile) -> Iterator[Finding]:
    """Keywords that are not written like most others; the ARGs before the first FROM are not looked at."""
    instructions = dockerfile.instructions[len(dockerfile.args) :]
    lower = sum(one.keyword.islower() for one in instructions)
    upper = sum(one.keyword.isupper() for one in instructions)
    wanted = "lowercase" if lower > upper else "uppercase"
    for one in instructions:
        if not (one.keyword.islower() if lower > upper else one.keyword.isupper()):
            message = f"Command '{one.keyword}' should match the case of the command majority ({wanted})"
            yield _found(rules.CONSISTENT_INSTRUCTION_CASING, message, one)


def invalid_default_bases(dockerfile: Dockerfile, predefined: Mapping[str, str], lexer: Lexer) -> list[Finding]:
    """Stages that have no base when no build argument is given.

    :param predefined: arguments that are always there.
    """
    try:
        arguments = _default_arguments(dockerfile, predefined, lexer)
        bases = [lexer.word(stage.from_.image, arguments).text for stage in dockerfile.stages]
    except (InvalidInput, TooLarge):  # the build will say so
        return []
    return [
        _found(
            rules.INVALID_DEFAULT_ARG_IN_FROM,
            f"Default value for ARG {stage.from_.image} results in empty or invalid base image name",
            stage.from_,
        )
        for stage, base in zip(dockerfile.stages, bases, strict=True)
        if not _is_reference(base)
    ]


def _default_arguments(dockerfile: Dockerfile, predefined: Mapping[str, str], lexer: Lexer) -> dict[str, str]:
    arguments = dict(predefined)
    for instruction in dockerfile.args:
        for pair in instruction.pairs:
            if pair.default is not None:
                arguments[pair.name] = lexer.word(pair.default, arguments).text
    return arguments


def _is_reference(text: str) -> bool:
    if len(text) > _LONGEST_REFERENCE:
        return False
    try:
        Reference.parse(text)
    except InvalidInput:
        return False
    return True


# --- decided by the build -------------------------------------------------------------------------


def undefined_variables(instruction: Instruction, names: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """Variables that an instruction uses and that are not set.

    :param known: names of those that are.
    """
    return [
        _found(
            rules.UNDEFINED_VAR, f"Usage of undefined variable '${name}'{_suggestion(name, known, '$')}", instruction
        )
        for name in names
        if name not in _NO_VARIABLES
    ]


def undefined_in_from(from_: From, names: Iterable[str], known: Iterable[str]) -> list[Finding]:
    """Arguments that FROM uses and that are not declared.

    :param known: names of those that are, with a value or not, and of predefined ones.
    """
    known = frozenset(known)
    wrong = islice((name for name in names if name not in known), _NAMES_LIMIT)
    messages = (f"FROM argument '{name}' is not declared{_suggestion(name, known)}" for name in wrong)
    return [_found(rules.UNDEFINED_ARG_IN_FROM, message, from_) for message in messages]


def _suggestion(name: str, known: Iterable[str], before: str = "") -> str:
    found = nearest(name, sorted(islice(known, _KNOWN_LIMIT)))
    return f" (did you mean {before}{found}?)" if found else ""


def redundant_platform(from_: From, platform: Expansion, target: str) -> Finding | None:
    """FROM's platform is that of the target anyway.

    :param target: the value of TARGETPLATFORM.
    """
    if platform.matched != ("TARGETPLATFORM",) or platform.unmatched or platform.text != target:
        return None
    message = f"Setting platform to predefined {from_.platform} in FROM is redundant as this is the default behavior"
    return _found(rules.REDUNDANT_TARGET_PLATFORM, message, from_)


def const_platform(from_: From, platform: Expansion) -> Finding | None:
    """FROM's platform is a constant, and the stage's name does not speak of it."""
    if platform.matched or platform.unmatched:
        return None
    try:
        parsed = Platform.parse(platform.text)
    except InvalidInput:
        return None
    if parsed.os in from_.alias or parsed.architecture in from_.alias:
        return None
    message = f"FROM --platform flag should not use constant value {quoted(platform.text)}"
    return _found(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, from_)


def base_platform(instruction: Instruction, image: str, expected: Platform, actual: Platform) -> Finding | None:
    """An image is not for the platform that is built for."""
    if (expected.os, expected.architecture) == (actual.os, actual.architecture):
        return None
    shown, wanted = (quoted(str(one.normalised())) for one in (actual, expected))
    message = f"Base image {image} was pulled with platform {shown}, expected {wanted} for current build"
    return _found(rules.INVALID_BASE_IMAGE_PLATFORM, message, instruction)


def ignored_file(instruction: Instruction, path: str, ignored: PatternMatcher) -> Finding | None:
    """What COPY or ADD copies is not in the context, as .dockerignore says.

    Where something is taken back (``!``), that cannot be known from the path alone.
    """
    if ignored.has_inverting:
        return None
    path = posixpath.normpath(path)
    if path in (".", "/") and not any(pattern.text in _ROOT_PATTERNS for pattern in ignored.patterns):
        return None
    if not ignored.matches(path):
        return None
    verb = "Add" if isinstance(instruction, Add) else "Copy"
    message = f"Attempting to {verb} file {quoted(path)} that is excluded by .dockerignore"
    return _found(rules.COPY_IGNORED_FILE, message, instruction)


def legacy_pair(instruction: Instruction) -> Finding:
    """ENV or LABEL without ``=``."""
    name = instruction.keyword
    message = f'"{name} key=value" should be used instead of legacy "{name} key value" format'
    return _found(rules.LEGACY_KEY_VALUE_FORMAT, message, instruction)


def secret_name(instruction: Instruction, name: str) -> Finding | None:
    """A variable of ARG or ENV is named like a secret."""
    if not _SECRETS.search(name) or _NO_SECRETS.search(name):
        return None
    keyword = "ARG" if isinstance(instruction, Arg) else "ENV"
    message = f"Do not use ARG or ENV instructions for sensitive data ({keyword} {quoted(name)})"
    return _found(rules.SECRETS_USED_IN_ARG_OR_ENV, message, instruction)


def relative_workdir(instruction: Workdir) -> Finding | None:
    """A stage's first WORKDIR, expanded, is relative."""
    if instruction.path.startswith("/"):
        return None
    message = f"Relative workdir {quoted(instruction.path)} can have unexpected results if the base image changes"
    return _found(rules.WORKDIR_RELATIVE_PATH, message, instruction)


def shell_form(instruction: Instruction) -> Finding:
    """CMD or ENTRYPOINT is run by a shell that nobody chose."""
    message = (
        f"JSON arguments recommended for {instruction.keyword} to prevent unintended behavior related to OS signals"
    )
    return _found(rules.JSON_ARGS_RECOMMENDED, message, instruction)


def given_again(instruction: Instruction, before: Instruction) -> Finding:
    """CMD, ENTRYPOINT or HEALTHCHECK is given twice in a stage: the one before, which is what is said, is not used."""
    message = (
        f"Multiple {instruction.keyword} instructions should not be used in the same stage"
        " because only the last one will be used"
    )
    return _found(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, message, before)


def expose_protocol(instruction: Instruction, port: str) -> Finding:
    """A port's protocol is in capitals."""
    message = f"Defined protocol '{port}' in EXPOSE instruction should be lowercase"
    return _found(rules.EXPOSE_PROTO_CASING, message, instruction)


def expose_format(instruction: Instruction, port: str) -> Finding:
    """A port is given with an address or a port of the host's."""
    message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
    return _found(rules.EXPOSE_INVALID_FORMAT, message, instruction)
