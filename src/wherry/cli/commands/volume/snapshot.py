"""``wherry volume snapshot``: keep what a volume is now."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import BOOL, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "NO_FREEZE", "run"]

NO_FREEZE = Flag("no-freeze", "", BOOL, "Let the containers that write to the volume go on meanwhile")

COMMAND = Command(
    "[OPTIONS] VOLUME[@SNAPSHOT]",
    "Make a snapshot of a volume; containers that write to it stand still meanwhile",
    (
        Flag("label", "", LABEL, "Set metadata for the snapshot"),
        NO_FREEZE,
    ),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make the snapshot and print its name."""
    volume, _, name = arguments[0].partition("@")
    made = context.client.volumes.snapshot(volume, name, dict(options["label"]), freeze=not options["no-freeze"])
    write("{}\n", made["Name"])
    return 0
