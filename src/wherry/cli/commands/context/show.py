"""``wherry context show``: the name of the context in use."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.daemon.contexts import current_context
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS]", "Print the name of the current context", max_args=0)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Print it."""
    write("{}\n", in_use(context))
    return 0


def in_use(context: Context) -> str:
    """The name of the context that this command line uses."""
    given = context.global_options
    return "default" if given and given["host"] else current_context(str(given["context"]) if given else "")
