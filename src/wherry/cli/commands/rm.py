"""``wherry rm``: remove containers."""

from __future__ import annotations

from wherry.cli.each import for_each
from wherry.cli.flags import BOOL, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove containers",
    (
        Flag("force", "f", BOOL, "Remove running ones too: they are killed"),
        Flag("link", "l", BOOL, "Remove a link"),
        Flag("volumes", "v", BOOL, "Remove their anonymous volumes with them"),
    ),
    least=1,
    aliases="wherry container rm, wherry rm",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove each. :returns: 1 when one of them failed."""
    containers = context.client.containers

    def remove(ref: str) -> None:
        containers.remove(ref.strip("/"), force=options["force"], volumes=options["volumes"], link=options["link"])

    return for_each(arguments, remove, missing_ok=options["force"])
