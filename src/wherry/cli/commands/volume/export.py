"""``wherry volume export``: a volume's files as an archive."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag
from wherry.cli.output.archives import check_output, write_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME[@SNAPSHOT]",
    "Export the files of a volume, or of a snapshot, as a tar archive, to a file or STDOUT",
    (Flag("output", "o", STRING, "Write to a file, instead of STDOUT"),),
    min_args=1,
    max_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write the archive."""
    path = "" if options["output"] == "-" else options["output"]
    check_output(path, "failed to export volume")
    write_archive(context.client.volumes.export(arguments[0]), path)
    return 0
