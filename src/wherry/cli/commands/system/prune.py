"""``wherry system prune``: remove unused data."""

from __future__ import annotations

from wherry.cli.commands.builder.prune import deleted_cache
from wherry.cli.commands.image.prune import deleted_images
from wherry.cli.commands.network.prune import deleted_networks
from wherry.cli.commands.volume.prune import deleted_volumes
from wherry.cli.console import printable, write, write_page
from wherry.cli.flags.common import PRUNE_FILTER, PRUNE_FORCE, filter_map
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.terminal.confirm import confirm
from wherry.docker.units import human_size
from wherry.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove unused data: stopped containers, unused networks, dangling images, unused build cache",
    (
        Flag("all", "a", BOOL, "Remove all unused images and all build cache, not just dangling images"),
        PRUNE_FILTER,
        PRUNE_FORCE,
        Flag("volumes", "", BOOL, "Prune anonymous volumes"),
    ),
    max_args=0,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the data, after confirmation."""
    images = "all images without at least one container associated to them" if options["all"] else "all dangling images"
    networks = "all networks not used by at least one container"
    cache = "all build cache" if options["all"] else "unused build cache"
    volumes = ["all anonymous volumes not used by at least one container"] if options["volumes"] else []
    what = ["all stopped containers", networks, *volumes, images, cache]
    warning = "WARNING! This will remove:\n" + "".join(f"  - {one}\n" for one in what)
    filters = filter_map(options["filter"])
    if options["volumes"] and "until" in filters:
        raise InvalidInput('ERROR: The "until" filter is not supported with "--volumes"')
    if not options["force"]:
        confirm(warning, "system prune")
    containers = context.client.containers.prune(filters)
    removed = containers.get("ContainersDeleted") or []
    if removed:
        write_page("Deleted Containers:\n" + "".join(f"{one}\n" for one in printable(removed)) + "\n")
    write_page(deleted_networks(context.client.networks.prune(filters)))
    pruned = context.client.volumes.prune(filters) if options["volumes"] else {}
    write_page(deleted_volumes(pruned))
    done = context.client.images.prune({**filters, "dangling": ["false" if options["all"] else "true"]})
    write_page(deleted_images(done))
    cached: dict[str, Any] = {}
    if "label" not in filters:  # cache has none
        cached = context.client.builds.prune({"all": options["all"], "filters": filters})
    write_page(deleted_cache(cached))
    space = sum(one.get("SpaceReclaimed", 0) for one in (containers, pruned, done, cached))
    write("Total reclaimed space: {}\n", human_size(space))
    return 0
