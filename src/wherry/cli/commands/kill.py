"""``wherry kill``: send a signal to containers."""

from __future__ import annotations

from wherry.cli.each import for_each
from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Send containers a signal, by default SIGKILL",
    (Flag("signal", "s", STRING, "Name or number of the signal"),),
    least=1,
    aliases="wherry container kill, wherry kill",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Send it to each. :returns: 1 when one of them failed."""
    containers = context.client.containers
    return for_each(arguments, lambda ref: containers.kill(ref, options["signal"]))
