"""``wherry run``: create, attach to and start a container; exit with its exit code."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.create.create import build_body, create
from wherry.cli.flags.container import CONTAINER_FLAGS
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options
    from wherry.client.transport import Response

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    (
        *CONTAINER_FLAGS,
        Flag("detach", "d", BOOL, "Run the container in the background and print its ID"),
        Flag("detach-keys", "", STRING, "Override the key sequence for detaching (default ctrl-p,ctrl-q)"),
        Flag("sig-proxy", "", BOOL, "Proxy received signals to the process", True),
    ),
    min_args=1,
    interspersed=False,
    failure_code=125,
    aliases="wherry container run, wherry run",
)

REMOVAL_SECONDS = 5.0


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Run a container. :returns: its program's exit code, 0 when detached."""
    body = build_body(options, arguments)
    if options["detach"]:
        return _in_background(context, options, body)
    return _in_foreground(context, options, body)


def _in_background(context: Context, options: Options, body: dict[str, Any]) -> int:
    if options["attach"]:
        from wherry.cli.exit import Exit

        raise Exit(1, "conflicting options: cannot specify both --attach and --detach")
    body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
    container = create(context, options, body)
    context.client.containers.start(container)
    write("{}\n", container)
    return 0


def _in_foreground(context: Context, options: Options, body: dict[str, Any]) -> int:
    from wherry.cli.terminal.session import check_detach_keys, exit_status, forward_signals, pump, require_terminal

    tty, stdin, keys = body["Tty"], body["AttachStdin"], options["detach-keys"]
    require_terminal(stdin=stdin, tty=tty)
    check_detach_keys(keys)
    container = create(context, options, body)
    containers = context.client.containers
    stream = containers.attach(
        container, stdin=stdin, stdout=body["AttachStdout"], stderr=body["AttachStderr"], detach_keys=keys
    )
    waiting = containers.wait_begin(container, "removed" if options["rm"] else "next-exit")
    if options["sig-proxy"]:
        forward_signals(context, container)
    try:
        containers.start(container)
    except Exception:
        stream.close()
        _let_removal_finish(options, waiting)
        raise

    def resize(height: int, width: int) -> None:
        with context.new_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None):
        return 0
    return exit_status(waiting)


def _let_removal_finish(options: Options, waiting: Response) -> None:
    """Wait until the daemon has removed a container that failed to start (``--rm``), so that its name is free."""
    if options["rm"]:
        from contextlib import suppress

        from wherry.errors import WherryError

        waiting.settimeout(REMOVAL_SECONDS)
        with suppress(WherryError, OSError):  # the error of the start is the one to report
            waiting.read()
