"""``wherry logout``: remove the credentials of a registry."""

from __future__ import annotations

from wherry.cli.console import write
from wherry.cli.flags.parser import Command
from wherry.cli.registry.credentials import HUB, erase, server_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[SERVER]", "Log out from a registry; Docker Hub by default", (), max_args=1)


def run(_context: Context, _options: Options, arguments: list[str]) -> int:
    """Remove the credentials."""
    server = server_key(arguments[0] if arguments else "")
    if erase(server):
        write("Removing login credentials for {}\n", server)
    else:
        write("Not logged in to {}\n", server if server != HUB else "Docker Hub")
    return 0
