"""``wherry builder ls``: the builds that are remembered."""

from __future__ import annotations

import time

from wherry.cli.build.steps import duration
from wherry.cli.console import write
from wherry.cli.flags.common import NO_TRUNC, TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.cli.output.times import ago, ellipsis
from wherry.docker.reference import familiar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "List builds, the last one first",
    (
        TABLE_FORMAT,
        NO_TRUNC,
        Flag("quiet", "q", BOOL, "Only display the builds' IDs"),
    ),
    max_args=0,
    aliases="wherry build ls, wherry builder ls",
)

HEADERS = {
    "ID": "BUILD ID",
    "Name": "NAME",
    "Status": "STATUS",
    "Steps": "STEPS",
    "Warnings": "WARNINGS",
    "CreatedSince": "CREATED",
    "Duration": "DURATION",
    "Image": "IMAGE ID",
}
COLUMNS = ("ID", "Name", "Status", "CreatedSince", "Duration", "Image")
_SHORT, _WIDTH = 12, 40


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them."""
    records = context.client.builds.list()
    short = not options["no-trunc"]
    if options["quiet"]:
        for one in records:
            write("{}\n", one["Ref"][:_SHORT] if short else one["Ref"])
        return 0
    write_rows([_row(one, short=short) for one in records], COLUMNS, HEADERS, options["format"])
    return 0


def _row(record: dict[str, Any], *, short: bool) -> dict[str, str]:
    name, image = _name(record), str(record["Image"])
    return {
        "ID": record["Ref"][:_SHORT] if short else record["Ref"],
        "Name": ellipsis(name, _WIDTH) if short else name,
        "Status": record["Status"],
        "Steps": f"{record['CompletedSteps']}/{record['Steps']}",
        "Warnings": str(record["Warnings"]),
        "CreatedSince": ago(record["Created"] / 1e9),
        "Duration": duration((record["Completed"] or time.time_ns()) - record["Created"]),
        "Image": image.removeprefix("sha256:")[:_SHORT] if short else image,
    }


def _name(record: dict[str, Any]) -> str:
    """What the image is called; else, the stage or what it is built from."""
    if names := [familiar(name) for name in record["Names"]]:
        return ", ".join(names)
    options = record["Options"]
    return str(options.get("target") or options.get("context") or options.get("filename") or "")
