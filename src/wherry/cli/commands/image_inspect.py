"""``wherry image inspect``: everything about images."""

from __future__ import annotations

from wherry.cli.flags import BOOL, STRING, Command, Flag
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
        Flag("remote", "", BOOL, "As the registry has it now, without fetching it"),
    ),
    least=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one was not found."""
    images = context.client.images
    if options["remote"]:
        from wherry.cli.remote_image import inspect_remote

        return print_inspected(
            arguments, lambda ref: inspect_remote(images, ref, options["platform"]), options["format"]
        )
    platform = platform_of(options["platform"])
    return print_inspected(arguments, lambda ref: images.inspect(ref, platform=platform), options["format"])
