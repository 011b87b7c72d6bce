"""``wherry rename``: give a container another name."""

from __future__ import annotations

from wherry.cli.flags import Command
from wherry.cli.leave import Leave
from wherry.cli.report import sentence
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "CONTAINER NEW_NAME",
    "Give a container another name",
    least=2,
    most=2,
    aliases="wherry container rename, wherry rename",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Rename it."""
    old, new = (name.strip() for name in arguments)
    try:
        context.client.containers.rename(old, new)
    except WherryError as error:
        raise Leave(1, f"{sentence(error)}\nError: failed to rename container named {old}") from error
    return 0
