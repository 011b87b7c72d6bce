"""``wherry rmi``: remove images."""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, LIST, Command, Flag
from wherry.cli.platforms import platform_of
from wherry.cli.report import sentence
from wherry.errors import NotFound, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove names of images, and with the last name the image",
    (
        Flag("force", "f", BOOL, "Even if it has several names, or a stopped container is made of it"),
        Flag("no-prune", "", BOOL, "Keep nameless parents"),
        Flag("platform", "", LIST, "Only this platform's part (linux/arm64)"),
    ),
    least=1,
    aliases="wherry image rm, wherry image remove, wherry rmi",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them. :returns: 1 when one failed."""
    from wherry.client.codec import encode

    images = context.client.images
    platforms = [encode(platform_of(text)).decode() for text in options["platform"]]
    code = 0
    for ref in arguments:
        try:
            done = images.remove(ref, force=options["force"], prune=not options["no-prune"], platforms=platforms)
        except WherryError as error:
            sys.stdout.flush()
            sys.stderr.write(f"{sentence(error)}\n")
            if not (options["force"] and isinstance(error, NotFound)):
                code = 1
            continue
        for step in done:
            sys.stdout.write("".join(f"{what}: {name}\n" for what, name in sorted(step.items())))
    return code
