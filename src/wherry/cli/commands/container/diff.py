"""``wherry diff``: list the changes to a container's filesystem."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER",
    "Inspect changes to a container's filesystem: A added, C changed, D deleted",
    (Flag("format", "", STRING, "Format output with json or a Go template (.Type, .Path)", hidden=True),),
    min_args=1,
    max_args=1,
    aliases="wherry container diff, wherry diff",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the changes."""
    changes = context.client.containers.changes(arguments[0])
    rows = [{"Type": "CAD"[change["Kind"]], "Path": change["Path"]} for change in changes]
    if options["format"]:
        from wherry.cli.output.table import write_rows

        write_rows(rows, ("Type", "Path"), {"Type": "CHANGE TYPE", "Path": "PATH"}, options["format"])
        return 0
    for row in rows:
        write("{} {}\n", row["Type"], row["Path"])
    return 0
