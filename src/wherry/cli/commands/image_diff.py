"""``wherry image diff``: what one image has differently from another."""

from __future__ import annotations

import sys

from wherry.cli.filters import FORMAT_HELP
from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.human import human_size
from wherry.cli.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE OTHER",
    "Show what another image adds (A), changes (C) and deletes (D), file by file",
    (
        Flag("format", "", STRING, FORMAT_HELP),
        Flag("summary", "s", BOOL, "Only how many files, and how many bytes"),
    ),
    least=2,
    most=2,
)

HEADERS = {"Type": "CHANGE TYPE", "Path": "PATH", "Before": "BEFORE", "After": "AFTER"}
LETTERS = "CAD"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it."""
    from wherry.client.storage import Storage

    found = Storage(context.client).differences(arguments[0], arguments[1])
    if options["format"]:
        rows = [{**one, "Type": LETTERS[one["Kind"]]} for one in found]
        write_rows(rows, tuple(HEADERS), HEADERS, options["format"])
        return 0
    lines = [] if options["summary"] else [f"{LETTERS[one['Kind']]} {one['Path']}\n" for one in found]
    if options["summary"]:
        for number, word in ((1, "added"), (0, "changed"), (2, "deleted")):
            some = [one for one in found if one["Kind"] == number]
            before, after = (human_size(sum(one[side] for one in some)) for side in ("Before", "After"))
            sizes = {1: after, 0: f"{before} -> {after}", 2: before}[number]
            lines.append(f"{len(some)} {word} ({sizes})\n")
    sys.stdout.write("".join(lines))
    return 0
