"""``wherry image inspect``: everything about images."""

from __future__ import annotations

from wherry.cli.flags import STRING, Command, Flag
from wherry.cli.inspection import print_inspected
from wherry.cli.platforms import platform_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Show everything about images",
    (
        Flag("format", "f", STRING, "How to print: json, or a Go template"),
        Flag("platform", "", STRING, "Of this platform (linux/arm64)"),
    ),
    least=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one was not found."""
    images = context.client.images
    platform = platform_of(options["platform"])
    return print_inspected(arguments, lambda ref: images.inspect(ref, platform=platform), options["format"])
