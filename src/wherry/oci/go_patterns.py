"""Regular expressions and path patterns that callers send: as Go reads them, in time that grows with the text only.

Python's own `re` goes back and tries again, so that ``(a+)+b$`` on thirty letters takes minutes: no text of a caller's
may reach it. RE2 is what Go's `regexp` was made after, with the same syntax. It is imported when it is first needed:
plain words, which most are, do without.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from wherry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["EXPRESSION_LIMIT", "Expression", "any_of", "path_pattern"]

EXPRESSION_LIMIT: Final = 8192  #: bytes of an expression; compiling ``\pL`` as often as fits takes a tenth of a second

_JOINED_LIMIT: Final = 6 * EXPRESSION_LIMIT  #: of several that are short enough, each in brackets
_QUOTE: Final = r"\Q"
_TEMPLATE: Final = re.compile(rb"\$(?:\$|\{(\w+)\}|(\w+))")
_PLAIN: Final = re.compile(r"[\w/:@ -]*")
#: What RE2 says, and what Go says; the rest they say alike.
_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


class Expression:
    """A regular expression in Go's syntax.

    :param limit: bytes that it may have.
    :param captures: whether `replaced` will be asked for what its groups have matched.
    :raises InvalidInput: it is none, in Go's words, or longer.
    """

    def __init__(self, text: str, *, limit: int = EXPRESSION_LIMIT, captures: bool = False) -> None:
        self._compiled = None if _PLAIN.fullmatch(text) and not captures else _compile(text, limit, captures=captures)
        self._text = text

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere in a text (Go's ``MatchString``)."""
        if self._compiled is None:
            return self._text in text
        return self._compiled.search(text.encode(errors="replace")) is not None

    def fits(self, text: str) -> bool:
        """Whether it matches the whole of a text."""
        if self._compiled is None:
            return self._text == text
        return self._compiled.fullmatch(text.encode(errors="replace")) is not None

    def replaced(self, text: str, template: str, *, longest: int) -> str:
        """A text with all that matches replaced (Go's ``ReplaceAllString``): ``$1``, ``${name}`` and ``$$`` are known.

        :param longest: bytes that the result may have.
        :raises InvalidInput: it has more.
        """
        assert self._compiled is not None, "it was asked for groups"
        given, pieces, position, length = text.encode(errors="replace"), list[bytes](), 0, len(text)
        for match in self._compiled.finditer(given):
            grown = _TEMPLATE.sub(partial(_group, match), template.encode(errors="replace"))
            pieces += (given[position : match.start()], grown)
            position, length = match.end(), length + len(grown)
            if length > longest:
                raise InvalidInput(f"what a regular expression makes of {text[:100]!r} is longer than {longest} bytes")
        return b"".join([*pieces, given[position:]]).decode(errors="replace")


def _group(match: Any, found: re.Match[bytes]) -> bytes:
    """What a variable of a template means; Go leaves out one that there is not."""
    name = found[1] or found[2]
    if not name:
        return b"$"
    with suppress(IndexError):
        return match.group(int(name) if name.isdigit() else name) or b""
    return b""


def any_of(texts: Sequence[str]) -> Callable[[str], bool]:
    """Docker's filters: a value is one of the texts, or one of them, as an expression, matches anywhere in it.

    What is no expression matches nothing else than itself. All are compiled as one, so that a list of containers costs
    the same whether one or a hundred were sent.

    :raises InvalidInput: they are too long together.
    """
    words = [text for text in dict.fromkeys(texts) if _PLAIN.fullmatch(text)]
    others = [text for text in dict.fromkeys(texts) if not _PLAIN.fullmatch(text)]
    if sum(map(len, others)) > EXPRESSION_LIMIT:  # before the first is compiled: a head has room for a hundred such
        raise _too_long()
    single = {text: one for text in others if (one := _expression(text)) is not None}
    together = [text for text in single if _QUOTE not in text]  # what is quoted may go on behind the text's end
    if len(together) > 1:
        single = {text: one for text, one in single.items() if _QUOTE in text}
        single["|"] = Expression("|".join(f"(?:{text})" for text in together), limit=_JOINED_LIMIT)
    found = [one.found_in for one in single.values()]
    return lambda value: (
        value in others or any(word in value for word in words) or any(matches(value) for matches in found)
    )


def _expression(text: str) -> Expression | None:
    try:
        return Expression(text)
    except InvalidInput:
        return None


@cache
def _re2() -> Any:
    import re2  # noqa: PLC0415 - 5 ms and 3 MB, for what few ask for

    return re2


def _too_long() -> InvalidInput:
    return InvalidInput(f"error parsing regexp: expression is longer than {EXPRESSION_LIMIT} bytes")


def _compile(text: str, limit: int, *, captures: bool = False) -> Any:
    if len(text) > limit:
        raise _too_long()
    re2 = _re2()
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not captures  # where nobody asks, RE2 is several times faster so
    try:
        return re2.compile(text.encode(errors="replace"), options)
    except re2.error as exc:
        raise InvalidInput(f"error parsing regexp: {_as_go_says(exc)}") from exc
    finally:
        re2.purge()  # it would keep the last 128, each with its automaton


def _as_go_says(error: Exception) -> str:
    message = str(error.args[0], errors="replace")
    what, colon, where = message.partition(": ")
    return _WORDS.get(what, what) + (f": `{where}`" if colon else "")


def path_pattern(text: str) -> Callable[[str], bool]:
    r"""Go's ``path.Match``: ``*`` and ``?`` match anything but a slash, ``[a-z]`` a set, ``\`` takes the next as it is.

    :raises InvalidInput: it is no pattern, in Go's words.
    """
    return Expression("".join(_translated(text))).fits


def _translated(text: str) -> list[str]:
    """The pieces of a path pattern, each as a regular expression."""
    pieces: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "[":
            piece, position = _set(text, position + 1)
        elif character in "*?":
            piece, position = "[^/]*" if character == "*" else "[^/]", position + 1
        else:
            character, position = _character(text, position)
            piece = character if _PLAIN.fullmatch(character) else _code(character)
        pieces.append(piece)
    return pieces


def _set(text: str, position: int) -> tuple[str, int]:
    """A set of characters, and the position behind it."""
    negated = text[position : position + 1] == "^"
    position += negated
    ranges = ""
    while not ranges or text[position : position + 1] != "]":
        low, position = _end_of_range(text, position)
        high = low
        if text[position : position + 1] == "-":
            high, position = _end_of_range(text, position + 1)
        if low <= high:  # Go takes one that is empty, too
            ranges += f"{_code(low)}-{_code(high)}"
        elif not ranges:
            ranges = _code("\0")
    return f"[{'^' * negated}{ranges}]", position + 1


def _end_of_range(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] in ("-", "]"):
        raise _no_pattern()
    return _character(text, position)


def _character(text: str, position: int) -> tuple[str, int]:
    position += text[position : position + 1] == "\\"
    if position >= len(text):
        raise _no_pattern()
    return text[position], position + 1


def _code(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"


def _no_pattern() -> InvalidInput:
    return InvalidInput("syntax error in pattern")
