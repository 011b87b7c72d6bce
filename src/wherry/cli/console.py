"""The one module that writes to standard output and standard error.

Most text in a daemon's responses is not trusted: labels and commands come from the author of an image, file names and
arguments from the program in a container, reasons from a registry. Control characters in it would steer the terminal,
line breaks and right-to-left letters would mislead the reader. So there are three ways to write, and a container's own
output, which must pass unchanged, does not come here (:mod:`wherry.cli.terminal.streams`):

- :func:`write` and :func:`write_error` format values into a constant text, each value as one printable line;
- :func:`write_page` and :func:`write_error_page` write text whose values went through :func:`printable` before;
- :func:`write_raw` is for programs: JSON, IDs, templates.

:mod:`wherry.legible` defines how a character that is not printable is escaped.
"""

from __future__ import annotations

import sys

from wherry.legible import guarded, line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

__all__ = [
    "OutputError",
    "can_draw",
    "draw",
    "flush",
    "printable",
    "template_filter",
    "write",
    "write_error",
    "write_error_page",
    "write_page",
    "write_raw",
]


class OutputError(Exception):
    """Standard output or standard error cannot be written: the disk is full, or the reader has closed the pipe.

    :param name: ``stdout`` or ``stderr``.
    :param error: why.
    """

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"write /dev/{name}: {(error.strerror or str(error)).lower()}")
        self.is_broken_pipe = isinstance(error, BrokenPipeError)


def printable(value: Any) -> Any:
    """Escape what is not printable: in a text, or in all texts of lists and dicts, and in what their functions return.

    Each text becomes one line. Text that was escaped before is not escaped again.
    """
    if isinstance(value, str):
        return line(value)
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    if callable(value):
        return lambda *arguments: printable(value(*arguments))
    return value


def template_filter() -> Callable[[str], str]:
    """The filter for the values of a template: escapes on a terminal, changes nothing for a program."""
    return guarded if sys.stdout.isatty() else str


def can_draw(out: TextIO) -> bool:
    """Whether lines that were written can be written over: a terminal, and none that says it cannot (``TERM=dumb``).

    Nothing is coloured, so that ``NO_COLOR`` is heeded in any case.
    """
    import posix  # ``os`` takes a millisecond to import

    return out.isatty() and posix.environ.get(b"TERM") not in (b"dumb", b"")


# --- writing


def write(text: str, *values: object, out: TextIO | None = None) -> None:
    """Write to standard output, or to ``out``.

    :param text: a constant, with ``{}`` for each value.
    :raises OutputError: it cannot be written.
    """
    _write(out or sys.stdout, text.format(*map(_text, values)))


def write_error(text: str, *values: object) -> None:
    """Write to standard error; see :func:`write`."""
    _write(sys.stderr, text.format(*map(_text, values)))


def write_page(text: str, out: TextIO | None = None) -> None:
    """Write a page, whose values went through :func:`printable`, to standard output."""
    _write(out or sys.stdout, guarded(text))


def write_error_page(text: str) -> None:
    """Write a page, whose values went through :func:`printable`, to standard error."""
    _write(sys.stderr, guarded(text))


def write_raw(text: str) -> None:
    """Write exactly this text, for a program."""
    _write(sys.stdout, text)


def draw(text: str, out: TextIO) -> None:
    """Write cursor movements, and text that went through :func:`printable`, to a terminal."""
    _write(out, text)


def flush(out: TextIO | None = None) -> None:
    """Flush the stream.

    :raises OutputError: it cannot be written.
    """
    _write(out or sys.stdout, "", flush=True)


def _text(value: object) -> str:
    return line(value if isinstance(value, str) else str(value))


def _write(out: TextIO, text: str, *, flush: bool = False) -> None:
    try:
        try:
            out.write(text)
        except UnicodeEncodeError:  # the terminal's character set has not all of it
            encoding = out.encoding
            out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        if flush:
            out.flush()
    except OSError as error:
        if out is not sys.stderr:
            raise OutputError("stdout", error) from None
        # there is nowhere to report this
