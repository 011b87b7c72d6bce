"""``wherry rename``: rename a container."""

from __future__ import annotations

from wherry.cli.console import write_error_page
from wherry.cli.errors import error_message
from wherry.cli.exit import Exit
from wherry.cli.flags.parser import Command
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER NEW_NAME",
    "Rename a container",
    min_args=2,
    max_args=2,
    aliases="wherry container rename, wherry rename",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Rename the container."""
    old, new = (name.strip() for name in arguments)
    try:
        context.client.containers.rename(old, new)
    except WherryError as error:
        write_error_page(f"{error_message(error)}\n")
        raise Exit(1, f"Error: failed to rename container named {old}") from error
    return 0
