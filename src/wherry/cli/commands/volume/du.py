"""``wherry volume du``: what volumes take up, and for whom."""

from __future__ import annotations

from wherry.cli.flags.common import TABLE_FORMAT
from wherry.cli.flags.parser import Command
from wherry.cli.output.table import write_rows
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [VOLUME...]",
    "Show what volumes take up, and which containers have them; the largest first",
    (TABLE_FORMAT,),
)

HEADERS = {
    "Name": "VOLUME",
    "Driver": "DRIVER",
    "Size": "SIZE",
    "Users": "USED BY",
    "Snapshots": "SNAPSHOTS",
}
COLUMNS = ("Name", "Size", "Users", "Snapshots")
_UNKNOWN, _NOTHING = "N/A", "-"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one of the volumes is not there."""
    found = {one["Name"]: one for one in context.client.volumes.usage()}
    for name in arguments:
        if name not in found:
            from wherry.errors import NotFound

            raise NotFound(f"get {name}: no such volume")
    chosen = [found[name] for name in arguments] if arguments else list(found.values())
    chosen.sort(key=lambda one: -one["Size"])
    write_rows([_row(one) for one in chosen], COLUMNS, HEADERS, options["format"])
    return 0


def _row(one: dict[str, Any]) -> dict[str, Any]:
    users = [_user(user) for user in one["Users"]]
    snapshots = one["Snapshots"]
    size = f"{len(snapshots)} ({human_size(sum(each['Size'] for each in snapshots))})" if snapshots else _NOTHING
    return {
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Size": human_size(one["Size"]) if one["Size"] >= 0 else _UNKNOWN,
        "Users": ", ".join(users) or _NOTHING,
        "Snapshots": size,
    }


def _user(user: dict[str, Any]) -> str:
    """``web (running, ro)``."""
    return f"{user['Name']} ({user['State']}{'' if user['Writable'] else ', ro'})"
