"""The shell in a step that has failed (``--on-failure shell``): at this terminal, or at the standard streams."""

from __future__ import annotations

import os

from wherry.cli.console import write_error_page
from wherry.cli.exit import Exit
from wherry.client.codec import encode
from wherry.legible import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.build.display import QuietDisplay
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["attend", "shell_query"]

_SHELL = "shell"


def shell_query(options: Options, context: str) -> dict[str, object]:
    """What ``--on-failure`` is in the query of a build.

    :param context: as it was given.
    :raises wherry.cli.exit.Exit: it is not known, or the shell would have no input.
    """
    action, equals, command = options["on-failure"].partition("=")
    if action == "fail" and not equals:
        return {}
    if action != _SHELL:
        raise Exit(1, f"invalid --on-failure {options['on-failure']}: it is fail, shell or shell=COMMAND")
    if "-" in (context, options["file"]):
        raise Exit(1, "--on-failure shell needs standard input: it can be neither the context nor the Dockerfile")
    return {"onfailure": _SHELL, _SHELL: encode(_words(command)).decode() if equals else None}


def _words(command: str) -> list[str]:
    from shlex import split

    try:
        words = split(command)
    except ValueError as error:
        raise Exit(1, f"invalid --on-failure shell={command}: {str(error).lower()}") from error
    if not words:
        raise Exit(1, "invalid --on-failure shell=: a command is missing")
    return words


def attend(context: Context, display: QuietDisplay, message: dict[str, Any]) -> None:
    """Open the shell that waits, until it ends; then the build fails."""
    from wherry.errors import NotFound

    token = str(message.get("token") or "")
    if not token:
        return  # it is over already
    display.pause()
    is_terminal = os.isatty(0)
    step = display.steps.all.get(str(message.get("vertex")))
    named = f"{step.name}: " if step is not None else ""
    write_error_page(f"{named}{line(str(message.get('error', '')))}\nA shell in the failed step:\n")
    try:
        with context.new_client() as client:
            size = _size() if is_terminal else None
            stream = client.builds.shell(token, tty=is_terminal, size=size)
            try:
                _pump(context, stream, token, is_terminal=is_terminal)
            finally:
                stream.close()
    except NotFound:
        pass  # the build was ended meanwhile, and says so
    finally:
        display.resume()


def _size() -> tuple[int, int] | None:
    from wherry.cli.terminal.terminal import terminal_size

    size = terminal_size()
    return size if size and all(size) else None


def _pump(context: Context, stream: Any, token: str, *, is_terminal: bool) -> None:
    from wherry.cli.terminal.streams import Pump

    if not is_terminal:
        Pump(stream, tty=False, stdin=True).run()
        return
    import signal

    from wherry.cli.terminal.terminal import RawTerminal, follow_size

    def resize(height: int, width: int) -> None:
        with context.new_client() as client:
            client.builds.resize_shell(token, height, width)

    before = [(number, signal.getsignal(number)) for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP)]
    try:
        with RawTerminal():
            follow_size(resize)
            Pump(stream, tty=True, stdin=True).run()  # no keys detach: where to, when its end is the build's?
    finally:
        for number, handler in before:
            signal.signal(number, handler)
