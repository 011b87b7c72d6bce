"""``wherry container inspect``: everything about containers."""

from __future__ import annotations

from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.inspection import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Show everything about containers",
    (
        Flag("format", "f", STRING, "How to print: json, or a Go template"),
        Flag("size", "s", BOOL, "Count bytes, too"),
    ),
    least=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one was not found."""
    containers = context.client.containers
    return print_inspected(arguments, lambda ref: containers.inspect(ref, size=options["size"]), options["format"])
