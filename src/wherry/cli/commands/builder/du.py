"""``wherry builder du``: the entries of the build cache, and what they take."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.cache_row import cache_row
from wherry.cli.output.table import write_rows
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Show what the build cache takes",
    (
        TABLE_FORMAT,
        NO_TRUNC,
        Flag("verbose", "v", BOOL, "Show what each entry is, and how often it was used"),
    ),
    max_args=0,
)

HEADERS = {
    "ID": "ID",
    "CacheType": "TYPE",
    "Reclaimable": "RECLAIMABLE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "LastUsedSince": "LAST ACCESSED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
    "Description": "DESCRIPTION",
}
COLUMNS = ("ID", "Reclaimable", "Size", "LastUsedSince")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List the entries, the largest first, and their sums."""
    records = context.client.system.disk_usage().get("BuildCache") or []
    records = sorted(records, key=lambda one: -int(one.get("Size", 0)))
    rows = [cache_row(one, short=not options["no-trunc"]) for one in records]
    write_rows(rows, tuple(HEADERS) if options["verbose"] else COLUMNS, HEADERS, options["format"])
    if not options["format"]:
        for name, size in _sums(records).items():
            write("{}\t{}\n", name.ljust(12), human_size(size))
    return 0


def _sums(records: list[dict[str, Any]]) -> dict[str, int]:
    """As buildx has them; what images share is counted with the images."""
    shared = sum(one["Size"] for one in records if one.get("Shared"))
    private = sum(one["Size"] for one in records if not one.get("Shared"))
    free = sum(one["Size"] for one in records if not one.get("Shared") and not one.get("InUse"))
    return {"Shared:": shared, "Private:": private, "Reclaimable:": free, "Total:": shared + private}
