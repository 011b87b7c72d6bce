"""An instruction's line taken apart: keyword, flags, arguments. Nothing is expanded here."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from wherry.build.dockerfile.characters import is_space, strip
from wherry.build.dockerfile.instructions import Pair
from wherry.docker.quoting import quoted
from wherry.errors import InvalidInput

__all__ = ["Command", "has_heredocs", "json_words", "name_values", "split", "split_words", "white_words"]

_WHITE: Final = re.compile(r"[\t\v\f\r ]+")
_WITH_HEREDOCS: Final = ("run", "copy", "add")


class Command(msgspec.Struct, frozen=True):
    """An instruction's keyword as it was written, its flags, and the rest."""

    keyword: str
    flags: tuple[str, ...]
    rest: str


def split(line: str, escape: str) -> Command:
    """Take a line apart."""
    keyword, *others = _WHITE.split(strip(line), maxsplit=1)
    flags, rest = _flags(others[0], escape) if others else ([], "")
    return Command(keyword, tuple(flags), strip(rest))


def has_heredocs(line: str, escape: str) -> bool:
    """Whether an instruction may have heredocs: RUN, COPY and ADD that are not in exec form."""
    command = split(line, escape)
    if command.keyword.lower() == "onbuild":
        command = split(command.rest, escape)
    if command.keyword.lower() not in _WITH_HEREDOCS:
        return False
    try:
        return json_words(command.rest) is None
    except InvalidInput:
        return False


def white_words(rest: str) -> list[str]:
    """Words with white space between them; quotes mean nothing."""
    return _WHITE.split(rest) if rest else []


def json_words(rest: str) -> list[str] | None:
    """The strings of the exec form; None: it is not JSON, and so the shell form.

    :raises InvalidInput: it is a list of something else.
    """
    if not rest.startswith("["):
        return None
    try:
        found = msgspec.json.decode(rest)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise InvalidInput("when using JSON array syntax, arrays must be comprised of strings only")
    return found


def name_values(rest: str, keyword: str, escape: str) -> list[Pair]:
    """Pairs of ENV and LABEL: ``name=value ...``, or the old form ``name value``.

    :raises InvalidInput: they are neither.
    """
    words = split_words(rest, escape)
    if not words:
        return []
    if "=" not in words[0]:
        name, *value = _WHITE.split(rest, maxsplit=1)
        if not value:
            raise InvalidInput(f"{keyword} must have two arguments")
        return [Pair(name, value[0], True)]
    pairs = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise InvalidInput(f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value")
        pairs.append(Pair(name, text))
    return pairs


def split_words(rest: str, escape: str) -> list[str]:
    """Words with white space between them that is neither quoted nor escaped; quotes and escapes stay."""
    words = []
    current: list[str] = []
    quote = ""
    position = 0
    while position < len(rest):
        character = rest[position]
        position += 1
        if not quote and is_space(character):
            if current:
                words.append("".join(current))
                current.clear()
            continue
        if character == escape and quote != "'":
            if position == len(rest):
                break  # at the end it means nothing
            character += rest[position]
            position += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        current.append(character)
    if current:
        words.append("".join(current))
    return words


def _flags(line: str, escape: str) -> tuple[list[str], str]:
    """The words at the beginning that begin with ``--``, without quotes and escapes, and the rest."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(line) and is_space(line[position]):
            position += 1
        if not line.startswith("--", position):
            return flags, line[position:]
        flag, position = _flag(line, position, escape)
        if flag == "--":
            return flags, line[position:]
        flags.append(flag)


def _flag(line: str, position: int, escape: str) -> tuple[str, int]:
    """A flag, and the position behind it."""
    pieces: list[str] = []
    quote = ""
    while position < len(line):
        character = line[position]
        if not quote and is_space(character):
            break
        position += 1
        if character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == escape:
            pieces.append(line[position : position + 1])
            position += 1
        else:
            pieces.append(character)
    return "".join(pieces), min(position, len(line))
