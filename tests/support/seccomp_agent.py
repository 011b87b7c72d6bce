"""A program that decides about a container's system calls: it gets the listener and answers each notification.

It says that each call succeeded, without making it. Another process than the tests', because these must have one
thread only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import quiet

_NOTIF: Final = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_RESPONSE: Final = struct.Struct("=QqiI")  # struct seccomp_notif_resp
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND


class Agent(NamedTuple):
    """An agent that runs."""

    path: str
    log: Path

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The container process states that it was sent, when there are so many, those of execs last."""
        deadline = time.monotonic() + quiet.patience(20)
        while len(lines := self.log.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, lines
            time.sleep(0.01)
        return sorted((json.loads(line) for line in lines), key=lambda message: message["state"]["status"])


@contextmanager
def agent(directory: Path) -> Iterator[Agent]:
    """Run one meanwhile."""
    made = Agent(str(directory / "agent.sock"), directory / "agent.log")
    made.log.touch()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(made.path)
    listening.listen(4)
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                connection, _ = listening.accept()
                if os.fork() == 0:
                    _serve(connection, made.log)
                connection.close()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    listening.close()
    try:
        yield made
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(connection: socket.socket, log: Path) -> None:
    """For one filter, until nobody has it any more."""
    try:
        data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        while more := connection.recv(1 << 16):
            data += more
        with log.open("a") as file:
            file.write(json.dumps({**json.loads(data), "received": len(fds)}) + "\n")
        while True:
            asked = bytearray(_NOTIF.size)
            fcntl.ioctl(fds[0], _RECEIVE, asked)
            fcntl.ioctl(fds[0], _SEND, _RESPONSE.pack(_NOTIF.unpack(asked)[0], 0, 0, 0))
    except OSError:
        os._exit(0)
    finally:
        os._exit(1)
