"""Somebody else's text, made fit for a terminal and for a log: nothing in it does more than being read.

A terminal obeys control characters, and people are misled by a line break or by letters that run from right to left.
What a text must not do is shown: ``\\x1b`` for an escape character, as Go's ``strconv.Quote`` writes it. That can be
reversed: a backslash that would read as such is doubled. This module imports nothing of wherry.
"""

from __future__ import annotations

__all__ = ["Legible", "bounded", "guarded", "in_json", "line", "lines", "steers", "without_user"]

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, formats such as bidi and zero width, surrogates, line ends
_JOINERS = "\u200c\u200d"  # they are part of ordinary words and of emoji
_DIGITS = {"x": 2, "u": 4, "U": 8}


class Legible(str):
    """A text that is legible already."""

    __slots__ = ()


def steers(letter: str) -> bool:
    """Whether a character makes a terminal or a reader do more than read it."""
    if letter.isprintable() or letter in _JOINERS:
        return False
    from unicodedata import category  # noqa: PLC0415 - nearly no text needs it

    return category(letter) in _STEERING


def _code(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        number -= 0xDC00
        return f"\\x{number:02x}"
    return f"\\x{number:02x}" if number < 0x80 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _reads_as_code(text: str, at: int) -> bool:
    """Whether a backslash would be taken for the beginning of something that is shown."""
    following = text[at + 1 : at + 2]
    if following == "\\" or (following and steers(following)):
        return True
    count = _DIGITS.get(following, 0)
    digits = text[at + 2 : at + 2 + count]
    return count > 0 and len(digits) == count and all(digit in "0123456789abcdef" for digit in digits)


def _letter(text: str, at: int) -> str:
    letter = text[at]
    if letter == "\\":
        return "\\\\" if _reads_as_code(text, at) else letter
    return _code(letter) if steers(letter) else letter


def line(text: str) -> Legible:
    """Make one line of a text. What is legible already stays as it is."""
    if isinstance(text, Legible):
        return text
    if text.isprintable() and "\\" not in text:
        return Legible(text)
    return Legible("".join(_letter(text, at) for at in range(len(text))))


def bounded(text: str, most: int) -> str:
    """Cut what is longer than somebody reads, and say so: making a text legible takes time for each letter."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def without_user(address: str) -> str:
    """Hide the user and the password of an address, either of which may be a token; also of one that is wrong."""
    scheme, mark, rest = address.partition("://")
    _, at, place = rest.rpartition("@")
    return f"{scheme}://xxxxx@{place}" if mark and at else address


def lines(text: str) -> str:
    """Make lines of a text that has several: none but the first begins where ours do."""
    return "\n  | ".join(line(one.removesuffix("\r")) for one in text.split("\n"))


def guarded(text: str) -> str:
    """Show what steers, but leave lines and columns: the last look at a page of ours. Nothing is doubled."""
    if text.isprintable():
        return text
    return "".join(_code(letter) if letter not in "\n\t" and steers(letter) else letter for letter in text)


def in_json(text: str) -> str:
    """Escape in JSON what steers; it means the same to whoever reads it as JSON."""
    if text.isprintable():
        return text
    return "".join(_in_json(letter) if letter != "\n" and steers(letter) else letter for letter in text)


def _in_json(letter: str) -> str:
    number = ord(letter)
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
