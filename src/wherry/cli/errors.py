"""Reports an error once: the message on standard error, and the exit code."""

from __future__ import annotations

from wherry import legible
from wherry.cli.console import OutputError, write_error, write_error_page
from wherry.cli.verbs import HINT
from wherry.client.error_response import ErrorResponse
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.flags.parser import Command

__all__ = ["error_message", "exit_code", "report"]

_NOT_FOUND = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_NOT_EXECUTABLE = ("permission denied", "is a directory", "exec format error")


def error_message(error: BaseException) -> str:
    """The message of an error, with its source; escaped for the terminal, further lines are marked."""
    if isinstance(error.__cause__, ErrorResponse):
        return legible.lines(f"Error response from daemon: {error.__cause__.message}")
    if isinstance(error, OSError) and error.strerror:
        name = f"open {error.filename}: " if error.filename else ""
        return legible.lines(f"{name}{error.strerror.lower()}")
    return legible.lines(str(error))


def exit_code(message: str) -> int:
    """Docker's exit code for a container that failed to start, from the daemon's message.

    Other runtimes have said it in words of their own, crun with capital letters.

    127: there is no such program; 126: it cannot be executed; 125: anything else.
    """
    said = message.lower()
    if any(text in said for text in _NOT_FOUND):
        return 127
    if any(text in said for text in _NOT_EXECUTABLE):
        return 126
    return 125


def report(error: Exception, path: str, command: Command, *, debug: bool) -> int:
    """Write the error. :returns: the exit code."""
    from wherry.cli.exit import Exit

    if debug:
        import traceback

        write_error_page(legible.lines("".join(traceback.format_exception(error)).rstrip()) + "\n")
    if isinstance(error, Exit):
        if error.message:
            write_error("{}\n", error.message)
        return error.code
    if isinstance(error, OutputError) or not isinstance(error, WherryError | OSError | ValueError):
        raise error
    message = error_message(error)
    if command.failure_code == 1:
        write_error_page(f"{message}\n")
        return 1
    write_error_page(f"wherry: {message}\n\n{HINT.format(path)}\n")
    return exit_code(message) if isinstance(error.__cause__, ErrorResponse) else command.failure_code
