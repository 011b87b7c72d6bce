"""The smallest client that can ask an engine something: one kept-alive connection, no library's time in the figure."""

from __future__ import annotations

import json
import socket
from typing import Any


class ApiError(Exception):
    """The engine answered with an error."""


class Api:
    """A connection to an engine's unix socket; the same code asks both sides."""

    def __init__(self, path: str, version: str = "v1.41") -> None:
        self._version = version
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to be waited for."""
        return self._socket.fileno()

    def begin(self, method: str, path: str) -> None:
        """Make a request whose answer goes on, for `discard`; the connection is of no other use then."""
        self._socket.sendall(f"{method} /{self._version}{path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def discard(self) -> int:
        """Take what has come of an answer; gives how many bytes that was."""
        return len(self._socket.recv(1 << 16))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request and its answer, decoded; None for an empty one.

        :raises ApiError: for a status of 400 and above.
        """
        data = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if data else ""
        head = f"{method} /{self._version}{path} HTTP/1.1\r\nHost: bench\r\n{kind}Content-Length: {len(data)}\r\n\r\n"
        self._socket.sendall(head.encode() + data)
        status, answer = self._answer()
        if status >= 400:
            raise ApiError(f"{method} {path}: {status} {answer.decode(errors='replace').strip()}")
        return json.loads(answer) if answer.strip() else None

    def _answer(self) -> tuple[int, bytes]:
        words = self._file.readline().split()
        if len(words) < 2:
            raise ApiError("the engine closed the connection")
        status = int(words[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        if headers.get(b"transfer-encoding") == b"chunked":
            return status, self._chunks()
        return status, self._file.read(int(headers.get(b"content-length", 0)))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self._file.readline().split(b";")[0], 16):
            parts.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return b"".join(parts)
