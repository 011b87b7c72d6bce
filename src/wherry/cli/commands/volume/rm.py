"""``wherry volume rm``: remove volumes."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove one or more volumes, or snapshots (VOLUME@SNAPSHOT). You cannot remove a volume that a container uses",
    (Flag("force", "f", BOOL, "Force the removal of one or more volumes"),),
    min_args=1,
    aliases="wherry volume rm, wherry volume remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the volumes. :returns: 1 when one failed."""
    volumes = context.client.volumes

    def remove(name: str) -> None:
        if "@" in name:
            volumes.remove_snapshot(name)
        else:
            volumes.remove(name, force=options["force"])

    return for_each(arguments, remove)
