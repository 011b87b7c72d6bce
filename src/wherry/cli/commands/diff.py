"""``wherry diff``: what a container changed in its file system."""

from __future__ import annotations

import sys

from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER",
    "Show what a container changed in its file system: A added, C changed, D deleted",
    (Flag("format", "", STRING, "How to print: json, or a Go template (.Type, .Path)", hidden=True),),
    least=1,
    most=1,
    aliases="wherry container diff, wherry diff",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it."""
    changes = context.client.containers.changes(arguments[0])
    rows = [{"Type": "CAD"[change["Kind"]], "Path": change["Path"]} for change in changes]
    if options["format"]:
        from wherry.cli.table import write_rows

        write_rows(rows, ("Type", "Path"), {"Type": "CHANGE TYPE", "Path": "PATH"}, options["format"])
        return 0
    sys.stdout.write("".join(f"{row['Type']} {row['Path']}\n" for row in rows))
    return 0
