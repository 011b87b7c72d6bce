"""``wherry save``: save images to an archive."""

from __future__ import annotations

from wherry.cli.flags.parser import LIST, STRING, Command, Flag
from wherry.cli.flags.platforms import platform_of
from wherry.cli.output.archives import check_output, write_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive, a file or STDOUT",
    (
        Flag("output", "o", STRING, "Write to a file, instead of STDOUT"),
        Flag("platform", "", LIST, "Save only the given platform (linux/arm64)"),
    ),
    min_args=1,
    aliases="wherry image save, wherry save",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write the archive."""
    check_output(options["output"], "failed to save image")
    platforms = [platform for text in options["platform"] if (platform := platform_of(text))]
    write_archive(context.client.images.save(arguments, platforms=platforms), options["output"])
    return 0
