"""``wherry container inspect``: detailed information on containers."""

from __future__ import annotations

from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.output.inspect import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
    (
        OBJECT_FORMAT,
        Flag("size", "s", BOOL, "Display total file sizes"),
    ),
    min_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the objects. :returns: 1 when one was not found."""
    containers = context.client.containers
    return print_inspected(arguments, lambda ref: containers.inspect(ref, size=options["size"]), options["format"])
