"""``wherry volume inspect``: detailed information on volumes."""

from __future__ import annotations

from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command
from wherry.cli.output.inspect import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    "Display detailed information on one or more volumes",
    (OBJECT_FORMAT,),
    min_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the objects. :returns: 1 when one was not found."""
    return print_inspected(arguments, context.client.volumes.inspect, options["format"])
