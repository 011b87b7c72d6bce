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
    "Remove one or more volumes. You cannot remove a volume that is in use by a container",
    (Flag("force", "f", BOOL, "Force the removal of one or more volumes"),),
    min_args=1,
    aliases="wherry volume rm, wherry volume remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the volumes. :returns: 1 when one failed."""
    return for_each(arguments, lambda name: context.client.volumes.remove(name, force=options["force"]))
