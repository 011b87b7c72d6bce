"""``wherry history``: the steps that an image was created by."""

from __future__ import annotations

from wherry.cli.console import write_raw
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.flags.platforms import platform_of
from wherry.cli.output.image_row import short_id
from wherry.cli.output.table import write_rows
from wherry.cli.output.times import ago, ellipsis
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE",
    "Show the history of an image, newest step first",
    (
        TABLE_FORMAT,
        Flag("human", "H", BOOL, "Print sizes and dates in human readable format", True),
        NO_TRUNC,
        Flag("platform", "", STRING, "Show the given platform of a multi-platform image (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Only show image IDs"),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry image history, wherry history",
)

HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
CREATED_BY_WIDTH = 45


def _row(step: dict[str, Any], *, human: bool, short: bool) -> dict[str, Any]:
    from datetime import datetime

    made_by = step.get("CreatedBy", "").replace("\t", " ")
    made_at = datetime.fromtimestamp(step["Created"]).astimezone().isoformat().replace("+00:00", "Z")
    return {
        "ID": short_id(step["Id"], short=short),
        "CreatedAt": made_at,
        "CreatedSince": (ago(step["Created"]) if step["Created"] > 0 else "N/A") if human else made_at,
        "CreatedBy": ellipsis(made_by, CREATED_BY_WIDTH) if short else made_by,
        "Size": human_size(step["Size"]) if human else str(step["Size"]),
        "Comment": step.get("Comment", ""),
    }


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the history."""
    platform = platform_of(options["platform"])
    steps = context.client.images.history(arguments[0], platform=platform)
    rows = [_row(step, human=options["human"], short=not options["no-trunc"]) for step in steps]
    if options["quiet"]:
        write_raw("".join(f"{row['ID']}\n" for row in rows))
        return 0
    columns = ("ID", "CreatedSince" if options["human"] else "CreatedAt", "CreatedBy", "Size", "Comment")
    write_rows(rows, columns, HEADERS, options["format"])
    return 0
