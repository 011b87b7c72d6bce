"""``wherry pause``: pause all processes within containers."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Pause all processes within one or more containers (freeze them)",
    min_args=1,
    aliases="wherry container pause, wherry pause",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Pause each container. :returns: 1 when one failed."""
    return for_each(arguments, context.client.containers.pause)
