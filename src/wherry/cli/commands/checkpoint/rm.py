"""``wherry checkpoint rm``: remove a checkpoint."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER CHECKPOINT",
    "Remove a checkpoint",
    (Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),),
    min_args=2,
    max_args=2,
    aliases="wherry checkpoint rm, wherry checkpoint remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove it."""
    container, name = arguments
    context.client.checkpoints.remove(container, name, directory=options["checkpoint-dir"])
    return 0
