"""``wherry logout``: forget who we are at a registry."""

from __future__ import annotations

import sys

from wherry.cli.credentials import HUB, erase, server_of
from wherry.cli.flags import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[SERVER]", "Log out from a registry; from Docker Hub when none is named", (), most=1)


def run(_context: Context, _options: Options, arguments: list[str]) -> int:
    """Forget it."""
    server = server_of(arguments[0] if arguments else "")
    known = erase(server)
    shown = server if server != HUB else "Docker Hub"
    sys.stdout.write(f"Removing login credentials for {server}\n" if known else f"Not logged in to {shown}\n")
    return 0
