"""``wherry ps``: which containers there are."""

from __future__ import annotations

import sys

from wherry.cli.filters import FORMAT_HELP, gather
from wherry.cli.flags import BOOL, FILTER, INT, STRING, Command, Flag
from wherry.cli.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "List containers",
    (
        Flag("all", "a", BOOL, "Those that do not run, too"),
        Flag("filter", "f", FILTER, "Only those for which this is true (status=exited, label=x, name=web ...)"),
        Flag("format", "", STRING, FORMAT_HELP),
        Flag("last", "n", INT, "The n newest, whatever they do", -1),
        Flag("latest", "l", BOOL, "The newest, whatever it does"),
        Flag("no-trunc", "", BOOL, "Shorten nothing"),
        Flag("quiet", "q", BOOL, "Only IDs"),
        Flag("size", "s", BOOL, "Show how much they wrote"),
    ),
    most=0,
    aliases="wherry container ls, wherry container list, wherry container ps, wherry ps",
)

HEADERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
    "Ports": "PORTS",
    "Size": "SIZE",
    "State": "STATE",
    "Status": "STATUS",
}
COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them."""
    limit = 1 if options["latest"] else max(options["last"], 0)
    size = options["size"] or any(text in options["format"] for text in (".Size", "json ."))
    found = context.client.containers.list(
        all=options["all"], limit=limit, size=size, filters=gather(options["filter"])
    )
    if options["quiet"] and not options["format"]:
        width = None if options["no-trunc"] else 12
        sys.stdout.write("".join(f"{one['Id'][:width]}\n" for one in found))
        return 0
    from wherry.cli.container_row import container_row

    rows: list[dict[str, Any]] = [container_row(one, short=not options["no-trunc"]) for one in found]
    columns = (*COLUMNS, "Size") if options["size"] else COLUMNS
    write_rows(rows, columns, HEADERS, options["format"])
    return 0
