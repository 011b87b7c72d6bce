"""Constants inside a template: strings, characters, numbers."""

from __future__ import annotations

import re

from wherry.docker.gotemplate.errors import TemplateError
from wherry.docker.gotemplate.lexer import Token

__all__ = ["constant", "unquote"]

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)


def _escape(found: re.Match[str]) -> str:
    code = found.group(1)
    if code in _SIMPLE:
        return _SIMPLE[code]
    if len(code) > 1:
        number = int(code, 8) if code.isdigit() and len(code) == 3 else int(code[1:], 16)
        if number <= 0x10FFFF and not 0xD800 <= number < 0xE000:
            return chr(number)
    raise ValueError(f"invalid escape \\{code}")


def unquote(text: str) -> str:
    """The value of a quoted Go string."""
    if text.startswith("`"):
        return text[1:-1]
    return _ESCAPE.sub(_escape, text[1:-1])


def constant(token: Token) -> str | int | float:
    """The value of a literal.

    :raises TemplateError: it has none.
    """
    try:
        if token.kind in ("string", "raw"):
            return unquote(token.text)
        if token.kind == "char":
            return ord(unquote(token.text))
        return _number(token.text)
    except (ValueError, TypeError, OverflowError) as error:
        raise TemplateError(f"template: :{token.line}: bad constant {token.text}: {error}") from None


def _number(text: str) -> int | float:
    digits = text.lstrip("+-")
    if digits[:2].lower() in ("0x", "0b", "0o"):
        return int(text, 0)
    if digits.replace("_", "").isdigit():
        return int(text, 8 if len(digits) > 1 and digits[0] == "0" else 10)
    return float(text)
