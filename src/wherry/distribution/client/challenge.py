"""Parse authentication challenges: the header ``WWW-Authenticate`` (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Challenge", "parse"]

_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9._~+-]*)(?:\s+|$)(?!\s*=)")
_PARAMETER: Final = re.compile(r'\s*(?:,\s*)?([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to identify oneself.

    :param scheme: in lower case: ``basic``, ``bearer``.
    :param parameters: by their names in lower case.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Parse the headers; parsing of a header ends at the first syntax error."""
    found = []
    for header in headers:
        rest = header
        while match := _SCHEME.match(rest):
            rest = rest[match.end() :]
            parameters: dict[str, str] = {}
            while pair := _PARAMETER.match(rest):
                rest = rest[pair.end() :]
                value = re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
                parameters[pair[1].lower()] = value
            found.append(Challenge(match[1].lower(), parameters))
            rest = rest.lstrip(" ,")
    return found
