"""``wherry load``: read images from an archive."""

from __future__ import annotations

import sys

from wherry.cli.archives import pieces
from wherry.cli.flags import BOOL, LIST, STRING, Command, Flag
from wherry.cli.leave import Leave
from wherry.cli.platforms import platform_of
from wherry.cli.progress import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Read images from an archive, a file or standard input",
    (
        Flag("input", "i", STRING, "Archive to read, instead of standard input"),
        Flag("platform", "", LIST, "Only this platform (linux/arm64)"),
        Flag("quiet", "q", BOOL, "Don't show how it gets on"),
    ),
    most=0,
    aliases="wherry image load, wherry load",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Read them."""
    if not options["input"] and sys.stdin.isatty():
        raise Leave(1, "requested load from stdin, but stdin is empty")
    platforms = [platform for text in options["platform"] if (platform := platform_of(text))]
    with open(options["input"], "rb") if options["input"] else open(0, "rb", closefd=False) as archive:
        messages = context.client.images.load(
            pieces(archive), quiet=options["quiet"] or not sys.stdout.isatty(), platforms=platforms
        )
        show(messages, sys.stdout)
    return 0
