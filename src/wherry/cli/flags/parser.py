"""The flag parser, with pflag's syntax: ``-it``, ``-eFOO=1``, ``--flag=v``, ``--flag v``, ``--init=false``.

Each command has a table of flags, by which :func:`parse` parses an argument list. The rules are those of
Go's pflag, which every Docker command uses: a boolean takes its value only after ``=``, the last of several values wins
unless the flag is a list, and a command that runs a program stops at the first word that is not a flag.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "BOOL",
    "FILTER",
    "INT",
    "LIST",
    "MAP",
    "STRING",
    "Command",
    "Flag",
    "Kind",
    "Options",
    "UsageError",
    "integer",
    "parse",
]

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class UsageError(Exception):
    """The command line does not fit the command; the text is for the user."""


class Kind:
    """The type of a flag's value.

    :param name: as the help shows it, ``"int"``; empty for a boolean.
    :param read: parses a text; raises ValueError with a message.
    :param default: the value of a flag that was not given.
    :param multiple: True keeps all values of a flag that is given several times; False keeps the last.
    """

    __slots__ = ("default", "multiple", "name", "read")

    def __init__(self, name: str, read: Callable[[str], Any], default: Any = None, *, multiple: bool = False) -> None:
        self.name = name
        self.read = read
        self.default = default
        self.multiple = multiple


def _parse_bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(bits: int, *, signed: bool = True) -> Callable[[str], int]:
    """A parser of integers: decimal, ``0x``, ``0o``, ``0b``."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    function = "ParseInt" if signed else "ParseUint"

    def read(text: str) -> int:
        try:
            value = int(text, 10 if text.strip("+-").isdigit() else 0)
        except ValueError:
            value = None
        if value is None or not text.isascii() or text != text.strip() or (not signed and text[0] in "+-"):
            raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
        if not low <= value <= high:
            raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
        return value

    return read


def _parse_pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _parse_filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError("bad format of filter (expected name=value)")
    return key.strip().lower(), value.strip()


BOOL = Kind("", _parse_bool, False)
STRING = Kind("string", str, "")
INT = Kind("int", integer(64), 0)
LIST = Kind("list", str, (), multiple=True)
MAP = Kind("map", _parse_pair, (), multiple=True)
FILTER = Kind("filter", _parse_filter, (), multiple=True)


class Flag:
    """One flag.

    :param name: without dashes.
    :param short: one letter, or an empty string.
    :param kind: the type of its value.
    :param help: one sentence without a period.
    :param default: overrides the kind's default.
    :param hidden: not shown in the help.
    """

    __slots__ = ("default", "help", "hidden", "kind", "name", "short")

    def __init__(
        self, name: str, short: str, kind: Kind, help: str, default: Any = None, *, hidden: bool = False
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help
        self.default = kind.default if default is None else default
        self.hidden = hidden

    def __str__(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Command:
    """A command's flags, arguments and help.

    :param usage: the text after the command's name, ``"[OPTIONS] IMAGE [COMMAND] [ARG...]"``.
    :param summary: one sentence without a period.
    :param flags: its flags.
    :param min_args, max_args: how many arguments; ``max_args`` None is any number.
    :param interspersed: False when the first argument ends the flags, because the rest is for another program (pflag's
        ``SetInterspersed``).
    :param failure_code: the exit code of a failure that is not the container's.
    :param aliases: other names of the command, for the help.
    :param passes_on: all words are for another program, ``--help`` too.
    """

    __slots__ = (
        "aliases", "failure_code", "flags", "interspersed", "max_args", "min_args", "passes_on", "summary", "usage",
    )  # fmt: skip

    def __init__(
        self,
        usage: str,
        summary: str,
        flags: Sequence[Flag] = (),
        *,
        min_args: int = 0,
        max_args: int | None = None,
        interspersed: bool = True,
        failure_code: int = 1,
        aliases: str = "",
        passes_on: bool = False,
    ) -> None:
        self.usage = usage
        self.summary = summary
        self.flags = flags
        self.min_args = min_args
        self.max_args = max_args
        self.interspersed = interspersed
        self.failure_code = failure_code
        self.aliases = aliases
        self.passes_on = passes_on


class Options(dict[str, "Any"]):
    """The values of all flags of a command, by their long names.

    :ivar given: the names of the flags on the command line (pflag's ``Changed``).
    """

    def __init__(self, flags: Sequence[Flag]) -> None:
        super().__init__([(flag.name, flag.default) for flag in flags])
        self.given: set[str] = set()

    def set_value(self, flag: Flag, text: str) -> None:
        """Set or append a value.

        :raises UsageError: the value is invalid.
        """
        try:
            value = flag.kind.read(text)
        except ValueError as error:
            raise UsageError(f'invalid argument "{text}" for "{flag}" flag: {error}') from None
        if flag.kind.multiple:
            self[flag.name] = [*(self[flag.name] if flag.name in self.given else ()), value]
        else:
            self[flag.name] = value
        self.given.add(flag.name)


class _Parser:
    """The state of one parse."""

    def __init__(self, flags: Sequence[Flag], words: Sequence[str], interspersed: bool) -> None:
        self.names = {flag.name: flag for flag in flags}
        self.shorts = {flag.short: flag for flag in flags if flag.short}
        self.options = Options(flags)
        self.words = list(words)
        self.at = 0
        self.interspersed = interspersed

    def run(self) -> list[str]:
        arguments: list[str] = []
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "--":
                return arguments + self.words[self.at :]
            if word.startswith("--"):
                self.long(word[2:])
            elif word.startswith("-") and len(word) > 1:
                self.short(word)
            elif not self.interspersed:
                return [word, *self.words[self.at :]]
            else:
                arguments.append(word)
        return arguments

    def value(self, missing: str) -> str:
        if self.at == len(self.words):
            raise UsageError(f"flag needs an argument: {missing}")
        self.at += 1
        return self.words[self.at - 1]

    def long(self, text: str) -> None:
        name, equals, value = text.partition("=")
        flag = self.names.get(name)
        if flag is None:
            raise UsageError(
                "" if name == "help" else f"unknown flag: --{name}" if name else f"bad flag syntax: --{text}"
            )
        if not equals:
            value = "true" if flag.kind is BOOL else self.value(f"--{name}")
        self.options.set_value(flag, value)

    def short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.shorts.get(letter)
            if flag is None:
                if letter == "h":  # the short form of --help, unless the command has a flag -h
                    raise UsageError("")
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
            if letters.startswith("="):
                self.options.set_value(flag, letters[1:])
                return
            if flag.kind is BOOL:
                self.options.set_value(flag, "true")
                continue
            self.options.set_value(flag, letters or self.value(f"'{letter}' in {word}"))
            return


def parse(flags: Sequence[Flag], words: Sequence[str], *, interspersed: bool = True) -> tuple[Options, list[str]]:
    """Parse an argument list.

    :param flags: the flags of the command.
    :param words: the argument list without the command's name.
    :param interspersed: False stops at the first word that is not a flag.
    :returns: the values of the flags, and the arguments.
    :raises UsageError: the command line is invalid; empty when help was requested.
    """
    parser = _Parser(flags, words, interspersed)
    return parser.options, parser.run()
