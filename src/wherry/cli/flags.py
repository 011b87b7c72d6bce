"""Flags as Docker's fingers type them: ``-it``, ``-eFOO=1``, ``--flag=v``, ``--flag v``, ``--init=false``.

A command says in a table which flags it has; :func:`parse` reads an argument list by it. The habits are those of
Go's pflag, which every Docker command uses: a boolean takes its value only after ``=``, the last of several values wins
unless the flag is a list, and a command that passes arguments on to a program stops at the first word that is no flag.
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
    "parse",
]

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class UsageError(Exception):
    """The words on the command line are not what the command takes; the text is for the person who typed them."""


class Kind:
    """What a flag's value is.

    :param name: as the help shows it, ``"int"``; empty for a boolean.
    :param read: makes the value of a text; raises ValueError with a sentence.
    :param default: the value of a flag that was not given.
    :param gather: ``""`` keeps the last value, ``"list"`` all of them, ``"map"`` splits each at its first ``=``.
    """

    __slots__ = ("default", "gather", "name", "read")

    def __init__(self, name: str, read: Callable[[str], Any], default: Any = None, gather: str = "") -> None:
        self.name = name
        self.read = read
        self.default = default
        self.gather = gather


def _bool(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(bits: int, *, signed: bool = True) -> Callable[[str], int]:
    """Make a reader of whole numbers: decimal, ``0x``, ``0o``, ``0b``."""
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


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError("bad format of filter (expected name=value)")
    return key.strip().lower(), value.strip()


BOOL = Kind("", _bool, False)
STRING = Kind("string", str, "")
INT = Kind("int", integer(64), 0)
LIST = Kind("list", str, (), "list")
MAP = Kind("map", _pair, (), "list")
FILTER = Kind("filter", _filter, (), "list")


class Flag:
    """One flag.

    :param name: without dashes.
    :param short: one letter, or an empty string.
    :param kind: what its value is.
    :param help: one sentence without a period.
    :param default: in place of the kind's default.
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
    """What a command takes.

    :param usage: behind the command's name, ``"[OPTIONS] IMAGE [COMMAND] [ARG...]"``.
    :param summary: one sentence without a period.
    :param flags: its flags.
    :param least, most: how many arguments; ``most`` None is any number.
    :param passes_on: True when the first argument ends the flags, because the rest is for another program.
    :param failure: the exit code when it fails before anything of the container's could have failed.
    :param aliases: other ways to type it, for the help.
    """

    __slots__ = ("aliases", "failure", "flags", "least", "most", "passes_on", "summary", "usage")

    def __init__(
        self,
        usage: str,
        summary: str,
        flags: Sequence[Flag] = (),
        *,
        least: int = 0,
        most: int | None = None,
        passes_on: bool = False,
        failure: int = 1,
        aliases: str = "",
    ) -> None:
        self.usage = usage
        self.summary = summary
        self.flags = flags
        self.least = least
        self.most = most
        self.passes_on = passes_on
        self.failure = failure
        self.aliases = aliases


class Options(dict[str, "Any"]):
    """The values of all flags of a command, by their long names.

    :ivar given: the names of those that were typed.
    """

    def __init__(self, flags: Sequence[Flag]) -> None:
        super().__init__([(flag.name, flag.default) for flag in flags])
        self.given: set[str] = set()

    def take(self, flag: Flag, text: str) -> None:
        """Note a value.

        :raises UsageError: it is not one of this flag's.
        """
        try:
            value = flag.kind.read(text)
        except ValueError as error:
            raise UsageError(f'invalid argument "{text}" for "{flag}" flag: {error}') from None
        if flag.kind.gather:
            self[flag.name] = [*(self[flag.name] if flag.name in self.given else ()), value]
        else:
            self[flag.name] = value
        self.given.add(flag.name)


class _Reader:
    """Goes through an argument list once."""

    def __init__(self, flags: Sequence[Flag], words: Sequence[str], passes_on: bool) -> None:
        self.names = {flag.name: flag for flag in flags}
        self.shorts = {flag.short: flag for flag in flags if flag.short}
        self.options = Options(flags)
        self.words = list(words)
        self.at = 0
        self.passes_on = passes_on

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
            elif self.passes_on:
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
        self.options.take(flag, value)

    def short(self, word: str) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self.shorts.get(letter)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
            if letters.startswith("="):
                self.options.take(flag, letters[1:])
                return
            if flag.kind is BOOL:
                self.options.take(flag, "true")
                continue
            self.options.take(flag, letters or self.value(f"'{letter}' in {word}"))
            return


def parse(flags: Sequence[Flag], words: Sequence[str], *, passes_on: bool = False) -> tuple[Options, list[str]]:
    """Read an argument list.

    :param flags: what may be there.
    :param words: the argument list without the command's name.
    :param passes_on: stop at the first word that is no flag.
    :returns: the values of the flags, and the arguments.
    :raises UsageError: a word does not fit; with an empty text when help was asked for.
    """
    reader = _Reader(flags, words, passes_on)
    return reader.options, reader.run()
