"""``wherry context use``: choose the context for all commands to come."""

from __future__ import annotations

from wherry.cli.console import write, write_error
from wherry.cli.daemon.contexts import Contexts, override, use_context
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("CONTEXT", "Set the current context, of docker's command as well", min_args=1, max_args=1)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Note it in Docker's ``config.json``."""
    name = arguments[0]
    Contexts().metadata(name)
    use_context(name)
    write("{}\n", name)
    write_error('Current context is now "{}"\n', name)
    variable = override()
    if variable and name != "default":
        write_error(
            'Warning: {} environment variable overrides the active context. To use "{}", either set the global '
            "--context flag, or unset {} environment variable.\n",
            variable,
            name,
            variable,
        )
    return 0
