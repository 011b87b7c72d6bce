"""``wherry commit``: create an image from a container's changes."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, LIST, STRING, Command, Flag
from wherry.docker.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes, a layer on top of its own image",
    (
        Flag("author", "a", STRING, "Author (Jane Doe <jane@example.com>)"),
        Flag("change", "c", LIST, "Apply a Dockerfile instruction to the image (CMD [...], ENV A=1 ...)"),
        Flag("message", "m", STRING, "Commit message, a comment in the image's history"),
        Flag("pause", "p", BOOL, "Pause the container during the commit", True),
    ),
    min_args=1,
    max_args=2,
    aliases="wherry container commit, wherry commit",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create the image and print its ID."""
    name = arguments[1] if len(arguments) > 1 else ""
    repo, tag = (full_name(name), split(name)[1]) if name else ("", "")
    identifier = context.client.containers.commit(
        arguments[0],
        repo=repo,
        tag=tag,
        author=options["author"],
        comment=options["message"],
        changes=options["change"],
        pause=options["pause"],
    )
    write("{}\n", identifier)
    return 0
