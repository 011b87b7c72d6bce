"""The daemon's side of the connection, and the start of a keeper. Nothing else here blocks."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wherry.errors import InvalidInput, SystemFault, Unavailable
from wherry.keeper import exec_root as files
from wherry.keeper import packets
from wherry.keeper.exec_root import StrPath, connect
from wherry.keeper.protocol import DaemonSide, Message
from wherry.linux.fd import Fd

__all__ = ["KeeperClient", "Message", "connect", "start_keeper"]

START_PATIENCE: Final = 10.0
"""Seconds that a new keeper has to answer; it takes 0.05 on an idle machine."""


_UCRED: Final = struct.Struct("iII")  # unix(7), SO_PEERCRED


class KeeperClient:
    """Requests and answers over a connection; the caller polls it: ``add_reader(client.fileno(), ...)``.

    :param sock: from :func:`connect`; the client owns it from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock: Final = sock
        self._side: Final = DaemonSide()
        self._unsent: deque[tuple[bytes, list[Fd]]] = deque()
        self.closed = False
        """Whether the keeper has gone, or :meth:`close` was called."""

    def fileno(self) -> int:
        """The socket's descriptor; -1 once closed."""
        return self._sock.fileno()

    def peer(self) -> int:
        """The keeper's process ID."""
        pid, _, _ = _UCRED.unpack(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return int(pid)

    def request(self, op: str, fields: Mapping[str, object] | None = None, fds: Sequence[int] = ()) -> int:
        """Send a request; gives its number, which the answer's ``re`` repeats.

        What the socket does not take now is sent by :meth:`flush`; the descriptors stay the caller's in any case.

        :raises InvalidInput: it is not well-formed.
        :raises Unavailable: the keeper has gone.
        """
        if self.closed:
            raise Unavailable("the keeper has gone")
        seq, data = self._side.request(op, fields or {}, len(fds))
        self._unsent.append((data, [Fd(os.dup(fd)) for fd in fds]))
        self.flush()
        return seq

    def wants_write(self) -> bool:
        """Whether :meth:`flush` should be called once the socket is writable."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what was not sent yet, as far as the socket takes it."""
        try:
            while self._unsent and packets.send(
                self._sock, self._unsent[0][0], [fd.fileno() for fd in self._unsent[0][1]]
            ):
                self._unsent.popleft()
        except packets.Gone:
            self._unsent.clear()  # `receive` reports it, after what the keeper said before it went

    def receive(self) -> list[Message]:
        """All answers and events that are there; their descriptors are the caller's. Sets :attr:`closed` at the end.

        :raises SystemFault: the keeper says what it may not say.
        """
        messages: list[Message] = []
        while not self.closed:
            try:
                packet = packets.receive(self._sock)
            except packets.Gone:
                self.closed = True
                break
            except InvalidInput as error:
                raise SystemFault("the keeper sent nonsense", cause=error.message) from error
            if packet is None:
                break
            message = self._side.receive(*packet)
            if message is not None:
                messages.append(message)
        return messages

    def close(self) -> None:
        """End the connection; the keeper and its processes go on."""
        self.closed = True
        self._unsent.clear()
        self._sock.close()


def start_keeper(exec_root: StrPath, python: str = sys.executable) -> None:
    """Start a keeper for an exec-root and wait until it answers. If there is one already, that is as good.

    :param python: the interpreter that runs it.
    :raises SystemFault: it does not come up; the cause is what it said.
    """
    with suppress(OSError):  # a second one would wait for the first one's end, and take its place
        connect(exec_root).close()
        return
    script = Path(__file__).with_name("__main__.py")
    command = [python, "-I", "-S", os.fspath(script), "--exec-root", os.fspath(exec_root), "--daemonize"]
    log = os.path.join(exec_root, files.LOG)
    begin = os.path.getsize(log) if os.path.exists(log) else 0
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemFault("the keeper cannot be started", cause=str(error)) from error
    if done.returncode:
        raise SystemFault("the keeper did not start", cause=done.stderr.decode(errors="replace").strip())
    _wait_for(exec_root, log, begin)


def _wait_for(exec_root: StrPath, log: str, begin: int) -> None:
    """Wait until the keeper's socket accepts connections.

    There is nothing to wait *on* before the socket exists, so this looks again every few milliseconds.
    """
    deadline = time.monotonic() + START_PATIENCE
    while True:
        try:
            connect(exec_root).close()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if time.monotonic() > deadline:
                said = Path(log).read_bytes()[begin:].decode(errors="replace").strip() if os.path.exists(log) else ""
                raise SystemFault("the keeper does not answer", cause=said or str(error)) from error
            time.sleep(0.005)
        else:
            return
