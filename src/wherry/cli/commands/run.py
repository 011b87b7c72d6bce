"""``wherry run``: create a container, attach to it, start it, and end as it ends."""

from __future__ import annotations

import sys

from wherry.cli.container_flags import CONTAINER_FLAGS
from wherry.cli.creation import build_body, create
from wherry.cli.flags import BOOL, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options
    from wherry.client.transport import Response

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Make a container of an image and run a program in it",
    (
        *CONTAINER_FLAGS,
        Flag("detach", "d", BOOL, "Leave it running in the background and print its ID"),
        Flag("detach-keys", "", STRING, "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag("sig-proxy", "", BOOL, "Pass signals on to it", True),
    ),
    least=1,
    passes_on=True,
    failure=125,
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
        from wherry.cli.leave import Leave

        raise Leave(1, "conflicting options: cannot specify both --attach and --detach")
    body.update(AttachStdin=False, AttachStdout=False, AttachStderr=False, StdinOnce=False)
    container = create(context, options, body)
    context.client.containers.start(container)
    sys.stdout.write(f"{container}\n")
    return 0


def _in_foreground(context: Context, options: Options, body: dict[str, Any]) -> int:
    from wherry.cli.attached import exit_status, forward_signals, pump, require_terminal

    tty, stdin = body["Tty"], body["AttachStdin"]
    require_terminal(stdin=stdin, tty=tty)
    container = create(context, options, body)
    containers = context.client.containers
    keys = options["detach-keys"]
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
        with context.another_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None):
        return 0
    return exit_status(waiting)


def _let_removal_finish(options: Options, waiting: Response) -> None:
    """A container that could not start is removed by the daemon with ``--rm``: its name is free when we return."""
    if options["rm"]:
        from contextlib import suppress

        from wherry.errors import WherryError

        waiting.settimeout(REMOVAL_SECONDS)
        with suppress(WherryError, OSError):  # what matters is why it did not start
            waiting.read()
