"""``wherry restart``: stop containers and start them again."""

from __future__ import annotations

from wherry.cli.each import for_each
from wherry.cli.flags import INT, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop containers and start them again",
    (
        Flag("signal", "s", STRING, "Signal that asks it to stop"),
        Flag("timeout", "t", INT, "Seconds to wait before it is killed; -1 waits for ever"),
        Flag("time", "", INT, "Seconds to wait", hidden=True),
    ),
    least=1,
    aliases="wherry container restart, wherry restart",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Do it for each. :returns: 1 when one of them failed."""
    containers = context.client.containers
    flag = next((name for name in ("timeout", "time") if name in options.given), "")
    timeout = options[flag] if flag else None
    return for_each(arguments, lambda ref: containers.restart(ref, signal=options["signal"], timeout=timeout))
