"""``wherry logs``: what a container wrote."""

from __future__ import annotations

from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.human import timestamp
from wherry.cli.signals import default_interrupt
from wherry.cli.streams import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Show what a container wrote",
    (
        Flag("details", "", BOOL, "Show what the log driver noted beside each line"),
        Flag("follow", "f", BOOL, "Go on showing what comes"),
        Flag("since", "", STRING, "Begin at a time (2024-05-01T12:00:00Z) or so long ago (42m)"),
        Flag("tail", "n", STRING, "Number of lines to show from the end", "all"),
        Flag("timestamps", "t", BOOL, "Show when each line was written"),
        Flag("until", "", STRING, "End at a time or so long ago"),
    ),
    least=1,
    most=1,
    aliases="wherry container logs, wherry logs",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it."""
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
    output = Output(tty=found["Config"]["Tty"])
    for piece in response.chunks():
        output.write(piece)
    return 0
