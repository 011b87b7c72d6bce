"""``wherry context rm``: remove contexts."""

from __future__ import annotations

from wherry.cli.daemon.contexts import Contexts
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.cli.for_each import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTEXT [CONTEXT...]",
    "Remove one or more contexts",
    (Flag("force", "f", BOOL, "Force the removal of a context in use"),),
    min_args=1,
    aliases="wherry context rm, wherry context remove",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Remove them. :returns: 1 when one could not be removed."""
    store = Contexts()
    return for_each(arguments, lambda name: store.remove(name, force=options["force"]))
