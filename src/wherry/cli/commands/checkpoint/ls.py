"""``wherry checkpoint ls``: list a container's checkpoints."""

from __future__ import annotations

from wherry.cli.flags.parser import STRING, Command, Flag
from wherry.cli.output.table import write_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER",
    "List checkpoints for a container",
    (Flag("checkpoint-dir", "", STRING, "Use a custom checkpoint storage directory"),),
    min_args=1,
    max_args=1,
    aliases="wherry checkpoint ls, wherry checkpoint list",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """List them."""
    names = context.client.checkpoints.list(arguments[0], directory=options["checkpoint-dir"])
    write_rows([{"Name": name} for name in names], ("Name",), {"Name": "CHECKPOINT NAME"}, "")
    return 0
