"""``wherry system shutdown``: stop the daemon; with ``--kill`` every container as well."""

from __future__ import annotations

import _socket
import os
import sys
import time

from wherry.cli.console import write_error
from wherry.cli.context import find_daemon
from wherry.cli.flags.parser import BOOL, Command, Flag
from wherry.client.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

COMMAND = Command(
    "[OPTIONS]",
    "Stop the daemon; containers keep running, unless --kill",
    (Flag("kill", "", BOOL, "Kill every container as well, and leave nothing on the machine"),),
    max_args=0,
)

END_SECONDS = 30.0
SYSTEMD = 1


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Stop the daemon, and return when its process is gone. It is no error when none runs; none is started."""
    with Client(find_daemon(context.global_options)) as client:
        try:
            process = _process(client)
            left = client.system.shutdown(kill=options["kill"])
        except (FileNotFoundError, ConnectionRefusedError):
            if options["kill"]:  # containers outlive a daemon that was killed, and only a daemon can end them
                write_error("No daemon answers at {}: no container was ended.\n", client.transport.address.text)
            return 0
        if process >= 0:
            _wait_for_end(process)
        else:
            _wait_until_gone(client)
    for sentence in left:
        write_error("WARNING: {}\n", sentence)
    return 0


def _process(client: Client) -> int:
    """A pidfd of the daemon's process; -1 when the socket does not give its PID.

    :raises OSError: no daemon listens.
    """
    if client.transport.address.path is None:
        return -1
    connection = client.transport.connect()
    try:
        pid = peer(connection.fileno())
        return os.pidfd_open(pid) if pid > SYSTEMD else -1  # systemd listens (socket activation)
    except ProcessLookupError:
        return -1
    finally:
        connection.close()


def peer(descriptor: int) -> int:
    """PID of the process that listens on a unix socket (SO_PEERCRED, unix(7)); 0 in another PID namespace."""
    sock = _socket.socket(fileno=os.dup(descriptor))
    try:
        pid = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 4)
    finally:
        sock.close()
    return int.from_bytes(pid, sys.byteorder)


def _wait_for_end(process: int) -> None:
    """Wait until the daemon's process has exited, and thus has cleaned up."""
    import select

    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.poll(END_SECONDS * 1000)
    os.close(process)


def _wait_until_gone(client: Client) -> None:
    """Wait until the daemon's socket refuses connections, so that the next command starts a new daemon."""
    deadline = time.monotonic() + END_SECONDS
    path = client.transport.address.path
    while time.monotonic() < deadline and (path is None or os.path.exists(path)):
        try:
            client.transport.connect().close()
        except OSError:
            return
        time.sleep(0.01)
