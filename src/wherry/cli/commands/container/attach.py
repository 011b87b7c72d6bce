"""``wherry attach``: attach the standard streams to a running container."""

from __future__ import annotations

from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.terminal.session import (
    check_detach_keys,
    detached_by_keys,
    exit_status,
    forward_signals,
    pump,
    require_terminal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Attach standard input, output and error to a running container",
    (
        Flag("detach-keys", "", STRING, "Override the key sequence for detaching (default ctrl-p,ctrl-q)"),
        Flag("no-stdin", "", BOOL, "Do not attach STDIN"),
        Flag("sig-proxy", "", BOOL, "Proxy received signals to the process", True),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry container attach, wherry attach",
)


def _refuse(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise Exit(1, "You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Exit(1, "You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Exit(1, "You cannot attach to a restarting container, wait until it is running")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Stay attached until the container exits or the detach keys are typed. :returns: its exit code."""
    check_detach_keys(options["detach-keys"])
    containers = context.client.containers
    found = containers.inspect(arguments[0])
    _refuse(found["State"])
    container, tty = found["Id"], found["Config"]["Tty"]
    stdin = bool(found["Config"]["OpenStdin"] and not options["no-stdin"])
    require_terminal(stdin=stdin, tty=tty)
    keys = options["detach-keys"]
    waiting = containers.wait_begin(container)
    if options["sig-proxy"] and not tty:
        forward_signals(context, container)
    stream = containers.attach(container, stdin=stdin, detach_keys=keys)

    def resize(height: int, width: int) -> None:
        with context.new_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None, redraw=True):
        raise detached_by_keys()
    return exit_status(waiting)
