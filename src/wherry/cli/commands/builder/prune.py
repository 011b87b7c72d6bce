"""``wherry builder prune``: remove what the builder's cache has and no build uses."""

from __future__ import annotations

from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.common import PRUNE_FORCE, filter_map
from wherry.cli.flags.kinds import BYTES
from wherry.cli.flags.parser import BOOL, FILTER, Command, Flag
from wherry.cli.terminal.confirm import confirm
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "deleted_cache", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove build cache: what no image shares, with -a all that no build uses",
    (
        Flag("all", "a", BOOL, "Remove all unused build cache, not just what is dangling"),
        Flag("filter", "", FILTER, "Filter: only those for which this is true (until=24h, type=regular, id=x)"),
        PRUNE_FORCE,
        Flag("keep-storage", "", BYTES, "Amount of disk space to keep for cache"),
        Flag("max-used-space", "", BYTES, "Most disk space that cache may take"),
        Flag("min-free-space", "", BYTES, "Disk space that has to be free"),
        Flag("reserved-space", "", BYTES, "Disk space that cache may always take"),
    ),
    max_args=0,
)

DANGLING = "WARNING! This will remove all dangling build cache."
UNUSED = "WARNING! This will remove all build cache."
_SIZES = ("keep-storage", "max-used-space", "min-free-space", "reserved-space")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the cache, after confirmation."""
    if not options["force"]:
        confirm(UNUSED if options["all"] else DANGLING, "builder prune")
    query: dict[str, object] = {name: options[name] or None for name in _SIZES}
    query |= {"all": options["all"], "filters": filter_map(options["filter"])}
    done = context.client.builds.prune(query)
    write_page(deleted_cache(done))
    write("Total reclaimed space: {}\n", human_size(done.get("SpaceReclaimed", 0)))
    return 0


def deleted_cache(done: dict[str, Any]) -> str:
    """What was removed, as docker prints it; empty: nothing was."""
    removed = printable(done.get("CachesDeleted") or [])
    return "Deleted build cache objects:\n" + "".join(f"{one}\n" for one in removed) + "\n" if removed else ""
