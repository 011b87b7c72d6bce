"""A Dockerfile's text becomes typed instructions; the rules and the words of errors are BuildKit's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from wherry.build.dockerfile.characters import quoted, split_spaces, strip
from wherry.build.dockerfile.devices import parse_device
from wherry.build.dockerfile.flags import Flags, Kind, WordError, parse_flags
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
    From,
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
    Stage,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from wherry.build.dockerfile.lines import LogicalLine, Source, heredoc_of, without_tabs
from wherry.build.dockerfile.mounts import check_mount
from wherry.build.dockerfile.suggestions import did_you_mean
from wherry.build.dockerfile.words import json_words, name_values, split, split_words, white_words
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.docker.units import parse_duration
from wherry.errors import InvalidInput

__all__ = ["INSTRUCTIONS_LIMIT", "KEYWORDS", "parse", "parse_trigger"]

INSTRUCTIONS_LIMIT: Final = 100_000
"""Of a Dockerfile."""
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9\-_.]*")
_ONBUILD: Final = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)
_MILLISECOND: Final = 1_000_000
_NETWORKS: Final = ("default", "none", "host")
_SECURITY: Final = ("sandbox", "insecure")

_T = TypeVar("_T")


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


class _Malformed(InvalidInput):
    """The line itself is wrong: BuildKit says so without a line's number."""


class _Written:
    """A line on its way to an instruction."""

    def __init__(self, source: Source, line: LogicalLine) -> None:
        self.line = line
        self.escape = source.escape
        self.command = split(line.text, source.escape)
        self.rest = self.command.rest
        self.name = self.command.keyword.upper()
        self.comments = line.comments
        self.origin: dict[str, Any] = {
            "keyword": self.command.keyword,
            "original": strip(line.text),
            "ranges": (source.range(line.start, line.end),),
            "comments": line.comments,
        }

    def flags(self, **known: Kind) -> Flags:
        return parse_flags(
            self.command.flags, {name.strip("_").replace("_", "-"): kind for name, kind in known.items()}
        )

    def json(self, rest: str) -> list[str] | None:
        """The exec form's words."""
        try:
            return json_words(rest)
        except InvalidInput as exc:
            raise _Malformed(exc.message) from exc

    def command_line(self) -> CommandLine:
        words = self.json(self.rest)
        if words is not None:
            return CommandLine(tuple(words), False)
        return CommandLine((self.rest,) if self.rest else (), True)

    def list_words(self) -> list[str]:
        """Words in JSON, or with white space between them."""
        words = self.json(self.rest)
        return white_words(self.rest) if words is None else words

    def pairs(self) -> tuple[Pair, ...]:
        try:
            pairs = name_values(self.rest, self.name, self.escape)
        except InvalidInput as exc:
            raise _Malformed(exc.message) from exc
        self.flags()
        self.at_least_one(pairs)
        if not all(pair.name for pair in pairs):
            raise self.blank_names()
        return tuple(pairs)

    def blank_names(self) -> InvalidInput:
        return InvalidInput(f"{self.name} names can not be blank")

    def at_least_one(self, words: Sequence[object]) -> None:
        if not words:
            raise InvalidInput(f"{self.name} requires at least one argument")

    def only_one(self) -> str:
        if not self.rest:
            raise InvalidInput(f"{self.name} requires exactly one argument")
        return self.rest


def _instruction(source: Source, line: LogicalLine) -> Instruction:
    """Parse an instruction.

    :raises DockerfileError: it is none.
    """
    written = _Written(source, line)
    where = source.range(line.start, line.end)
    try:
        return _PARSERS.get(written.name, _unknown)(written)
    except _Malformed as exc:
        message = exc.message
    except WordError as exc:
        where = source.find(exc.word, line.start, line.end)
        message = f"dockerfile parse error on line {line.start}: {exc.message}"
    except InvalidInput as exc:
        message = f"dockerfile parse error on line {line.start}: {exc.message}"
    raise DockerfileError(message, file=source.file, source=source.data, ranges=(where,))


def _unknown(written: _Written) -> Instruction:
    keyword = written.command.keyword
    message = did_you_mean(f"unknown instruction: {keyword}", keyword, KEYWORDS, case_sensitive=False)
    raise WordError(message, keyword)


def _description(comments: Sequence[str], name: str) -> str:
    """What a comment above says of a name: ``# name is for this``."""
    if not name:
        return ""
    return next((line[len(name) + 1 :] for line in comments if line.startswith(name + " ")), "")


# --- stages and arguments ---


def _from(written: _Written) -> From:
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
        description=_description(written.comments, alias),
        **written.origin,
    )


def _arg(written: _Written) -> Arg:
    words = split_words(written.rest, written.escape)
    written.at_least_one(words)
    pairs = []
    for word in words:
        name, equals, default = word.partition("=")
        if not name:
            raise written.blank_names()
        pairs.append(ArgPair(name, default if equals else None, _description(written.comments, name)))
    return Arg(pairs=tuple(pairs), **written.origin)


# --- commands ---


def _run(written: _Written) -> Run:
    flags = written.flags(mount=Kind.TEXTS, network=Kind.TEXT, security=Kind.TEXT, device=Kind.TEXTS)
    command = written.command_line()
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in _NETWORKS:
        raise WordError(f"invalid network mode {quoted(network)}", f"--network={network}")
    if security not in _SECURITY:
        raise WordError(f"security {quoted(security)} is not valid", f"--security={security}")
    _each(flags, "mount", check_mount)
    return Run(
        command=command,
        heredocs=written.line.heredocs,
        mounts=flags.texts("mount"),
        network=network,
        security=security,
        devices=tuple(_each(flags, "device", parse_device)),
        network_given="network" in flags,
        **written.origin,
    )


def _each(flags: Flags, name: str, parse_one: Callable[[str], _T]) -> list[_T]:
    """Parse the values of a flag."""
    found = []
    for value in flags.texts(name):
        try:
            found.append(parse_one(value))
        except InvalidInput as exc:
            raise WordError(exc.message, f"--{name}={value}") from exc
    return found


def _cmd(written: _Written) -> Cmd:
    written.flags()
    return Cmd(command=written.command_line(), **written.origin)


def _entrypoint(written: _Written) -> Entrypoint:
    written.flags()
    return Entrypoint(command=written.command_line(), **written.origin)


def _shell(written: _Written) -> Shell:
    words = written.json(written.rest)
    written.flags()
    if not (written.rest if words is None else words):
        written.at_least_one(())
    if words is None:
        raise InvalidInput("SHELL requires the arguments to be in JSON form")
    return Shell(args=tuple(words), **written.origin)


def _onbuild(written: _Written) -> Onbuild:
    written.at_least_one(written.rest)
    written.flags()
    keyword = split(written.rest, written.escape).keyword.upper()
    if keyword == "ONBUILD":
        raise InvalidInput("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("MAINTAINER", "FROM"):
        raise InvalidInput(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = _ONBUILD.sub("", written.line.text, count=1)
    for heredoc in written.line.heredocs:
        trigger += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(trigger=trigger, **written.origin)


def _healthcheck(written: _Written) -> Healthcheck:
    written.at_least_one(written.rest)
    kind, *others = split_spaces(written.rest, 1)
    kind, rest = kind.upper(), others[0] if others else ""
    words = written.json(rest)
    if kind == "NONE":
        if rest:
            raise InvalidInput("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(test=("NONE",), **written.origin)
    flags = written.flags(
        interval=Kind.TEXT, timeout=Kind.TEXT, start_period=Kind.TEXT, start_interval=Kind.TEXT, retries=Kind.TEXT
    )
    if kind != "CMD":
        raise InvalidInput(f"Unknown type {quoted(kind)} in HEALTHCHECK (try CMD)")
    if not (rest if words is None else words):
        raise InvalidInput("Missing command after HEALTHCHECK CMD")
    return Healthcheck(
        test=("CMD-SHELL", rest) if words is None else ("CMD", *words),
        interval=_duration(flags, "interval"),
        timeout=_duration(flags, "timeout"),
        start_period=_duration(flags, "start-period"),
        start_interval=_duration(flags, "start-interval"),
        retries=_retries(flags.text("retries")),
        **written.origin,
    )


def _duration(flags: Flags, name: str) -> int:
    value = flags.text(name)
    if not value:
        return 0
    try:
        duration = parse_duration(value)
    except ValueError as exc:
        raise WordError(str(exc), f"--{name}={value}") from exc
    if duration and duration < _MILLISECOND:
        raise WordError(f'Interval "{name}" cannot be less than 1ms', f"--{name}={value}")
    return duration


def _retries(value: str) -> int:
    if not value:
        return 0
    digits = value.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(value) - len(digits) <= 1):
        raise WordError(f"strconv.ParseInt: parsing {quoted(value)}: invalid syntax", f"--retries={value}")
    if len(digits) > 10 or not -(1 << 31) <= int(value) < 1 << 31:
        raise WordError(f"strconv.ParseInt: parsing {quoted(value)}: value out of range", f"--retries={value}")
    if int(value) < 0:
        raise WordError(f"--retries cannot be negative ({int(value)})", f"--retries={value}")
    return int(value)


# --- files ---


def _copy(written: _Written) -> Copy:
    words = _paths(written)
    flags = written.flags(
        chown=Kind.TEXT, from_=Kind.TEXT, chmod=Kind.TEXT, link=Kind.BOOL, exclude=Kind.TEXTS, parents=Kind.BOOL
    )
    sources, files = _sources(written, words)
    return Copy(
        sources=sources,
        destination=words[-1],
        files=files,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.true("link"),
        exclude=flags.texts("exclude"),
        from_=flags.text("from"),
        parents=flags.true("parents"),
        **written.origin,
    )


def _add(written: _Written) -> Add:
    words = _paths(written)
    flags = written.flags(
        chown=Kind.TEXT,
        chmod=Kind.TEXT,
        link=Kind.BOOL,
        keep_git_dir=Kind.BOOL,
        checksum=Kind.TEXT,
        unpack=Kind.BOOL,
        exclude=Kind.TEXTS,
    )
    sources, files = _sources(written, words)
    return Add(
        sources=sources,
        destination=words[-1],
        files=files,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.true("link"),
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.maybe("keep-git-dir"),
        unpack=flags.maybe("unpack"),
        **written.origin,
    )


def _paths(written: _Written) -> list[str]:
    words = written.list_words()
    if len(words) < 2:
        raise InvalidInput(
            f"{written.name} requires at least two arguments, but only one was provided."
            " Destination could not be determined"
        )
    return words


def _sources(written: _Written, words: list[str]) -> tuple[tuple[str, ...], tuple[InlineFile, ...]]:
    """The sources that are paths, and those that are heredocs."""
    if _heredoc(words[-1]):
        raise InvalidInput(f"{written.name} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc.content for heredoc in written.line.heredocs}
    paths, files = [], []
    for word in words[:-1]:
        if heredoc := _heredoc(word):
            content = contents.get(heredoc.name, "")
            files.append(InlineFile(heredoc.name, without_tabs(content) if heredoc.chomp else content, heredoc.expand))
        else:
            paths.append(word)
    return tuple(paths), tuple(files)


def _heredoc(word: str) -> Heredoc | None:
    try:
        return heredoc_of(word)
    except InvalidInput:
        return None


# --- the image's configuration ---


def _env(written: _Written) -> Env:
    return Env(pairs=written.pairs(), **written.origin)


def _label(written: _Written) -> Label:
    return Label(pairs=written.pairs(), **written.origin)


def _expose(written: _Written) -> Expose:
    words = white_words(written.rest)
    written.at_least_one(words)
    written.flags()
    return Expose(ports=tuple(sorted(words)), **written.origin)


def _volume(written: _Written) -> Volume:
    words = written.list_words()
    written.at_least_one(words)
    written.flags()
    paths = tuple(map(strip, words))
    if not all(paths):
        raise InvalidInput("VOLUME specified can not be an empty string")
    return Volume(paths=paths, **written.origin)


def _user(written: _Written) -> User:
    user = written.only_one()
    written.flags()
    return User(user=user, **written.origin)


def _workdir(written: _Written) -> Workdir:
    path = written.only_one()
    written.flags()
    return Workdir(path=path, **written.origin)


def _stopsignal(written: _Written) -> Stopsignal:
    return Stopsignal(signal=written.only_one(), **written.origin)


def _maintainer(written: _Written) -> Maintainer:
    author = written.only_one()
    written.flags()
    return Maintainer(author=author, **written.origin)


_PARSERS: Final[dict[str, Callable[[_Written], Instruction]]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
KEYWORDS: Final = tuple(_PARSERS)
"""Of all instructions."""
