"""An instruction's line on its way to a value: what all instructions need of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wherry.build.dockerfile.characters import strip
from wherry.build.dockerfile.flags import Flags, Kind, parse_flags
from wherry.build.dockerfile.instructions import CommandLine, Pair
from wherry.build.dockerfile.lines import LogicalLine, Source
from wherry.build.dockerfile.words import json_words, name_values, split, white_words
from wherry.errors import InvalidInput

__all__ = ["Malformed", "Written", "description"]


class Malformed(InvalidInput):
    """The line itself is wrong: BuildKit says so without a line's number."""


class Written:
    """A line on its way to an instruction."""

    def __init__(self, source: Source, line: LogicalLine) -> None:
        self.line = line
        self.escape = source.escape
        self.command = split(line.text, source.escape)
        self.rest = self.command.rest
        keyword = self.command.keyword
        self.name = keyword.upper() if keyword.isascii() else keyword
        self.comments = line.comments
        self.origin: dict[str, Any] = {
            "keyword": self.command.keyword,
            "original": strip(line.text),
            "ranges": (source.range(line.start, line.end),),
            "comments": line.comments,
        }

    def flags(self, **known: Kind) -> Flags:
        """The flags, of those that are known; underscores stand for hyphens."""
        return parse_flags(
            self.command.flags, {name.strip("_").replace("_", "-"): kind for name, kind in known.items()}
        )

    def json(self, rest: str) -> list[str] | None:
        """The exec form's words."""
        try:
            return json_words(rest)
        except InvalidInput as exc:
            raise Malformed(exc.message) from exc

    def command_line(self) -> CommandLine:
        """The command of RUN, CMD or ENTRYPOINT."""
        words = self.json(self.rest)
        if words is not None:
            return CommandLine(tuple(words), False)
        return CommandLine((self.rest,) if self.rest else (), True)

    def list_words(self) -> list[str]:
        """Words in JSON, or with white space between them."""
        words = self.json(self.rest)
        return white_words(self.rest) if words is None else words

    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of ENV or LABEL."""
        try:
            pairs = name_values(self.rest, self.name, self.escape)
        except InvalidInput as exc:
            raise Malformed(exc.message) from exc
        self.flags()
        self.at_least_one(pairs)
        if not all(pair.name for pair in pairs):
            raise self.blank_names()
        return tuple(pairs)

    def blank_names(self) -> InvalidInput:
        """What is wrong with ``=value``."""
        return InvalidInput(f"{self.name} names can not be blank")

    def at_least_one(self, words: Sequence[object]) -> None:
        """Refuse an instruction without arguments."""
        if not words:
            raise InvalidInput(f"{self.name} requires at least one argument")

    def only_one(self) -> str:
        """The argument of an instruction that takes the rest of its line."""
        if not self.rest:
            raise InvalidInput(f"{self.name} requires exactly one argument")
        return self.rest


def description(comments: Sequence[str], name: str) -> str:
    """What a comment above says of a name: ``# name is for this``."""
    if not name:
        return ""
    return next((line[len(name) + 1 :] for line in comments if line.startswith(name + " ")), "")
