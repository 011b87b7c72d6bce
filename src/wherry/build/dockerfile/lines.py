"""The lines of a Dockerfile: directives, comments, continuation lines joined, heredocs taken off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from wherry.build.dockerfile.characters import SPACE, strip
from wherry.build.dockerfile.expansion import Lexer
from wherry.build.dockerfile.instructions import Directive, EmptyContinuation, Heredoc
from wherry.build.dockerfile.words import has_heredocs
from wherry.build.model.errors import DockerfileError
from wherry.build.model.graph import SourceRange
from wherry.errors import InvalidInput

__all__ = ["SIZE_LIMIT", "LogicalLine", "Source", "heredoc_of", "without_tabs"]

SIZE_LIMIT: Final = 16 << 20
"""Bytes of a Dockerfile."""
_LINE_LIMIT: Final = 65535
"""Bytes of a line, as in BuildKit."""
_DIRECTIVES: Final = ("syntax", "escape", "check")
_DIRECTIVE: Final = re.compile(rf"#[{SPACE}]*([a-zA-Z][a-zA-Z0-9]*)[ \t\n\f\r]*=[ \t\n\f\r]*(.+)", re.DOTALL)
_HEREDOC: Final = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS: Final = re.compile(r"^\t+", re.MULTILINE)


class LogicalLine(Struct, frozen=True):
    """An instruction's text.

    :param text: on one line.
    :param start: the line that it begins in, from 1, and the last one, `end`, heredocs included.
    :param comments: those right above it.
    """

    text: str
    start: int
    end: int
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()


class Source:
    """A Dockerfile that is read from its beginning to its end.

    :raises DockerfileError: it is too large.
    """

    def __init__(self, data: bytes, file: str) -> None:
        self.data = data
        self.file = file
        if len(data) > SIZE_LIMIT:
            raise DockerfileError(f"the Dockerfile is larger than {SIZE_LIMIT >> 20} MiB", file=file)
        self.physical = _physical_lines(data)
        self.escape = "\\"
        self.directives: list[Directive] = []
        self.empty_continuations: list[EmptyContinuation] = []
        self._line = 0  #: how many have been read
        self._directives_end = False
        self._comments: list[str] = []
        self._set_escape("\\")

    def logical_lines(self) -> Iterator[LogicalLine]:
        """The instructions' texts.

        :raises DockerfileError: a directive, a heredoc or a line's length is wrong.
        """
        while (line := self._read()) is not None:
            text = strip(line)
            if text.startswith("#"):
                self._comment(text)
                continue
            self._directives_end = True
            if not text:
                self._comments.clear()
                continue
            start = self._line
            joined = self._joined(line.lstrip())
            heredocs = self._heredocs(joined, start)
            yield LogicalLine(joined, start, self._line, tuple(self._comments), heredocs)
            self._comments.clear()

    def error(self, message: str, start: int, end: int | None = None) -> DockerfileError:
        """What is wrong with some lines."""
        ranges = (self.range(start, start if end is None else end),)
        return DockerfileError(message, file=self.file, source=self.data, ranges=ranges)

    def range(self, start: int, end: int) -> SourceRange:
        """Some whole lines."""
        first, last = self._text(start), self._text(end).rstrip()
        return SourceRange(start, len(first.rstrip()) - len(first.strip()), end, len(last))

    def find(self, text: str, start: int, end: int) -> SourceRange:
        """Where a word is in some lines; all of them if it is not to be found in one."""
        for number in range(start, end + 1):
            if (column := self._text(number).find(text)) >= 0:
                return SourceRange(number, column, number, column + len(text))
        return self.range(start, end)

    @property
    def line(self) -> int:
        """The number of the line that was read last."""
        return self._line

    def _text(self, number: int) -> str:
        return self.physical[number - 1] if 0 < number <= len(self.physical) else ""

    def _read(self) -> str | None:
        """The next line, with its end."""
        if self._line == len(self.physical):
            return None
        line = self.physical[self._line]
        self._line += 1
        if len(line) > _LINE_LIMIT // 4 and len(line.encode()) > _LINE_LIMIT:
            raise self.error(f"dockerfile line greater than max allowed size of {_LINE_LIMIT}", self._line)
        return line

    # --- comments and directives ---

    def _comment(self, text: str) -> None:
        if self._line == 1 and text.startswith("#!"):
            return
        if not self._directives_end and self._directive(text):
            return
        if comment := strip(text[1:]):
            self._comments.append(comment)
        else:
            self._comments.clear()

    def _directive(self, text: str) -> bool:
        match = _DIRECTIVE.fullmatch(text)
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            self._directives_end = True
            return False
        if any(known.name == name for known in self.directives):
            raise self.error(f"only one {name} parser directive can be used", self._line)
        value = match[2]
        if name == "escape":
            if value not in ("\\", "`"):
                raise self.error(f"invalid escape token '{value}' does not match ` or \\", self._line)
            self._set_escape(value)
        self.directives.append(Directive(name, value, self.range(self._line, self._line)))
        return True

    def _set_escape(self, escape: str) -> None:
        self.escape = escape
        # An escape character that ends a line, but not one that is itself escaped.
        self._continued = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*\Z")

    # --- continuation ---

    def _joined(self, line: str) -> str:
        """A line with those that continue it."""
        piece, goes_on = self._without_continuation(line.rstrip("\r\n"))
        pieces = [piece]
        has_empty = False
        while goes_on and (following := self._read()) is not None:
            text = strip(following)
            if not text or text.startswith("#"):
                has_empty |= not text
                continue
            piece, goes_on = self._without_continuation(following.rstrip("\r\n"))
            pieces.append(piece)
        if has_empty:
            self.empty_continuations.append(EmptyContinuation(self.range(self._line, self._line)))
        return "".join(pieces)

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        last = line.rstrip(" \t")
        if not last.endswith(self.escape):  # the usual case, quickly
            return line, False
        match = self._continued.search(line, max(len(last) - 2, 0))
        return (line[: match.start()], True) if match else (line, False)

    # --- heredocs ---

    def _heredocs(self, line: str, start: int) -> tuple[Heredoc, ...]:
        if "<<" not in line or not has_heredocs(line, self.escape):
            return ()
        try:
            words = Lexer(raw_quotes=True, raw_escapes=True, skip_unset=True).words(line)
        except InvalidInput:
            return ()
        found = []
        for word in words:
            try:
                heredoc = heredoc_of(word)
            except InvalidInput as exc:
                raise self.error(exc.message, start, self._line) from exc
            if heredoc:
                found.append(self._with_content(heredoc, start))
        return tuple(found)

    def _with_content(self, heredoc: Heredoc, start: int) -> Heredoc:
        content: list[str] = []
        while (line := self._read()) is not None:
            bare = line.rstrip("\r\n")
            if (bare.lstrip("\t") if heredoc.chomp else bare) == heredoc.name:
                text = "".join(content)
                return Heredoc(heredoc.name, text, heredoc.expand, heredoc.chomp, heredoc.descriptor)
            content.append(line)
        raise self.error("unterminated heredoc", start, self._line)


def heredoc_of(word: str) -> Heredoc | None:
    """The heredoc that a word begins, without its content.

    :raises InvalidInput: quotes in it do not end.
    """
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = Lexer(skip_unset=True).words(match[3])
    if len(names) != 1:
        return None
    written = Lexer(skip_unset=True, raw_quotes=True).words(match[3])
    is_quoted = _quotes(names[0]) != sum(map(_quotes, written))
    descriptor = int(match[1]) if 0 < len(match[1]) < 10 else 0
    return Heredoc(names[0], "", not is_quoted, match[2] == "-", descriptor)


def without_tabs(content: str) -> str:
    """A heredoc's content without its lines' leading tabs."""
    return _LEADING_TABS.sub("", content)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def _physical_lines(data: bytes) -> list[str]:
    text = data.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])
