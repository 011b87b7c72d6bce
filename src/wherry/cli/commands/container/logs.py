"""``wherry logs``: fetch the logs of a container."""

from __future__ import annotations

import os

from wherry.cli.console import write_error
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.output.times import timestamp
from wherry.cli.terminal.signals import default_interrupt
from wherry.cli.terminal.streams import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container (what it wrote to STDOUT and STDERR)",
    (
        Flag("details", "", BOOL, "Show extra details of the log driver beside each line"),
        Flag("follow", "f", BOOL, "Follow log output"),
        Flag("since", "", STRING, "Show logs since a timestamp (2024-05-01T12:00:00Z), or relative (42m)"),
        Flag("tail", "n", STRING, "Number of lines to show from the end of the logs", "all"),
        Flag("timestamps", "t", BOOL, "Show timestamps"),
        Flag("until", "", STRING, "Show logs before a timestamp, or relative (42m)"),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry container logs, wherry logs",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the logs."""
    default_interrupt()
    containers = context.client.containers
    found = containers.inspect(arguments[0])
    response = containers.logs(
        found["Id"],
        follow=options["follow"],
        since=timestamp(options["since"], "since"),
        until=timestamp(options["until"], "until"),
        tail=options["tail"],
        timestamps=options["timestamps"],
        details=options["details"],
    )
    _show_warning(response.headers.get("warning", ""))
    output = Output(tty=found["Config"]["Tty"])
    for piece in response.chunks():
        output.write(piece)
    return 0


def _show_warning(warning: str) -> None:
    """Show the daemon's warning on a terminal only: for a program standard error is the container's."""
    if warning and os.isatty(2):
        write_error("wherry: {}\n", warning.partition('"')[2].rstrip('"'))
