"""``wherry container prune``: remove all stopped containers."""

from __future__ import annotations

from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.common import PRUNE_FILTER, PRUNE_FORCE, filter_map
from wherry.cli.flags.parser import Command
from wherry.cli.terminal.confirm import confirm
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove all stopped containers",
    (PRUNE_FILTER, PRUNE_FORCE),
    max_args=0,
)

WARNING = "WARNING! This will remove all stopped containers."


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the containers, after confirmation."""
    if not options["force"]:
        confirm(WARNING, "container prune")
    done = context.client.containers.prune(filter_map(options["filter"]))
    removed = done.get("ContainersDeleted") or []
    if removed:
        write_page("Deleted Containers:\n" + "".join(f"{one}\n" for one in printable(removed)) + "\n")
    write("Total reclaimed space: {}\n", human_size(done.get("SpaceReclaimed", 0)))
    return 0
