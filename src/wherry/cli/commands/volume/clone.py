"""``wherry volume clone``: make a volume of another one."""

from __future__ import annotations

from wherry.cli.commands.volume.snapshot import NO_FREEZE
from wherry.cli.console import write
from wherry.cli.flags.kinds import LABEL
from wherry.cli.flags.parser import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME[@SNAPSHOT] NEW",
    "Make a new volume of another one, or of a snapshot",
    (
        Flag("label", "", LABEL, "Set metadata for the new volume"),
        NO_FREEZE,
    ),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it and print its name."""
    source, new = arguments
    made = context.client.volumes.clone(source, new, dict(options["label"]), freeze=not options["no-freeze"])
    write("{}\n", made["Name"])
    return 0
