"""``wherry network prune``: remove networks that nobody is on."""

from __future__ import annotations

import sys

from wherry.cli.confirm import confirmed
from wherry.cli.filters import gather
from wherry.cli.flags import BOOL, FILTER, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "deleted_networks", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Remove networks that nobody is on",
    (
        Flag("filter", "", FILTER, "Only those for which this is true (until=24h, label=x)"),
        Flag("force", "f", BOOL, "Don't ask"),
    ),
    most=0,
)

WARNING = "WARNING! This will remove all custom networks not used by at least one container."


def deleted_networks(done: dict[str, Any]) -> str:
    """Say what the daemon removed."""
    removed = done.get("NetworksDeleted") or []
    return "Deleted Networks:\n" + "".join(f"{name}\n" for name in removed) + "\n" if removed else ""


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them, after asking."""
    if not options["force"] and not confirmed(WARNING):
        sys.stderr.write("network prune has been cancelled\n")
        return 1
    sys.stdout.write(deleted_networks(context.client.networks.prune(gather(options["filter"]))))
    return 0
