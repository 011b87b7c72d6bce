"""``wherry top``: the running processes of a container."""

from __future__ import annotations

from wherry.cli.console import write_page
from wherry.cli.flags.parser import Command
from wherry.cli.output.table import align_wide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    min_args=1,
    interspersed=False,
    aliases="wherry container top, wherry top",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the processes."""
    found = context.client.containers.top(arguments[0], " ".join(arguments[1:]))
    write_page(align_wide([found["Titles"], *found["Processes"]]))
    return 0
