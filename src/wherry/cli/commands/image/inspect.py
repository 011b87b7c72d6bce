"""``wherry image inspect``: detailed information on images."""

from __future__ import annotations

from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag
from wherry.cli.flags.platforms import platform_of
from wherry.cli.output.inspect import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
    (
        OBJECT_FORMAT,
        Flag("platform", "", STRING, "Show the given platform of a multi-platform image (linux/arm64)"),
        Flag("remote", "", BOOL, "Inspect the image in the registry, without pulling it"),
    ),
    min_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the objects. :returns: 1 when one was not found."""
    images = context.client.images
    if options["remote"]:
        from wherry.cli.registry.remote_image import inspect_remote

        return print_inspected(
            arguments, lambda ref: inspect_remote(images, ref, options["platform"]), options["format"]
        )
    platform = platform_of(options["platform"], "")
    return print_inspected(arguments, lambda ref: images.inspect(ref, platform=platform), options["format"])
