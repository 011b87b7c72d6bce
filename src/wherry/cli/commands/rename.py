"""``wherry rename``: give a container another name."""

from __future__ import annotations

from wherry.cli.flags import Command

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
    context.client.containers.rename(arguments[0].strip(), arguments[1].strip())
    return 0
