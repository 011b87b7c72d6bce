"""``wherry export``: export a container's filesystem as a tar archive."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag
from wherry.cli.output.archives import check_output, write_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive, to a file or STDOUT",
    (Flag("output", "o", STRING, "Write to a file, instead of STDOUT"),),
    min_args=1,
    max_args=1,
    aliases="wherry container export, wherry export",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write the archive."""
    check_output(options["output"], "failed to export container")
    write_archive(context.client.containers.export(arguments[0]), options["output"])
    return 0
