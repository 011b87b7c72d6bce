"""What went wrong, said once: the sentence on standard error and the exit code."""

from __future__ import annotations

import sys

from wherry.cli.dispatch import HINT
from wherry.client.answers import DaemonAnswer
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags import Command

__all__ = ["exit_code", "report", "sentence"]

_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")


def sentence(error: BaseException) -> str:
    """Say an error in one sentence, and whose it is."""
    if isinstance(error.__cause__, DaemonAnswer):
        return f"Error response from daemon: {error.__cause__.message}"
    if isinstance(error, OSError) and error.strerror:
        name = f"open {error.filename}: " if error.filename else ""
        return f"{name}{error.strerror.lower()}"
    return str(error)


def exit_code(message: str) -> int:
    """Docker's exit codes of a container that could not be started, told by the daemon's sentence.

    127: there is no such program; 126: it cannot be executed; 125: anything else.
    """
    if any(text in message for text in _NOT_FOUND):
        return 127
    if any(text in message for text in _NOT_EXECUTABLE):
        return 126
    return 125


def report(error: Exception, path: str, command: Command, *, debug: bool) -> int:
    """Write what went wrong. :returns: the exit code."""
    from wherry.cli.leave import Leave

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, Leave):
        if error.message:
            sys.stderr.write(f"{error.message}\n")
        return error.code
    if isinstance(error, BrokenPipeError) or not isinstance(error, WherryError | OSError | ValueError):
        raise error
    message = sentence(error)
    if command.failure == 1:
        sys.stderr.write(f"{message}\n")
        return 1
    sys.stderr.write(f"wherry: {message}\n\n{HINT.format(path)}\n")
    return exit_code(message) if isinstance(error.__cause__, DaemonAnswer) else command.failure
