"""``wherry rmi``: remove images."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, LIST, Command, Flag
from wherry.cli.flags.platforms import platform_of
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images: the names, and with the last name the image",
    (
        Flag("force", "f", BOOL, "Force removal of an image with several names, or with a stopped container"),
        Flag("no-prune", "", BOOL, "Do not delete untagged parents"),
        Flag("platform", "", LIST, "Remove only the given platform (linux/arm64)"),
    ),
    min_args=1,
    aliases="wherry image rm, wherry image remove, wherry rmi",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the images. :returns: 1 when one failed."""
    from wherry.client.codec import encode

    images = context.client.images
    asked = [text for several in options["platform"] for text in several.split(",")]
    platforms = [encode(platform_of(text, "")).decode() for text in asked]

    def remove(ref: str) -> None:
        done = images.remove(ref, force=options["force"], prune=not options["no-prune"], platforms=platforms)
        for step in done:
            for what, name in sorted(step.items()):
                write("{}: {}\n", what, name)

    return for_each(arguments, remove, result=None, missing_ok=options["force"])
