"""``wherry export``: write a container's file system to an archive."""

from __future__ import annotations

from wherry.cli.archives import check_output, write_archive
from wherry.cli.flags import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Write a container's file system to a tar archive, a file or standard output",
    (Flag("output", "o", STRING, "File to write, instead of standard output"),),
    least=1,
    most=1,
    aliases="wherry container export, wherry export",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write it."""
    check_output(options["output"], "failed to export container")
    write_archive(context.client.containers.export(arguments[0]), options["output"])
    return 0
