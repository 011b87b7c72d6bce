"""``wherry registry check``: compare everything in a registry with its digest."""

from __future__ import annotations

from wherry.cli.flags import Command
from wherry.cli.registry_server import COMMON, become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS]", "Compare everything that a registry has with its digest", COMMON, most=0)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Read all of it; the exit code is 1 when something is damaged."""
    become("check", COMMAND, options)
