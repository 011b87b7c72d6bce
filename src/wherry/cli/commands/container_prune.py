"""``wherry container prune``: remove all containers that do not run."""

from __future__ import annotations

import sys

from wherry.cli.confirm import confirmed
from wherry.cli.filters import gather
from wherry.cli.flags import BOOL, FILTER, Command, Flag
from wherry.cli.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove all containers that do not run",
    (
        Flag("filter", "", FILTER, "Only those for which this is true (until=24h, label=x)"),
        Flag("force", "f", BOOL, "Don't ask"),
    ),
    most=0,
)

WARNING = "WARNING! This will remove all stopped containers."


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them, after asking."""
    if not options["force"] and not confirmed(WARNING):
        sys.stderr.write("container prune has been cancelled\n")
        return 1
    done = context.client.containers.prune(gather(options["filter"]))
    removed = done.get("ContainersDeleted") or []
    if removed:
        sys.stdout.write("Deleted Containers:\n" + "".join(f"{one}\n" for one in removed) + "\n")
    sys.stdout.write(f"Total reclaimed space: {human_size(done.get('SpaceReclaimed', 0))}\n")
    return 0
