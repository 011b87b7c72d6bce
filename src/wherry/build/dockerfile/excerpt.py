"""The part of a file that an error or a warning is about, as BuildKit's clients show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wherry.build.model.graph import SourceRange

__all__ = ["LINES_LIMIT", "excerpt"]

LINES_LIMIT: Final = 100
"""Of the lines of an excerpt, as a heredoc may be very long."""
_WIDTH: Final = 500  #: characters of a line, which may have 65,535
_RULE: Final = "-" * 20 + "\n"


def excerpt(file: str, source: bytes, ranges: Sequence[SourceRange]) -> str:
    """The file's name, the first line's number, and the lines with some around them; those that are meant have ``>>>``.

    Empty, if there is nothing to show.
    """
    lines = source.decode(errors="replace").split("\n")
    spans = [(one.start_line, max(one.start_line, one.end_line)) for one in ranges]
    if not spans:
        return ""
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    if not 1 <= first <= len(lines):
        return ""
    start, end = _with_context(first, min(last, len(lines)), len(lines))
    text = f"{file}:{first}\n{_RULE}"
    for number in range(start, min(end, start + LINES_LIMIT - 1) + 1):
        mark = ">>>" if any(low <= number <= high for low, high in spans) else "   "
        line = lines[number - 1]
        text += f" {number:3d} | {mark} {line if len(line) <= _WIDTH else line[:_WIDTH] + '...'}\n"
    return text + _RULE


def _with_context(start: int, end: int, count: int) -> tuple[int, int]:
    """Up to two lines before and behind several, more around a single one."""
    room = 4 if start == end else 2
    while room > 0:
        if start > 1:
            start -= 1
            room -= 1
        if end != count:
            end += 1
            room -= 1
        room -= 1
    return start, end
