"""``wherry volume prune``: remove unused volumes."""

from __future__ import annotations

from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.common import PRUNE_FORCE, filter_map
from wherry.cli.flags.parser import BOOL, FILTER, Command, Flag
from wherry.cli.terminal.confirm import confirm
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "deleted_volumes", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove unused local volumes",
    (
        Flag("all", "a", BOOL, "Remove all unused volumes, not just anonymous ones"),
        Flag("filter", "", FILTER, 'Provide filter values (e.g. "label=<label>")'),
        PRUNE_FORCE,
    ),
    max_args=0,
)

WARNING = "WARNING! This will remove {} local volumes not used by at least one container."


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the volumes, after confirmation."""
    filters = filter_map(options["filter"])
    if options["all"]:
        if "all" in filters:
            from wherry.errors import InvalidInput

            raise InvalidInput("conflicting options: cannot specify both --all and --filter all=1")
        filters["all"] = ["true"]
    if not options["force"]:
        confirm(WARNING.format("all" if options["all"] else "anonymous"), "volume prune")
    done = context.client.volumes.prune(filters)
    write_page(deleted_volumes(done))
    write("Total reclaimed space: {}\n", human_size(done.get("SpaceReclaimed", 0)))
    return 0


def deleted_volumes(done: dict[str, Any]) -> str:
    """List the volumes that the daemon removed."""
    removed = printable(done.get("VolumesDeleted") or [])
    return "Deleted Volumes:\n" + "".join(f"{name}\n" for name in removed) + "\n" if removed else ""
