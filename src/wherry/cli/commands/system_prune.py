"""``wherry system prune``: remove everything that nobody uses."""

from __future__ import annotations

import sys

from wherry.cli.commands.image_prune import deleted_images
from wherry.cli.commands.network_prune import deleted_networks
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
    "Remove stopped containers, networks that nobody is on and images without a tag",
    (
        Flag("all", "a", BOOL, "All images that no container uses"),
        Flag("filter", "", FILTER, "Only what this is true for (until=24h, label=x)"),
        Flag("force", "f", BOOL, "Don't ask"),
    ),
    most=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove it, after asking."""
    images = "all images without at least one container associated to them" if options["all"] else "all dangling images"
    networks = "all networks not used by at least one container"
    warning = f"WARNING! This will remove:\n  - all stopped containers\n  - {networks}\n  - {images}\n"
    if not options["force"] and not confirmed(warning):
        sys.stderr.write("system prune has been cancelled\n")
        return 1
    filters = gather(options["filter"])
    containers = context.client.containers.prune(filters)
    removed = containers.get("ContainersDeleted") or []
    if removed:
        sys.stdout.write("Deleted Containers:\n" + "".join(f"{one}\n" for one in removed) + "\n")
    sys.stdout.write(deleted_networks(context.client.networks.prune(filters)))
    done = context.client.images.prune({**filters, "dangling": ["false" if options["all"] else "true"]})
    sys.stdout.write(deleted_images(done))
    space = containers.get("SpaceReclaimed", 0) + done.get("SpaceReclaimed", 0)
    sys.stdout.write(f"Total reclaimed space: {human_size(space)}\n")
    return 0
