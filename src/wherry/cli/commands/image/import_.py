"""``wherry import``: import a root filesystem's archive as an image."""

from __future__ import annotations

import sys

from wherry.cli.flags.parser import LIST, STRING, Command, Flag
from wherry.cli.output.archives import read_chunks
from wherry.cli.output.progress import show
from wherry.docker.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Import a tar archive (tarball) of a root filesystem as an image",
    (
        Flag("change", "c", LIST, "Apply a Dockerfile instruction to the image (CMD [...], ENV A=1 ...)"),
        Flag("message", "m", STRING, "Set the commit message, a comment in the image's history"),
        Flag("platform", "", STRING, "Set the platform of the image (linux/arm64)"),
    ),
    min_args=1,
    max_args=2,
    aliases="wherry image import, wherry import",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the image and print its ID."""
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
        show(images.import_archive(read_chunks(archive), **keep), sys.stdout)
    return 0
