"""``wherry network ls``: list networks."""

from __future__ import annotations

from wherry.cli.console import write_raw
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT, filter_map
from wherry.cli.flags.parser import BOOL, FILTER, Command, Flag
from wherry.cli.output.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "List networks",
    (
        Flag(
            "filter",
            "f",
            FILTER,
            "Filter output: only those for which this is true (driver=bridge, name=x, dangling=true ...)",
        ),
        TABLE_FORMAT,
        NO_TRUNC,
        Flag("quiet", "q", BOOL, "Only display network IDs"),
    ),
    max_args=0,
    aliases="wherry network ls, wherry network list",
)

HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}
COLUMNS = ("ID", "Name", "Driver", "Scope")


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List the networks, sorted by name."""
    found = sorted(context.client.networks.list(filter_map(options["filter"])), key=lambda one: str(one["Name"]))
    rows = [_row(one, short=not options["no-trunc"]) for one in found]
    if options["quiet"] and not options["format"]:
        write_raw("".join(f"{row['ID']}\n" for row in rows))
        return 0
    write_rows(rows, COLUMNS, HEADERS, options["format"])
    return 0


def _row(one: dict[str, Any], *, short: bool) -> dict[str, Any]:
    labels = one.get("Labels") or {}
    return {
        "ID": one["Id"][:12] if short else one["Id"],
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one["Scope"],
        "IPv4": str(one.get("EnableIPv4", True)).lower(),
        "IPv6": str(one.get("EnableIPv6", False)).lower(),
        "Internal": str(one.get("Internal", False)).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "CreatedAt": _go_time(one["Created"]),
        "Label": lambda name: labels.get(name, ""),
    }


def _go_time(text: str) -> str:
    """A time as Go prints it: ``2024-01-02 03:04:05.123456789 +0000 UTC``."""
    return f"{text.replace('T', ' ').removesuffix('Z')} +0000 UTC"
