"""HTTP over a unix socket, with the standard library only: what tests say to a daemon by hand."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import quiet


class UnixConnection(http.client.HTTPConnection):
    """A connection to a daemon."""

    def __init__(self, path: str, timeout: float = quiet.patience(180)) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The sentence of an error."""
        return str(self.json["message"])


def request(
    socket_path: str, method: str, target: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
) -> Answer:
    """Ask a daemon.

    :param socket_path: of its socket.
    :param target: ``/containers/json``; a version may stand before it.
    :param body: bytes go as they are, anything else as JSON.
    :param query: parameters; lists and maps go as JSON, True as 1.
    """
    connection = UnixConnection(socket_path)
    try:
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        parameters = {name.replace("_", "-"): _parameter(value) for name, value in query.items()}
        with suppress(BrokenPipeError, ConnectionResetError):  # refused, and told why, before all was sent
            connection.request(
                method, target + ("?" + urlencode(parameters, doseq=False) if parameters else ""), body, sent
            )
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def _parameter(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def frames(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a multiplexed stream into its frames: the stream's number and the data."""
    while stream:
        size = int.from_bytes(stream[4:8], "big")
        yield stream[0], stream[8 : 8 + size]
        stream = stream[8 + size :]
