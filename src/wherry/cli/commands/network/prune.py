"""``wherry network prune``: remove unused networks."""

from __future__ import annotations

from wherry.cli.console import printable, write_page
from wherry.cli.flags.common import PRUNE_FILTER, PRUNE_FORCE, filter_map
from wherry.cli.flags.parser import Command
from wherry.cli.terminal.confirm import confirm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "deleted_networks", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove all unused networks (without a container)",
    (PRUNE_FILTER, PRUNE_FORCE),
    max_args=0,
)

WARNING = "WARNING! This will remove all custom networks not used by at least one container."


def deleted_networks(done: dict[str, Any]) -> str:
    """List the networks that the daemon removed."""
    removed = done.get("NetworksDeleted") or []
    return "Deleted Networks:\n" + "".join(f"{name}\n" for name in printable(removed)) + "\n" if removed else ""


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the networks, after confirmation."""
    if not options["force"]:
        confirm(WARNING, "network prune")
    write_page(deleted_networks(context.client.networks.prune(filter_map(options["filter"]))))
    return 0
