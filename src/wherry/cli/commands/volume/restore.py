"""``wherry volume restore``: a volume becomes what it was at a snapshot."""

from __future__ import annotations

from wherry.cli.flags.common import PRUNE_FORCE
from wherry.cli.flags.parser import Command
from wherry.cli.terminal.confirm import confirm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME@SNAPSHOT",
    "Make a volume what it was at a snapshot; no container that runs may have it",
    (PRUNE_FORCE,),
    min_args=1,
    max_args=1,
)

WARNING = "WARNING! This will replace all files in the volume."


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Restore it, after confirmation."""
    if not options["force"]:
        confirm(WARNING, "volume restore")
    context.client.volumes.restore(arguments[0])
    return 0
