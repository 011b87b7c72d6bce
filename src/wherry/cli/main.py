"""The command ``wherry``: runs a command line, and ends the process with its exit code.

Nothing else is imported before the verb is known: an import here is paid for by every command.
"""

from __future__ import annotations

import sys

from wherry.cli.console import OutputError, flush, write_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn


__all__ = ["main", "run"]

_BROKEN_PIPE = 141  # the exit status of a process that SIGPIPE killed


def run(words: Sequence[str]) -> int:
    """Run one command line, and flush its output.

    :param words: the arguments, without the program's name.
    :returns: the exit code.
    """
    try:
        code = _dispatch(list(words))
        flush()
    except OutputError as fault:
        _discard_output()
        if fault.is_broken_pipe:
            return _BROKEN_PIPE
        write_error("{}\n", str(fault))
        return 1
    return code


def _dispatch(words: list[str]) -> int:
    from wherry.cli.dispatch import dispatch

    try:
        return dispatch(words)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            write_error("\n")  # end the line with the ^C that the terminal echoed
        return 130


def _discard_output() -> None:
    """Redirect standard output to /dev/null, so that the interpreter's last flush does not fail again."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def _open_streams() -> None:
    """Open standard streams that the caller closed, as Go's runtime does: no socket may get their descriptors."""
    import os

    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)
        setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def main(afterwards: Callable[[], None] = lambda: None) -> NoReturn:
    """Run this process's command line and end the process.

    :param afterwards: what is done at the end if the command has succeeded.

    It ends by ``_exit`` after a flush: shutting the interpreter down would cost two milliseconds. The C module is used
    because ``os`` takes one more to import. Imports make no garbage, so the collector runs less often than by default.
    """
    import gc
    import posix

    gc.set_threshold(10_000)
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _open_streams()
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    flush(sys.stderr)
    if code == 0:
        afterwards()
    posix._exit(code)


if __name__ == "__main__":
    main()
