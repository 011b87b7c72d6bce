"""``wherry restart``: restart containers."""

from __future__ import annotations

from wherry.cli.commands.container.stop import STOP_FLAGS, timeout
from wherry.cli.flags.parser import Command
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Restart one or more containers",
    STOP_FLAGS,
    min_args=1,
    aliases="wherry container restart, wherry restart",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Restart each container. :returns: 1 when one failed."""
    containers = context.client.containers
    signal, seconds = options["signal"], timeout(options)
    return for_each(arguments, lambda ref: containers.restart(ref, signal=signal, timeout=seconds))
