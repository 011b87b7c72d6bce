"""``wherry attach``: take part in a running container's streams."""

from __future__ import annotations

from wherry.cli.attached import detached_by_keys, exit_status, forward_signals, pump, require_terminal
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.leave import Leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Connect our standard streams to a running container's",
    (
        Flag("detach-keys", "", STRING, "Keys that leave it running (default ctrl-p,ctrl-q)"),
        Flag("no-stdin", "", BOOL, "Leave its standard input alone"),
        Flag("sig-proxy", "", BOOL, "Pass signals on to it", True),
    ),
    least=1,
    most=1,
    aliases="wherry container attach, wherry attach",
)


def _refuse(state: dict[str, Any]) -> None:
    if not state["Running"]:
        raise Leave(1, "You cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise Leave(1, "You cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise Leave(1, "You cannot attach to a restarting container, wait until it is running")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Stay until it ends, or until the detach keys. :returns: its exit code."""
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
        with context.another_client() as client:
            client.containers.resize(container, height, width)

    if pump(stream, tty=tty, stdin=stdin, detach_keys=keys, resize=resize if tty else None, redraw=True):
        raise detached_by_keys()
    return exit_status(waiting)
