"""``wherry system shutdown``: end the daemon; with ``--kill`` every container with it."""

from __future__ import annotations

import os
import time

from wherry.cli.context import find_daemon
from wherry.cli.flags import BOOL, Command, Flag
from wherry.client.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "End the daemon; containers go on, unless --kill",
    (Flag("kill", "", BOOL, "Kill every container as well, and leave nothing on the machine"),),
    most=0,
)

END_SECONDS = 30.0


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """End it. That none runs is fine; none is started for this."""
    client = Client(find_daemon(context.global_options))
    try:
        client.system.shutdown(kill=options["kill"])
    except (FileNotFoundError, ConnectionRefusedError):
        return 0
    _wait_until_gone(client)
    return 0


def _wait_until_gone(client: Client) -> None:
    """Wait until nobody answers any more, so that a command after this one starts from nothing."""
    deadline = time.monotonic() + END_SECONDS
    path = client.transport.address.path
    while time.monotonic() < deadline and (path is None or os.path.exists(path)):
        try:
            client.transport.connect().close()
        except OSError:
            return
        time.sleep(0.01)
