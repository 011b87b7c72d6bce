"""``wherry builder inspect``: what is known of a build."""

from __future__ import annotations

from wherry.cli.commands.builder.logs import LAST
from wherry.cli.flags.common import OBJECT_FORMAT
from wherry.cli.flags.parser import Command
from wherry.cli.output.inspect import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] [BUILD...]",
    "Display detailed information on builds: the last one, or by ID or image",
    (OBJECT_FORMAT,),
    aliases="wherry build inspect, wherry builder inspect",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print them. :returns: 1 when one was not found."""
    return print_inspected(arguments or [LAST], context.client.builds.inspect, options["format"])
