"""``wherry volume ls``: list volumes."""

from __future__ import annotations

from wherry.cli.console import write_error, write_raw
from wherry.cli.flags.common import TABLE_FORMAT, filter_map
from wherry.cli.flags.parser import BOOL, FILTER, Command, Flag
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
    "List volumes",
    (
        Flag("filter", "f", FILTER, "Provide filter values (dangling=true, driver=local, label=x, name=x)"),
        TABLE_FORMAT,
        Flag("quiet", "q", BOOL, "Only display volume names"),
    ),
    max_args=0,
    aliases="wherry volume ls, wherry volume list",
)

HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Group": "GROUP",
    "Availability": "AVAILABILITY",
    "Status": "STATUS",
}
COLUMNS = ("Driver", "Name")
_UNKNOWN = "N/A"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List the volumes, sorted by name."""
    answer = context.client.volumes.list(filter_map(options["filter"]))
    for warning in answer.get("Warnings") or ():
        write_error("WARNING: {}\n", warning)
    rows = sorted(map(_row, answer.get("Volumes") or ()), key=lambda row: _in_order(row["Name"]))
    if options["quiet"] and not options["format"]:
        write_raw("".join(f"{row['Name']}\n" for row in rows))
        return 0
    write_rows(rows, COLUMNS, HEADERS, options["format"])
    return 0


def _row(one: dict[str, Any]) -> dict[str, Any]:
    labels, usage = one.get("Labels") or {}, one.get("UsageData") or {}
    return {
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one["Scope"],
        "Mountpoint": one.get("Mountpoint", ""),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Links": str(usage["RefCount"]) if usage else _UNKNOWN,
        "Size": human_size(usage["Size"]) if usage else _UNKNOWN,
        "Group": _UNKNOWN,
        "Availability": _UNKNOWN,
        "Status": _UNKNOWN,
        "Label": lambda name: labels.get(name, ""),
    }


def _in_order(name: str) -> list[tuple[bool, int | str]]:
    """A key that puts ``vol2`` before ``vol10``."""
    import re

    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return [(False, int(part)) if part.isdecimal() else (True, part) for part in parts]
