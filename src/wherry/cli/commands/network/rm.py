"""``wherry network rm``: remove networks."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.for_each import for_each
from wherry.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "NETWORK [NETWORK...]",
    "Remove one or more networks",
    (Flag("force", "f", BOOL, "Do not fail if the network does not exist"),),
    min_args=1,
    aliases="wherry network rm, wherry network remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove the networks. :returns: 1 when one failed."""
    networks = context.client.networks

    def remove(ref: str) -> None:
        try:
            networks.remove(ref)
        except NotFound:
            if not options["force"]:
                raise
        else:
            write("{}\n", ref)

    return for_each(arguments, remove, result=None)
