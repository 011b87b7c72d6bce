"""``wherry ps``: list containers."""

from __future__ import annotations

from wherry.cli.console import write_raw
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT, filter_map
from wherry.cli.flags.parser import BOOL, FILTER, INT, Command, Flag
from wherry.cli.output.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "List containers",
    (
        Flag("all", "a", BOOL, "Show all containers, also those that do not run"),
        Flag(
            "filter",
            "f",
            FILTER,
            "Filter output: only those for which this is true (status=exited, label=x, name=web ...)",
        ),
        TABLE_FORMAT,
        Flag("last", "n", INT, "Show the n last created containers, in any state", -1),
        Flag("latest", "l", BOOL, "Show the latest created container, in any state"),
        NO_TRUNC,
        Flag("quiet", "q", BOOL, "Only display container IDs"),
        Flag("size", "s", BOOL, "Display total file sizes"),
    ),
    max_args=0,
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
    """List the containers."""
    limit = 1 if options["latest"] else max(options["last"], 0)
    size = options["size"] or any(text in options["format"] for text in (".Size", "json ."))
    found = context.client.containers.list(
        all=options["all"], limit=limit, size=size, filters=filter_map(options["filter"])
    )
    if options["quiet"] and not options["format"]:
        width = None if options["no-trunc"] else 12
        write_raw("".join(f"{one['Id'][:width]}\n" for one in found))
        return 0
    from wherry.cli.output.container_row import container_row

    rows: list[dict[str, Any]] = [container_row(one, short=not options["no-trunc"]) for one in found]
    columns = (*COLUMNS, "Size") if options["size"] else COLUMNS
    write_rows(rows, columns, HEADERS, options["format"])
    return 0
