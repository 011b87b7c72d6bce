"""``wherry top``: a container's processes."""

from __future__ import annotations

import sys

from wherry.cli.flags import Command
from wherry.cli.table import align_wide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [ps OPTIONS]",
    "Show a container's processes",
    least=1,
    passes_on=True,
    aliases="wherry container top, wherry top",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show them."""
    found = context.client.containers.top(arguments[0], " ".join(arguments[1:]))
    sys.stdout.write(align_wide([found["Titles"], *found["Processes"]]))
    return 0
