"""``wherry volume snapshots``: list snapshots."""

from __future__ import annotations

from wherry.cli.console import write_raw
from wherry.cli.flags.common import TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [VOLUME]",
    "List the snapshots of all volumes, or of one",
    (
        TABLE_FORMAT,
        Flag("quiet", "q", BOOL, "Only display names"),
    ),
    max_args=1,
)

HEADERS = {
    "Name": "SNAPSHOT",
    "Volume": "VOLUME",
    "Snapshot": "NAME",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Files": "FILES",
    "Frozen": "FROZEN",
    "Labels": "LABELS",
}
COLUMNS = ("Name", "CreatedAt", "Size", "Files")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them, the oldest first."""
    rows = [_row(one) for one in context.client.volumes.snapshots(arguments[0] if arguments else "")]
    if options["quiet"] and not options["format"]:
        write_raw("".join(f"{row['Name']}\n" for row in rows))
        return 0
    write_rows(rows, COLUMNS, HEADERS, options["format"])
    return 0


def _row(one: dict[str, Any]) -> dict[str, Any]:
    labels = one.get("Labels") or {}
    return {
        "Name": one["Name"],
        "Volume": one["Volume"],
        "Snapshot": one["Snapshot"],
        "CreatedAt": one["CreatedAt"],
        "Size": human_size(one["Size"]),
        "Files": str(one["Files"]),
        "Frozen": ",".join(one.get("Frozen") or ()),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
    }
