"""Hand a seccomp listener to the program that decides about a container's system calls.

Over a unix socket, with the container process state of the specification (config-linux.md, "The Container Process
State"); the connection is for that alone. Nothing waits here: a program that takes no connection, or reads nothing,
is an error.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from wherry.errors import StepFailed
from wherry.linux.fd import Fd

__all__ = ["hand_over"]


def hand_over(listener: Fd, path: str, state: dict[str, Any], pid: int) -> None:
    """Send the descriptor, which is closed here in any case.

    :param state: the container process state, without process IDs where they are the process's.
    :param pid: of the process that has the filter.
    :raises StepFailed: nobody is there, or it does not take what it is sent.
    """
    message = json.dumps({**state, "pid": pid, "state": {"pid": pid, **state["state"]}}).encode()
    with listener, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
            sent = socket.send_fds(connection, [message], [listener.fileno()])
            while sent < len(message):
                sent += connection.send(message[sent:])
        except OSError as error:
            number = error.errno or 0
            text = f"{path!r}: {os.strerror(number).lower()}"
            raise StepFailed("hand the seccomp listener over", text, call="connect", errno=number) from error
