"""``wherry info``: the daemon and the machine."""

from __future__ import annotations

from wherry.cli.console import flush, printable, write_error, write_page, write_raw
from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Display system-wide information about the daemon and the machine",
    (OBJECT_FORMAT,),
    max_args=0,
    aliases="wherry system info, wherry info",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the information."""
    info = context.client.system.info()
    if options["format"]:
        from wherry.cli.output.format import formatter

        write_raw(formatter(options["format"])(info) + "\n")
    else:
        from wherry.cli.output.info import info_text

        write_page(info_text(printable(info)))
    flush()
    for warning in info.get("Warnings") or ():
        write_error("{}\n", warning)
    return 0
