"""``wherry save``: write images to an archive."""

from __future__ import annotations

from wherry.cli.archives import check_output, write_archive
from wherry.cli.flags import LIST, STRING, Command, Flag
from wherry.cli.platforms import platform_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Write images to an archive, a file or standard output",
    (
        Flag("output", "o", STRING, "File to write, instead of standard output"),
        Flag("platform", "", LIST, "Only this platform (linux/arm64)"),
    ),
    least=1,
    aliases="wherry image save, wherry save",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Write them."""
    check_output(options["output"], "failed to save image")
    platforms = [platform for text in options["platform"] if (platform := platform_of(text))]
    write_archive(context.client.images.save(arguments, platforms=platforms), options["output"])
    return 0
