"""A connection to a daemon whose every byte is the test's."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from support.daemons import Daemon


class Wire:
    """One request, and whatever comes after it."""

    def __init__(self, daemon: Daemon, method: str, target: str, body: Any = None, *, upgrade: bool = False) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(daemon.socket)
        self._file = self.socket.makefile("rb")
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: d\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        self.socket.sendall(head.encode() + b"\r\n" + data)
        self.status = int(self._file.readline().split()[1])
        self.headers = dict(self._headers())

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            yield name.lower(), value.strip()

    def chunk(self) -> bytes:
        """The next piece of a chunked body."""
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        self._file.readline()
        return data

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        self.socket.close()
