"""A Dockerfile's text becomes typed instructions; the rules and the words of errors are BuildKit's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from wherry.build.dockerfile.commands import (
    parse_cmd,
    parse_entrypoint,
    parse_healthcheck,
    parse_onbuild,
    parse_run,
    parse_shell,
)
from wherry.build.dockerfile.copies import parse_add, parse_copy
from wherry.build.dockerfile.flags import Kind, WordError
from wherry.build.dockerfile.instructions import Arg, ArgPair, Dockerfile, From, Instruction, Onbuild, Stage
from wherry.build.dockerfile.lines import LogicalLine, Source
from wherry.build.dockerfile.settings import (
    parse_env,
    parse_expose,
    parse_label,
    parse_maintainer,
    parse_stopsignal,
    parse_user,
    parse_volume,
    parse_workdir,
)
from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.build.dockerfile.words import split_words, white_words
from wherry.build.dockerfile.written import Malformed, Written, description
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = ["INSTRUCTIONS_LIMIT", "KEYWORDS", "parse", "parse_trigger"]

INSTRUCTIONS_LIMIT: Final = 100_000
"""Of a Dockerfile."""
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9\-_.]*")


def parse(data: bytes, file: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile.

    :param file: its name, for errors.
    :raises DockerfileError: it is none.
    """
    if not data:
        raise DockerfileError("the Dockerfile cannot be empty", file=file)
    source = Source(data, file)
    args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for number, line in enumerate(source.logical_lines()):
        if number == INSTRUCTIONS_LIMIT:
            raise source.error(f"the Dockerfile has more than {INSTRUCTIONS_LIMIT} instructions", line.start)
        instruction = _instruction(source, line)
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
        else:
            raise source.error("no build stage in current context", line.start, line.end)
    if not args and not stages:
        raise source.error("file with no instructions", max(source.line, 1))
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build", file=file, source=data)
    return Dockerfile(
        source=data,
        file=file,
        directives=tuple(source.directives),
        escape=source.escape,
        args=tuple(args),
        stages=tuple(Stage(from_, tuple(instructions)) for from_, instructions in stages),
        empty_continuations=tuple(source.empty_continuations),
    )


def parse_trigger(text: str, ranges: tuple[SourceRange, ...] = ()) -> Instruction:
    """Parse the text of an ONBUILD, which may come from a base image.

    :param ranges: where to say that it was written: of the FROM.
    :raises DockerfileError: it is no instruction.
    """
    source = Source(text.encode(errors="replace"), "ONBUILD")
    try:
        found = [_instruction(source, line) for line in source.logical_lines()]
    except DockerfileError as exc:
        raise DockerfileError(exc.message, ranges=ranges) from exc
    if len(found) != 1:
        raise DockerfileError("onbuild trigger should be a single expression", ranges=ranges)
    (instruction,) = found
    if isinstance(instruction, From | Onbuild):
        raise DockerfileError(f"{instruction.keyword.upper()} isn't allowed as an ONBUILD trigger", ranges=ranges)
    return replace(instruction, ranges=ranges) if ranges else instruction


# --- one instruction ------------------------------------------------------------------------------


def _instruction(source: Source, line: LogicalLine) -> Instruction:
    """Parse an instruction.

    :raises DockerfileError: it is none.
    """
    written = Written(source, line)
    where = source.range(line.start, line.end)
    try:
        return _PARSERS.get(written.name, _unknown)(written)
    except Malformed as exc:
        message = exc.message
    except WordError as exc:
        where = source.find(exc.word, line.start, line.end)
        message = f"dockerfile parse error on line {line.start}: {exc.message}"
    except InvalidInput as exc:
        message = f"dockerfile parse error on line {line.start}: {exc.message}"
    raise DockerfileError(message, file=source.file, source=source.data, ranges=(where,))


def _unknown(written: Written) -> Instruction:
    keyword = written.command.keyword
    message = did_you_mean(f"unknown instruction: {keyword}", keyword, KEYWORDS, case_sensitive=False)
    raise WordError(message, keyword)


# --- stages and arguments ---


def _from(written: Written) -> From:
    words = white_words(written.rest)
    alias = ""
    if len(words) == 3 and words[1].lower() == "as":
        alias = words[2].lower()
        if not _STAGE_NAME.fullmatch(alias):
            shown = quoted(words[2])
            raise InvalidInput(
                f"invalid name for build stage: {shown}, name can't start with a number or contain symbols"
            )
    elif len(words) != 1:
        raise InvalidInput("FROM requires either one or three arguments")
    flags = written.flags(platform=Kind.TEXT)
    return From(
        image=words[0],
        alias=alias,
        platform=flags.text("platform"),
        alias_written=words[2] if alias else "",
        as_keyword=words[1] if alias else "",
        description=description(written.comments, alias),
        **written.origin,
    )


def _arg(written: Written) -> Arg:
    words = split_words(written.rest, written.escape)
    written.at_least_one(words)
    pairs = []
    for word in words:
        name, equals, default = word.partition("=")
        if not name:
            raise written.blank_names()
        pairs.append(ArgPair(name, default if equals else None, description(written.comments, name)))
    return Arg(pairs=tuple(pairs), **written.origin)


_PARSERS: Final[dict[str, Callable[[Written], Instruction]]] = {
    "ADD": parse_add,
    "ARG": _arg,
    "CMD": parse_cmd,
    "COPY": parse_copy,
    "ENTRYPOINT": parse_entrypoint,
    "ENV": parse_env,
    "EXPOSE": parse_expose,
    "FROM": _from,
    "HEALTHCHECK": parse_healthcheck,
    "LABEL": parse_label,
    "MAINTAINER": parse_maintainer,
    "ONBUILD": parse_onbuild,
    "RUN": parse_run,
    "SHELL": parse_shell,
    "STOPSIGNAL": parse_stopsignal,
    "USER": parse_user,
    "VOLUME": parse_volume,
    "WORKDIR": parse_workdir,
}
KEYWORDS: Final = tuple(_PARSERS)
"""Of all instructions."""
