"""``wherry unpause``: let frozen containers go on."""

from __future__ import annotations

from wherry.cli.each import for_each
from wherry.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [CONTAINER...]",
    "Let frozen containers go on",
    least=1,
    aliases="wherry container unpause, wherry unpause",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Do it to each. :returns: 1 when one of them failed."""
    return for_each(arguments, context.client.containers.unpause)
