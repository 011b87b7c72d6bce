"""``wherry image prune``: remove images that nobody uses."""

from __future__ import annotations

import sys

from wherry.cli.confirm import confirmed
from wherry.cli.filters import gather
from wherry.cli.flags import BOOL, FILTER, Command, Flag
from wherry.cli.human import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "deleted_images", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove images without a tag; with -a all that no container uses",
    (
        Flag("all", "a", BOOL, "All that no container uses"),
        Flag("filter", "", FILTER, "Only those for which this is true (until=24h, label=x)"),
        Flag("force", "f", BOOL, "Don't ask"),
    ),
    most=0,
)

DANGLING = "WARNING! This will remove all dangling images."
UNUSED = "WARNING! This will remove all images without at least one container associated to them."


def deleted_images(done: dict[str, Any]) -> str:
    """Say what the daemon removed."""
    removed = done.get("ImagesDeleted") or []
    if not removed:
        return ""
    lines = [
        f"untagged: {one['Untagged']}\n" if one.get("Untagged") else f"deleted: {one['Deleted']}\n" for one in removed
    ]
    return "Deleted Images:\n" + "".join(lines) + "\n"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them, after asking."""
    if not options["force"] and not confirmed(UNUSED if options["all"] else DANGLING):
        sys.stderr.write("image prune has been cancelled\n")
        return 1
    filters = {**gather(options["filter"]), "dangling": ["false" if options["all"] else "true"]}
    done = context.client.images.prune(filters)
    sys.stdout.write(deleted_images(done))
    sys.stdout.write(f"Total reclaimed space: {human_size(done.get('SpaceReclaimed', 0))}\n")
    return 0
