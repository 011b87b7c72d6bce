"""``wherry history``: how an image was made."""

from __future__ import annotations

import sys

from wherry.cli.filters import FORMAT_HELP
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.human import ago, ellipsis, human_size
from wherry.cli.image_row import short_id
from wherry.cli.platforms import platform_of
from wherry.cli.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE",
    "Show how an image was made, newest step first",
    (
        Flag("format", "", STRING, FORMAT_HELP),
        Flag("human", "H", BOOL, "Round sizes and times", True),
        Flag("no-trunc", "", BOOL, "Shorten nothing"),
        Flag("platform", "", STRING, "Of this platform (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Only IDs"),
    ),
    least=1,
    most=1,
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
    """Show it."""
    steps = context.client.images.history(arguments[0], platform=platform_of(options["platform"]))
    rows = [_row(step, human=options["human"], short=not options["no-trunc"]) for step in steps]
    if options["quiet"]:
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    columns = ("ID", "CreatedSince" if options["human"] else "CreatedAt", "CreatedBy", "Size", "Comment")
    write_rows(rows, columns, HEADERS, options["format"])
    return 0
