"""``wherry system dial-stdio``: the daemon's connection on standard input and output, for ssh."""

from __future__ import annotations

from wherry.cli.daemon.relay import relay
from wherry.cli.flags.parser import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command("[OPTIONS]", "Proxy the stdio stream to the daemon connection, for ssh", max_args=0)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Relay until the daemon ends the connection, or its client is gone."""
    transport = context.client.transport
    idle, transport.idle = transport.idle, None
    sock = idle.sock if idle is not None else transport.connect()
    try:
        relay(sock, 0, 1)
    except BrokenPipeError:
        return 0  # the client left
    finally:
        sock.close()
    return 0
