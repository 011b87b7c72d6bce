"""``wherry kill``: send a signal to containers."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Kill one or more running containers: send a signal, SIGKILL by default",
    (Flag("signal", "s", STRING, "Signal to send to the container, by name or number"),),
    min_args=1,
    aliases="wherry container kill, wherry kill",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Send the signal to each container. :returns: 1 when one failed."""
    containers = context.client.containers
    return for_each(arguments, lambda ref: containers.kill(ref, options["signal"]))
