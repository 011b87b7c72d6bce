"""``wherry unpause``: unpause all processes within containers."""

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
    "Unpause all processes within one or more containers",
    min_args=1,
    aliases="wherry container unpause, wherry unpause",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Unpause each container. :returns: 1 when one failed."""
    return for_each(arguments, context.client.containers.unpause)
