"""``wherry checkpoint create``: write a running container down."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, STRING, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER CHECKPOINT",
    "Create a checkpoint from a running container",
    (
        Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),
        Flag("leave-running", "", BOOL, "Leave the container running after checkpoint"),
    ),
    min_args=2,
    max_args=2,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Create it."""
    container, name = arguments
    context.client.checkpoints.create(
        container, name, directory=options["checkpoint-dir"], ends=not options["leave-running"]
    )
    write("{}\n", name)
    return 0
