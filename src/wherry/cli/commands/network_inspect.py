"""``wherry network inspect``: everything about networks."""

from __future__ import annotations

from wherry.cli.flags import BOOL, STRING, Command, Flag
from wherry.cli.inspection import print_inspected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS] NETWORK [NETWORK...]",
    "Show everything about networks",
    (
        Flag("format", "f", STRING, "How to print: json, or a Go template"),
        Flag("verbose", "v", BOOL, "More, for finding out what is wrong"),
    ),
    least=1,
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Show it. :returns: 1 when one was not found."""
    networks = context.client.networks
    return print_inspected(arguments, lambda ref: networks.inspect(ref, verbose=options["verbose"]), options["format"])
