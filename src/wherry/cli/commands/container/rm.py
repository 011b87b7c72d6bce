"""``wherry rm``: remove containers."""

from __future__ import annotations

from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove one or more containers",
    (
        Flag("force", "f", BOOL, "Force the removal of a running container (uses SIGKILL)"),
        Flag("link", "l", BOOL, "Remove the specified link"),
        Flag("volumes", "v", BOOL, "Remove the anonymous volumes of the container"),
    ),
    min_args=1,
    aliases="wherry container rm, wherry rm",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove each container. :returns: 1 when one failed."""
    containers = context.client.containers

    def remove(ref: str) -> None:
        containers.remove(ref.strip("/"), force=options["force"], volumes=options["volumes"], link=options["link"])

    return for_each(arguments, remove, missing_ok=options["force"])
