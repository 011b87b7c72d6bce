"""``wherry image diff``: the changes from one image to another."""

from __future__ import annotations

from wherry.cli.console import printable, write_page
from wherry.cli.flags.common import TABLE_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.table import write_rows
from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE OTHER",
    "Inspect changes from one image to another, file by file: A added, C changed, D deleted",
    (
        TABLE_FORMAT,
        Flag("summary", "s", BOOL, "Only show the number of files and their sizes"),
    ),
    min_args=2,
    max_args=2,
)

HEADERS = {"Type": "CHANGE TYPE", "Path": "PATH", "Before": "BEFORE", "After": "AFTER"}
LETTERS = "CAD"


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the changes."""
    found = context.client.storage.differences(arguments[0], arguments[1])
    if options["format"]:
        rows = [{**one, "Type": LETTERS[one["Kind"]]} for one in found]
        write_rows(rows, tuple(HEADERS), HEADERS, options["format"])
        return 0
    lines = [] if options["summary"] else [f"{LETTERS[one['Kind']]} {printable(one['Path'])}\n" for one in found]
    if options["summary"]:
        for number, word in ((1, "added"), (0, "changed"), (2, "deleted")):
            some = [one for one in found if one["Kind"] == number]
            before, after = (human_size(sum(one[side] for one in some)) for side in ("Before", "After"))
            sizes = {1: after, 0: f"{before} -> {after}", 2: before}[number]
            lines.append(f"{len(some)} {word} ({sizes})\n")
    write_page("".join(lines))
    return 0
