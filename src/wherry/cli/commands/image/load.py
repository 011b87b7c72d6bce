"""``wherry load``: load images from an archive."""

from __future__ import annotations

import sys

from wherry.cli.exit import Exit
from wherry.cli.flags.parser import BOOL, LIST, STRING, Command, Flag
from wherry.cli.flags.platforms import platform_of
from wherry.cli.output.archives import read_chunks
from wherry.cli.output.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Load images from a tar archive or STDIN",
    (
        Flag("input", "i", STRING, "Read from a tar archive file, instead of STDIN"),
        Flag("platform", "", LIST, "Load only the given platform (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Suppress the load output"),
    ),
    max_args=0,
    aliases="wherry image load, wherry load",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Load the images."""
    if not options["input"] and sys.stdin.isatty():
        raise Exit(1, "requested load from stdin, but stdin is empty")
    platforms = [platform for text in options["platform"] if (platform := platform_of(text))]
    with open(options["input"], "rb") if options["input"] else open(0, "rb", closefd=False) as archive:
        messages = context.client.images.load(
            read_chunks(archive), quiet=options["quiet"] or not sys.stdout.isatty(), platforms=platforms
        )
        show(messages, sys.stdout)
    return 0
