"""``wherry commit``: make an image of a container."""

from __future__ import annotations

import sys

from wherry.cli.flags import BOOL, LIST, STRING, Command, Flag
from wherry.cli.reference import full_name, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Make an image of a container: what it changed becomes a layer on top of its own image's",
    (
        Flag("author", "a", STRING, "Who made it (Jane Doe <jane@example.com>)"),
        Flag("change", "c", LIST, "Dockerfile instruction for the image (CMD [...], ENV A=1 ...)"),
        Flag("message", "m", STRING, "Comment for the image's history"),
        Flag("pause", "p", BOOL, "Let a running container stand still meanwhile", True),
    ),
    least=1,
    most=2,
    aliases="wherry container commit, wherry commit",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Make it, and print its ID."""
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
    sys.stdout.write(f"{identifier}\n")
    return 0
