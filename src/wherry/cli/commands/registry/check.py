"""``wherry registry check``: verify everything in a registry against its digest."""

from __future__ import annotations

from wherry.cli.flags.parser import Command
from wherry.cli.registry.server import COMMON, exec_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS]", "Verify everything in the registry against its digest", COMMON, max_args=0)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Verify everything; the exit code is 1 when something is damaged."""
    exec_server("check", COMMAND, options)
