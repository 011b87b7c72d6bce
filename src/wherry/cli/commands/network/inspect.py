"""``wherry network inspect``: detailed information on networks."""

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
    "[OPTIONS] NETWORK [NETWORK...]",
    "Display detailed information on one or more networks",
    (
        OBJECT_FORMAT,
        Flag("verbose", "v", BOOL, "Verbose output for diagnostics"),
    ),
    min_args=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print the objects. :returns: 1 when one was not found."""
    networks = context.client.networks
    return print_inspected(arguments, lambda ref: networks.inspect(ref, verbose=options["verbose"]), options["format"])
