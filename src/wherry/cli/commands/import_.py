"""``wherry import``: make an image of a root file system's archive."""

from __future__ import annotations

import sys

from wherry.cli.archives import pieces
from wherry.cli.flags import LIST, STRING, Command, Flag
from wherry.cli.progress import show
from wherry.cli.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Make an image of a root file system's tar archive",
    (
        Flag("change", "c", LIST, "Dockerfile instruction for the image (CMD [...], ENV A=1 ...)"),
        Flag("message", "m", STRING, "Comment for the image's history"),
        Flag("platform", "", STRING, "Platform of the programs in it (linux/arm64)"),
    ),
    least=1,
    most=2,
    aliases="wherry image import, wherry import",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it, and print its ID."""
    source, name = arguments[0], arguments[1] if len(arguments) > 1 else ""
    repo, tag = (full_name(name), split(name)[1]) if name else ("", "")
    keep = {
        "repo": repo,
        "tag": tag,
        "changes": options["change"],
        "message": options["message"],
        "platform": options["platform"],
    }
    images = context.client.images
    if source.startswith(("http://", "https://")):
        show(images.import_archive(None, source=source, **keep), sys.stdout)
        return 0
    with open(0, "rb", closefd=False) if source == "-" else open(source, "rb") as archive:
        show(images.import_archive(pieces(archive), **keep), sys.stdout)
    return 0
