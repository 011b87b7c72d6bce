"""``wherry image prune``: remove unused images."""

from __future__ import annotations

from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.common import PRUNE_FILTER, PRUNE_FORCE, filter_map
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.terminal.confirm import confirm
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "deleted_images", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove unused images: dangling ones (without a tag), with -a all that no container uses",
    (
        Flag("all", "a", BOOL, "Remove all unused images, not just dangling ones"),
        PRUNE_FILTER,
        PRUNE_FORCE,
    ),
    max_args=0,
)

DANGLING = "WARNING! This will remove all dangling images."
UNUSED = "WARNING! This will remove all images without at least one container associated to them."


def deleted_images(done: dict[str, Any]) -> str:
    """List the images that the daemon removed."""
    removed = printable(done.get("ImagesDeleted") or [])
    if not removed:
        return ""
    lines = [
        f"untagged: {one['Untagged']}\n" if one.get("Untagged") else f"deleted: {one['Deleted']}\n" for one in removed
    ]
    return "Deleted Images:\n" + "".join(lines) + "\n"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the images, after confirmation."""
    if not options["force"]:
        confirm(UNUSED if options["all"] else DANGLING, "image prune")
    filters = {**filter_map(options["filter"]), "dangling": ["false" if options["all"] else "true"]}
    done = context.client.images.prune(filters)
    write_page(deleted_images(done))
    write("Total reclaimed space: {}\n", human_size(done.get("SpaceReclaimed", 0)))
    return 0
