"""The parsed Dockerfile: typed instructions that know where they were written; `wherry.build.dockerfile.parser` parses.

Words that may name variables are kept as they were written. Once the variables are known, `expanded` gives the same
instruction with its words expanded; `wherry.build.dockerfile.mounts.run_mounts` does so for RUN's mounts, whose options
have a meaning only then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from wherry.build.model.graph import SourceRange

__all__ = [
    "Add", "Arg", "ArgPair", "Cmd", "CommandLine", "Copy", "Device", "Directive", "Dockerfile", "EmptyContinuation",
    "Entrypoint", "Env", "Expand", "Expose", "From", "Healthcheck", "Heredoc", "InlineFile", "Instruction", "Label",
    "Maintainer", "Onbuild", "Pair", "Run", "Shell", "Stage", "Stopsignal", "User", "Volume", "Workdir", "expanded",
]  # fmt: skip

Expand = Callable[[str], str]
"""Expands the variables of a word; raises `InvalidInput`."""


# --- parts ----------------------------------------------------------------------------------------


class Directive(Struct, frozen=True):
    """A parser directive: ``# syntax=docker/dockerfile:1``. The name is ``syntax``, ``escape`` or ``check``."""

    name: str
    value: str
    range: SourceRange


class Heredoc(Struct, frozen=True):
    """A heredoc of RUN.

    :param content: as it was written, with the tabs that `chomp` removes.
    :param expand: whether the word behind ``<<`` is not quoted.
    :param chomp: ``<<-``: leading tabs go.
    :param descriptor: the number before ``<<``, 0 if there is none.
    """

    name: str
    content: str
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0


class InlineFile(Struct, frozen=True):
    """A heredoc of COPY or ADD: a file that is written in the Dockerfile.

    :param path: its name.
    :param data: its content, tabs removed where ``<<-`` says so.
    :param expand: whether variables in it are expanded (with the lexer's quotes left alone: see `expanded`).
    """

    path: str
    data: str
    expand: bool = True


class CommandLine(Struct, frozen=True):
    """A command of RUN, CMD or ENTRYPOINT.

    :param args: those of the exec form, or one text for the shell; may be empty.
    :param shell: whether it was not the exec form (JSON): the shell has to be put before it.
    """

    args: tuple[str, ...]
    shell: bool


class Pair(Struct, frozen=True):
    """A name with its value. `legacy`: written as ``ENV name value``."""

    name: str
    value: str
    legacy: bool = False


class ArgPair(Struct, frozen=True):
    """A build argument: None: without a default. `description` is from the comment above, for the outline."""

    name: str
    default: str | None = None
    description: str = ""


class Device(Struct, frozen=True):
    """A device that RUN asks for, in the names of CDI."""

    name: str
    required: bool = False


# --- instructions ---------------------------------------------------------------------------------


class Instruction(Struct, frozen=True, kw_only=True):
    """What all have in common.

    :param keyword: as it was written: ``RUN``, ``run``.
    :param original: the whole of it on one line, continuation lines joined, without heredocs' contents: for history
        and names of steps.
    :param ranges: where it was written, heredocs included.
    :param comments: those right above it, without ``#``.
    """

    keyword: str
    original: str
    ranges: tuple[SourceRange, ...]
    comments: tuple[str, ...] = ()


class From(Instruction, frozen=True, kw_only=True):
    """FROM: begins a stage.

    :param image: an image, an earlier stage or ``scratch``.
    :param alias: the stage's name in lower case; empty: none.
    :param alias_written: as it was written, and `as_keyword` before it.
    :param description: of the comment above, for the outline.
    """

    image: str
    alias: str = ""
    platform: str = ""
    alias_written: str = ""
    as_keyword: str = ""
    description: str = ""


class Run(Instruction, frozen=True, kw_only=True):
    """RUN.

    :param mounts: values of ``--mount``, not parsed: see `wherry.build.dockerfile.mounts.run_mounts`.
    :param network: ``default``, ``none`` or ``host``.
    :param security: ``sandbox`` or ``insecure``.
    :param network_given: whether there was such a flag.
    """

    command: CommandLine
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[Device, ...] = ()
    network_given: bool = False


class Cmd(Instruction, frozen=True, kw_only=True):
    """CMD."""

    command: CommandLine


class Entrypoint(Instruction, frozen=True, kw_only=True):
    """ENTRYPOINT; no arguments: it is reset."""

    command: CommandLine


class Transfer(Instruction, frozen=True, kw_only=True):
    """What COPY and ADD have in common.

    :param chown: ``user[:group]``; empty: root.
    :param chmod: octal or symbolic.
    """

    sources: tuple[str, ...]
    destination: str
    files: tuple[InlineFile, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


class Copy(Transfer, frozen=True, kw_only=True):
    """COPY.

    :param from_: a stage's name or number, an image or a named context; empty: the build's context.
    """

    from_: str = ""
    parents: bool = False


class Add(Transfer, frozen=True, kw_only=True):
    """ADD.

    :param checksum: ``algorithm:hex``, or a git commit.
    :param keep_git_dir: None: not given; `unpack` too.
    """

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Env(Instruction, frozen=True, kw_only=True):
    """ENV."""

    pairs: tuple[Pair, ...]


class Label(Instruction, frozen=True, kw_only=True):
    """LABEL."""

    pairs: tuple[Pair, ...]


class Arg(Instruction, frozen=True, kw_only=True):
    """ARG."""

    pairs: tuple[ArgPair, ...]


class Expose(Instruction, frozen=True, kw_only=True):
    """EXPOSE; sorted. A word may become several when it is expanded (`Lexer.words`)."""

    ports: tuple[str, ...]


class User(Instruction, frozen=True, kw_only=True):
    """USER."""

    user: str


class Volume(Instruction, frozen=True, kw_only=True):
    """VOLUME."""

    paths: tuple[str, ...]


class Workdir(Instruction, frozen=True, kw_only=True):
    """WORKDIR."""

    path: str


class Onbuild(Instruction, frozen=True, kw_only=True):
    """ONBUILD: `trigger` is the text of an instruction; `wherry.build.dockerfile.parser.parse_trigger` parses it."""

    trigger: str


class Stopsignal(Instruction, frozen=True, kw_only=True):
    """STOPSIGNAL."""

    signal: str


class Healthcheck(Instruction, frozen=True, kw_only=True):
    """HEALTHCHECK; durations in nanoseconds, 0: not given.

    :param test: ``("NONE",)``, ``("CMD", ...)`` or ``("CMD-SHELL", text)``.
    """

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Shell(Instruction, frozen=True, kw_only=True):
    """SHELL."""

    args: tuple[str, ...]


class Maintainer(Instruction, frozen=True, kw_only=True):
    """MAINTAINER."""

    author: str


# --- the whole ------------------------------------------------------------------------------------


class Stage(Struct, frozen=True):
    """A build stage: FROM, and what follows it up to the next one."""

    from_: From
    instructions: tuple[Instruction, ...]


class EmptyContinuation(Struct, frozen=True):
    """An empty line inside of an instruction (for a check)."""

    range: SourceRange


class Dockerfile(Struct, frozen=True, kw_only=True):
    """A Dockerfile.

    :param directives: those that were used, in order.
    :param escape: the escape character: a backslash or a backtick.
    :param args: ARG instructions before the first FROM.
    """

    source: bytes
    file: str = "Dockerfile"
    directives: tuple[Directive, ...] = ()
    escape: str = "\\"
    args: tuple[Arg, ...] = ()
    stages: tuple[Stage, ...] = ()
    empty_continuations: tuple[EmptyContinuation, ...] = ()

    def directive(self, name: str) -> Directive | None:
        """The directive of that name (``syntax``, ``escape``, ``check``), if it was used."""
        return next((one for one in self.directives if one.name == name), None)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All, in the order in which they were written."""
        return (*self.args, *(one for stage in self.stages for one in (stage.from_, *stage.instructions)))


# --- expansion ------------------------------------------------------------------------------------

_T = TypeVar("_T", bound=Instruction)


def expanded(instruction: _T, word: Expand, raw: Expand) -> _T:
    """The instruction with the variables in its words expanded.

    FROM, EXPOSE, and RUN's mounts have rules of their own; the texts of RUN, CMD and ENTRYPOINT are for the shell.

    :param word: expands a word.
    :param raw: expands the content of a heredoc, where quotes mean nothing (`Lexer` with `process_quotes` off).
    :raises InvalidInput: of `word` and `raw`.
    """
    changes = _changes(instruction, word, raw)
    return replace(instruction, **changes) if changes else instruction


_WORDS: Final[dict[type[Instruction], str]] = {User: "user", Workdir: "path", Stopsignal: "signal"}
"""Instructions that have one word, and its name."""


def _changes(instruction: Instruction, word: Expand, raw: Expand) -> dict[str, object]:
    if name := _WORDS.get(type(instruction)):
        return {name: word(getattr(instruction, name))}
    match instruction:
        case Env(pairs=pairs) | Label(pairs=pairs):
            return {"pairs": tuple(Pair(word(pair.name), word(pair.value), pair.legacy) for pair in pairs)}
        case Arg(pairs=args):
            return {"pairs": tuple(_expanded_arg(pair, word) for pair in args)}
        case Copy() | Add():
            return _copy_changes(instruction, word, raw)
        case Volume(paths=paths):
            return {"paths": tuple(map(word, paths))}
    return {}


def _expanded_arg(pair: ArgPair, word: Expand) -> ArgPair:
    name = word(pair.name)
    return ArgPair(name, None if pair.default is None else word(pair.default), pair.description)


def _copy_changes(instruction: Copy | Add, word: Expand, raw: Expand) -> dict[str, object]:
    changes: dict[str, object] = {
        "chown": word(instruction.chown),
        "chmod": word(instruction.chmod),
        "sources": tuple(map(word, instruction.sources)),
        "destination": word(instruction.destination),
        "files": tuple(
            InlineFile(file.path, raw(file.data) if file.expand else file.data, file.expand)
            for file in instruction.files
        ),
    }
    if isinstance(instruction, Add):
        changes["checksum"] = word(instruction.checksum)
    return changes
